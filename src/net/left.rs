//! What removed pods have left of their networks: when to try again, and who is told how long.

use crate::journal::Leftover;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};
use sys::sync::lock;

/// The longest time between two attempts to delete it.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// So long it is tried by the clock and told by Status. Then only a start or another configuration has it tried again.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// So many pods are named.
const NAMED: usize = 3;

/// What is left of one pod, and why.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    /// The file that records it: whoever removes that gives it up.
    path: PathBuf,
    pod: String,
    network: String,
    error: String,
    is_old: bool,
}

impl Problem {
    pub(crate) fn new(left: &Leftover, error: &dyn std::error::Error) -> Self {
        let (pod, network) = (left.attachment.pod(), left.attachment.config.name.clone());
        let is_old = left.age > PATIENCE;
        Self { path: left.path.clone(), pod, network, error: error.to_string(), is_old }
    }

    fn is_told(&self) -> bool {
        !self.is_old && self.path.exists()
    }
}

/// What pods have left behind that are gone.
pub(crate) struct Left {
    state: Mutex<LeftState>,
}

#[derive(Default)]
struct LeftState {
    /// How often DEL has failed of pods that are there.
    failures: HashMap<String, u32>,
    /// When to try next; `None`: not by the clock.
    next: Option<Instant>,
    pause: Duration,
    problems: Vec<Problem>,
}

impl Left {
    pub(crate) fn new(first_pause: Duration, any: bool) -> Self {
        let next = any.then(Instant::now);
        let state = LeftState { next, pause: first_pause, ..LeftState::default() };
        Self { state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, LeftState> {
        lock(&self.state)
    }

    /// Something has changed: what failed before may succeed now.
    pub(crate) fn hurry(&self, first_pause: Duration) {
        let mut state = self.state();
        state.pause = first_pause;
        if state.next.is_some() || !state.problems.is_empty() {
            state.next = Some(Instant::now());
        }
    }

    /// Something was left.
    pub(crate) fn more(&self, problem: Problem, first_pause: Duration) {
        let mut state = self.state();
        state.pause = first_pause;
        state.next = Some(Instant::now() + first_pause);
        state.problems.retain(|known| known.path != problem.path);
        state.problems.push(problem);
    }

    pub(crate) fn is_due(&self) -> bool {
        self.state().next.is_some_and(|next| next <= Instant::now())
    }

    /// Notes how an attempt at what these files record went, and tells the log what it has not heard.
    pub(crate) fn tried(&self, files: &[PathBuf], mut problems: Vec<Problem>) {
        let mut state = self.state();
        for problem in &problems {
            let Problem { path, pod, network, error, is_old } = problem;
            let path = path.display();
            match state.problems.iter().find(|known| known.path == problem.path) {
                Some(known) if known.error == *error && known.is_old == *is_old => {
                    tracing::debug!(
                        pod,
                        network,
                        error,
                        "the network of a removed pod is still not released"
                    );
                }
                _ if *is_old => tracing::warn!(
                    pod, network, error, %path,
                    "the network of a removed pod is not released: it is tried again only when the daemon starts or the \
                     configuration changes; remove the file to give it up"
                ),
                _ => tracing::warn!(
                    pod, network, error, %path,
                    "the network of a removed pod is not released yet: remove the file to give it up"
                ),
            }
        }
        // What has been left since it began.
        let more =
            state.problems.drain(..).filter(|known| !files.contains(&known.path) && known.path.exists());
        problems.extend(more);
        state.pause = (state.pause * 2).min(LONGEST_PAUSE);
        let goes_on = problems.iter().any(|problem| !problem.is_old);
        state.next = goes_on.then(|| Instant::now() + state.pause);
        state.problems = problems;
    }

    /// How often this pod's DEL has failed, this time included.
    pub(crate) fn count_failure(&self, id: &str) -> u32 {
        let mut state = self.state();
        let count = state.failures.entry(id.to_owned()).or_default();
        *count += 1;
        *count
    }

    pub(crate) fn forget_failures(&self, id: &str) {
        self.state().failures.remove(id);
    }

    /// For people.
    pub(crate) fn text(&self) -> Option<String> {
        let state = self.state();
        let told: Vec<&Problem> = state.problems.iter().filter(|problem| problem.is_told()).collect();
        let dir = told.first()?.path.parent()?.display();
        let named = told.iter().take(NAMED).map(|problem| {
            let file = problem.path.file_name().unwrap_or_default().to_string_lossy();
            format!("{} on {} ({file}): {}", problem.pod, problem.network, problem.error)
        });
        let mut named: Vec<String> = named.collect();
        if told.len() > NAMED {
            named.push(format!("and {} more", told.len() - NAMED));
        }
        let (count, named) = (told.len(), named.join("; "));
        Some(format!(
            "the network of removed pods is not released yet ({count}): {named}: tried again for a day; to give one up, \
             remove its file from {dir}"
        ))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn problem(path: &std::path::Path, is_old: bool) -> Problem {
        let text = |text: &str| text.to_owned();
        let (pod, network, error) = (text("default/web"), text("net1"), text("cni DEL a: broken"));
        Problem { path: path.to_path_buf(), pod, network, error, is_old }
    }

    #[test]
    fn it_is_told_and_tried_for_a_day_and_until_its_file_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c1-eth0.left");
        std::fs::write(&file, "").unwrap();
        let left = Left::new(Duration::ZERO, false);
        left.more(problem(&file, false), Duration::ZERO);
        assert!(left.is_due());
        left.tried(std::slice::from_ref(&file), vec![problem(&file, false)]);
        assert!(left.is_due());
        let told = left.text().unwrap();
        assert!(told.contains("default/web on net1 (c1-eth0.left): cni DEL a: broken"), "{told}");
        assert!(told.contains(&dir.path().display().to_string()), "{told}");

        left.tried(std::slice::from_ref(&file), vec![problem(&file, true)]);
        assert_eq!((left.is_due(), left.text()), (false, None), "a day later");
        left.hurry(Duration::ZERO);
        assert!(left.is_due(), "another configuration may do");

        left.tried(std::slice::from_ref(&file), vec![problem(&file, false)]);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(left.text(), None, "it is given up");
        left.tried(&[], Vec::new());
        assert!(!left.is_due());
    }

    #[test]
    fn what_is_left_during_an_attempt_is_not_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let left = Left::new(Duration::ZERO, false);
        let files: Vec<_> = (0..5).map(|number| dir.path().join(format!("c{number}.left"))).collect();
        for file in &files {
            std::fs::write(file, "").unwrap();
            left.more(problem(file, false), Duration::ZERO);
        }
        left.tried(&files[..1], Vec::new());
        let told = left.text().unwrap();
        assert!(left.is_due() && told.contains("(4)") && told.contains("and 1 more"), "{told}");
    }
}
