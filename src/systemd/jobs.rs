//! Who waits for which unit's job.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;

/// A job's object path and its result.
type End = (String, String);

/// Everybody who waits.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    waiting: HashMap<String, Vec<mpsc::UnboundedSender<End>>>,
}

/// The ends of one unit's jobs, from a moment on.
#[derive(Debug)]
pub(crate) struct Ends(mpsc::UnboundedReceiver<End>);

impl Jobs {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens to the jobs of a unit from now on.
    pub(crate) fn watch(&self, unit: &str) -> Ends {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut state = self.state();
        // Those who wait no more are forgotten here: a daemon makes as many units as it makes pods.
        state.waiting.retain(|_, senders| {
            senders.retain(|sender| !sender.is_closed());
            !senders.is_empty()
        });
        if !state.closed {
            state.waiting.entry(unit.to_owned()).or_default().push(sender);
        }
        Ends(receiver)
    }

    /// A job has ended.
    pub(crate) fn ended(&self, unit: &str, job: &str, result: &str) {
        for sender in self.state().waiting.get(unit).into_iter().flatten() {
            // Nobody waits any more: fine.
            let _ = sender.send((job.to_owned(), result.to_owned()));
        }
    }

    /// No more ends will be told.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.waiting.clear();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed
    }
}

impl Ends {
    /// Waits for the end of a job; `None` when it will never be told.
    pub(crate) async fn of(&mut self, job: &str) -> Option<String> {
        loop {
            match self.0.recv().await {
                Some((path, result)) if path == job => return Some(result),
                Some(_) => {}
                None => return None,
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::Jobs;

    #[tokio::test]
    async fn an_end_is_told_to_those_who_wait_for_that_job() {
        let jobs = Jobs::default();
        let mut first = jobs.watch("a.scope");
        jobs.ended("a.scope", "/job/1", "failed");
        jobs.ended("b.scope", "/job/2", "done");
        let mut second = jobs.watch("a.scope");
        jobs.ended("a.scope", "/job/2", "done");
        assert_eq!(first.of("/job/1").await.unwrap(), "failed");
        assert_eq!(first.of("/job/2").await.unwrap(), "done");
        assert_eq!(second.of("/job/2").await.unwrap(), "done");
    }

    #[tokio::test]
    async fn a_lost_connection_ends_every_wait() {
        let jobs = Jobs::default();
        let mut before = jobs.watch("a.scope");
        jobs.close();
        assert!(before.of("/job/1").await.is_none());
        assert!(jobs.watch("a.scope").of("/job/1").await.is_none());
        assert!(jobs.is_closed());
    }
}
