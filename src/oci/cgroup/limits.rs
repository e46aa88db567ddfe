//! The limits that a cgroup really has, read back from the kernel.

use super::files::Hierarchy;
use super::resources::{Resources, shares_of_weight};
use super::stats::{V1_UNLIMITED, field, number};
use super::{CgroupPath, Host};
use crate::error::{OciError, OciResult};
use model::{CpuList, HugePages};

impl Host {
    /// The limits in force, as [`Host::update`] takes them: -1 for no limit, memory and swap together, huge pages and
    /// unified keys as far as `like` names them, v2's weight as the most shares that make it. `None` where the host
    /// has no such limit or the cgroup is gone.
    ///
    /// # Errors
    /// [`OciError::Io`].
    pub fn limits(&self, path: &CgroupPath, like: &Resources) -> OciResult<Resources> {
        match self.unified() {
            Some(v2) => limits_v2(v2, path.relative(), like),
            None => self.limits_v1(path.relative(), like),
        }
    }

    fn limits_v1(&self, path: &str, like: &Resources) -> OciResult<Resources> {
        let read = |controller: &str, file: &str| match self.v1_of(controller) {
            Some(hierarchy) => text(hierarchy, path, file),
            None => Ok(None),
        };
        let signed = |controller: &str, file: &str| -> OciResult<Option<i64>> {
            Ok(read(controller, file)?.and_then(|text| text.parse().ok()))
        };
        let bytes = |file: &str| -> OciResult<Option<i64>> {
            let value = read("memory", file)?.and_then(|text| text.parse::<u64>().ok());
            Ok(value.map(|value| if value < V1_UNLIMITED { value.cast_signed() } else { -1 }))
        };
        let mut hugepages = Vec::new();
        for HugePages { size, .. } in &like.hugepages {
            let limit = read("hugetlb", &format!("hugetlb.{size}.limit_in_bytes"))?;
            hugepages.extend(limit.map(|limit| HugePages { size: size.clone(), limit: number(&limit) }));
        }
        Ok(Resources {
            cpu_shares: read("cpu", "cpu.shares")?.map(|text| number(&text)),
            cpu_quota: signed("cpu", "cpu.cfs_quota_us")?,
            cpu_period: read("cpu", "cpu.cfs_period_us")?.map(|text| number(&text)),
            cpuset_cpus: read("cpuset", "cpuset.cpus")?.and_then(|list| CpuList::new(list).ok()),
            cpuset_mems: read("cpuset", "cpuset.mems")?.and_then(|list| CpuList::new(list).ok()),
            memory_limit: bytes("memory.limit_in_bytes")?,
            memory_swap: bytes("memory.memsw.limit_in_bytes")?,
            pids_limit: read("pids", "pids.max")?.map(|text| text.parse().unwrap_or(-1)),
            hugepages,
            ..Resources::default()
        })
    }

    /// Refuses a memory limit that the container could not live with: what it uses beyond the page cache is more.
    /// v1's kernel says so itself; v2's would kill.
    pub(super) fn check_memory(&self, path: &CgroupPath, resources: &Resources) -> OciResult<()> {
        let (Some(v2), Some(limit)) = (self.unified(), resources.memory_limit.filter(|limit| *limit > 0))
        else {
            return Ok(());
        };
        let usage = number(&v2.read(path.relative(), "memory.current")?.unwrap_or_default());
        let stat = v2.read(path.relative(), "memory.stat")?.unwrap_or_default();
        let cache = field(&stat, "active_file") + field(&stat, "inactive_file");
        if usage.saturating_sub(cache) > limit.unsigned_abs() {
            return Err(OciError::BelowUsage { limit: limit.unsigned_abs(), usage });
        }
        Ok(())
    }
}

fn limits_v2(v2: &Hierarchy, path: &str, like: &Resources) -> OciResult<Resources> {
    let read = |file: &str| text(v2, path, file);
    // `max` is no number.
    let bytes = |text: String| text.parse::<i64>().unwrap_or(-1);
    let cpu = read("cpu.max")?;
    let (quota, period) = cpu.as_deref().and_then(|text| text.split_once(' ')).unzip();
    let memory_limit = read("memory.max")?.map(bytes);
    let swap = read("memory.swap.max")?.map(bytes);
    let both = |limit: i64, swap: i64| if limit < 0 || swap < 0 { -1 } else { limit.saturating_add(swap) };
    let mut hugepages = Vec::new();
    for HugePages { size, .. } in &like.hugepages {
        let limit = read(&format!("hugetlb.{size}.max"))?;
        hugepages.extend(
            limit.map(|limit| HugePages { size: size.clone(), limit: limit.parse().unwrap_or(u64::MAX) }),
        );
    }
    let mut unified = std::collections::BTreeMap::new();
    for key in like.unified.keys() {
        unified.extend(read(key.as_str())?.map(|value| (key.clone(), value)));
    }
    Ok(Resources {
        cpu_shares: read("cpu.weight")?.map(|text| shares_of_weight(number(&text))),
        cpu_quota: quota.map(|quota| quota.parse().unwrap_or(-1)),
        cpu_period: period.map(number),
        cpuset_cpus: read("cpuset.cpus")?.and_then(|list| CpuList::new(list).ok()),
        cpuset_mems: read("cpuset.mems")?.and_then(|list| CpuList::new(list).ok()),
        memory_limit,
        memory_swap: memory_limit.zip(swap).map(|(limit, swap)| both(limit, swap)),
        pids_limit: read("pids.max")?.map(bytes),
        hugepages,
        unified,
        ..Resources::default()
    })
}

fn text(hierarchy: &Hierarchy, path: &str, file: &str) -> OciResult<Option<String>> {
    Ok(hierarchy.read(path, file)?.map(|text| text.trim().to_owned()))
}
