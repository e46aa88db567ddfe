//! Limits.

use crate::proto;
use model::{Bytes, CpuList, CpuPeriod, CpuQuota, CpuShares, HugePages, Resources};

/// The limits in force, as the interface writes them.
pub(crate) fn resources(resources: &Resources) -> proto::LinuxContainerResources {
    let list = |list: Option<&CpuList>| list.map(CpuList::to_string).unwrap_or_default();
    let pages =
        |pages: &HugePages| proto::HugepageLimit { page_size: pages.size.to_string(), limit: pages.limit };
    let unified = resources.unified.iter();
    proto::LinuxContainerResources {
        cpu_period: resources.cpu_period.map_or(0, CpuPeriod::get),
        cpu_quota: resources.cpu_quota.map_or(0, CpuQuota::get),
        cpu_shares: resources.cpu_shares.map_or(0, CpuShares::get),
        memory_limit_in_bytes: resources.memory_limit.map_or(0, Bytes::get),
        oom_score_adj: resources.oom_score_adj.get(),
        cpuset_cpus: list(resources.cpuset_cpus.as_ref()),
        cpuset_mems: list(resources.cpuset_mems.as_ref()),
        hugepage_limits: resources.hugepages.iter().map(pages).collect(),
        unified: unified.map(|(file, value)| (file.to_string(), value.clone())).collect(),
        memory_swap_limit_in_bytes: resources.memory_swap_limit.map_or(0, Bytes::get),
    }
}
