//! Limits of the container's cgroup.

use super::{ApplyError, devices};
use crate::api::{HugepageLimit, LinuxCpu, LinuxMemory, LinuxResources, OptionalInt64};
use oci_spec::runtime::{self as spec, Linux};

pub(super) fn apply(linux: &mut Linux, asked: &LinuxResources) -> Result<(), ApplyError> {
    let limits = linux.resources_mut().get_or_insert_default();
    if let Some(cpu) = &asked.cpu {
        let mut held = limits.cpu().clone().unwrap_or_default();
        merge_cpu(&mut held, cpu);
        limits.set_cpu(Some(held));
    }
    if let Some(memory) = &asked.memory {
        let mut held = limits.memory().unwrap_or_default();
        merge_memory(&mut held, memory)?;
        limits.set_memory(Some(held));
    }
    if !asked.hugepage_limits.is_empty() {
        let mut held = limits.hugepage_limits().clone().unwrap_or_default();
        asked.hugepage_limits.iter().for_each(|limit| put_pages(&mut held, limit));
        limits.set_hugepage_limits(Some(held));
    }
    if !asked.unified.is_empty() {
        let mut held = limits.unified().clone().unwrap_or_default();
        held.extend(asked.unified.iter().map(|(file, value)| (file.clone(), value.clone())));
        limits.set_unified(Some(held));
    }
    if let Some(asked) = &asked.pids {
        let mut pids = spec::LinuxPids::default();
        pids.set_limit(asked.limit);
        limits.set_pids(Some(pids));
    }
    // What the cgroup could not take is told here, and not as a fault of the request.
    oci::cgroup::Resources::from_spec(limits).map_err(ApplyError::oci("linux.resources"))?;
    devices::rules(linux, &asked.devices)
}

fn put_pages(held: &mut Vec<spec::LinuxHugepageLimit>, asked: &HugepageLimit) {
    let mut made = spec::LinuxHugepageLimit::default();
    made.set_page_size(asked.page_size.clone()).set_limit(i64::try_from(asked.limit).unwrap_or(i64::MAX));
    held.retain(|known| known.page_size() != made.page_size());
    held.push(made);
}

fn merge_cpu(held: &mut spec::LinuxCpu, asked: &LinuxCpu) {
    if let Some(shares) = asked.shares {
        held.set_shares(Some(shares.value));
    }
    if let Some(quota) = asked.quota {
        held.set_quota(Some(quota.value));
    }
    if let Some(period) = asked.period {
        held.set_period(Some(period.value));
    }
    if let Some(runtime) = asked.realtime_runtime {
        held.set_realtime_runtime(Some(runtime.value));
    }
    if let Some(period) = asked.realtime_period {
        held.set_realtime_period(Some(period.value));
    }
    if !asked.cpus.is_empty() {
        held.set_cpus(Some(asked.cpus.clone()));
    }
    if !asked.mems.is_empty() {
        held.set_mems(Some(asked.mems.clone()));
    }
}

/// A new limit without a word about swap allows none, as the limit of a request does.
fn merge_memory(held: &mut spec::LinuxMemory, asked: &LinuxMemory) -> Result<(), ApplyError> {
    let value = |limit: Option<OptionalInt64>| limit.map(|limit| limit.value).filter(|limit| *limit != 0);
    if let Some(kernel) = value(asked.kernel).filter(|kernel| *kernel > 0) {
        let reason = format!("{kernel}: the kernel has no limit of its own memory any more");
        return Err(ApplyError::refused("linux.resources.memory.kernel", reason));
    }
    if let Some(limit) = value(asked.limit) {
        held.set_limit(Some(limit)).set_swap(Some(limit));
    }
    if let Some(swap) = value(asked.swap) {
        held.set_swap(Some(swap));
    }
    if let Some(reservation) = value(asked.reservation) {
        held.set_reservation(Some(reservation));
    }
    if let Some(tcp) = value(asked.kernel_tcp) {
        held.set_kernel_tcp(Some(tcp));
    }
    if let Some(swappiness) = asked.swappiness {
        held.set_swappiness(Some(swappiness.value));
    }
    if let Some(disabled) = asked.disable_oom_killer {
        held.set_disable_oom_killer(Some(disabled.value));
    }
    if let Some(hierarchy) = asked.use_hierarchy {
        held.set_use_hierarchy(Some(hierarchy.value));
    }
    Ok(())
}
