//! How the requests of a plugin went, kept over its restarts.

use crate::status::{Calls, LATENCY};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Names of plugins that are remembered; those of the connected always are.
const NAMES: usize = 64;
/// From so many failures in a row on, a plugin has to wait before it may come back.
const PATIENCE: u32 = 3;
/// For so long at most.
const LONGEST: Duration = Duration::from_secs(60);

/// How a request went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answered,
    Refused,
    Unanswered,
}

/// Those of one name.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    calls: Mutex<Vec<Calls>>,
    connections: AtomicU64,
    failures: Mutex<Failures>,
}

#[derive(Debug, Default)]
struct Failures {
    in_a_row: u32,
    until: Option<Instant>,
}

impl Counters {
    fn of(&self, request: &'static str, change: impl FnOnce(&mut Calls)) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        match calls.iter_mut().find(|known| known.request == request) {
            Some(known) => change(known),
            None => {
                let mut new = Calls { request, ..Calls::default() };
                change(&mut new);
                calls.push(new);
            }
        }
    }

    pub(crate) fn called(&self, request: &'static str, outcome: Outcome, took: Duration) {
        self.of(request, |calls| {
            calls.total += 1;
            calls.refused += u64::from(outcome == Outcome::Refused);
            calls.unanswered += u64::from(outcome == Outcome::Unanswered);
            calls.waited += took;
            let bucket = LATENCY.iter().position(|bound| took <= *bound).unwrap_or(LATENCY.len());
            calls.buckets[bucket] += 1;
        });
    }

    pub(crate) fn adjusted(&self, request: &'static str) {
        self.of(request, |calls| calls.adjusted += 1);
    }

    pub(crate) fn calls(&self) -> Vec<Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it came back.
    pub(crate) fn restarts(&self) -> u64 {
        self.connections.load(Ordering::Relaxed).saturating_sub(1)
    }

    /// It joined, or let others wait for it without end.
    pub(crate) fn joined(&self, well: bool) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if well {
            *failures = Failures::default();
            return;
        }
        failures.in_a_row = failures.in_a_row.saturating_add(1);
        if failures.in_a_row >= PATIENCE {
            let pause = Duration::from_secs(1) * 2u32.saturating_pow((failures.in_a_row - PATIENCE).min(8));
            failures.until = Some(Instant::now() + pause.min(LONGEST));
        }
    }

    /// For how long it may not come back.
    pub(crate) fn pause(&self) -> Option<Duration> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.until.and_then(|until| until.checked_duration_since(Instant::now()))
    }
}

/// By name.
#[derive(Debug, Default)]
pub(crate) struct AllCounters(Mutex<BTreeMap<String, Arc<Counters>>>);

impl AllCounters {
    pub(crate) fn of(&self, name: &str) -> Arc<Counters> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.contains_key(name) && all.len() >= NAMES {
            all.retain(|_, counters| Arc::strong_count(counters) > 1);
        }
        Arc::clone(all.entry(name.to_owned()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_nobody_has_any_more_are_forgotten() {
        let all = AllCounters::default();
        let kept = all.of("10-kept");
        kept.called("CreateContainer", Outcome::Unanswered, Duration::from_secs(3));
        for number in 0..10 * NAMES {
            all.of(&format!("20-{number}"));
        }
        assert!(all.0.lock().is_ok_and(|all| all.len() <= NAMES));
        let calls = all.of("10-kept").calls();
        assert_eq!((calls[0].total, calls[0].unanswered, calls[0].buckets[7]), (1, 1, 1));
    }

    #[test]
    fn who_fails_again_and_again_has_to_wait() {
        let counters = Counters::default();
        counters.joined(false);
        counters.joined(false);
        assert_eq!(counters.pause(), None);
        for _ in 0..20 {
            counters.joined(false);
        }
        assert!(counters.pause().is_some_and(|pause| pause <= LONGEST && pause > LONGEST / 2));
        counters.joined(true);
        assert_eq!(counters.pause(), None);
    }
}
