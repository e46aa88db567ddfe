//! Identical work at the same time is done once.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex};
use sys::sync::lock;
use tokio::sync::watch;
use tracing::Instrument as _;

/// Work under way, by its key.
pub(crate) struct Flights<K, T> {
    running: Mutex<HashMap<K, Flight<T>>>,
    /// Work that nobody waits for any more is ended.
    end_abandoned: bool,
}

struct Flight<T> {
    result: watch::Receiver<Option<T>>,
    waiting: usize,
    task: tokio::task::AbortHandle,
    number: u64,
}

/// A place among those who wait for a result.
pub(crate) struct Ticket<K: Eq + Hash + Clone, T> {
    flights: Arc<Flights<K, T>>,
    key: K,
    number: u64,
    result: watch::Receiver<Option<T>>,
    /// Whether the work was under way before.
    pub joined: bool,
}

impl<K, T> Flights<K, T>
where
    K: Eq + Hash + Clone + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    pub(crate) fn new(end_abandoned: bool) -> Arc<Self> {
        Arc::new(Self { running: Mutex::default(), end_abandoned })
    }

    /// Joins the work with this key or starts it as a task of its own, which a waiter's end does not touch.
    pub(crate) fn join<F>(self: &Arc<Self>, key: K, start: impl FnOnce() -> F) -> Ticket<K, T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut running = lock(&self.running);
        if let Some(flight) = running.get_mut(&key) {
            flight.waiting += 1;
            let (number, result) = (flight.number, flight.result.clone());
            return Ticket { flights: Arc::clone(self), key, number, result, joined: true };
        }
        let (sender, result) = watch::channel(None);
        let number = next_number();
        let landing = Landing { flights: Arc::clone(self), key: key.clone(), number };
        let work = start();
        let flight = async move {
            let value = work.await;
            // Out of the table first: who comes after the result finds it in the store.
            drop(landing);
            let _ = sender.send(Some(value));
        };
        let task = tokio::spawn(flight.in_current_span()).abort_handle();
        running.insert(key.clone(), Flight { result: result.clone(), waiting: 1, task, number });
        Ticket { flights: Arc::clone(self), key, number, result, joined: false }
    }

    /// Whether somebody waits for the work with this key.
    pub(crate) fn is_awaited(&self, key: &K) -> bool {
        lock(&self.running).get(key).is_some_and(|flight| flight.waiting > 0)
    }

    fn land(&self, key: &K, number: u64) {
        let mut running = lock(&self.running);
        if running.get(key).is_some_and(|flight| flight.number == number) {
            running.remove(key);
        }
    }
}

impl<K: Eq + Hash, T> Flights<K, T> {
    fn leave(&self, key: &K, number: u64) {
        let mut running = lock(&self.running);
        let Some(flight) = running.get_mut(key).filter(|flight| flight.number == number) else { return };
        flight.waiting -= 1;
        if flight.waiting == 0 && self.end_abandoned {
            flight.task.abort();
            running.remove(key);
        }
    }
}

fn next_number() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// Takes the work out of the table when it ends, in whatever way.
struct Landing<K: Eq + Hash + Clone + Send + 'static, T: Clone + Send + Sync + 'static> {
    flights: Arc<Flights<K, T>>,
    key: K,
    number: u64,
}

impl<K: Eq + Hash + Clone + Send + 'static, T: Clone + Send + Sync + 'static> Drop for Landing<K, T> {
    fn drop(&mut self) {
        self.flights.land(&self.key, self.number);
    }
}

impl<K, T> Ticket<K, T>
where
    K: Eq + Hash + Clone + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// The result; `None` when the work ended without one.
    pub(crate) async fn result(mut self) -> Option<T> {
        self.result.wait_for(Option::is_some).await.ok()?.clone()
    }
}

impl<K: Eq + Hash + Clone, T> Drop for Ticket<K, T> {
    fn drop(&mut self) {
        self.flights.leave(&self.key, self.number);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    #[tokio::test]
    async fn a_hundred_callers_do_the_work_once() {
        let flights = Flights::<u8, u32>::new(false);
        let started = Arc::new(AtomicU32::new(0));
        let tickets: Vec<_> = (0..100)
            .map(|_| {
                let started = Arc::clone(&started);
                flights.join(1, move || async move {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    started.fetch_add(1, Ordering::SeqCst) + 1
                })
            })
            .collect();
        assert_eq!(tickets.iter().filter(|ticket| !ticket.joined).count(), 1);
        for ticket in tickets {
            assert_eq!(ticket.result().await, Some(1));
        }
        assert!(flights.running.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn work_goes_on_or_ends_without_waiters() {
        for end_abandoned in [false, true] {
            let flights = Flights::<u8, ()>::new(end_abandoned);
            let done = Arc::new(AtomicU32::new(0));
            let work = Arc::clone(&done);
            drop(flights.join(1, move || async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                work.store(1, Ordering::SeqCst);
            }));
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(done.load(Ordering::SeqCst), u32::from(!end_abandoned));
            assert!(flights.running.lock().unwrap().is_empty());
        }
    }

    #[tokio::test]
    async fn a_panic_is_no_result() {
        let flights = Flights::<u8, ()>::new(false);
        let ticket = flights.join(1, || async { panic!("on purpose") });
        assert_eq!(ticket.result().await, None);
        assert!(flights.running.lock().unwrap().is_empty());
    }
}
