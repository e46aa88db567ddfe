//! What a pod costs beside how many others: pods started a second, and CPU time a pod of host, daemon and benchmark.

use crate::scene::Scene;
use crate::subject::Subject;
use e2e::Error;
use e2e::error::Context;
use std::fs;
use std::time::{Duration, Instant};

/// Pods that are started beside the others; a bridge of the kernel has room for 1,023.
const MEASURED: usize = 60;
/// Until what the others have set going has come to rest.
const REST: Duration = Duration::from_secs(3);

/// CPU time.
#[derive(Clone, Copy)]
struct Used {
    /// Of all CPUs, without those that idle.
    host: Duration,
    daemon: Duration,
    client: Duration,
}

/// Starts so many pods beside each of these numbers of others, by clients side by side, and tells what they cost.
///
/// # Errors
/// When something is missing, or a pod fails.
pub(crate) fn measure(beside: &[usize], workers: usize, limit: Duration) -> Result<(), Error> {
    let scene = Scene::set(limit)?;
    let daemon = scene.daemon()?;
    println!("| beside pods | pods/s, {workers} in flight | host CPU a pod, ms | daemon's | client's |");
    println!("|---:|---:|---:|---:|---:|");
    scene.tokio.block_on(async {
        let subject = Box::pin(Subject::new("Corten", daemon, &scene.isolation)).await?;
        let mut others = Vec::new();
        for (round, count) in beside.iter().enumerate() {
            let lacking = count.saturating_sub(others.len());
            others.extend(subject.fill(&format!("others-{round}"), lacking, workers).await?);
            tokio::time::sleep(REST).await;
            let (before, begin) = (used(subject.daemon.pid())?, Instant::now());
            let pods = subject.fill(&format!("measured-{round}"), MEASURED, workers).await?;
            let (after, took) = (used(subject.daemon.pid())?, begin.elapsed());
            print(others.len(), took, before, after);
            subject.empty(pods, workers).await?;
        }
        let (count, begin) = (others.len(), Instant::now());
        subject.empty(others, workers).await?;
        println!("\n{count} pods are stopped and removed within {:.2} s", begin.elapsed().as_secs_f64());
        Ok(())
    })
}

#[allow(clippy::cast_precision_loss)]
fn print(beside: usize, took: Duration, before: Used, after: Used) {
    let pods = MEASURED as f64;
    let each = |of: fn(&Used) -> Duration| of(&after).saturating_sub(of(&before)).as_secs_f64() * 1e3 / pods;
    println!(
        "| {beside} | {:.1} | {:.1} | {:.1} | {:.1} |",
        pods / took.as_secs_f64(),
        each(|used| used.host),
        each(|used| used.daemon),
        each(|used| used.client),
    );
}

fn used(daemon: i32) -> Result<Used, Error> {
    let stat = fs::read_to_string("/proc/stat").at("read", "/proc/stat")?;
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    // User, nice, system, idle, waiting for the disk, interrupts, soft interrupts (proc_stat(5)).
    let ticks = fields.take(7).enumerate().filter(|(index, _)| ![3, 4].contains(index));
    let ticks = ticks.filter_map(|(_, field)| field.parse::<u64>().ok()).sum();
    Ok(Used { host: time(ticks), daemon: of_process(&daemon.to_string())?, client: of_process("self")? })
}

/// Of all threads of a process, also of those that have ended.
fn of_process(pid: &str) -> Result<Duration, Error> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).at("read", &path)?;
    // What is in parentheses may hold anything; the times are the 12th and 13th field behind it (proc_pid_stat(5)).
    let behind = stat.rsplit_once(") ").map(|(_, rest)| rest).unwrap_or_default();
    Ok(time(behind.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()))
}

/// What `USER_HZ` ticks are.
fn time(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 10)
}
