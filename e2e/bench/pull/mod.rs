//! Pulls: Corten against containerd and against the floor, in one run, from the same registry.
//!
//! Every pull is a fresh daemon's on an empty directory; its start is not measured. containerd's time is that of
//! PullImage too, which unpacks. Another build of Corten can take the place of both, which tells what a change costs.

mod beside;
mod far;
mod fixture;
mod floor;
mod many;
mod slow;

use crate::figures::percentile;
use e2e::Error;
use e2e::error::Context;
use e2e::interrupt::end_on_signals;
use e2e::isolation::Isolation;
use e2e::network::Network;
use e2e::registry::Registry;
use e2e::runtime::{Daemon, Kind, Options};
use fixture::Fixture;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// How much of containerd's time and of the floor's a pull of the first image may take, and KiB of memory any pull.
const OF_CONTAINERD: f64 = 1.0 / 3.0;
const OF_FLOOR: f64 = 1.25;
const MOST_RSS: u64 = 100 << 10;

/// What was measured of one image.
#[derive(Default)]
struct Times {
    corten: Vec<u128>,
    containerd: Vec<u128>,
    floor: Vec<u128>,
    /// KiB of Corten's daemon at its largest.
    rss: u64,
}

/// What is measured.
pub(crate) enum Part<'a> {
    /// Everything.
    All,
    /// What comes from a registry that is far away.
    Far,
    /// Beside the programs of another build.
    Beside(&'a Path),
}

/// Measures pulls, so often each; on a directory of the caller's, or on a tmpfs.
///
/// # Errors
/// When something is missing, or a pull fails.
pub(crate) fn measure(
    rounds: usize,
    on: Option<&Path>,
    part: &Part<'_>,
    limit: Duration,
) -> Result<(), Error> {
    let begin = Instant::now();
    let isolation = Isolation::enter()?;
    end_on_signals(isolation.sweeper(), limit)?;
    let stores = match on {
        // Short, because containerd takes no long path for the sockets of its shims.
        Some(directory) => directory.join(format!("cb-{}", std::process::id())),
        None => isolation.directory("stores")?,
    };
    fs::create_dir_all(&stores).at("create", &stores)?;
    let registry = Registry::start(&isolation.directory("registry")?)?;
    let bench = Bench {
        stores: stores.clone(),
        registry: registry.address(),
        tokio: tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .at("start", "tokio")?,
    };
    let result = match part {
        Part::All => fixture(&registry).and_then(|fixture| bench.all(&fixture, &registry, rounds)),
        Part::Far => bench.far(&registry),
        Part::Beside(other) => {
            fixture(&registry).and_then(|fixture| beside::measure(&bench, &fixture, other, rounds))
        }
    };
    // The tmpfs goes with the isolation in any case.
    let _ = fs::remove_dir_all(&stores);
    result?;
    println!("\nMeasured in {:.0} s.", begin.elapsed().as_secs_f64());
    Ok(())
}

fn fixture(registry: &Registry) -> Result<Fixture, Error> {
    let fixture = Fixture::push(registry)?;
    println!("{}", fixture.description);
    Ok(fixture)
}

/// What every measurement stands on.
struct Bench {
    stores: PathBuf,
    registry: SocketAddr,
    tokio: Runtime,
}

impl Bench {
    /// Corten, containerd and the floor.
    fn all(&self, fixture: &Fixture, registry: &Registry, rounds: usize) -> Result<(), Error> {
        println!(
            "\n| seconds, median | Corten | containerd | floor | of containerd | of the floor | peak RSS, MiB |"
        );
        println!("|---|---:|---:|---:|---:|---:|---:|");
        let good = self.images(fixture, rounds)?;
        self.far(registry)?;
        println!(
            "\nThe bars: the first image in at most 1/3 of containerd's time and {OF_FLOOR}x the floor's; at most {} MiB of memory.",
            MOST_RSS >> 10
        );
        println!("{}", if good { "Every bar is met." } else { "A bar is missed." });
        Ok(())
    }

    /// What is far away.
    fn far(&self, registry: &Registry) -> Result<(), Error> {
        many::measure(self, registry)?;
        slow::measure(self, registry)
    }

    /// Every image so often; whether every bar is met.
    fn images(&self, fixture: &Fixture, rounds: usize) -> Result<bool, Error> {
        let mut good = true;
        for (number, image) in fixture.images.iter().enumerate() {
            let mut times = Times::default();
            // The first image is the one that counts.
            for round in 0..if number == 0 { rounds } else { rounds.div_ceil(2) } {
                self.round(round, image, &mut times)?;
            }
            good &= report(&image.title, &times, number == 0);
        }
        Ok(good)
    }

    fn round(&self, round: usize, image: &fixture::Pushed, times: &mut Times) -> Result<(), Error> {
        let reference = format!("registry.test/{}:1", image.repository);
        // Each goes first in turn.
        for turn in 0..3 {
            match (round + turn) % 3 {
                0 => {
                    let (time, rss) = self.pull(Kind::Corten, &reference)?;
                    times.corten.push(time);
                    times.rss = times.rss.max(rss);
                }
                1 => times.containerd.push(self.pull(Kind::Containerd, &reference)?.0),
                _ => {
                    let directory = self.fresh("f")?;
                    times.floor.push(floor::pull(self.registry, image, &directory)?);
                    remove(&directory);
                }
            }
        }
        Ok(())
    }

    /// One pull by a fresh daemon: nanoseconds, and KiB of the daemon at its largest.
    fn pull(&self, kind: Kind, reference: &str) -> Result<(u128, u64), Error> {
        self.with_daemon(kind, self.registry, "", |daemon| {
            Ok((self.time(daemon, reference)?, peak(daemon.pid())))
        })
    }

    /// Nanoseconds of one pull.
    fn time(&self, daemon: &Daemon, reference: &str) -> Result<u128, Error> {
        self.tokio.block_on(async {
            let cri = daemon.client().await?;
            let begin = Instant::now();
            cri.pull(reference, None).await?;
            Ok(begin.elapsed().as_nanos())
        })
    }

    fn with_daemon<T>(
        &self,
        kind: Kind,
        mirror: SocketAddr,
        settings: &str,
        work: impl FnOnce(&Daemon) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.with_programs(&e2e::tools::dist(), kind, mirror, settings, work)
    }

    /// A daemon of these programs with more settings of Corten's.
    fn with_programs<T>(
        &self,
        programs: &Path,
        kind: Kind,
        mirror: SocketAddr,
        settings: &str,
        work: impl FnOnce(&Daemon) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let directory = self.fresh(if kind == Kind::Corten { "c" } else { "p" })?;
        if !settings.is_empty() {
            let file = directory.join("conf.d/more.toml");
            fs::create_dir_all(directory.join("conf.d"))
                .and_then(|()| fs::write(&file, settings))
                .at("write", &file)?;
        }
        let options = Options {
            kind,
            network: Network::None,
            mirror: Some(mirror),
            metrics: None,
            extra: String::new(),
            programs: programs.to_path_buf(),
        };
        let mut daemon = Daemon::start(&directory, &options)?;
        let result = work(&daemon);
        daemon.stop()?;
        drop(daemon);
        remove(&directory);
        result
    }

    fn fresh(&self, name: &str) -> Result<PathBuf, Error> {
        let directory = self.stores.join(name);
        remove(&directory);
        fs::create_dir_all(&directory).at("create", &directory)?;
        Ok(directory)
    }
}

fn remove(directory: &Path) {
    // What is left shows in the next round, or goes with the isolation.
    let _ = fs::remove_dir_all(directory);
}

fn peak(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// A row of the table; whether the bars are met, of which the times' are for images that count.
#[allow(clippy::cast_precision_loss)]
fn report(title: &str, times: &Times, counts: bool) -> bool {
    let seconds = |times: &[u128]| percentile(times, 50) / 1e3;
    let (corten, containerd, floor) =
        (seconds(&times.corten), seconds(&times.containerd), seconds(&times.floor));
    println!(
        "| {title} | {corten:.2} | {containerd:.2} | {floor:.2} | {:.2} | {:.2}x | {:.0} |",
        corten / containerd,
        corten / floor,
        times.rss as f64 / 1024.0
    );
    let fast = corten <= containerd * OF_CONTAINERD && corten <= floor * OF_FLOOR;
    (fast || !counts) && times.rss <= MOST_RSS
}
