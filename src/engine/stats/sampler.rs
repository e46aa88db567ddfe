//! Reading a cgroup's counters again and again, and the rate between two readings.
//!
//! A cgroup in which nothing ran since the last reading is not read as a whole again, but for a while only: what others
//! do to its memory, as reclaim does, shows late. See [`oci::cgroup::Meter`].

use super::Processes;
use super::kept::Kept;
use crate::error::EngineError;
use crate::in_memory::Pod;
use crate::registry::Registry;
use crate::supervisor::Accounts;
use model::Resources;
use oci::cgroup::{CgroupPath, Detail, Host, Reading, Since, Stats};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use sys::sync::lock;

/// A rate over less than this says little: several clients that ask at once get the same one.
const WINDOW: Duration = Duration::from_secs(1);
/// The kernel may take so long to add up what has run last; until then, a reading is no last word.
const SETTLES: Duration = Duration::from_secs(2);
/// What a cgroup that sleeps was read to have holds as long at least, and [`SPREAD`] more at most: what is read together
/// first is not read together again.
const HOLDS: Duration = Duration::from_secs(20);
const SPREAD: u32 = 10;

/// What a cgroup uses, with the rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// Unix time in nanoseconds.
    pub timestamp: i64,
    /// The counters.
    pub stats: Stats,
    /// CPU time used a second, in nanoseconds: since the last reading at least a second ago, at first since the
    /// start.
    pub nano_cores: u64,
}

/// What is read: the cgroup of a pod, or of one of its containers. Who keeps its accounts, and its path, are looked up only
/// where a file is opened.
#[derive(Clone, Copy)]
pub(crate) struct Account<'a> {
    pub(crate) host: &'a Arc<Host>,
    pub(crate) pod: &'a Pod,
    pub(crate) container: Option<&'a str>,
}

impl Account<'_> {
    fn keeper(&self) -> Arc<dyn Accounts> {
        self.pod.accounts(self.host)
    }

    fn path(&self) -> CgroupPath {
        match self.container {
            Some(id) => self.pod.cgroup.container(id),
            None => self.pod.cgroup.parent().clone(),
        }
    }
}

/// The usage, and how often the cgroup was seen to have run by then: as long as that stays, nothing runs in the cgroups
/// below either.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sampled {
    pub(crate) usage: Usage,
    pub(crate) runs: u64,
}

/// The counters of one cgroup.
#[derive(Default)]
pub(crate) struct Sampler(Mutex<State>);

#[derive(Default)]
struct State {
    meter: Option<Kept>,
    closed: bool,
    base: Option<(Instant, u64)>,
    rate: u64,
    runs: u64,
    last: Option<Box<Last>>,
}

/// The last reading.
struct Last {
    stats: Stats,
    /// How often the cgroup above had been seen to have run before it.
    above: Option<u64>,
    /// Until then it holds if nothing runs.
    until: Instant,
    /// Once they are counted.
    processes: Option<u64>,
    /// Once it is asked for; without devices.
    detail: Option<Box<Detail>>,
    /// Once they are looked at.
    looked_at: Option<Processes>,
    /// Once they are asked for.
    limits: Option<Box<Resources>>,
}

impl Sampler {
    /// Reads the cgroup, which is there since that Unix time in nanoseconds; `None` when it is gone. `above` is how often the
    /// one above it was seen to have run, where that was read just now.
    pub(crate) fn read(
        &self,
        account: &Account<'_>,
        created_at: i64,
        above: Option<u64>,
    ) -> Result<Option<Sampled>, EngineError> {
        let mut state = lock(&self.0);
        if state.closed {
            return Ok(None);
        }
        let now = Instant::now();
        let since = state.last.as_ref().map_or(Since::Nothing, |last| last.since(now, above));
        let read = match &state.meter {
            Some(kept) => kept.read(since, || account.keeper().counters(&account.path()))?,
            None => {
                let meter = account.keeper().counters(&account.path())?;
                let read = meter.read(since)?;
                state.meter = read.and_then(|_| Kept::keep(meter));
                read
            }
        };
        let Some(reading) = read else {
            (state.meter, state.last) = (None, None);
            return Ok(None);
        };
        let (stats, timestamp) = (reading.stats(), crate::now());
        state.note(reading, now, above);
        let nano_cores = state.rate(now, stats.cpu_usage_ns, timestamp.saturating_sub(created_at));
        Ok(Some(Sampled { usage: Usage { timestamp, stats, nano_cores }, runs: state.runs }))
    }

    /// How many processes the cgroup has; none once the files are closed.
    pub(crate) fn processes(&self, account: &Account<'_>) -> u64 {
        let mut state = lock(&self.0);
        if state.closed {
            return 0;
        }
        if let Some(known) = state.last.as_ref().and_then(|last| last.processes) {
            return known;
        }
        let kept = state.meter.as_mut().and_then(Kept::processes);
        let counted = kept.unwrap_or_else(|| account.keeper().processes(&account.path()).len() as u64);
        if let Some(last) = &mut state.last {
            last.processes = Some(counted);
        }
        counted
    }

    /// More of what the cgroup uses. What changes only where something runs is as of the last reading; its devices are
    /// asked now: what was written before counts when it reaches them.
    pub(crate) fn detail(&self, account: &Account<'_>) -> Result<Detail, EngineError> {
        let mut state = lock(&self.0);
        let (State { meter, last, .. }, keeper) = (&mut *state, account.keeper());
        let Some(last) = last else { return Ok(keeper.detail(&account.path())?) };
        if let Some(known) = &last.detail {
            let kept = meter.as_mut().map(|kept| kept.devices(account.host)).transpose()?.flatten();
            let devices = kept.map_or_else(|| keeper.devices(&account.path()), Ok)?;
            return Ok(Detail { devices, ..Detail::clone(known) });
        }
        let mut read = keeper.detail(&account.path())?;
        let devices = std::mem::take(&mut read.devices);
        last.detail = Some(Box::new(read.clone()));
        Ok(Detail { devices, ..read })
    }

    /// The limits that are in force, as they were when everything was read last, or as `read` finds them. That must not look
    /// at the container's record: whoever holds it may close this.
    pub(crate) fn limits(&self, read: impl FnOnce() -> Option<Resources>) -> Option<Resources> {
        let mut state = lock(&self.0);
        let Some(last) = &mut state.last else { return read() };
        if last.limits.is_none() {
            last.limits = read().map(Box::new);
        }
        last.limits.as_deref().cloned()
    }

    /// What the processes hold: where nothing has run since the last reading, what was seen by then.
    pub(crate) fn look_at(&self, account: &Account<'_>) -> Processes {
        let mut state = lock(&self.0);
        if let Some(known) = state.last.as_ref().and_then(|last| last.looked_at) {
            return known;
        }
        let seen = Processes::read(&account.keeper().processes(&account.path()));
        if let Some(last) = &mut state.last {
            last.looked_at = Some(seen);
        }
        seen
    }

    /// Reads everything the next time: limits are new.
    fn forget(&self) {
        lock(&self.0).last = None;
    }

    /// Closes the files for good.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.0);
        state.closed = true;
        (state.meter, state.last) = (None, None);
    }
}

/// The limits of a pod or of a container of it are new: one's show at the other.
pub(crate) fn limits_changed(registry: &Registry, pod: &Pod) {
    pod.sampler.forget();
    registry.containers_of(&pod.id).iter().for_each(|container| container.sampler.forget());
}

impl State {
    /// Keeps what was read.
    fn note(&mut self, reading: Reading, now: Instant, above: Option<u64>) {
        match (reading, &mut self.last) {
            (Reading::Idle(stats), Some(last)) => {
                last.stats = stats;
                last.above = above.or(last.above);
            }
            (Reading::Idle(stats) | Reading::Whole(stats), last) => {
                let is_same = |last: &Last| {
                    (last.stats.cpu_usage_ns, last.stats.memory_usage)
                        == (stats.cpu_usage_ns, stats.memory_usage)
                };
                let slept = last.as_deref().is_some_and(is_same);
                self.runs += u64::from(!slept);
                let holds = if slept { HOLDS + spread() } else { SETTLES };
                *last = Some(Box::new(Last {
                    stats,
                    above,
                    until: now + holds,
                    processes: None,
                    detail: None,
                    looked_at: None,
                    limits: None,
                }));
            }
        }
    }

    fn rate(&mut self, now: Instant, used: u64, age_ns: i64) -> u64 {
        match self.base {
            None => self.rate = a_second(used, u128::try_from(age_ns).unwrap_or(0)),
            Some((then, before)) if now.duration_since(then) >= WINDOW => {
                self.rate = a_second(used.saturating_sub(before), now.duration_since(then).as_nanos());
            }
            Some(_) => return self.rate,
        }
        self.base = Some((now, used));
        self.rate
    }
}

impl Last {
    fn since(&self, now: Instant, above: Option<u64>) -> Since<'_> {
        match above {
            _ if now >= self.until => Since::Nothing,
            Some(runs) if self.above == Some(runs) => Since::Idle(&self.stats),
            _ => Since::Last(&self.stats),
        }
    }
}

/// A different one each time.
fn spread() -> Duration {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    Duration::from_secs(SPREAD.into()) * (NEXT.fetch_add(1, Ordering::Relaxed) % 64) / 64
}

fn a_second(used_ns: u64, in_ns: u128) -> u64 {
    let rate = (u128::from(used_ns) * 1_000_000_000).checked_div(in_ns).unwrap_or(0);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_of_a_window_and_not_of_an_instant() {
        let mut state = State::default();
        let begin = Instant::now();
        let second = Duration::from_secs(1);
        assert_eq!(state.rate(begin, 500, 1_000_000_000), 500, "since the start");
        assert_eq!(state.rate(begin + second / 100, 90_000, 0), 500, "too early for another");
        assert_eq!(state.rate(begin + 2 * second, 2_500, 0), 1_000);
        assert_eq!(state.rate(begin + 4 * second, 2_500, 0), 0);
        assert_eq!(state.rate(begin + 6 * second, 100, 0), 0, "a counter never runs backwards");
    }

    #[test]
    fn ages_that_make_no_sense_give_no_rate() {
        assert_eq!(a_second(7, 0), 0);
        assert_eq!(State::default().rate(Instant::now(), 7, -5), 0);
    }

    fn stats(cpu_usage_ns: u64, memory_rss: u64) -> Stats {
        Stats { cpu_usage_ns, memory_rss, ..Stats::default() }
    }

    fn is_from(state: &State, now: Instant, above: Option<u64>) -> &'static str {
        match state.last.as_ref().map_or(Since::Nothing, |last| last.since(now, above)) {
            Since::Nothing => "nothing",
            Since::Last(_) => "the last",
            Since::Idle(_) => "the last, and it is known to be idle",
        }
    }

    #[test]
    fn a_reading_holds_shortly_after_something_ran_and_longer_where_it_sleeps() {
        let (mut state, begin) = (State::default(), Instant::now());
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        assert_eq!(is_from(&state, begin, None), "nothing");
        state.note(Reading::Whole(stats(5, 1)), begin, None);
        assert_eq!((state.runs, is_from(&state, at(1), None)), (1, "the last"));
        assert_eq!(is_from(&state, at(2), None), "nothing", "the kernel had not added up yet");
        state.note(Reading::Whole(stats(5, 2)), at(2), None);
        assert_eq!((state.runs, is_from(&state, at(21), None)), (1, "the last"));
        state.note(Reading::Idle(stats(5, 2)), at(21), None);
        assert_eq!(is_from(&state, at(32), None), "nothing", "however often it was looked at");
        state.note(Reading::Whole(stats(6, 2)), at(22), None);
        assert_eq!(state.runs, 2);
    }

    #[test]
    fn what_lies_below_is_idle_as_long_as_the_one_above_has_not_run() {
        let (mut state, now) = (State::default(), Instant::now());
        state.note(Reading::Whole(stats(5, 1)), now, Some(3));
        assert_eq!(is_from(&state, now, Some(3)), "the last, and it is known to be idle");
        assert_eq!(is_from(&state, now, Some(4)), "the last");
        assert_eq!(is_from(&state, now, None), "the last");
        state.note(Reading::Idle(stats(5, 1)), now, Some(4));
        assert_eq!(is_from(&state, now, Some(4)), "the last, and it is known to be idle");
    }

    #[test]
    fn what_is_read_together_is_not_read_together_again() {
        let found: std::collections::BTreeSet<_> = (0..64).map(|_| spread()).collect();
        assert!(found.len() > 32 && found.iter().all(|spread| spread.as_secs() < u64::from(SPREAD)));
    }
}
