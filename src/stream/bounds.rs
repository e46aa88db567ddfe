//! Bytes that wait for somebody slow, over all clients: so many in sum, and never all of them for one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Semaphore;

/// Bytes from clients that wait for pods and commands to read them, over all streams.
const INPUT: usize = 64 << 20;
/// The most of them on one stream of a forwarded port: a client that does not count what it sends is held up with all of
/// its streams beyond that.
const FORWARDED: usize = 32 << 20;
/// The most of them on one stdin.
const STDIN: usize = 256 << 10;
/// Bytes of containers' output that wait for attached clients, over all of them.
const OUTPUT: usize = 64 << 20;
/// The most of them for one client; who falls further behind is dropped.
const BEHIND: usize = 16 << 20;
/// What a stream has in any case: a piece as it is read, or a few of them for an attached client.
const PIECE: usize = 32 << 10;
const PIECES: usize = 64 << 10;
/// Streams over all connections.
const STREAMS: usize = 16 << 10;

/// What all clients of a server share.
#[derive(Debug)]
pub(crate) struct Bounds {
    input: Arc<Budget>,
    output: Arc<Budget>,
    streams: Arc<Semaphore>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            input: Arc::new(Budget::new(INPUT)),
            output: Arc::new(Budget::new(OUTPUT)),
            streams: Arc::new(Semaphore::new(STREAMS)),
        }
    }
}

impl Bounds {
    /// For connections that forward ports: a stream that nobody reads must not hold up the others.
    pub(crate) fn forwarding(&self) -> Terms {
        Terms {
            budget: self.input.clone(),
            streams: self.streams.clone(),
            most: FORWARDED,
            is_patient: false,
        }
    }

    /// For commands, which may read their input whenever they like.
    pub(crate) fn command(&self) -> Terms {
        Terms { budget: self.input.clone(), streams: self.streams.clone(), most: STDIN, is_patient: true }
    }

    /// For what an attached client has not read yet.
    pub(crate) fn behind(&self) -> Share {
        Share { budget: self.output.clone(), most: BEHIND, floor: PIECES, held: AtomicUsize::new(0) }
    }
}

/// What the streams of one connection may have.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    budget: Arc<Budget>,
    /// One place for each stream of any connection.
    pub(crate) streams: Arc<Semaphore>,
    most: usize,
    /// A stream that nobody reads is waited for, however long.
    pub(crate) is_patient: bool,
}

impl Terms {
    /// For what one stream has not been read of.
    pub(crate) fn share(&self) -> Share {
        Share { budget: self.budget.clone(), most: self.most, floor: PIECE, held: AtomicUsize::new(0) }
    }
}

/// Bytes for all.
#[derive(Debug)]
struct Budget {
    total: usize,
    used: AtomicUsize,
}

impl Budget {
    const fn new(total: usize) -> Self {
        Self { total, used: AtomicUsize::new(0) }
    }
}

/// One stream's part of the bytes for all; what is taken is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    most: usize,
    /// What it gets even where nothing is left.
    floor: usize,
    held: AtomicUsize,
}

impl Share {
    /// Takes so many bytes; `false` beyond its most, and beyond as much as stays free for others: the first who are slow
    /// get much, many get little, and there is always something for the next.
    pub(crate) fn take(&self, count: usize) -> bool {
        let held = self.held.load(Ordering::Relaxed).saturating_add(count);
        if held > self.most.max(self.floor) {
            return false;
        }
        let taken = self.budget.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            let used = used.saturating_add(count);
            (held <= self.floor || held <= self.budget.total.saturating_sub(used)).then_some(used)
        });
        if taken.is_ok() {
            self.held.fetch_add(count, Ordering::Relaxed);
        }
        taken.is_ok()
    }

    /// Gives bytes back, of those that it has.
    pub(crate) fn give(&self, count: usize) {
        let mut given = 0;
        // It always succeeds.
        let _ = self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            given = held.min(count);
            Some(held - given)
        });
        self.budget.used.fetch_sub(given, Ordering::Relaxed);
    }

    /// Gives back whatever it has.
    pub(crate) fn clear(&self) {
        self.give(usize::MAX);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(bounds: &Bounds) -> usize {
        bounds.output.used.load(Ordering::Relaxed)
    }

    #[test]
    fn many_who_never_read_share_what_one_could_have() {
        let bounds = Bounds::default();
        let fill = |share: &Share| {
            let mut sum = 0;
            while share.take(PIECE) {
                sum += PIECE;
            }
            sum
        };
        let shares: Vec<Share> = (0..60).map(|_| bounds.behind()).collect();
        let sums: Vec<usize> = shares.iter().map(fill).collect();
        assert_eq!(sums.first(), Some(&BEHIND), "the first who is slow gets much");
        assert!(sums.iter().all(|sum| *sum >= PIECES), "{sums:?}");
        let floors = 60 * PIECES;
        assert!(used(&bounds) <= OUTPUT + floors, "{} bytes", used(&bounds));
        drop(shares);
        assert_eq!(used(&bounds), 0);
        assert_eq!(fill(&bounds.behind()), BEHIND);
    }

    #[test]
    fn what_is_given_back_twice_counts_once() {
        let bounds = Bounds::default();
        let share = bounds.behind();
        assert!(share.take(PIECE));
        share.clear();
        share.give(PIECE);
        assert_eq!(used(&bounds), 0);
    }
}
