//! Where the time of a pod's start goes, one pod after the other: stages as the daemon counts them, CPU time by whose it
//! is, system calls by kind, and how long who is woken waits.

use crate::report::print_stages;
use crate::scene::Scene;
use crate::subject::Subject;
use crate::trace::{ALL, Calls, Ledger, Trace};
use e2e::isolation::Isolation;
use e2e::registry::free_address;
use e2e::runtime::{Daemon, Options};
use e2e::{Error, http, tools};
use std::time::Duration;

/// System calls that are shown of each.
const SHOWN: usize = 12;

/// Measures so many pods, started one by one while others run, for each of these numbers of others.
///
/// # Errors
/// When something is missing, or the kernel does not trace.
pub(crate) fn measure(beside: &[usize], rounds: usize, limit: Duration) -> Result<(), Error> {
    let scene = Scene::set(limit)?;
    for (number, pods) in beside.iter().enumerate() {
        let metrics = free_address()?;
        let options = Options { metrics: Some(metrics), ..scene.options(number, tools::dist()) };
        let directory = scene.isolation.directory(&format!("profile-{number}"))?;
        let daemon = Daemon::start(&directory, &options)?;
        let ledger = scene.tokio.block_on(Box::pin(with(daemon, &scene.isolation, *pods, rounds)))?;
        println!("\n## {rounds} pods, one after the other, while {pods} others run");
        let request = http::Request { method: "GET", target: "/metrics", headers: &[], body: &[] };
        print_stages(&String::from_utf8_lossy(&request.send(metrics)?.body));
        print(&ledger.0, rounds);
        scene.tokio.block_on(ledger.1.empty(ledger.2, 8))?;
    }
    Ok(())
}

async fn with(
    daemon: Daemon,
    isolation: &Isolation,
    pods: usize,
    rounds: usize,
) -> Result<(Ledger, Subject, Vec<String>), Error> {
    let mut subject = Box::pin(Subject::new("Corten", daemon, isolation)).await?;
    let others = subject.fill("many", pods, 8).await?;
    // What they have set going comes to rest.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let trace = Trace::begin()?;
    for round in 0..rounds {
        Box::pin(subject.one(&format!("round-{round}"))).await?;
    }
    let client = std::process::id().cast_signed();
    Ok((trace.end(subject.daemon.pid(), client)?, subject, others))
}

#[allow(clippy::cast_precision_loss)]
fn print(ledger: &Ledger, rounds: usize) {
    let pods = rounds.max(1) as f64;
    println!("\n| a pod from start to removal, µs | user | kernel | woken, times | waits p50 | p90 |");
    println!("|---|---:|---:|---:|---:|---:|");
    for (who, name) in ALL {
        let (cpu, (p50, p90, times)) = (ledger.cpu.get(&who).copied().unwrap_or_default(), ledger.waits(who));
        println!(
            "| {name} | {:.0} | {:.0} | {:.1} | {:.0} | {:.0} |",
            cpu.user / pods,
            cpu.kernel / pods,
            times as f64 / pods,
            p50 * 1e3,
            p90 * 1e3
        );
    }
    println!("\n| system calls a pod | times | CPU, µs |\n|---|---:|---:|");
    for (who, name) in ALL.iter().take(3) {
        let mut calls: Vec<(u32, Calls)> = ledger
            .calls
            .iter()
            .filter(|((whose, _), _)| whose == who)
            .map(|((_, number), calls)| (*number, *calls))
            .collect();
        calls.sort_by(|(_, a), (_, b)| b.cpu.total_cmp(&a.cpu));
        let all: f64 = calls.iter().map(|(_, calls)| f64::from(calls.times)).sum();
        println!(
            "| {name}, all | {:.0} | {:.0} |",
            all / pods,
            ledger.cpu.get(who).map_or(0.0, |cpu| cpu.kernel) / pods
        );
        for (number, calls) in calls.iter().take(SHOWN) {
            println!(
                "| {name}: {} | {:.1} | {:.1} |",
                call(*number),
                f64::from(calls.times) / pods,
                calls.cpu / pods
            );
        }
    }
}

fn call(number: u32) -> String {
    let known = syscalls::Sysno::new(number as usize);
    known.map_or_else(|| number.to_string(), |known| known.name().to_owned())
}
