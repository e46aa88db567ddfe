//! Turns of layers, over all pulls: so many at a time, and each pull its share.
//!
//! A turn that becomes free goes to the pull that has the fewest, so that no pull waits for all layers of another. And
//! as many turns again are there for pulls that have none: a pull whose layers take long, all at once, keeps nobody
//! from beginning.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use sys::sync::lock;
use tokio::sync::oneshot;

/// The turns.
pub(super) struct Slots {
    most: AtomicUsize,
    state: Mutex<State>,
    pulls: AtomicU64,
}

#[derive(Default)]
struct State {
    taken: usize,
    /// Turns of each pull that has any.
    pulls: HashMap<u64, usize>,
    /// In the order in which they came.
    waiting: Vec<Waiting>,
}

struct Waiting {
    pull: u64,
    turn: oneshot::Sender<Slot>,
}

/// A turn; another's when this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Slots>,
    pull: u64,
}

impl std::fmt::Debug for Slots {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Slots").field("most", &self.most).finish_non_exhaustive()
    }
}

impl Slots {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most: AtomicUsize::new(most.max(1)),
            state: Mutex::default(),
            pulls: AtomicU64::new(0),
        })
    }

    /// Another number of turns; where it is less, those that are taken stay so.
    pub(super) fn set(self: &Arc<Self>, most: usize) {
        self.most.store(most.max(1), Ordering::Relaxed);
        self.give();
    }

    /// A number for a pull.
    pub(super) fn pull(&self) -> u64 {
        self.pulls.fetch_add(1, Ordering::Relaxed)
    }

    /// Queues for a turn of the pull at once; it comes when it is due.
    pub(super) fn queue(self: &Arc<Self>, pull: u64) -> oneshot::Receiver<Slot> {
        let (turn, receiver) = oneshot::channel();
        self.state().waiting.push(Waiting { pull, turn });
        self.give();
        receiver
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Gives out what is due.
    fn give(self: &Arc<Self>) {
        loop {
            let Some(Waiting { pull, turn }) = self.state().take(self.most.load(Ordering::Relaxed)) else {
                return;
            };
            // One that nobody waits for any more comes back as it is dropped.
            drop(turn.send(Slot { slots: Arc::clone(self), pull }));
        }
    }
}

impl State {
    /// Takes a turn for whoever is due.
    fn take(&mut self, most: usize) -> Option<Waiting> {
        self.waiting.retain(|waiting| !waiting.turn.is_closed());
        let has = |waiting: &Waiting| self.pulls.get(&waiting.pull).copied().unwrap_or(0);
        let (at, next) = self.waiting.iter().enumerate().min_by_key(|(at, waiting)| (has(waiting), *at))?;
        let room = if has(next) == 0 { 2 * most } else { most };
        if self.taken >= room {
            return None;
        }
        let next = self.waiting.remove(at);
        self.taken += 1;
        *self.pulls.entry(next.pull).or_default() += 1;
        Some(next)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        {
            let mut state = self.slots.state();
            state.taken -= 1;
            if let Some(count) = state.pulls.get_mut(&self.pull) {
                *count -= 1;
                if *count == 0 {
                    state.pulls.remove(&self.pull);
                }
            }
        }
        self.slots.give();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_pull_with_many_layers_keeps_no_other_from_beginning() {
        let slots = Slots::new(3);
        let mut many: Vec<_> = (0..10).map(|_| slots.queue(1)).collect();
        let mut running: Vec<Slot> = many.iter_mut().filter_map(|turn| turn.try_recv().ok()).collect();
        assert_eq!(running.len(), 3, "all of what there is, while nobody else wants it");
        let mut second = [slots.queue(2), slots.queue(2)];
        let own = second[0].try_recv().unwrap();
        assert!(second[1].try_recv().is_err(), "one for a pull that has none");
        let mut others: Vec<_> = (3..7).map(|pull| slots.queue(pull)).collect();
        let begun: Vec<Slot> = others.iter_mut().filter_map(|turn| turn.try_recv().ok()).collect();
        assert_eq!(begun.len(), 2, "twice as many as there are, and no more");
        running.pop();
        assert!(others[2].try_recv().is_ok(), "first those that have none");
        drop((running, own, begun, others));
        assert!(second[1].try_recv().is_ok(), "then the one that has fewest");
    }

    #[test]
    fn another_number_of_turns_counts_at_once() {
        let slots = Slots::new(1);
        let mut turns: Vec<_> = (0..4).map(|_| slots.queue(1)).collect();
        let first = turns[0].try_recv().unwrap();
        assert!(turns[1].try_recv().is_err());
        slots.set(3);
        let more: Vec<Slot> = turns.iter_mut().filter_map(|turn| turn.try_recv().ok()).collect();
        assert_eq!(more.len(), 2);
        slots.set(1);
        drop(first);
        assert!(turns[3].try_recv().is_err(), "there are more than there may be already");
        drop(more);
        assert!(turns[3].try_recv().is_ok());
    }

    #[test]
    fn who_gives_up_takes_no_turn() {
        let slots = Slots::new(1);
        let first = slots.queue(1).try_recv().unwrap();
        drop(slots.queue(1));
        let mut third = slots.queue(1);
        drop(first);
        drop(third.try_recv().unwrap());
        assert_eq!(slots.state().taken, 0);
        assert!(slots.state().pulls.is_empty());
    }
}
