//! The counters that only the metrics show, read when they are scraped.

use super::device_io::{DeviceIo, Devices};
use super::files::Hierarchy;
use super::stats::{field, fields, number};
use super::{CgroupPath, Host};
use crate::error::OciResult;
use std::sync::OnceLock;

/// More of what a cgroup uses; `None` and empty where the host counts nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Detail {
    /// CPU time in user mode, in nanoseconds.
    pub cpu_user_ns: u64,
    /// CPU time in the kernel, in nanoseconds.
    pub cpu_system_ns: u64,
    /// What the CPU quota did.
    pub throttling: Throttling,
    /// Page cache, in bytes.
    pub cache: u64,
    /// Mapped files, in bytes.
    pub mapped_file: u64,
    /// Page cache in use, in bytes.
    pub active_file: u64,
    /// Page cache not used lately, in bytes.
    pub inactive_file: u64,
    /// The kernel's own memory for it, in bytes.
    pub kernel: Option<u64>,
    /// The most memory that it ever had, in bytes.
    pub peak: Option<u64>,
    /// How often the memory limit was hit.
    pub limit_hits: u64,
    /// Page faults of the cgroup itself, without those below it; v1 only.
    pub own_faults: Option<(u64, u64)>,
    /// Processes ended for want of memory.
    pub oom_kills: u64,
    /// Most processes and threads; `None`: no limit.
    pub pids_max: Option<u64>,
    /// By page size.
    pub huge_pages: Vec<HugePages>,
    /// By device.
    pub devices: Vec<DeviceIo>,
}

/// What the CPU quota did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Throttling {
    /// Periods that passed.
    pub periods: u64,
    /// Periods in which it was throttled.
    pub throttled_periods: u64,
    /// Time for which it was throttled, in nanoseconds.
    pub throttled_ns: u64,
    /// Periods in which it ran on saved-up quota.
    pub burst_periods: u64,
    /// Time for which it did, in nanoseconds.
    pub burst_ns: u64,
}

/// Huge pages of one size.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HugePages {
    /// Such as `2MB`.
    pub size: String,
    /// Bytes.
    pub usage: u64,
    /// The most bytes ever; v1 only.
    pub peak: Option<u64>,
    /// How often the limit was hit.
    pub limit_hits: u64,
}

impl Host {
    /// Reads the detailed counters of a cgroup.
    ///
    /// # Errors
    /// [`crate::OciError::Io`]; an absent cgroup counts nothing.
    pub fn detail(&self, path: &CgroupPath) -> OciResult<Detail> {
        match self.unified() {
            Some(v2) => detail_v2(self, v2, path.relative()),
            None => self.detail_v1(path.relative()),
        }
    }

    pub(super) fn detail_v1(&self, path: &str) -> OciResult<Detail> {
        let read = |controller: &str, file: &str| match self.v1_of(controller) {
            Some(hierarchy) => hierarchy.read(path, file),
            None => Ok(None),
        };
        let value = |controller: &str, file: &str| -> OciResult<Option<u64>> {
            Ok(read(controller, file)?.map(|text| number(&text)))
        };
        let stat = read("memory", "memory.stat")?.unwrap_or_default();
        let cpu = read("cpu", "cpu.stat")?.unwrap_or_default();
        let mut huge_pages = Vec::new();
        for size in page_sizes() {
            let file = |name: &str| format!("hugetlb.{size}.{name}");
            let Some(usage) = value("hugetlb", &file("usage_in_bytes"))? else { continue };
            huge_pages.push(HugePages {
                size: size.clone(),
                usage,
                peak: value("hugetlb", &file("max_usage_in_bytes"))?,
                limit_hits: value("hugetlb", &file("failcnt"))?.unwrap_or(0),
            });
        }
        Ok(Detail {
            cpu_user_ns: value("cpuacct", "cpuacct.usage_user")?.unwrap_or(0),
            cpu_system_ns: value("cpuacct", "cpuacct.usage_sys")?.unwrap_or(0),
            throttling: Throttling {
                periods: field(&cpu, "nr_periods"),
                throttled_periods: field(&cpu, "nr_throttled"),
                throttled_ns: field(&cpu, "throttled_time"),
                burst_periods: field(&cpu, "nr_bursts"),
                burst_ns: field(&cpu, "burst_time"),
            },
            cache: field(&stat, "total_cache"),
            mapped_file: field(&stat, "total_mapped_file"),
            active_file: field(&stat, "total_active_file"),
            inactive_file: field(&stat, "total_inactive_file"),
            kernel: value("memory", "memory.kmem.usage_in_bytes")?,
            peak: value("memory", "memory.max_usage_in_bytes")?,
            limit_hits: value("memory", "memory.failcnt")?.unwrap_or(0),
            own_faults: Some((field(&stat, "pgfault"), field(&stat, "pgmajfault"))),
            oom_kills: field(&read("memory", "memory.oom_control")?.unwrap_or_default(), "oom_kill"),
            pids_max: read("pids", "pids.max")?.and_then(|text| text.trim().parse().ok()),
            huge_pages,
            devices: Devices::open(self, path)?.read()?,
        })
    }
}

fn detail_v2(host: &Host, v2: &Hierarchy, path: &str) -> OciResult<Detail> {
    let read = |file: &str| v2.read(path, file).map(Option::unwrap_or_default);
    let (cpu, stat, events) = (read("cpu.stat")?, read("memory.stat")?, read("memory.events")?);
    let ns = |name: &str| field(&cpu, name).saturating_mul(1000);
    let mut huge_pages = Vec::new();
    for size in page_sizes() {
        let Some(usage) = v2.read(path, &format!("hugetlb.{size}.current"))? else { continue };
        let limit_hits = field(&read(&format!("hugetlb.{size}.events"))?, "max");
        huge_pages.push(HugePages { size: size.clone(), usage: number(&usage), peak: None, limit_hits });
    }
    Ok(Detail {
        cpu_user_ns: ns("user_usec"),
        cpu_system_ns: ns("system_usec"),
        throttling: Throttling {
            periods: field(&cpu, "nr_periods"),
            throttled_periods: field(&cpu, "nr_throttled"),
            throttled_ns: ns("throttled_usec"),
            burst_periods: field(&cpu, "nr_bursts"),
            burst_ns: ns("burst_usec"),
        },
        cache: field(&stat, "file"),
        mapped_file: field(&stat, "file_mapped"),
        active_file: field(&stat, "active_file"),
        inactive_file: field(&stat, "inactive_file"),
        kernel: fields(&stat).find(|(name, _)| *name == "kernel").map(|(_, value)| value),
        peak: v2.read(path, "memory.peak")?.map(|text| number(&text)),
        limit_hits: field(&events, "max"),
        own_faults: None,
        oom_kills: field(&events, "oom_kill"),
        pids_max: read("pids.max")?.trim().parse().ok(),
        huge_pages,
        devices: Devices::open(host, path)?.read()?,
    })
}

/// The huge pages that this machine has, as cgroup files name them.
pub(super) fn page_sizes() -> &'static [String] {
    static SIZES: OnceLock<Vec<String>> = OnceLock::new();
    SIZES.get_or_init(|| {
        let entries = std::fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
        let mut sizes: Vec<u64> = entries
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()
            })
            .collect();
        sizes.sort_unstable();
        sizes.into_iter().map(page_size).collect()
    })
}

fn page_size(kib: u64) -> String {
    match kib {
        kib if kib >= 1 << 20 => format!("{}GB", kib >> 20),
        kib if kib >= 1 << 10 => format!("{}MB", kib >> 10),
        kib => format!("{kib}KB"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn page_sizes_are_named_as_cgroups_name_them() {
        assert_eq!([64, 2048, 1 << 20].map(page_size), ["64KB", "2MB", "1GB"]);
    }
}
