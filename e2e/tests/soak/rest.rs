//! The node at rest, again and again while pods come and go: nobody asks anything, nothing is broken, and what there is then is
//! the same each time.

use crate::faults::Trouble;
use crate::node::PATIENCE;
use crate::plan::{Fault, Kinds, Mishap};
use crate::stage::{Run, SETTLED};
use crate::watch::{Seen, stored};
use e2e::error::{Context, Error};
use e2e::isolation::cgroup_directories;
use e2e::world::World;
use e2e::{command, process, tools, wait};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often it rests. The first time is no part of what is compared: until then, everything is done for the first time.
const RESTS: u64 = 10;
/// How much more, or less, there may be of something in the last third of them.
const FLAT: f64 = 0.01;
/// So many KiB of memory differ from one look to the next: the kernel takes pages of programs, the allocator gives back in steps.
const PAGES: f64 = 256.0;
/// From so many pods on, it rests until the daemon has given back what memory it does not need, which it does each half minute,
/// and threads that wait for work have ended.
const MANY: u64 = 2000;
const LONG: Duration = Duration::from_secs(33);
const SHORT: Duration = Duration::from_millis(300);
/// Looks at what comes and goes.
const LOOKS: u32 = 10;
const LOOK: Duration = Duration::from_millis(7);
/// Within this, every command of the host has ended.
const SOON: Duration = Duration::from_secs(60);

/// How much there is of everything, by name.
type Figures = Vec<(&'static str, f64)>;

/// All rests of a run.
pub(crate) struct Rests {
    kinds: Kinds,
    pods: u64,
    /// What lies beside the leases of addresses, and that of the pod that nobody touches.
    leases: usize,
    seen: Vec<Figures>,
}

impl Rests {
    /// Of a run that begins now.
    pub(crate) fn new(run: &Run, world: &World) -> Self {
        Self { kinds: run.kinds, pods: run.pods, leases: leases(world) + 1, seen: Vec::new() }
    }

    /// Looks at the node at rest, if enough pods have lived since the last time.
    pub(crate) fn take_if_due(&mut self, trouble: &mut Trouble<'_>, seen: &Seen) -> Result<(), Error> {
        let node = Arc::clone(&trouble.node);
        let due = self.pods / RESTS * (self.seen.len() as u64 + 1);
        if !self.kinds.are_brief() || node.is_over() || node.lives() < due {
            return Ok(());
        }
        let watched = || seen.supervisor.load(Ordering::Relaxed) != 0 || node.is_over();
        wait::until("the pod that nobody touches", PATIENCE, watched)?;
        let handle = trouble.world.tokio.handle().clone();
        let limit = 5 * PATIENCE;
        let alone = handle.block_on(async { tokio::time::timeout(limit, node.turn.write()).await });
        let _alone = alone.map_err(|_| Error::Late {
            what: "the end of what is asked for",
            after: limit,
            last: trouble.world.daemon.log_tail(),
        })?;
        if self.kinds == Kinds::Many {
            // How long a daemon lives is chance, and so is what it holds: one that begins is as every other one.
            trouble.carry_out(&Mishap {
                after: Duration::ZERO,
                fault: Fault::Kill,
                lasts: Duration::ZERO,
            })?;
        }
        wait::until("the release of what broken plugins have left", SETTLED, || {
            leases(trouble.world) <= self.leases
        })?;
        std::thread::sleep(if self.pods < MANY { SHORT } else { LONG });
        self.seen.push(figures(trouble.world, seen)?);
        node.note(&format!("at rest: {:?}", self.seen.last()));
        Ok(())
    }

    /// Means of the first third and the last, without the first time.
    fn thirds(&self) -> Vec<(&'static str, f64, f64)> {
        let seen = self.seen.get(1..).unwrap_or_default();
        let third = seen.len().div_ceil(3);
        let mean = |of: &[Figures], at: usize| {
            of.iter().map(|figures| figures[at].1).sum::<f64>() / of.len().max(1) as f64
        };
        let names = seen.first().into_iter().flatten().enumerate();
        names
            .map(|(at, (name, _))| (*name, mean(&seen[..third], at), mean(&seen[seen.len() - third..], at)))
            .collect()
    }

    /// The table.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        if self.seen.is_empty() {
            return text;
        }
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:<32} {:>12} {:>12} {:>9}",
            "at rest, mean of", "first third", "last third", "change"
        );
        for (name, first, last) in self.thirds() {
            let _ =
                writeln!(text, "{name:<32} {first:>12.1} {last:>12.1} {:>8.2}%", 100.0 * change(first, last));
        }
        text
    }

    /// Whether nothing adds up. What comes to rest slowly is judged only where the rests were long enough.
    pub(crate) fn are_flat(&self) -> Result<(), Error> {
        let is_slow = |name: &str| name.contains("KiB") || name.starts_with("daemon") || name == "processes";
        let is_judged = |name: &str| self.pods >= MANY || !is_slow(name);
        let differs = |(name, first, last): &(&str, f64, f64)| {
            let is_little = (last - first).abs() < noise(name);
            is_judged(name) && !is_little && change(*first, *last).abs() > FLAT
        };
        match self.thirds().into_iter().find(differs) {
            Some((name, first, last)) => Err(Error::Unexpected {
                what: "the node at rest",
                seen: format!("{name}: {first:.1}, then {last:.1}"),
            }),
            None => Ok(()),
        }
    }
}

/// What differs from one look to the next of what adds up to nothing.
fn noise(name: &str) -> f64 {
    match name {
        // One that has had something to do lives on for some seconds.
        "daemon, threads" => 1.0,
        _ if name.contains("KiB") => PAGES,
        _ => 0.0,
    }
}

/// Of something that was not there at all, one is all of it.
fn change(first: f64, last: f64) -> f64 {
    (last - first) / first.max(1.0)
}

fn figures(world: &World, seen: &Seen) -> Result<Figures, Error> {
    let (pid, shim) = (world.daemon.pid(), seen.supervisor.load(Ordering::Relaxed));
    let place = world.daemon.place();
    let entries = |path: &str| fs::read_dir(path).map(Iterator::count).at("read", path);
    let table = "/proc/thread-self/mountinfo";
    let mounts = fs::read_to_string(table).at("read", table)?.lines().count();
    let mut ip = Command::new(tools::system("ip")?);
    let links = command::run(ip.args(["-o", "link"]), SOON)?;
    let links = links.lines().filter(|line| !line.contains("waits for a pod")).count();
    let (objects, elements) = rules()?;
    let (files, bytes) = below(&place.state);
    let counts = [
        ("daemon, descriptors", entries(&format!("/proc/{pid}/fd"))?),
        ("daemon, threads", entries(&format!("/proc/{pid}/task"))?),
        ("processes", processes(world)),
        ("cgroups", cgroup_directories(&world.isolation.cgroup_parent()).len()),
        ("network namespaces", entries("/run/netns")?),
        ("links", links),
        ("nft tables, chains, sets, rules", objects),
        ("nft elements", elements),
        ("mounts", mounts),
        ("leases of addresses", leases(world)),
        ("state, files", files),
        ("records and images, files", below(&place.data).0),
    ];
    let sizes = [
        ("daemon, resident KiB", process::counted(pid, "Rss")?),
        ("daemon, proportional KiB", process::counted(pid, "Pss")?),
        ("daemon, anonymous KiB", process::counted(pid, "Anonymous")?),
        ("a supervisor, resident KiB", process::counted(shim, "Rss")?),
        ("a supervisor, anonymous KiB", process::counted(shim, "Anonymous")?),
        ("state, KiB", bytes / 1024),
        ("records and images, KiB", stored(&place.data).unwrap_or_default()),
    ];
    let counts = counts.into_iter().map(|(name, count)| (name, count as f64));
    Ok(sizes.into_iter().map(|(name, size)| (name, size as f64)).chain(counts).collect())
}

/// The processes of the node. Between two commands of its shell, the pod that nobody touches has one less.
fn processes(world: &World) -> usize {
    let look = |number| {
        std::thread::sleep(LOOK * u32::from(number > 0));
        world.isolation.processes().len()
    };
    (0..LOOKS).map(look).max().unwrap_or_default()
}

fn leases(world: &World) -> usize {
    below(&world.isolation.root().join("networks")).0
}

/// How many files and directories there are below a directory, and the bytes of the files.
fn below(directory: &Path) -> (usize, u64) {
    let (mut count, mut bytes) = (0, 0);
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        count += 1;
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => {
                let (more, larger) = below(&entry.path());
                count += more;
                bytes += larger;
            }
            Ok(metadata) => bytes += metadata.len(),
            // It has just gone.
            Err(_) => {}
        }
    }
    (count, bytes)
}

/// How many objects the packet filter has, and how many elements are in its sets and maps.
fn rules() -> Result<(usize, usize), Error> {
    let mut nft = Command::new(tools::system("nft")?);
    let text = command::run(nft.args(["--json", "list", "ruleset"]), SOON)?;
    let said: serde_json::Value = serde_json::from_str(&text)
        .map_err(|error| Error::Unexpected { what: "what nft says", seen: error.to_string() })?;
    let objects = said["nftables"].as_array().map(Vec::as_slice).unwrap_or_default();
    let sets = objects.iter().flat_map(|object| [&object["set"], &object["map"]]);
    let elements = sets.filter_map(|set| set["elem"].as_array()).map(Vec::len).sum();
    Ok((objects.len(), elements))
}

#[test]
fn means_of_thirds_leave_the_first_time_out_and_one_of_nothing_is_steep() {
    let seen = (0..10_u32).map(|number| vec![("a", f64::from(number.max(1)))]).collect();
    let mut rests = Rests { kinds: Kinds::Many, pods: MANY, leases: 0, seen };
    assert_eq!(rests.thirds(), [("a", 2.0, 8.0)]);
    assert!(rests.are_flat().is_err());
    rests.seen = vec![vec![("a", 200.0)]; 10];
    rests.are_flat().unwrap();
    rests.seen[9] = vec![("a", 205.0)];
    rests.are_flat().unwrap();
    rests.seen[9] = vec![("a", 207.0)];
    assert!(rests.are_flat().is_err());
    assert!((change(0.0, 1.0) - 1.0).abs() < f64::EPSILON);
}
