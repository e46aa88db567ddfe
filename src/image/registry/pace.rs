//! How fast requests may follow each other on one host.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use sys::sync::lock;

/// Hosts that are remembered; beyond that, those that were idle are forgotten.
const MOST_HOSTS: usize = 1024;

/// A limit of requests a second for each host, over all pulls, with room for a burst.
pub(crate) struct Pace {
    interval: Duration,
    burst: Duration,
    /// When the next request would be due at the steady rate, by host.
    due: Mutex<HashMap<String, Instant>>,
}

impl Pace {
    /// `per_second` 0 is no limit.
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        let interval = if per_second == 0 { Duration::ZERO } else { Duration::from_secs(1) / per_second };
        Self { interval, burst: interval * burst.saturating_sub(1), due: Mutex::default() }
    }

    /// Whether both let through as much.
    pub(crate) fn is_as_fast_as(&self, other: &Self) -> bool {
        (self.interval, self.burst) == (other.interval, other.burst)
    }

    /// Waits for this caller's turn at the host.
    pub(crate) async fn turn(&self, host: &str) {
        if self.interval.is_zero() {
            return;
        }
        let wait = self.reserve(host, Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    fn reserve(&self, host: &str, now: Instant) -> Duration {
        let mut due = lock(&self.due);
        if due.len() >= MOST_HOSTS {
            due.retain(|_, next| *next > now);
        }
        let next = due.entry(host.to_owned()).or_insert(now);
        let turn = (*next).max(now);
        *next = turn + self.interval;
        turn.saturating_duration_since(now + self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_the_rate() {
        let pace = Pace::new(10, 3);
        let now = Instant::now();
        let waits: Vec<_> = (0..5).map(|_| pace.reserve("a", now).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 100, 200]);
        assert_eq!(pace.reserve("b", now).as_millis(), 0, "another host has its own");
        let later = now + Duration::from_secs(10);
        assert_eq!(pace.reserve("a", later).as_millis(), 0);
    }
}
