//! Who may be connected at a time, and who makes room.

use crate::limits::Limits;
use std::collections::VecDeque;
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// The places of a listener.
pub(crate) struct Room {
    limits: Limits,
    /// The oldest first.
    taken: Mutex<VecDeque<Arc<Seat>>>,
    /// Somebody has left, or has no work any more.
    changed: Notify,
}

/// What is known of a connection.
struct Seat {
    since: Instant,
    /// Requests in work.
    works: AtomicUsize,
    /// It makes room for others.
    cut_off: CancellationToken,
}

/// A connection's place, until it is dropped.
pub(crate) struct Place {
    room: Arc<Room>,
    seat: Arc<Seat>,
}

/// A request in work, until it is dropped.
pub(crate) struct Work {
    room: Arc<Room>,
    seat: Arc<Seat>,
}

impl Room {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, taken: Mutex::default(), changed: Notify::new() }
    }

    fn taken(&self) -> MutexGuard<'_, VecDeque<Arc<Seat>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place, if need be in the place of another.
    pub(crate) async fn enter(self: &Arc<Self>) -> Place {
        loop {
            let changed = self.changed.notified();
            let ripe = match self.try_enter() {
                Ok(place) => return place,
                Err(ripe) => ripe,
            };
            let ripens = async {
                match ripe {
                    Some(at) => sleep_until(at).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = changed => {}
                () = ripens => {}
            }
        }
    }

    /// Takes a place; else when the oldest idle connection has had its time, if any is idle.
    fn try_enter(self: &Arc<Self>) -> Result<Place, Option<Instant>> {
        let mut taken = self.taken();
        if taken.len() >= self.limits.connections {
            let idle = taken.iter().position(|seat| seat.works.load(Ordering::Relaxed) == 0);
            let Some(idle) = idle else { return Err(None) };
            let ripe = taken.get(idle).map(|seat| seat.since + self.limits.fresh);
            if ripe.is_some_and(|at| at > Instant::now()) {
                return Err(ripe);
            }
            if let Some(seat) = taken.remove(idle) {
                seat.cut_off.cancel();
            }
        }
        let seat = Arc::new(Seat {
            since: Instant::now(),
            works: AtomicUsize::new(0),
            cut_off: CancellationToken::new(),
        });
        taken.push_back(seat.clone());
        Ok(Place { room: self.clone(), seat })
    }
}

impl Place {
    /// Returns when the connection has to make room.
    pub(crate) async fn is_wanted(&self) {
        self.seat.cut_off.cancelled().await;
    }

    /// Returns when nothing was in work for so long.
    pub(crate) async fn is_idle(&self, limit: std::time::Duration) {
        let mut since = Instant::now();
        loop {
            let changed = self.room.changed.notified();
            if self.seat.works.load(Ordering::Relaxed) > 0 {
                changed.await;
                since = Instant::now();
                continue;
            }
            tokio::select! {
                () = sleep_until(since + limit) => {
                    if self.seat.works.load(Ordering::Relaxed) == 0 {
                        return;
                    }
                }
                () = changed => {}
            }
        }
    }

    /// A request is in work.
    pub(crate) fn work(&self) -> Work {
        self.seat.works.fetch_add(1, Ordering::Relaxed);
        Work { room: self.room.clone(), seat: self.seat.clone() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.taken().retain(|seat| !Arc::ptr_eq(seat, &self.seat));
        self.room.changed.notify_waiters();
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.seat.works.fetch_sub(1, Ordering::Relaxed);
        self.room.changed.notify_waiters();
    }
}
