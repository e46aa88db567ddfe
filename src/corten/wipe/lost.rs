//! What a daemon would not take down, or would wait for: pods without a record that can be read, and supervisors that do
//! not answer.

use super::hand;
use super::supervisors::{self, Supervisor};
use super::survey::{Survey, ids_of};
use client::print;
use engine::Paths;
use net::Network;
use std::path::PathBuf;
use std::time::Duration;

/// How long a supervisor may take to answer. It is to end anyway.
const PROMPT: Duration = Duration::from_secs(2);

/// Kills supervisors that do not answer, and all processes of lost pods; returns what stays and why.
pub(super) fn end(survey: &Survey, paths: &Paths) -> Vec<String> {
    let is_lost = |supervisor: &&Supervisor| survey.lost.contains(&supervisor.process.pod);
    let is_readable = |supervisor: &&Supervisor| {
        survey.pods.iter().any(|pod| pod.id == supervisor.process.pod && pod.is_readable())
    };
    let asked: Vec<&Supervisor> = survey.supervisors.iter().filter(is_readable).collect();
    let silent = hand::side_by_side(&asked, |supervisor| {
        (!supervisor.process.answers(paths, PROMPT)).then_some(*supervisor)
    });
    for Supervisor { process, .. } in &silent {
        let _ = print(&format!(
            "pod {}: its supervisor, process {}, does not answer: killed\n",
            process.pod, process.pid
        ));
    }
    let mut failures = supervisors::kill(silent.into_iter());
    for pod in survey.lost_pods() {
        let _ = print(&format!("pod {}: without a record, taken down by its id\n", pod.id));
    }
    let ids = ids_of(survey.lost_pods());
    failures.extend(hand::processes(survey.supervisors.iter().filter(is_lost), &ids));
    // Their directories would be moved away below them.
    let is_theirs =
        |point: &&PathBuf| point.iter().any(|name| name.to_str().is_some_and(|name| ids.contains(name)));
    failures.extend(survey.mounts.iter().filter(is_theirs).filter_map(|point| hand::mount(point).err()));
    failures
}

/// Detaches lost pods by what is recorded of their attachments, and removes their namespaces, which those are named by.
pub(super) async fn detach(survey: &Survey, network: &Network) -> Vec<String> {
    if survey.lost.is_empty() {
        return Vec::new();
    }
    let others = survey.pods.iter().filter(|pod| !survey.lost.contains(&pod.id));
    let valid: Vec<_> = others.map(|pod| (pod.id.clone(), net::IFNAME.to_owned())).collect();
    let mut failures = Vec::new();
    if let Err(error) = Box::pin(network.gc(&valid)).await {
        failures.push(format!("networks of pods without a record: {}", crate::error::chain(&error)));
    }
    let names: Vec<String> = survey.lost.iter().map(|id| engine::netns_name(id)).collect();
    let is_lost = |pin: &&PathBuf| names.iter().any(|name| pin.ends_with(name));
    let pins = survey.pins.iter().filter(is_lost);
    failures.extend(
        pins.filter_map(|pin| sys::netns::remove(pin).err())
            .map(|error| format!("network namespace {error}")),
    );
    failures
}
