//! What a cgroup uses, from the files of either version.

use super::meter::{Counters, Meter};
use super::{CgroupPath, Host};
use crate::error::OciResult;

/// Usage at one moment; 0 where the host counts nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Stats {
    /// CPU time since the start, in nanoseconds.
    pub cpu_usage_ns: u64,
    /// Time lost waiting for a CPU (v2 with PSI only, as all pressures).
    pub cpu_pressure: Option<Pressure>,
    /// Memory charged, page cache included, in bytes.
    pub memory_usage: u64,
    /// The same without the page cache that has not been used lately: what the kubelet evicts by.
    pub memory_working_set: u64,
    /// The limit in bytes; on v1 the least of its own and those above it. `None`: no limit.
    pub memory_limit: Option<u64>,
    /// Anonymous memory, in bytes.
    pub memory_rss: u64,
    /// Page faults.
    pub page_faults: u64,
    /// Page faults that read from a device.
    pub major_page_faults: u64,
    /// Time lost waiting for memory.
    pub memory_pressure: Option<Pressure>,
    /// Bytes swapped out; `None` where the host does not count swap.
    pub swap_usage: Option<u64>,
    /// Most bytes of swap; `None`: no limit.
    pub swap_limit: Option<u64>,
    /// Time lost waiting for input and output.
    pub io_pressure: Option<Pressure>,
    /// Processes and threads.
    pub pids: u64,
}

/// Pressure stall information of one resource (the kernel's `Documentation/accounting/psi.rst`).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Pressure {
    /// At least one process waited.
    pub some: Stall,
    /// All processes waited.
    pub full: Stall,
}

/// One line of a pressure file.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Stall {
    /// Percentage of the last 10 s.
    pub avg10: f64,
    /// Percentage of the last 60 s.
    pub avg60: f64,
    /// Percentage of the last 300 s.
    pub avg300: f64,
    /// Since the start, in microseconds.
    pub total_us: u64,
}

/// v1 writes "no limit" as the largest number of pages.
pub(super) const V1_UNLIMITED: u64 = 1 << 62;

impl Host {
    /// Opens the files that count a cgroup's usage, to be read again and again. Those of a cgroup that goes away
    /// later read as nothing.
    ///
    /// # Errors
    /// [`crate::OciError::Io`], such as for want of descriptors; an absent cgroup is no error.
    pub fn meter(&self, path: &CgroupPath) -> OciResult<Meter> {
        Meter::open(self, path)
    }

    /// Reads the usage of a container's cgroup once.
    ///
    /// # Errors
    /// [`crate::OciError::Io`]; an absent cgroup uses nothing.
    pub fn stats(&self, path: &CgroupPath) -> OciResult<Stats> {
        Ok(self.meter(path)?.read()?.unwrap_or_default())
    }

    /// How many processes of a container the kernel's OOM killer has ended.
    ///
    /// # Errors
    /// [`crate::OciError::Io`]; an absent cgroup has none.
    pub fn oom_count(&self, path: &CgroupPath) -> OciResult<u64> {
        let relative = path.relative();
        let text = match (self.unified(), self.v1_of("memory")) {
            (Some(v2), _) => v2.read(relative, "memory.events")?,
            (None, Some(memory)) => memory.read(relative, "memory.oom_control")?,
            (None, None) => None,
        };
        Ok(field(&text.unwrap_or_default(), "oom_kill"))
    }
}

/// From what v1's files say.
pub(super) fn of_v1(counters: &Counters<'_>) -> Stats {
    let mut stats = Stats {
        cpu_usage_ns: used_cpu(counters.cpu, false),
        memory_usage: number(counters.memory),
        pids: number(counters.pids),
        ..Stats::default()
    };
    let (mut inactive, mut swap, mut limit, mut both) = (0, None, 0, 0);
    for (name, value) in fields(counters.memory_stat) {
        match name {
            "total_inactive_file" => inactive = value,
            "total_rss" => stats.memory_rss = value,
            "total_pgfault" => stats.page_faults = value,
            "total_pgmajfault" => stats.major_page_faults = value,
            "total_swap" => swap = Some(value),
            "hierarchical_memory_limit" => limit = value,
            "hierarchical_memsw_limit" => both = value,
            _ => {}
        }
    }
    stats.memory_working_set = stats.memory_usage.saturating_sub(inactive);
    stats.memory_limit = Some(limit).filter(|limit| (1..V1_UNLIMITED).contains(limit));
    stats.swap_usage = swap;
    let limited = |limit: u64| (1..V1_UNLIMITED).contains(&both).then(|| both.saturating_sub(limit));
    stats.swap_limit = stats.memory_limit.and_then(limited);
    stats
}

/// From what v2's files say.
pub(super) fn of_v2(counters: &Counters<'_>) -> Stats {
    let mut stats = Stats {
        cpu_usage_ns: used_cpu(counters.cpu, true),
        memory_usage: number(counters.memory),
        memory_limit: counters.memory_max.trim().parse().ok(),
        swap_usage: counters.swap.trim().parse().ok(),
        swap_limit: counters.swap_max.trim().parse().ok(),
        pids: number(counters.pids),
        ..Stats::default()
    };
    pressures(counters, &mut stats);
    let mut inactive = 0;
    for (name, value) in fields(counters.memory_stat) {
        match name {
            "inactive_file" => inactive = value,
            "anon" => stats.memory_rss = value,
            "pgfault" => stats.page_faults = value,
            "pgmajfault" => stats.major_page_faults = value,
            _ => {}
        }
    }
    stats.memory_working_set = stats.memory_usage.saturating_sub(inactive);
    stats
}

/// CPU time in nanoseconds, from v1's file of one number or v2's of several.
pub(super) fn used_cpu(text: &str, unified: bool) -> u64 {
    if unified { field(text, "usage_usec").saturating_mul(1000) } else { number(text) }
}

/// Time lost waiting; v2 only.
pub(super) fn pressures(counters: &Counters<'_>, stats: &mut Stats) {
    stats.cpu_pressure = pressure(counters.cpu_pressure);
    stats.memory_pressure = pressure(counters.memory_pressure);
    stats.io_pressure = pressure(counters.io_pressure);
}

/// A file of one number.
pub(super) fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or(0)
}

/// The lines of a file of `name value` lines.
pub(super) fn fields(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (name, value) = line.split_once(' ')?;
        Some((name, value.trim().parse().ok()?))
    })
}

/// A value of a file of `name value` lines.
pub(super) fn field(text: &str, name: &str) -> u64 {
    fields(text).find(|(known, _)| *known == name).map_or(0, |(_, value)| value)
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same for `full`, which old kernels leave out for CPUs.
fn pressure(text: &str) -> Option<Pressure> {
    let line = |kind: &str| text.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(' '));
    let some = stall(line("some")?);
    Some(Pressure { some, full: line("full").map(stall).unwrap_or_default() })
}

fn stall(line: &str) -> Stall {
    let mut stall = Stall::default();
    for (name, value) in line.split(' ').filter_map(|word| word.split_once('=')) {
        let share = || value.parse().unwrap_or(0.0);
        match name {
            "avg10" => stall.avg10 = share(),
            "avg60" => stall.avg60 = share(),
            "avg300" => stall.avg300 = share(),
            "total" => stall.total_us = value.parse().unwrap_or(0),
            _ => {}
        }
    }
    stall
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn pressure_is_read_with_and_without_full() {
        let text = "some avg10=1.50 avg60=0.25 avg300=0.00 total=12345\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=7\n";
        let both = pressure(text).unwrap();
        assert_eq!((both.some.avg10, both.some.avg60, both.some.total_us), (1.5, 0.25, 12345));
        assert_eq!((both.full.avg10, both.full.total_us), (0.5, 7));
        let some = pressure("some avg10=0.00 avg60=0.00 avg300=0.00 total=9\n").unwrap();
        assert_eq!((some.some.total_us, some.full), (9, Stall::default()));
        assert_eq!(pressure(""), None);
    }

    #[test]
    fn v1_counts_swap_as_what_is_over_memory() {
        let memory_stat = "total_swap 40\ntotal_inactive_file 30\ntotal_rss 20\ntotal_pgfault 9\n\
            total_pgmajfault 2\nhierarchical_memory_limit 1000\nhierarchical_memsw_limit 1500\n";
        let counters =
            Counters { cpu: "77\n", memory: "100\n", memory_stat, pids: "3\n", ..Counters::default() };
        let stats = of_v1(&counters);
        assert_eq!((stats.cpu_usage_ns, stats.memory_working_set, stats.memory_rss), (77, 70, 20));
        assert_eq!((stats.page_faults, stats.major_page_faults, stats.pids), (9, 2, 3));
        assert_eq!(
            (stats.memory_limit, stats.swap_usage, stats.swap_limit),
            (Some(1000), Some(40), Some(500))
        );
        let unlimited = "hierarchical_memory_limit 9223372036854771712\n";
        let stats = of_v1(&Counters { memory_stat: unlimited, ..Counters::default() });
        assert_eq!((stats.memory_limit, stats.swap_usage, stats.swap_limit), (None, None, None));
    }

    #[test]
    fn v2_has_a_file_for_everything() {
        let counters = Counters {
            cpu: "usage_usec 5\nuser_usec 3\n",
            memory: "100\n",
            memory_stat: "anon 20\ninactive_file 30\npgfault 9\npgmajfault 2\n",
            memory_max: "max\n",
            swap: "8\n",
            swap_max: "16\n",
            pids: "3\n",
            io_pressure: "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\n",
            ..Counters::default()
        };
        let stats = of_v2(&counters);
        assert_eq!((stats.cpu_usage_ns, stats.memory_working_set, stats.memory_limit), (5000, 70, None));
        assert_eq!((stats.swap_usage, stats.swap_limit), (Some(8), Some(16)));
        assert!(stats.io_pressure.is_some() && stats.cpu_pressure.is_none());
    }
}
