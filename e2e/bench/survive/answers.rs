//! What lists and statistics of many pods take.

use crate::figures::percentile;
use crate::stats;
use crate::subject::Subject;
use e2e::Error;
use e2e::proto::{ContainerState, PodSandboxState};

/// Milliseconds that half of the answers about 1,000 pods may take at most, with the client's part.
const BAR: f64 = 100.0;

/// Of each kind, by its name.
pub(super) struct Answers(Vec<(&'static str, stats::Answers)>);

impl Answers {
    /// Asks about so many pods with a container each, of which some have ended.
    pub(super) async fn measure(subject: &Subject, pods: usize, ended: usize) -> Result<Self, Error> {
        let (cri, daemon) = (&subject.cri, subject.daemon.pid());
        let are = |what: &'static str, found: usize, wanted: usize| {
            let seen = format!("{found} of {wanted}");
            if found == wanted { Ok(()) } else { Err(Error::Unexpected { what, seen }) }
        };
        let ready = || async {
            let listed = cri.pods().await?;
            let ready = listed.iter().filter(|pod| pod.state() == PodSandboxState::SandboxReady);
            are("the pods that are ready", ready.count(), pods)
        };
        let running = || async {
            let listed = cri.containers().await?;
            let running = listed.iter().filter(|one| one.state() == ContainerState::ContainerRunning);
            are("the containers that run", running.count(), pods - ended)
        };
        let of_pods = || async {
            let told = cri.pod_stats().await?;
            let whole = told.iter().filter_map(|one| one.linux.as_ref()).filter(|one| one.network.is_some());
            are("the pods with statistics", whole.count(), pods)
        };
        let of_containers = || async {
            let told = cri.container_stats().await?;
            let counted = told.iter().filter(|one| one.cpu.as_ref().is_some_and(|cpu| cpu.timestamp > 0));
            are("the containers with statistics", counted.count().min(pods - ended), pods - ended)
        };
        Ok(Self(vec![
            ("ListPodSandbox", stats::Answers::measure(daemon, stats::Pace::AT_ONCE, ready).await?),
            ("ListContainers", stats::Answers::measure(daemon, stats::Pace::AT_ONCE, running).await?),
            ("ListPodSandboxStats", stats::Answers::measure(daemon, stats::Pace::AT_ONCE, of_pods).await?),
            (
                "ListContainerStats",
                stats::Answers::measure(daemon, stats::Pace::AT_ONCE, of_containers).await?,
            ),
        ]))
    }

    /// Whether all come soon enough.
    pub(super) fn judge(&self, pods: usize) -> Result<(), Error> {
        #[allow(clippy::cast_precision_loss)]
        let bar = BAR * pods as f64 / 1000.0;
        let late = |(_, answers): &&(&str, stats::Answers)| percentile(&answers.times, 50) > bar;
        match self.0.iter().find(late) {
            Some((name, answers)) => {
                let seen = format!("{name}: {:.1} ms, {bar:.1} are allowed", percentile(&answers.times, 50));
                Err(Error::Unexpected { what: "what half of the answers take", seen })
            }
            None => Ok(()),
        }
    }
}

pub(super) fn print<'a>(all: impl Iterator<Item = (usize, &'a Answers)>) {
    println!("\n| pods | answer | p50, ms | p99, ms | CPU of the daemon, ms |");
    println!("|---:|---|---:|---:|---:|");
    for (pods, Answers(kinds)) in all {
        for (name, answers) in kinds {
            let [p50, p99] = [50, 99].map(|percent| percentile(&answers.times, percent));
            println!("| {pods} | {name} | {p50:.1} | {p99:.1} | {:.1} |", answers.cpu);
        }
    }
}
