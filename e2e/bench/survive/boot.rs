//! The node boots while many pods run: they are listed as ended, and can be removed.

use super::{Running, until};
use crate::subject::Subject;
use e2e::isolation::Isolation;
use e2e::proto::{ContainerState, PodSandboxState};
use e2e::registry::Registry;
use e2e::{Error, boot};
use std::time::{Duration, Instant};

/// Records become durable behind the answers.
const DURABLE: Duration = Duration::from_secs(2);

pub(super) struct Booted {
    answers: Duration,
    lists_all: Duration,
    removed: Duration,
}

/// Boots, and looks that all are listed and none of it runs; removes them, and runs another one.
pub(super) async fn boot(
    subject: &mut Subject,
    isolation: &Isolation,
    registry: &Registry,
    running: &[Running],
    workers: usize,
) -> Result<Booted, Error> {
    tokio::time::sleep(DURABLE).await;
    boot::goes_down(&mut subject.daemon, isolation, &[registry.pid()], &[])?;
    boot::comes_up(isolation, running.len() as u64)?;
    let begin = Instant::now();
    let answers = subject.restart().await?;
    let cri = &subject.cri;
    until(begin, || async {
        let (pods, containers) = (cri.pods().await?, cri.containers().await?);
        let ended = pods.iter().filter(|pod| pod.state() == PodSandboxState::SandboxNotready).count();
        let exited = containers.iter().filter(|one| one.state() == ContainerState::ContainerExited).count();
        Ok(ended.min(exited) == running.len() && pods.len().max(containers.len()) == running.len())
    })
    .await?;
    let lists_all = begin.elapsed();
    let begin = Instant::now();
    subject.empty(running.iter().map(|one| one.pod.clone()).collect(), workers).await?;
    let removed = begin.elapsed();
    // It makes again what a boot has taken and no pod takes with it: the bridge, and the tables of packet rules.
    Box::pin(subject.one("after-the-boot")).await?;
    Ok(Booted { answers, lists_all, removed })
}

pub(super) fn print<'a>(all: impl Iterator<Item = (usize, &'a Booted)>) {
    println!("\n| a boot with | serves after, s | lists all as ended after, s | all are removed within, s |");
    println!("|---|---:|---:|---:|");
    for (pods, booted) in all {
        let [answers, lists_all, removed] =
            [booted.answers, booted.lists_all, booted.removed].map(|time| time.as_secs_f64());
        println!("| {pods} pods | {answers:.3} | {lists_all:.3} | {removed:.3} |");
    }
}
