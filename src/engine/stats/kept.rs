//! Counters that stay open, within what the daemon may have open.
//!
//! Most cgroups sleep. When descriptors run short, what is kept of one are the files that tell whether anything has run
//! in it: the others are opened where something has.

use crate::supervisor::Counters;
use oci::OciResult;
use oci::cgroup::{DeviceIo, Host, Meter, Reading, Since};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// Descriptors that all samplers together keep open at most, however many the daemon may have.
const MOST: usize = 1 << 16;

static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// The same, half of what the daemon may have; what is beyond opens its files each time.
fn most() -> usize {
    static KNOWN: OnceLock<usize> = OnceLock::new();
    *KNOWN.get_or_init(|| {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        limit.map_or(MOST, |limit| usize::try_from(limit / 2).unwrap_or(MOST).min(MOST))
    })
}

/// Counters whose descriptors are counted.
pub(super) struct Kept {
    counters: Box<dyn Counters>,
    taken: usize,
    /// All of their files are open.
    whole: bool,
    /// So is the list of their processes.
    processes: bool,
    /// And the files of their devices.
    devices: bool,
    most: usize,
}

impl Kept {
    /// Keeps all of it while half of the descriptors are free, then what tells whether anything has run, then nothing.
    pub(super) fn keep(counters: Box<dyn Counters>) -> Option<Self> {
        Self::within(counters, most())
    }

    fn within(mut counters: Box<dyn Counters>, most: usize) -> Option<Self> {
        let all = counters.descriptors();
        let whole = take(all, most / 2);
        let taken = if whole {
            all
        } else {
            counters.narrow();
            let few = counters.descriptors();
            take(few, most).then_some(few)?
        };
        Some(Self { counters, taken, whole, processes: false, devices: false, most })
    }

    /// What they say now; `open` has all of their files where they are not open here.
    pub(super) fn read(
        &self,
        since: Since<'_>,
        open: impl FnOnce() -> OciResult<Box<dyn Counters>>,
    ) -> OciResult<Option<Reading>> {
        if self.whole {
            return self.counters.read(since);
        }
        match self.counters.read_if_idle(since)? {
            Some(idle) => Ok(Some(idle)),
            None => open()?.read(Since::Nothing),
        }
    }

    /// How many processes there are; `None` where the list of them is not to be kept.
    pub(super) fn processes(&mut self) -> Option<u64> {
        if !self.processes && self.whole && take(Meter::OF_PROCESSES, self.most) {
            (self.processes, self.taken) = (true, self.taken + Meter::OF_PROCESSES);
        }
        self.processes.then(|| self.counters.processes())
    }

    /// Input and output by device; `None` where the accounts are to be asked.
    pub(super) fn devices(&mut self, host: &Arc<Host>) -> OciResult<Option<Vec<DeviceIo>>> {
        if !self.devices && take(Meter::OF_DEVICES, self.most) {
            (self.devices, self.taken) = (true, self.taken + Meter::OF_DEVICES);
        }
        if self.devices { self.counters.devices(host) } else { Ok(None) }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        TAKEN.fetch_sub(self.taken, Ordering::Relaxed);
    }
}

/// Takes so many if there are no more than `most` then.
fn take(count: usize, most: usize) -> bool {
    let within = |taken: usize| Some(taken + count).filter(|all| *all <= most);
    TAKEN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use oci::cgroup::Stats;

    /// Four files, of which two are read each time.
    struct Files(usize);

    impl Counters for Files {
        fn descriptors(&self) -> usize {
            self.0
        }

        fn narrow(&mut self) {
            self.0 = 2;
        }

        fn read(&self, _: Since<'_>) -> OciResult<Option<Reading>> {
            assert_eq!(self.0, 4, "what is closed is not read");
            Ok(Some(Reading::Whole(Stats { pids: 7, ..Stats::default() })))
        }

        fn read_if_idle(&self, since: Since<'_>) -> OciResult<Option<Reading>> {
            Ok(match since {
                Since::Idle(last) => Some(Reading::Idle(*last)),
                _ => None,
            })
        }

        fn processes(&self) -> u64 {
            3
        }
    }

    fn files() -> Box<dyn Counters> {
        Box::new(Files(4))
    }

    #[test]
    fn less_is_kept_as_descriptors_run_short() {
        let most = 12;
        let keep = || Kept::within(files(), most);
        let mut first = keep().unwrap();
        assert_eq!((first.whole, first.processes()), (true, Some(3)), "4 and 2 of 12");
        let mut second = keep().unwrap();
        assert_eq!((second.whole, second.processes()), (false, None), "8 of 12");
        let (third, fourth) = (keep().unwrap(), keep().unwrap());
        assert!(!third.whole && !fourth.whole && keep().is_none(), "12 of 12");
        drop((first, third, fourth));
        assert!(keep().unwrap().whole);
    }

    #[test]
    fn what_is_closed_is_opened_where_something_ran() {
        let known = Stats { pids: 5, ..Stats::default() };
        let kept = Kept::within(files(), 4).unwrap();
        let pids = |since| kept.read(since, || Ok(files())).unwrap().unwrap().stats().pids;
        assert_eq!((kept.whole, pids(Since::Idle(&known)), pids(Since::Last(&known))), (false, 5, 7));
    }
}
