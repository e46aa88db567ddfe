//! Usage: what one answer of ListPodSandboxStats, ListContainerStats and ListPodSandboxMetrics takes while many pods run.

use crate::figures::percentile;
use crate::scene::Scene;
use crate::skim::skim;
use crate::subject::Subject;
use e2e::Error;
use e2e::client::Cri;
use e2e::isolation::Isolation;
use e2e::runtime::Daemon;
use std::time::{Duration, Instant};

/// The answers, and the milliseconds that half of those about 1,000 pods may take at most.
const BARS: [(&str, f64); 3] =
    [("ListPodSandboxStats", 15.0), ("ListContainerStats", 15.0), ("ListPodSandboxMetrics", 60.0)];

/// How often one is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// So many are measured of each kind, after a first one.
    pub(crate) answers: usize,
    /// Between one and the next.
    pub(crate) pause: Duration,
}

impl Pace {
    /// One after the other.
    pub(crate) const AT_ONCE: Self = Self { answers: 50, pause: Duration::ZERO };
}

/// Measures answers about so many pods, each with a network and a running container.
///
/// # Errors
/// When something is missing, or an answer lacks a pod.
pub(crate) fn measure(pods: usize, workers: usize, pace: Pace, limit: Duration) -> Result<(), Error> {
    let scene = Scene::set(limit)?;
    let daemon = scene.daemon()?;
    scene.tokio.block_on(Box::pin(with_pods(daemon, &scene.isolation, pods, workers, pace)))
}

async fn with_pods(
    daemon: Daemon,
    isolation: &Isolation,
    pods: usize,
    workers: usize,
    pace: Pace,
) -> Result<(), Error> {
    let subject = Subject::new("Corten", daemon, isolation).await?;
    let ids = subject.fill("many", pods, workers).await?;
    let cri = &subject.cri;
    // Whole in everything; later ones are but counted.
    told(cri, pods).await?;
    told_of_containers(cri, pods).await?;
    told_of_metrics(cri, pods).await?;
    let mut measured = Vec::new();
    for (method, bar) in BARS {
        let skimmed = || async {
            let skimmed = skim(cri, method).await?;
            complete(skimmed.items, pods)
        };
        let answers = Answers::measure(subject.daemon.pid(), pace, skimmed).await?;
        measured.push((method, bar, answers, skim(cri, method).await?.bytes));
    }
    told_of_metrics(cri, pods).await?;
    println!(
        "\n| {pods} pods with a container each, ms | p10 | p50 | p90 | CPU of the daemon | KiB | the bar |"
    );
    println!("|---|---:|---:|---:|---:|---:|---|");
    for (method, bar, answers, bytes) in measured {
        let [p10, p50, p90] = [10, 50, 90].map(|percent| percentile(&answers.times, percent));
        let met = if p50 <= bar { "met" } else { "missed" };
        let (cpu, kib) = (answers.cpu, bytes >> 10);
        println!("| {method} | {p10:.2} | {p50:.2} | {p90:.2} | {cpu:.2} | {kib} | {bar}: {met} |");
    }
    println!(
        "\nThe bar is for half of the answers about 1,000 pods. A client that decodes them takes longer."
    );
    subject.empty(ids, workers).await.map(drop)
}

/// What many answers took, but the first, which opens files and counts layers.
pub(crate) struct Answers {
    /// Nanoseconds of each, with the client's part.
    pub(crate) times: Vec<u128>,
    /// Milliseconds of CPU time that the daemon spent on each, whoever else had the machine.
    pub(crate) cpu: f64,
}

impl Answers {
    #[allow(clippy::cast_precision_loss)]
    /// Asks again and again.
    ///
    /// # Errors
    /// Those of an answer.
    pub(crate) async fn measure<F: Future<Output = Result<(), Error>>>(
        daemon: i32,
        pace: Pace,
        ask: impl Fn() -> F,
    ) -> Result<Self, Error> {
        ask().await?;
        let (mut times, before) = (Vec::new(), cpu_time(daemon));
        for _ in 0..pace.answers {
            tokio::time::sleep(pace.pause).await;
            let begin = Instant::now();
            ask().await?;
            times.push(begin.elapsed().as_nanos());
        }
        Ok(Self { times, cpu: (cpu_time(daemon) - before) as f64 / pace.answers.max(1) as f64 })
    }
}

/// The CPU time of a process so far, in milliseconds.
pub(crate) fn cpu_time(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    // A tick is 10 ms wherever Linux runs.
    fields.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10
}

async fn told(cri: &Cri, pods: usize) -> Result<(), Error> {
    let told = cri.pod_stats().await?;
    let whole = told.iter().filter_map(|one| one.linux.as_ref()).filter(|one| {
        let counted = one.cpu.as_ref().is_some_and(|cpu| cpu.timestamp > 0);
        counted && one.network.is_some() && one.containers.len() == 1
    });
    complete(whole.count(), pods)
}

async fn told_of_containers(cri: &Cri, pods: usize) -> Result<(), Error> {
    let told = cri.container_stats().await?;
    let counted = told.iter().filter(|one| one.cpu.as_ref().is_some_and(|cpu| cpu.timestamp > 0));
    complete(counted.count(), pods)
}

async fn told_of_metrics(cri: &Cri, pods: usize) -> Result<(), Error> {
    let told = cri.pod_metrics().await?;
    let whole = told.iter().filter(|one| !one.metrics.is_empty() && one.container_metrics.len() == 1);
    complete(whole.count(), pods)
}

fn complete(told: usize, pods: usize) -> Result<(), Error> {
    if told == pods { Ok(()) } else { Err(Error::Invalid { reason: format!("{told} of {pods} have usage") }) }
}
