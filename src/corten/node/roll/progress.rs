//! How far a DaemonSet is with a change, and what is wrong with the nodes that are not.

use serde_json::Value;
use std::fmt;

/// So many nodes are named.
const NAMED: usize = 20;

/// How many nodes are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    done: u64,
    wanted: u64,
    /// The controller has seen the change, and every node has a pod with it.
    current: bool,
}

impl Progress {
    pub(super) fn of(set: &Value) -> Self {
        let status = &set["status"];
        let number = |name: &str| status[name].as_u64().unwrap_or_default();
        let seen = number("observedGeneration") >= set["metadata"]["generation"].as_u64().unwrap_or_default();
        let (updated, wanted) = (number("updatedNumberScheduled"), number("desiredNumberScheduled"));
        Self { done: updated.min(number("numberReady")), wanted, current: seen && updated >= wanted }
    }

    pub(super) fn is_done(self) -> bool {
        self.current && self.done >= self.wanted
    }

    /// Whether all that are not done have said why.
    pub(super) fn is_settled(self, failures: &[Failure]) -> bool {
        let said = failures.iter().filter(|failure| failure.said.is_some()).count() as u64;
        self.current && said > 0 && self.done + said >= self.wanted
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} done", self.done, engine::counted(self.wanted, "node"))
    }
}

/// A node that is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    node: String,
    /// What its container said when it ended.
    said: Option<String>,
    /// What can be told without that.
    phase: String,
}

impl Failure {
    /// That of a pod; `None` where it is ready, or on its way out.
    pub(super) fn of(pod: &Value) -> Option<Self> {
        let status = &pod["status"];
        let conditions = status["conditions"].as_array().into_iter().flatten();
        let ready = conditions.filter(|one| one["type"] == "Ready").any(|one| one["status"] == "True");
        if ready || !pod["metadata"]["deletionTimestamp"].is_null() {
            return None;
        }
        let container = &status["containerStatuses"][0];
        let ended = [&container["state"], &container["lastState"]];
        let said = ended.into_iter().find_map(|state| state["terminated"]["message"].as_str());
        let waiting = container["state"]["waiting"]["reason"].as_str();
        let phase = waiting.or(status["phase"].as_str()).unwrap_or("unknown");
        let node = pod["spec"]["nodeName"].as_str().unwrap_or("no node");
        Some(Self {
            node: node.to_owned(),
            said: said.map(|said| said.trim().to_owned()).filter(|said| !said.is_empty()),
            phase: phase.to_owned(),
        })
    }
}

/// All of it, for people.
pub(super) fn told(progress: Progress, failures: &[Failure]) -> String {
    let mut text = progress.to_string();
    for Failure { node, said, phase } in failures.iter().take(NAMED) {
        let why = said.as_deref().map_or_else(|| format!("its pod is {phase}"), str::to_owned);
        text += &format!("; {node}: {why}");
    }
    match failures.len() {
        0 => text + "; of the others there is no pod yet",
        more if more > NAMED => text + &format!("; and {} more", more - NAMED),
        _ => text,
    }
}
