//! How the requests of a plugin went, kept over its restarts.

use crate::status::{Absence, Calls, LATENCY, Origin, PluginStatus};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Names of plugins that are remembered; those of the connected always are.
const NAMES: usize = 64;
/// For so long is one that came by itself and went remembered as missing: it may have been taken off the node.
const MISSED: Duration = Duration::from_secs(24 * 3600);
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
    restarts: AtomicU64,
    last_end: Mutex<Option<String>>,
    failures: Mutex<Failures>,
    /// While it is not there, and was, or is to be.
    gone: Mutex<Option<Gone>>,
}

#[derive(Debug, Clone)]
struct Gone {
    origin: Origin,
    since: SystemTime,
    at: Instant,
    absence: Absence,
}

impl Gone {
    fn is_missed(&self) -> bool {
        self.origin == Origin::Installed || self.at.elapsed() < MISSED
    }
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

    pub(crate) fn rejected(&self, request: &'static str) {
        self.of(request, |calls| calls.rejected += 1);
    }

    pub(crate) fn calls(&self) -> Vec<Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// It is there.
    pub(crate) fn connected(&self, origin: Origin) {
        *self.gone.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let came_back = self.connections.fetch_add(1, Ordering::Relaxed) > 0;
        if came_back && origin == Origin::External {
            self.again();
        }
    }

    /// It is started again, or has come back by itself.
    pub(crate) fn again(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// It is not there, for this reason. Since when is kept while it is away.
    pub(crate) fn gone(&self, origin: Origin, why: &str, again_at: Option<SystemTime>) {
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        let absence = Absence { why: why.to_owned(), again_at };
        match &mut *gone {
            Some(gone) => (gone.origin, gone.absence) = (origin, absence),
            None => {
                let (since, at) = (SystemTime::now(), Instant::now());
                *gone = Some(Gone { origin, since, at, absence });
            }
        }
    }

    /// The same for one that did not say that it goes.
    pub(crate) fn left(&self, origin: Origin) {
        if self.away().is_none() {
            self.gone(origin, "its connection has ended", None);
        }
    }

    /// It is not to be there any more.
    pub(crate) fn forget(&self) {
        *self.gone.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// One that was there before could not come back.
    pub(crate) fn kept_out(&self, why: &str) {
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gone) = &mut *gone {
            gone.absence.why = why.to_owned();
        }
    }

    fn away(&self) -> Option<Gone> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often it was started again, or came back by itself.
    pub(crate) fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    /// Its process has ended.
    pub(crate) fn ended(&self, how: &str) {
        *self.last_end.lock().unwrap_or_else(PoisonError::into_inner) = Some(how.to_owned());
    }

    /// How its process ended last.
    pub(crate) fn last_end(&self) -> Option<String> {
        self.last_end.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
            all.retain(|_, counters| Arc::strong_count(counters) > 1 || counters.away().is_some());
            // Of those that are missed, the one that has been for longest.
            let missed = all.iter().filter(|(_, counters)| Arc::strong_count(counters) == 1);
            let oldest = missed.min_by_key(|(_, counters)| counters.away().map(|gone| gone.at));
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()).filter(|_| all.len() >= NAMES) {
                all.remove(&oldest);
            }
        }
        Arc::clone(all.entry(name.to_owned()).or_default())
    }

    /// Those that are not there, and were, or are to be.
    pub(crate) fn absent(&self) -> Vec<PluginStatus> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let status = |(name, counters): (&String, &Arc<Counters>)| {
            let gone = counters.away().filter(Gone::is_missed)?;
            Some(PluginStatus {
                restarts: counters.restarts(),
                last_end: counters.last_end(),
                calls: counters.calls(),
                ..PluginStatus::absent(name.clone(), gone.origin, gone.since, gone.absence)
            })
        };
        all.iter().filter_map(status).collect()
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
    fn those_that_are_missed_are_remembered_as_many_as_fit() {
        let all = AllCounters::default();
        for number in 0..3 * NAMES {
            let counters = all.of(&format!("20-{number:03}"));
            counters.connected(Origin::External);
            counters.gone(Origin::External, "it went", None);
        }
        let absent = all.absent();
        assert!(
            absent.len() == NAMES && absent.last().is_some_and(|last| last.name == "20-191"),
            "{absent:?}"
        );
        let last = all.of("20-191");
        last.connected(Origin::External);
        assert!(last.restarts() == 1 && !all.absent().iter().any(|one| one.name == "20-191"));
        last.left(Origin::External);
        last.kept_out("it has another name");
        let why = all.absent().pop().and_then(|one| one.absence).map(|absence| absence.why);
        assert_eq!(why.as_deref(), Some("it has another name"));
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
