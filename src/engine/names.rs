//! Names that are taken: an identical retry joins the work in flight, anything else learns who holds the name.

use crate::error::EngineError;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex};
use sys::sync::lock;
use tokio::sync::watch;

type Outcome = Option<Result<(), Arc<EngineError>>>;

struct Entry<C, I> {
    id: I,
    config: C,
    stage: Arc<Mutex<&'static str>>,
    done: watch::Receiver<Outcome>,
    /// A former daemon had half made it, and it is being taken down.
    leaves: bool,
}

/// The names of one kind of object.
pub(crate) struct Names<K, C, I> {
    entries: Arc<Mutex<HashMap<K, Entry<C, I>>>>,
}

impl<K, C, I> Default for Names<K, C, I> {
    fn default() -> Self {
        Self { entries: Arc::default() }
    }
}

/// What a claim finds.
pub(crate) enum Claim<K: Eq + Hash, C, I> {
    /// The name is ours; the ticket frees it unless it is kept.
    New(Ticket<K, C, I>),
    /// An identical request is under way.
    Join(Join<I>),
    /// An object holds the name.
    Held { id: I, same: bool },
    /// A different request holds the name and is not done; or what a former daemon had half made, which leaves.
    Busy { id: I, stage: &'static str, leaves: bool },
}

/// A name under construction.
pub(crate) struct Ticket<K: Eq + Hash, C, I> {
    entries: Arc<Mutex<HashMap<K, Entry<C, I>>>>,
    key: Option<K>,
    stage: Arc<Mutex<&'static str>>,
    done: watch::Sender<Outcome>,
}

/// The work of an identical request.
pub(crate) struct Join<I> {
    id: I,
    done: watch::Receiver<Outcome>,
}

impl<K: Eq + Hash + Clone, C: PartialEq, I: Clone + PartialEq> Names<K, C, I> {
    /// Asks for a name.
    pub(crate) fn claim(&self, key: &K, config: C, id: &I) -> Claim<K, C, I> {
        let mut entries = lock(&self.entries);
        if let Some(entry) = entries.get(key) {
            let outcome = entry.done.borrow().clone();
            // What failed and could not be undone is nobody's to share.
            let same = entry.config == config && !entry.leaves && !matches!(outcome, Some(Err(_)));
            return match (outcome.is_some(), same) {
                (true, same) => Claim::Held { id: entry.id.clone(), same },
                (false, true) => Claim::Join(Join { id: entry.id.clone(), done: entry.done.clone() }),
                (false, false) => {
                    let stage = *lock(&entry.stage);
                    Claim::Busy { id: entry.id.clone(), stage, leaves: entry.leaves }
                }
            };
        }
        let (entry, ticket) = self.begin(key, config, id, false);
        entries.insert(key.clone(), entry);
        Claim::New(ticket)
    }

    fn begin(&self, key: &K, config: C, id: &I, leaves: bool) -> (Entry<C, I>, Ticket<K, C, I>) {
        let (done, outcome) = watch::channel(None);
        let stage = Arc::new(Mutex::new("starting"));
        let entry = Entry { id: id.clone(), config, stage: stage.clone(), done: outcome, leaves };
        (entry, Ticket { entries: self.entries.clone(), key: Some(key.clone()), stage, done })
    }

    /// Whether the object of an id is being made for its name.
    pub(crate) fn is_being_made(&self, id: &str) -> bool
    where
        I: PartialEq<str>,
    {
        let entries = lock(&self.entries);
        entries.values().any(|entry| entry.id == *id && entry.done.borrow().is_none())
    }

    /// Takes a name for an object that a former daemon left.
    pub(crate) fn adopt(&self, key: K, config: C, id: &I) {
        let (_, done) = watch::channel(Some(Ok(())));
        let stage = Arc::new(Mutex::new("adopted"));
        let entry = Entry { id: id.clone(), config, stage, done, leaves: false };
        lock(&self.entries).insert(key, entry);
    }

    /// Takes a name for what a former daemon had half made, until the ticket says what became of it.
    pub(crate) fn adopt_half(&self, key: &K, config: C, id: &I) -> Ticket<K, C, I> {
        let (entry, ticket) = self.begin(key, config, id, true);
        lock(&self.entries).insert(key.clone(), entry);
        ticket
    }

    /// Frees a name, if the object still holds it.
    pub(crate) fn free(&self, key: &K, id: &I) {
        let mut entries = lock(&self.entries);
        if entries.get(key).is_some_and(|entry| entry.id == *id) {
            entries.remove(key);
        }
    }
}

impl<K: Eq + Hash, C, I> Ticket<K, C, I> {
    /// Says what is being done now, for those who ask for the name.
    pub(crate) fn stage(&self, stage: &'static str) {
        *lock(&self.stage) = stage;
    }

    /// The object stands and holds its name from now on.
    pub(crate) fn keep(mut self) {
        self.key = None;
        self.done.send_replace(Some(Ok(())));
    }

    /// The work is done, and its name is free.
    pub(crate) fn done(mut self) {
        self.let_go();
        self.done.send_replace(Some(Ok(())));
    }

    /// The object does not come to be, and its name is free.
    pub(crate) fn fail(mut self, error: EngineError) -> EngineError {
        let error = Arc::new(error);
        self.release(error.clone());
        EngineError::Joined(error)
    }

    /// The object failed, but something of it is left that holds the name until it is removed.
    pub(crate) fn fail_holding(mut self, error: EngineError) -> EngineError {
        let error = Arc::new(error);
        self.key = None;
        self.done.send_replace(Some(Err(error.clone())));
        EngineError::Joined(error)
    }

    fn release(&mut self, error: Arc<EngineError>) {
        if self.let_go() {
            self.done.send_replace(Some(Err(error)));
        }
    }

    /// Frees the name; `false` when that was decided before.
    fn let_go(&mut self) -> bool {
        let Some(key) = self.key.take() else { return false };
        let mut entries = lock(&self.entries);
        // Undoing the object has freed it already, and somebody else may have it by now.
        if entries.get(&key).is_some_and(|entry| Arc::ptr_eq(&entry.stage, &self.stage)) {
            entries.remove(&key);
        }
        true
    }
}

impl<K: Eq + Hash, C, I> Drop for Ticket<K, C, I> {
    fn drop(&mut self) {
        // Only a panic leaves a ticket undecided.
        self.release(Arc::new(EngineError::TaskDied("the operation")));
    }
}

impl<I> Join<I> {
    /// The id that the work in flight makes, once it is done.
    pub(crate) async fn wait(mut self) -> Result<I, EngineError> {
        let outcome = match self.done.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone(),
            Err(_) => None,
        };
        match outcome {
            Some(Ok(())) => Ok(self.id),
            Some(Err(error)) => Err(EngineError::Joined(error)),
            None => Err(EngineError::TaskDied("the operation that was joined")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn ticket(claim: Claim<u8, u8, String>) -> Ticket<u8, u8, String> {
        match claim {
            Claim::New(ticket) => ticket,
            _ => panic!("the name should be free"),
        }
    }

    #[tokio::test]
    async fn an_identical_claim_joins_and_shares_the_outcome() {
        let names = Names::default();
        let first = ticket(names.claim(&1, 7, &"a".to_owned()));
        let Claim::Join(join) = names.claim(&1, 7, &"b".to_owned()) else { panic!("joins") };
        first.keep();
        assert_eq!(join.wait().await.unwrap(), "a");
        assert!(matches!(names.claim(&1, 7, &"c".to_owned()), Claim::Held { id, same: true } if id == "a"));
        assert!(matches!(names.claim(&1, 8, &"c".to_owned()), Claim::Held { same: false, .. }));
    }

    #[tokio::test]
    async fn a_failure_frees_the_name_and_reaches_those_who_joined() {
        let names = Names::default();
        let first = ticket(names.claim(&1, 7, &"a".to_owned()));
        let Claim::Join(join) = names.claim(&1, 7, &"b".to_owned()) else { panic!("joins") };
        first.fail(EngineError::NoSuchPod("x".into()));
        assert!(join.wait().await.unwrap_err().to_string().contains("not found"));
        ticket(names.claim(&1, 8, &"c".to_owned()));
    }

    #[tokio::test]
    async fn what_is_done_frees_the_name_and_reaches_those_who_joined() {
        let names = Names::default();
        let first = ticket(names.claim(&1, 7, &"a".to_owned()));
        let Claim::Join(join) = names.claim(&1, 7, &"b".to_owned()) else { panic!("joins") };
        first.done();
        assert_eq!(join.wait().await.unwrap(), "a");
        ticket(names.claim(&1, 7, &"c".to_owned()));
    }

    #[test]
    fn a_different_claim_learns_the_holder_and_its_stage() {
        let names = Names::default();
        let first = ticket(names.claim(&1, 7, &"a".to_owned()));
        first.stage("network");
        assert!(
            matches!(names.claim(&1, 8, &"b".to_owned()), Claim::Busy { id, stage: "network", leaves: false } if id == "a")
        );
    }

    #[test]
    fn what_was_half_made_is_joined_by_nobody_and_frees_its_name_or_holds_it() {
        let names = Names::default();
        let id = "a".to_owned();
        let leaving = names.adopt_half(&1, 7, &id);
        let again = || names.claim(&1, 7, &"b".to_owned());
        assert!(matches!(again(), Claim::Busy { leaves: true, .. }));
        drop(leaving.fail_holding(EngineError::NoSuchPod("x".into())));
        assert!(matches!(again(), Claim::Held { same: false, .. }));
        names.adopt_half(&1, 7, &id).done();
        ticket(again());
    }

    #[test]
    fn an_object_is_being_made_until_that_is_decided() {
        let names = Names::default();
        let first = ticket(names.claim(&1, 7, &"a".to_owned()));
        assert!(names.is_being_made("a") && !names.is_being_made("b"));
        first.keep();
        assert!(!names.is_being_made("a"));
    }

    #[test]
    fn a_name_is_freed_by_its_holder_alone() {
        let names = Names::default();
        let (first, second) = ("a".to_owned(), "b".to_owned());
        for end in [
            |ticket: Ticket<u8, u8, String>| drop(ticket.fail(EngineError::NoSuchPod("x".into()))),
            Ticket::done,
        ] {
            let undone = ticket(names.claim(&1, 7, &first));
            names.free(&1, &first);
            let held = ticket(names.claim(&1, 7, &second));
            end(undone);
            names.free(&1, &first);
            assert!(matches!(names.claim(&1, 8, &first), Claim::Busy { id, .. } if id == second));
            held.keep();
            names.free(&1, &first);
            assert!(matches!(names.claim(&1, 7, &first), Claim::Held { id, same: true } if id == second));
            names.free(&1, &second);
        }
    }

    #[test]
    fn a_dropped_ticket_frees_the_name() {
        let names = Names::default();
        drop(ticket(names.claim(&1, 7, &"a".to_owned())));
        ticket(names.claim(&1, 7, &"b".to_owned()));
    }
}
