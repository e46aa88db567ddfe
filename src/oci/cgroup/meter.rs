//! The files that count a cgroup's usage, kept open: one read a file, without a path to walk.
//!
//! Most cgroups sleep most of the time, and what the kernel adds up for `memory.stat` costs more than everything else.
//! Where neither the CPU time, to the nanosecond (v2: microsecond), nor the memory has changed, nothing has run, and
//! what only changes where something runs is what it was.

use super::device_io::{DeviceIo, Devices};
use super::members::Members;
use super::stats::{Stats, number, of_v1, of_v2, pressures, used_cpu};
use super::{CgroupPath, Host};
use crate::error::{OciError, OciResult};
use rustix::io::Errno;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::OnceLock;

/// Controller of v1 and file.
const V1: [(&str, &str); 4] = [
    ("cpuacct", "cpuacct.usage"),
    ("memory", "memory.usage_in_bytes"),
    ("memory", "memory.stat"),
    ("pids", "pids.current"),
];

const V2: [&str; 10] = [
    "cpu.stat",
    "memory.current",
    "memory.stat",
    "pids.current",
    "memory.max",
    "memory.swap.current",
    "memory.swap.max",
    "cpu.pressure",
    "memory.pressure",
    "io.pressure",
];

/// Those that tell whether anything ran.
const TELLING: Range<usize> = 0..2;
/// Those that nothing changes where nothing runs.
const SETTLED: Range<usize> = 2..7;
/// Those that change with time alone.
const PRESSURES: Range<usize> = 7..V2.len();

/// More than any of the files holds; each is made whole for one read.
const BUFFER: usize = 16 << 10;
/// More than those hold that tell whether anything ran, or pressures.
const SMALL: usize = 2 << 10;

/// A cgroup's counters, open. Holds up to ten descriptors, and those of its processes and devices.
#[derive(Debug)]
pub struct Meter {
    unified: bool,
    /// In the order of the tables; absent where the host does not have the file.
    files: Vec<Option<OwnedFd>>,
    /// Where its processes are listed; `None` where nothing lists them.
    dir: Option<PathBuf>,
    /// Opened when they are counted first.
    members: OnceLock<Option<Members>>,
    /// Opened when they are asked for first.
    devices: OnceLock<Devices>,
    path: CgroupPath,
}

/// What is known of a cgroup from before.
#[derive(Debug, Clone, Copy)]
pub enum Since<'a> {
    /// Nothing: everything is read.
    Nothing,
    /// The last reading: everything is read if something ran since.
    Last(&'a Stats),
    /// The last reading, and that nothing ran since, because nothing ran in the cgroup above.
    Idle(&'a Stats),
}

/// One reading.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reading {
    /// Everything was read.
    Whole(Stats),
    /// Nothing ran since the last one, whose figures hold.
    Idle(Stats),
}

impl Reading {
    /// What it says.
    pub fn stats(self) -> Stats {
        match self {
            Self::Whole(stats) | Self::Idle(stats) => stats,
        }
    }
}

/// What the files say; empty for those that are not there.
#[derive(Debug, Default)]
pub(super) struct Counters<'a> {
    pub(super) cpu: &'a str,
    pub(super) memory: &'a str,
    pub(super) memory_stat: &'a str,
    pub(super) pids: &'a str,
    pub(super) memory_max: &'a str,
    pub(super) swap: &'a str,
    pub(super) swap_max: &'a str,
    pub(super) cpu_pressure: &'a str,
    pub(super) memory_pressure: &'a str,
    pub(super) io_pressure: &'a str,
}

impl Meter {
    pub(super) fn open(host: &Host, path: &CgroupPath) -> OciResult<Self> {
        let relative = path.relative();
        let files = match host.unified() {
            Some(v2) => V2.iter().map(|file| v2.reader(relative, file)).collect::<OciResult<_>>()?,
            None => {
                let open = |(controller, file): &(&str, &str)| match host.v1_of(controller) {
                    Some(hierarchy) => hierarchy.reader(relative, file),
                    None => Ok(None),
                };
                V1.iter().map(open).collect::<OciResult<_>>()?
            }
        };
        let dir = host.listing().map(|hierarchy| hierarchy.path(relative));
        let (members, devices) = (OnceLock::new(), OnceLock::new());
        Ok(Self { unified: host.is_unified(), files, dir, members, devices, path: path.clone() })
    }

    /// Descriptors that it opens, and keeps, when its processes are counted first.
    pub const OF_PROCESSES: usize = Members::DESCRIPTORS;
    /// The same when its devices are asked for first, at most.
    pub const OF_DEVICES: usize = Devices::DESCRIPTORS;

    /// How many descriptors it holds from the start.
    pub fn descriptors(&self) -> usize {
        self.files.iter().flatten().count()
    }

    /// Closes the files that are read only where something has run, for want of descriptors. From now on
    /// [`Meter::read_if_idle`] tells whether something has, and nothing else.
    pub fn narrow(&mut self) {
        self.files.iter_mut().take(SETTLED.end).skip(SETTLED.start).for_each(|file| *file = None);
    }

    /// Its input and output by device, on the host on which it was opened; nothing once the cgroup is gone.
    ///
    /// # Errors
    /// [`OciError::Io`].
    pub fn devices(&self, host: &Host) -> OciResult<Vec<DeviceIo>> {
        match self.devices.get() {
            Some(opened) => opened.read(),
            None => {
                let opened = Devices::open(host, self.path.relative())?;
                self.devices.get_or_init(|| opened).read()
            }
        }
    }

    /// How many processes the cgroup and those below it have; none once it is gone.
    pub fn processes(&self) -> u64 {
        let Some(dir) = &self.dir else { return 0 };
        let members = self.members.get_or_init(|| Members::open(dir));
        let counted = members.as_ref().and_then(Members::count);
        counted.unwrap_or_else(|| sys::cgroup::processes(dir).len() as u64)
    }

    /// The usage now; `None` when the cgroup is gone.
    ///
    /// # Errors
    /// [`OciError::Io`].
    pub fn read(&self) -> OciResult<Option<Stats>> {
        Ok(self.read_since(Since::Nothing)?.map(Reading::stats))
    }

    /// The same, with what is known from before.
    ///
    /// # Errors
    /// [`OciError::Io`].
    pub fn read_since(&self, since: Since<'_>) -> OciResult<Option<Reading>> {
        let (mut small, mut texts) = ([0; SMALL], Texts::default());
        let last = match since {
            Since::Idle(last) => return self.idle(last),
            Since::Last(last) => Some(last),
            Since::Nothing => None,
        };
        if self.files.iter().all(Option::is_none) || !self.fill(TELLING, &mut small, &mut texts)? {
            return Ok(None);
        }
        if let Some(last) = last.filter(|last| self.is_idle(last, &texts)) {
            return self.idle(last);
        }
        let mut buffer = [0; BUFFER];
        if !self.fill(SETTLED.start..PRESSURES.end, &mut buffer, &mut texts)? {
            return Ok(None);
        }
        let counters = texts.counters();
        Ok(Some(Reading::Whole(if self.unified { of_v2(&counters) } else { of_v1(&counters) })))
    }

    /// The same where nothing has run since; `None` where something may have, or the cgroup is gone.
    ///
    /// # Errors
    /// [`OciError::Io`].
    pub fn read_if_idle(&self, since: Since<'_>) -> OciResult<Option<Reading>> {
        let last = match since {
            Since::Nothing => return Ok(None),
            Since::Idle(last) => return self.idle(last),
            Since::Last(last) => last,
        };
        let (mut small, mut texts) = ([0; SMALL], Texts::default());
        let idle = self.fill(TELLING, &mut small, &mut texts)? && self.is_idle(last, &texts);
        if idle { self.idle(last) } else { Ok(None) }
    }

    /// Whether nothing has run since the last reading. Where CPU time is not counted, nothing tells.
    fn is_idle(&self, last: &Stats, texts: &Texts<'_>) -> bool {
        let counters = texts.counters();
        let counted = self.files.first().is_some_and(Option::is_some);
        counted
            && last.cpu_usage_ns == used_cpu(counters.cpu, self.unified)
            && last.memory_usage == number(counters.memory)
    }

    /// The last reading, of a cgroup in which nothing has run since.
    fn idle(&self, last: &Stats) -> OciResult<Option<Reading>> {
        let (mut buffer, mut texts) = ([0; SMALL], Texts::default());
        let mut stats = *last;
        if self.unified {
            if !self.fill(PRESSURES, &mut buffer, &mut texts)? {
                return Ok(None);
            }
            pressures(&texts.counters(), &mut stats);
        }
        Ok(Some(Reading::Idle(stats)))
    }

    /// Reads some of the files, one after the other into the buffer; false when the cgroup is gone.
    fn fill<'b>(&self, which: Range<usize>, buffer: &'b mut [u8], texts: &mut Texts<'b>) -> OciResult<bool> {
        let mut free = buffer;
        let places = texts.0.get_mut(which.clone()).unwrap_or_default();
        for (file, text) in self.files.iter().skip(which.start).zip(places) {
            let Some(file) = file else { continue };
            let count = match rustix::io::pread(file, &mut *free, 0) {
                Ok(count) => count,
                // The cgroup went away.
                Err(Errno::NODEV) => return Ok(false),
                // Pressure that is compiled in and switched off.
                Err(Errno::OPNOTSUPP) => 0,
                Err(error) => {
                    return Err(OciError::io("read a counter of", self.path.to_string())(error));
                }
            };
            let (read, rest) = free.split_at_mut(count.min(free.len()));
            free = rest;
            *text = std::str::from_utf8(read).unwrap_or_default();
        }
        Ok(true)
    }
}

/// What the files say, in the order of the tables.
#[derive(Debug, Default)]
struct Texts<'a>([&'a str; V2.len()]);

impl<'a> Texts<'a> {
    fn counters(&self) -> Counters<'a> {
        let [
            cpu,
            memory,
            memory_stat,
            pids,
            memory_max,
            swap,
            swap_max,
            cpu_pressure,
            memory_pressure,
            io_pressure,
        ] = self.0;
        Counters {
            cpu,
            memory,
            memory_stat,
            pids,
            memory_max,
            swap,
            swap_max,
            cpu_pressure,
            memory_pressure,
            io_pressure,
        }
    }
}
