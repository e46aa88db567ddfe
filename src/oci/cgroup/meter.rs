//! The files that count a cgroup's usage, kept open: one read a file, without a path to walk.

use super::members::Members;
use super::stats::{Stats, of_v1, of_v2};
use super::{CgroupPath, Host};
use crate::error::{OciError, OciResult};
use rustix::io::Errno;
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

/// More than any of the files holds; each is made whole for one read.
const BUFFER: usize = 16 << 10;

/// A cgroup's counters, open. Holds up to twelve descriptors.
#[derive(Debug)]
pub struct Meter {
    unified: bool,
    /// In the order of the tables; absent where the host does not have the file.
    files: Vec<Option<OwnedFd>>,
    /// Where its processes are listed; `None` where nothing lists them.
    dir: Option<PathBuf>,
    /// Opened when they are counted first.
    members: OnceLock<Option<Members>>,
    path: CgroupPath,
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
        let members = OnceLock::new();
        Ok(Self { unified: host.is_unified(), files, dir, members, path: path.clone() })
    }

    /// How many descriptors it holds at most.
    pub fn descriptors(&self) -> usize {
        self.files.iter().flatten().count() + Members::DESCRIPTORS
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
        let mut buffer = [0; BUFFER];
        let mut used = 0;
        let mut ends = [0; V2.len()];
        for (file, end) in self.files.iter().zip(&mut ends) {
            if let Some(file) = file {
                let free = buffer.get_mut(used..).unwrap_or_default();
                match rustix::io::pread(file, free, 0) {
                    Ok(count) => used += count,
                    // The cgroup went away.
                    Err(Errno::NODEV) => return Ok(None),
                    // Pressure that is compiled in and switched off.
                    Err(Errno::OPNOTSUPP) => {}
                    Err(error) => {
                        return Err(OciError::io("read a counter of", self.path.to_string())(error));
                    }
                }
            }
            *end = used;
        }
        if self.files.iter().all(Option::is_none) {
            return Ok(None);
        }
        let mut start = 0;
        let mut texts = ends.map(|end| {
            let text = buffer.get(start..end).and_then(|bytes| std::str::from_utf8(bytes).ok());
            start = end.max(start);
            text.unwrap_or_default()
        });
        let [cpu, memory, memory_stat, pids, memory_max, swap, swap_max, cpu_p, memory_p, io_p] = &mut texts;
        let counters = Counters {
            cpu,
            memory,
            memory_stat,
            pids,
            memory_max,
            swap,
            swap_max,
            cpu_pressure: cpu_p,
            memory_pressure: memory_p,
            io_pressure: io_p,
        };
        Ok(Some(if self.unified { of_v2(&counters) } else { of_v1(&counters) }))
    }
}
