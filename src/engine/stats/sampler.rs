//! Reading a cgroup's counters again and again, and the rate between two readings.

use crate::error::EngineError;
use crate::supervisor::{Accounts, Counters};
use oci::cgroup::{CgroupPath, Stats};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};
use sys::sync::lock;

/// A rate over less than this says little: several clients that ask at once get the same one.
const WINDOW: Duration = Duration::from_secs(1);
/// Descriptors that all samplers together keep open at most, however many the daemon may have.
const KEPT_MOST: usize = 1 << 16;

static KEPT: AtomicUsize = AtomicUsize::new(0);

/// The same, half of what the daemon may have; what is beyond opens its files each time.
fn kept_most() -> usize {
    static MOST: OnceLock<usize> = OnceLock::new();
    *MOST.get_or_init(|| {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        limit.map_or(KEPT_MOST, |limit| usize::try_from(limit / 2).unwrap_or(KEPT_MOST).min(KEPT_MOST))
    })
}

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

/// The counters of one cgroup.
#[derive(Default)]
pub(crate) struct Sampler(Mutex<State>);

#[derive(Default)]
struct State {
    meter: Option<Kept>,
    closed: bool,
    base: Option<(Instant, u64)>,
    rate: u64,
}

impl Sampler {
    /// Reads the cgroup; `None` when it is gone. `since` is when it was made, as Unix time in nanoseconds.
    pub(crate) fn read(
        &self,
        accounts: &dyn Accounts,
        path: &CgroupPath,
        since: i64,
    ) -> Result<Option<Usage>, EngineError> {
        let mut state = lock(&self.0);
        if state.closed {
            return Ok(None);
        }
        let read = match &state.meter {
            Some(kept) => kept.0.read()?,
            None => {
                let meter = accounts.counters(path)?;
                let read = meter.read()?;
                state.meter = read.and_then(|_| Kept::keep(meter));
                read
            }
        };
        let Some(stats) = read else {
            state.meter = None;
            return Ok(None);
        };
        let timestamp = crate::now();
        let nano_cores = state.rate(Instant::now(), stats.cpu_usage_ns, timestamp.saturating_sub(since));
        Ok(Some(Usage { timestamp, stats, nano_cores }))
    }

    /// How many processes the cgroup has; none once the files are closed.
    pub(crate) fn processes(&self, accounts: &dyn Accounts, path: &CgroupPath) -> u64 {
        let state = lock(&self.0);
        match &state.meter {
            _ if state.closed => 0,
            Some(kept) => kept.0.processes(),
            None => accounts.processes(path).len() as u64,
        }
    }

    /// Closes the files for good.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.0);
        state.closed = true;
        state.meter = None;
    }
}

impl State {
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

fn a_second(used_ns: u64, in_ns: u128) -> u64 {
    let rate = (u128::from(used_ns) * 1_000_000_000).checked_div(in_ns).unwrap_or(0);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

/// A meter whose descriptors are counted.
struct Kept(Box<dyn Counters>);

impl Kept {
    fn keep(meter: Box<dyn Counters>) -> Option<Self> {
        let count = meter.descriptors();
        if KEPT.fetch_add(count, Ordering::Relaxed) + count > kept_most() {
            KEPT.fetch_sub(count, Ordering::Relaxed);
            return None;
        }
        Some(Self(meter))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        KEPT.fetch_sub(self.0.descriptors(), Ordering::Relaxed);
    }
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
}
