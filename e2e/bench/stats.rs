//! Usage: what one answer of ListPodSandboxStats, ListContainerStats and ListPodSandboxMetrics takes while many pods run.

use crate::figures::percentile;
use crate::idle::alone;
use crate::subject::Subject;
use e2e::Error;
use e2e::client::Cri;
use e2e::error::Context;
use e2e::interrupt::end_on_signals;
use e2e::isolation::Isolation;
use e2e::registry::Registry;
use e2e::runtime::Daemon;
use std::time::{Duration, Instant};

/// So many answers are measured of each kind, after a first one.
const ANSWERS: usize = 50;
/// Milliseconds that half of the answers about 800 pods may take at most.
const BAR: f64 = 15.0;

/// Measures answers about so many pods, each with a network and a running container.
///
/// # Errors
/// When something is missing, an answer lacks a pod, or the answers take longer than they may.
pub(crate) fn measure(pods: usize, workers: usize, limit: Duration) -> Result<(), Error> {
    let isolation = Isolation::enter()?;
    end_on_signals(isolation.sweeper(), limit)?;
    let registry = Registry::start(&isolation.directory("registry")?)?;
    let daemon = alone(&isolation, &registry)?;
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .at("start", "tokio")?;
    tokio.block_on(Box::pin(with_pods(daemon, &isolation, pods, workers)))
}

async fn with_pods(daemon: Daemon, isolation: &Isolation, pods: usize, workers: usize) -> Result<(), Error> {
    let subject = Subject::new("Corten", daemon, isolation).await?;
    let ids = subject.fill(pods, workers).await?;
    let daemon = subject.daemon.pid();
    let of_pods = Answers::measure(daemon, || told(&subject.cri, pods)).await?;
    let of_containers = Answers::measure(daemon, || told_of_containers(&subject.cri, pods)).await?;
    let of_metrics = Answers::measure(daemon, || told_of_metrics(&subject.cri, pods)).await?;
    println!("\n| {pods} pods with a container each, ms | p10 | p50 | p90 | CPU of the daemon |");
    println!("|---|---:|---:|---:|---:|");
    for (name, answers) in [
        ("ListPodSandboxStats", &of_pods),
        ("ListContainerStats", &of_containers),
        ("ListPodSandboxMetrics", &of_metrics),
    ] {
        let [p10, p50, p90] = [10, 50, 90].map(|percent| percentile(&answers.times, percent));
        println!("| {name} | {p10:.2} | {p50:.2} | {p90:.2} | {:.2} |", answers.cpu);
    }
    subject.empty(ids, workers).await?;
    let met = percentile(&of_pods.times, 50) <= BAR;
    println!(
        "\nThe bar: half of the answers about 800 pods within {BAR} ms. It is {}.",
        if met { "met" } else { "missed" }
    );
    Ok(())
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
        ask: impl Fn() -> F,
    ) -> Result<Self, Error> {
        ask().await?;
        let (mut times, before) = (Vec::new(), cpu_time(daemon));
        for _ in 0..ANSWERS {
            let begin = Instant::now();
            ask().await?;
            times.push(begin.elapsed().as_nanos());
        }
        Ok(Self { times, cpu: (cpu_time(daemon) - before) as f64 / ANSWERS as f64 })
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
