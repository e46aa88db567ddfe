//! What a container uses.

use super::files::Hierarchy;
use super::{CgroupPath, Host};
use crate::error::OciResult;

/// Usage at one moment; 0 where the host counts nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// CPU time since the start, in nanoseconds.
    pub cpu_usage_ns: u64,
    /// Memory charged, page cache included, in bytes.
    pub memory_usage: u64,
    /// The same without the page cache that has not been used lately: what the kubelet evicts by.
    pub memory_working_set: u64,
    /// The limit in bytes; `None`: no limit.
    pub memory_limit: Option<u64>,
    /// Anonymous memory, in bytes.
    pub memory_rss: u64,
    /// Page faults.
    pub page_faults: u64,
    /// Page faults that read from a device.
    pub major_page_faults: u64,
    /// Processes and threads.
    pub pids: u64,
}

/// v1 writes "no limit" as the largest number of pages.
const V1_UNLIMITED: u64 = 1 << 62;

impl Host {
    /// Reads the usage of a container's cgroup.
    ///
    /// # Errors
    /// [`crate::OciError::Io`]; an absent cgroup uses nothing.
    pub fn stats(&self, path: &CgroupPath) -> OciResult<Stats> {
        let relative = path.relative();
        match self.unified() {
            Some(v2) => stats_v2(v2, relative),
            None => self.stats_v1(relative),
        }
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

    fn stats_v1(&self, path: &str) -> OciResult<Stats> {
        let mut stats = Stats::default();
        if let Some(cpuacct) = self.v1_of("cpuacct") {
            stats.cpu_usage_ns = number(cpuacct, path, "cpuacct.usage")?;
        }
        if let Some(memory) = self.v1_of("memory") {
            stats.memory_usage = number(memory, path, "memory.usage_in_bytes")?;
            stats.memory_limit = Some(number(memory, path, "memory.limit_in_bytes")?)
                .filter(|limit| (1..V1_UNLIMITED).contains(limit));
            let text = memory.read(path, "memory.stat")?.unwrap_or_default();
            stats.memory_working_set = stats.memory_usage.saturating_sub(field(&text, "total_inactive_file"));
            stats.memory_rss = field(&text, "total_rss");
            stats.page_faults = field(&text, "total_pgfault");
            stats.major_page_faults = field(&text, "total_pgmajfault");
        }
        if let Some(pids) = self.v1_of("pids") {
            stats.pids = number(pids, path, "pids.current")?;
        }
        Ok(stats)
    }
}

fn stats_v2(v2: &Hierarchy, path: &str) -> OciResult<Stats> {
    let text = v2.read(path, "memory.stat")?.unwrap_or_default();
    let memory_usage = number(v2, path, "memory.current")?;
    let limit = v2.read(path, "memory.max")?.and_then(|text| text.trim().parse().ok());
    Ok(Stats {
        cpu_usage_ns: field(&v2.read(path, "cpu.stat")?.unwrap_or_default(), "usage_usec")
            .saturating_mul(1000),
        memory_usage,
        memory_working_set: memory_usage.saturating_sub(field(&text, "inactive_file")),
        memory_limit: limit,
        memory_rss: field(&text, "anon"),
        page_faults: field(&text, "pgfault"),
        major_page_faults: field(&text, "pgmajfault"),
        pids: number(v2, path, "pids.current")?,
    })
}

fn number(hierarchy: &Hierarchy, path: &str, file: &str) -> OciResult<u64> {
    Ok(hierarchy.read(path, file)?.and_then(|text| text.trim().parse().ok()).unwrap_or(0))
}

/// A value of a file of `name value` lines.
fn field(text: &str, name: &str) -> u64 {
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
    text.lines().find_map(value).unwrap_or(0)
}
