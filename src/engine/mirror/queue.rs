//! Changes that wait for the disk: of each record the last, so that a disk that hangs for hours leaves no more waiting
//! than there are records.

use super::Key;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use sys::sync::lock;
use tokio::sync::oneshot;

/// So long do changes gather before they are written together.
const SETTLE: Duration = Duration::from_millis(300);
/// So long after a failure it is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// Records by what they are of, `None` where one is to be deleted.
pub(super) type Batch = BTreeMap<Key, Option<Vec<u8>>>;

/// Changes on their way to the disk.
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    waiting: Batch,
    /// Keys of records that are on the disk, or on their way there.
    durable: BTreeSet<Key>,
    closed: bool,
    /// Who waits for what waits: it gathers no longer.
    urgent: Vec<Waiter>,
}

/// Is told that what it waits for is on the disk; dropped where the disk has refused it.
type Waiter = oneshot::Sender<()>;

impl Queue {
    /// Of records with these keys, which are on the disk.
    pub(super) fn new(durable: impl Iterator<Item = Key>) -> Self {
        let state =
            State { waiting: Batch::new(), durable: durable.collect(), closed: false, urgent: Vec::new() };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    pub(super) fn put(&self, key: Key, record: Vec<u8>) {
        self.lock().waiting.insert(key, Some(record));
        self.changed.notify_one();
    }

    /// The same at once, and tells when it is on the disk; an error where that has refused it.
    pub(super) fn put_now(&self, key: Key, record: Vec<u8>) -> oneshot::Receiver<()> {
        let (tell, told) = oneshot::channel();
        let mut state = self.lock();
        state.waiting.insert(key, Some(record));
        state.urgent.push(tell);
        drop(state);
        self.changed.notify_one();
        told
    }

    pub(super) fn delete(&self, key: Key) {
        let mut state = self.lock();
        if state.durable.contains(&key) {
            state.waiting.insert(key, None);
        } else {
            // It has never got as far as the disk.
            state.waiting.remove(&key);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// What waits is written, and then the writer ends.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Hands over what waits until the queue is closed. What could not be written waits again, unless it has changed.
    pub(super) fn write(&self, mut commit: impl FnMut(&Batch) -> bool) {
        let mut patience = SETTLE;
        while let Some((batch, last, waiters)) = self.next(patience) {
            let done = commit(&batch);
            if done {
                for waiter in waiters {
                    // Who has gone needs no word.
                    let _ = waiter.send(());
                }
            }
            let mut state = self.lock();
            if done {
                for (key, _) in batch.iter().filter(|(_, record)| record.is_none()) {
                    state.durable.remove(key);
                }
            } else if last {
                return;
            } else {
                for (key, record) in batch {
                    state.waiting.entry(key).or_insert(record);
                }
            }
            patience = if done { SETTLE } else { AGAIN };
        }
    }

    /// The changes of so long a time from the first on, or until somebody waits for them, who that is, and whether they are
    /// the last; `None` when the queue is closed and empty.
    fn next(&self, patience: Duration) -> Option<(Batch, bool, Vec<Waiter>)> {
        let mut state = self.lock();
        loop {
            while state.waiting.is_empty() && !state.closed {
                // What was put and deleted meanwhile is not waited for.
                state.urgent.clear();
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let deadline = Instant::now() + patience;
            while !state.closed && state.urgent.is_empty() {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                let waited = self.changed.wait_timeout(state, left);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            // What was put and deleted meanwhile leaves nothing to write: the next change is waited for.
            if state.closed || !state.waiting.is_empty() {
                break;
            }
        }
        let (batch, waiters) = (std::mem::take(&mut state.waiting), std::mem::take(&mut state.urgent));
        let written = batch.iter().filter(|(_, record)| record.is_some());
        state.durable.extend(written.map(|(key, _)| key.clone()));
        (!batch.is_empty()).then_some((batch, state.closed, waiters))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn what_waits_for_a_disk_that_hangs_is_bounded_and_the_last_of_it_is_written() {
        let pod = |id: &str| Key::Pod(model::SandboxId::new(id));
        let queue = Queue::new([pod("old")].into_iter());
        let (reached, hangs) = channel();
        let (release, held) = channel();
        let mut disk = Batch::from([(pod("old"), Some(b"0".to_vec()))]);
        std::thread::scope(|scope| {
            let (queue, disk) = (&queue, &mut disk);
            let writer = scope.spawn(move || {
                let mut commits = 0;
                queue.write(|batch| {
                    commits += 1;
                    if commits == 1 {
                        reached.send(()).unwrap();
                        held.recv().unwrap();
                        return false;
                    }
                    disk.extend(batch.clone());
                    true
                });
            });
            queue.put(pod("first"), b"1".to_vec());
            hangs.recv().unwrap();
            for number in 0..100_000_u32 {
                queue.put(pod("kept"), number.to_be_bytes().to_vec());
                queue.put(Key::Container(model::ContainerId::new(number.to_string())), vec![7; 100]);
                queue.delete(Key::Container(model::ContainerId::new(number.to_string())));
            }
            queue.delete(pod("old"));
            queue.delete(pod("first"));
            assert_eq!(queue.waiting(), 3);
            release.send(()).unwrap();
            queue.close();
            writer.join().unwrap();
        });
        disk.retain(|_, record| record.is_some());
        let kept = Some(99_999_u32.to_be_bytes().to_vec());
        assert_eq!(disk, Batch::from([(pod("kept"), kept)]));
    }

    #[test]
    fn what_comes_and_goes_before_it_is_written_does_not_end_the_writer() {
        let pod = |id: &str| Key::Pod(model::SandboxId::new(id));
        let queue = Queue::new(std::iter::empty());
        let (written, told) = channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                queue.write(|batch| {
                    written.send(batch.clone()).unwrap();
                    true
                });
            });
            queue.put(pod("brief"), b"1".to_vec());
            queue.delete(pod("brief"));
            std::thread::sleep(2 * SETTLE);
            queue.put(pod("next"), b"2".to_vec());
            let batch = told.recv_timeout(20 * SETTLE);
            queue.close();
            assert_eq!(batch, Ok(Batch::from([(pod("next"), Some(b"2".to_vec()))])));
        });
    }
}
