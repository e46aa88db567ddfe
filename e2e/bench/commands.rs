//! Commands in running containers (ExecSync): one after the other in a container, and several in flight over many pods.

use crate::compare::{self, Verdict, cell};
use crate::scene::Scene;
use crate::subject::{Subject, each};
use e2e::Error;
use e2e::client::Cri;
use e2e::tools;
use std::path::Path;
use std::time::{Duration, Instant};

/// The seconds that a command may take: one with a limit is tracked in a cgroup of its own, as those of probes are.
const LIMIT: i64 = 10;
/// Commands one after the other, before the other build has its turn.
const TURN: usize = 50;
/// In flight, and for how long in each turn.
pub(crate) const CLIENTS: usize = 8;
const SPELL: Duration = Duration::from_secs(2);

/// Measures the build in `target/dist` beside the one whose programs lie in `base`, each with so many pods of its own;
/// without one, alone.
///
/// # Errors
/// When something is missing or the runtime fails.
pub(crate) fn measure(base: Option<&Path>, pods: usize, rounds: usize, limit: Duration) -> Result<(), Error> {
    let scene = Scene::set(limit)?;
    let programs = [("this build", Some(tools::dist())), ("base", base.map(Path::to_path_buf))];
    let mut builds = Vec::new();
    for (number, (name, programs)) in programs.into_iter().enumerate() {
        let Some(programs) = programs else { continue };
        let subject = compare::subject(number, name, programs, &scene);
        builds.push(scene.tokio.block_on(Build::new(scene.tokio.block_on(Box::pin(subject))?, pods))?);
    }
    for round in 0..rounds {
        let count = builds.len();
        for turn in 0..count {
            // Each goes first equally often.
            scene.tokio.block_on(builds[(round + turn) % count].turn())?;
        }
    }
    print(&builds);
    builds.into_iter().try_for_each(|build| scene.tokio.block_on(build.subject.empty(build.pods, CLIENTS)))
}

struct Build {
    subject: Subject,
    pods: Vec<String>,
    containers: Vec<String>,
    /// Nanoseconds of each command.
    alone: Vec<u128>,
    beside: Vec<u128>,
    /// Commands a second, of each spell.
    rates: Vec<f64>,
}

impl Build {
    async fn new(subject: Subject, pods: usize) -> Result<Self, Error> {
        let pods = subject.fill("commands", pods, CLIENTS).await?;
        let listed = subject.cri.containers().await?;
        let containers = listed.into_iter().map(|container| container.id).collect();
        Ok(Self { subject, pods, containers, alone: Vec::new(), beside: Vec::new(), rates: Vec::new() })
    }

    async fn turn(&mut self) -> Result<(), Error> {
        let cri = &self.subject.cri;
        let first =
            self.containers.first().ok_or(Error::Incomplete { method: "a pod", part: "container" })?;
        for _ in 0..TURN {
            self.alone.push(command(cri, first).await?);
        }
        let (times, rate) = side_by_side(cri, &self.containers, SPELL).await?;
        self.beside.extend(times);
        self.rates.push(rate);
        Ok(())
    }
}

/// One that says nothing; its nanoseconds.
async fn command(cri: &Cri, container: &str) -> Result<u128, Error> {
    let asked = Instant::now();
    cri.exec(container, &["/bin/true"], LIMIT).await?;
    Ok(asked.elapsed().as_nanos())
}

/// Commands in one of these containers after the other, by several clients; the nanoseconds of each, and how many end a
/// second.
///
/// # Errors
/// The runtime's.
#[allow(clippy::cast_precision_loss)]
pub(crate) async fn side_by_side(
    cri: &Cri,
    containers: &[String],
    spell: Duration,
) -> Result<(Vec<u128>, f64), Error> {
    let begin = Instant::now();
    let clients = (0..CLIENTS).map(|client| {
        let (cri, mut containers) = (cri.clone(), containers.to_vec());
        let turned = client * containers.len() / CLIENTS;
        containers.rotate_left(turned);
        async move {
            let mut times = Vec::new();
            for container in containers.iter().cycle() {
                if begin.elapsed() > spell {
                    break;
                }
                times.push(command(&cri, container).await?);
            }
            Ok(times)
        }
    });
    let times: Vec<u128> = each(CLIENTS, clients).await?.into_iter().flatten().collect();
    let rate = times.len() as f64 / begin.elapsed().as_secs_f64();
    Ok((times, rate))
}

fn print(builds: &[Build]) {
    let names: Vec<&str> = builds.iter().map(|build| build.subject.name).collect();
    println!("\n| ExecSync | {} | this build / base (95 of 100 draws) | |", names.join(" | "));
    println!("|---|{}---:|---|", "---:|".repeat(names.len()));
    let row = |name: &str, times: fn(&Build) -> &[u128]| {
        let cells: Vec<String> = builds.iter().map(|build| cell(times(build))).collect();
        let verdict = match builds {
            [this, base] => Verdict::of(times(this), times(base)).told(),
            _ => "| ".to_owned(),
        };
        println!("| {name} | {} | {verdict} |", cells.join(" | "));
    };
    row("one after the other, ms, p50 (p90)", |build| &build.alone);
    row("8 in flight, ms, p50 (p90)", |build| &build.beside);
    let rates: Vec<String> = builds.iter().map(|build| format!("{:.0}", median(&build.rates))).collect();
    println!("| 8 in flight, a second, p50 | {} | | |", rates.join(" | "));
}

fn median(rates: &[f64]) -> f64 {
    let mut sorted = rates.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
