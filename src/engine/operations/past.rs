//! The last operations, with their stages: a ring of so many over all pods, so that its size is known however many pods
//! there are. Commands and sessions of clients are not kept: probes would leave room for nothing else.

use super::{ATTACH, COMMAND, EXEC_SYNC, Operation, Operations, PORT_FORWARD, Stages};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use sys::sync::lock;

/// So many are kept: with the usual four stages they take 100 KiB, less than 1 KiB for each of the 110 pods of a node.
const MOST: usize = 256;
/// Stages of one that are kept.
const MOST_STAGES: usize = 16;
/// The shortest beginning of an id by which an operation is found.
const SHORTEST: usize = 12;

/// A stage that is over: how long after its verb began, and how long it took, in microseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Done {
    name: &'static str,
    after: u32,
    took: u32,
}

impl Stages {
    /// Ends the last stage of this name.
    pub(super) fn end(&mut self, name: &str, since: Instant) {
        let Some(index) = self.open.iter().rposition(|(stage, _)| *stage == name) else { return };
        let (name, begun) = self.open.remove(index);
        if self.done.len() < MOST_STAGES {
            let after = microseconds(begun.saturating_duration_since(since));
            self.done.push(Done { name, after, took: microseconds(begun.elapsed()) });
        }
    }
}

/// An operation that is over.
#[derive(Debug)]
struct Kept {
    number: u64,
    operation: Arc<Operation>,
    ended: Instant,
}

/// The ring.
#[derive(Debug, Default)]
pub(super) struct Past(Mutex<VecDeque<Kept>>);

impl Past {
    pub(super) fn keep(&self, number: u64, operation: Arc<Operation>) {
        if [EXEC_SYNC, COMMAND, ATTACH, PORT_FORWARD].contains(&operation.verb) {
            return;
        }
        let mut stages = lock(&operation.stages);
        stages.open = Vec::new();
        stages.done.shrink_to_fit();
        drop(stages);
        let mut kept = lock(&self.0);
        let oldest = if kept.len() >= MOST { kept.pop_front() } else { None };
        kept.push_back(Kept { number, operation, ended: Instant::now() });
        drop(kept);
        drop(oldest);
    }
}

/// A stage of an operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageView {
    /// Its name.
    pub stage: String,
    /// Seconds from the operation's begin to the stage's.
    pub after_seconds: f64,
    /// Seconds that it took, or has taken so far.
    pub seconds: f64,
    /// It goes on.
    pub in_flight: bool,
}

/// An operation under way, or over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PastView {
    /// Its number: later ones have higher ones.
    pub number: u64,
    /// The RPC.
    pub verb: String,
    /// What it is, or was, about.
    pub subject: String,
    /// Unix time in milliseconds at which it began.
    pub began_ms: u64,
    /// Seconds that it took, or has taken so far.
    pub seconds: f64,
    /// It goes on.
    pub in_flight: bool,
    /// Its stages by their begin.
    pub stages: Vec<StageView>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl PastView {
    /// What it is at now.
    pub fn now(&self) -> String {
        let open = self.stages.iter().filter(|stage| stage.in_flight);
        let open: Vec<String> = open.map(|one| format!("{} for {:.3} s", one.stage, one.seconds)).collect();
        let at = if open.is_empty() { String::new() } else { format!(", in {}", open.join(" and ")) };
        format!("{} {} for {:.3} s{at}", self.verb, self.subject, self.seconds)
    }
}

impl Operations {
    /// The operations about one of these ids or names, the oldest first.
    pub(crate) fn of(&self, words: &[String]) -> Vec<PastView> {
        self.about(|subject| subject.split(' ').any(|word| names(word, words)))
    }

    /// The operations with subjects like that, the oldest first.
    pub(crate) fn about(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<PastView> {
        let mut views = self.views(|operation| is_wanted(&operation.subject));
        views.sort_by_key(|view| view.number);
        views
    }

    /// The pulls under way, each in a sentence.
    pub(crate) fn pulls(&self) -> Vec<String> {
        let views = self.views(|operation| operation.verb == "PullImage");
        views
            .iter()
            .filter(|view| view.in_flight)
            .map(|view| format!("a pull of this node: {}", view.now()))
            .collect()
    }

    fn views(&self, is_wanted: impl Fn(&Operation) -> bool) -> Vec<PastView> {
        let now = (Instant::now(), SystemTime::now());
        let running = lock(&self.running);
        let open = running.iter().filter(|(_, operation)| is_wanted(operation));
        let mut views: Vec<PastView> =
            open.map(|(number, operation)| view(*number, operation, None, now)).collect();
        drop(running);
        let past = lock(&self.past.0);
        let over = past.iter().filter(|kept| is_wanted(&kept.operation));
        views.extend(over.map(|kept| view(kept.number, &kept.operation, Some(kept.ended), now)));
        views
    }
}

/// Whether a word of a subject is one of these, or the beginning of an id among them.
fn names(word: &str, words: &[String]) -> bool {
    words.iter().any(|known| known == word || word.len() >= SHORTEST && known.starts_with(word))
}

fn view(
    number: u64,
    operation: &Operation,
    ended: Option<Instant>,
    (now, clock): (Instant, SystemTime),
) -> PastView {
    let seconds = |from: Instant, to: Instant| to.saturating_duration_since(from).as_secs_f64();
    let began = clock.checked_sub(now.saturating_duration_since(operation.since)).unwrap_or(UNIX_EPOCH);
    let began = began.duration_since(UNIX_EPOCH).unwrap_or_default();
    let held = lock(&operation.stages);
    // Of those that began together, the one that ended last is around the others.
    let done = held.done.iter().rev().map(|done| StageView {
        stage: done.name.to_owned(),
        after_seconds: f64::from(done.after) / 1e6,
        seconds: f64::from(done.took) / 1e6,
        in_flight: false,
    });
    let open = held.open.iter().map(|(name, since)| StageView {
        stage: (*name).to_owned(),
        after_seconds: seconds(operation.since, *since),
        seconds: seconds(*since, now),
        in_flight: true,
    });
    let mut stages: Vec<StageView> = done.chain(open).collect();
    stages.sort_by(|one, other| {
        let begun = one.after_seconds.total_cmp(&other.after_seconds);
        begun.then(other.seconds.total_cmp(&one.seconds))
    });
    PastView {
        number,
        verb: operation.verb.to_owned(),
        subject: operation.subject.clone(),
        began_ms: u64::try_from(began.as_millis()).unwrap_or(u64::MAX),
        seconds: seconds(operation.since, ended.unwrap_or(now)),
        in_flight: ended.is_none(),
        stages,
        failure: held.failure.clone(),
    }
}

/// An hour and more fit.
fn microseconds(duration: std::time::Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::stage;
    use super::*;

    #[tokio::test]
    async fn what_is_over_is_found_with_its_stages_by_id_and_by_name() {
        let operations = Arc::new(Operations::default());
        let id = "0123456789abcdef";
        let work = operations.track("RunPodSandbox", format!("test/web {id}"), async {
            let _network = stage("network");
            let _add = stage("cni_add");
        });
        work.await;
        operations.track("StopPodSandbox", id[..12].to_owned(), async {}).await;
        operations.track("StopPodSandbox", "another".to_owned(), async {}).await;
        let found = operations.of(&[id.to_owned()]);
        let verbs: Vec<&str> = found.iter().map(|one| one.verb.as_str()).collect();
        assert_eq!(verbs, ["RunPodSandbox", "StopPodSandbox"]);
        let stages: Vec<&str> = found[0].stages.iter().map(|one| one.stage.as_str()).collect();
        assert_eq!(stages, ["network", "cni_add"]);
        assert!(found.iter().all(|one| !one.in_flight && one.seconds < 60.0), "{found:?}");
        assert_eq!(operations.of(&["test/web".to_owned()]).len(), 1);
        let waits = operations.track("StopPodSandbox", id.to_owned(), std::future::pending::<()>());
        let now = operations.of(&[id.to_owned()]);
        assert!(
            now[2].in_flight && now[2].now().starts_with("StopPodSandbox 0123456789abcdef for 0."),
            "{now:?}"
        );
        drop(waits);
    }

    #[tokio::test]
    async fn so_many_are_kept_and_no_commands_of_probes() {
        let operations = Arc::new(Operations::default());
        for number in 0..MOST + 40 {
            operations.track("StartContainer", format!("c{number}"), async { drop(stage("start")) }).await;
            operations.track(EXEC_SYNC, format!("c{number}"), async {}).await;
        }
        let kept = lock(&operations.past.0);
        assert_eq!(kept.len(), MOST);
        assert_eq!(kept.front().map(|one| one.operation.subject.as_str()), Some("c40"));
        assert!(kept.iter().all(|one| one.operation.verb != EXEC_SYNC));
        let bytes = |one: &Kept| {
            let stages = lock(&one.operation.stages);
            let lists = stages.open.capacity() * size_of::<(&str, Instant)>()
                + stages.done.capacity() * size_of::<Done>();
            size_of::<Operation>() + size_of::<Kept>() + one.operation.subject.capacity() + lists
        };
        assert!(
            kept.iter().map(bytes).sum::<usize>() < 110 << 10,
            "more than 1 KiB for each pod of a full node"
        );
    }
}
