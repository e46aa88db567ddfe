//! Limits in the spec's terms.

use super::settings::Settings;
use model::{Bytes, CpuList, CpuQuota, Resources};
use oci_spec::runtime::{
    LinuxCpu, LinuxDeviceCgroup, LinuxDeviceType, LinuxHugepageLimit, LinuxMemory, LinuxPids, LinuxResources,
};

/// The limits of a request. Also for UpdateContainerResources.
pub fn resources(request: &Resources, settings: &Settings, all_devices: bool) -> LinuxResources {
    let mut devices = LinuxDeviceCgroup::default();
    devices.set_allow(all_devices).set_typ(Some(LinuxDeviceType::A)).set_access(Some("rwm".to_owned()));
    let mut limits = LinuxResources::default();
    limits.set_devices(Some(vec![devices])).set_cpu(Some(cpu(request))).set_memory(memory(request));
    limits.set_pids((settings.pids_limit > 0).then(|| {
        let mut pids = LinuxPids::default();
        pids.set_limit(settings.pids_limit);
        pids
    }));
    if !request.hugepages.is_empty() {
        let pages = request.hugepages.iter().map(|pages| {
            let mut limit = LinuxHugepageLimit::default();
            limit
                .set_page_size(pages.size.to_string())
                .set_limit(i64::try_from(pages.limit).unwrap_or(i64::MAX));
            limit
        });
        limits.set_hugepage_limits(Some(pages.collect()));
    }
    if !request.unified.is_empty() {
        let files = request.unified.iter();
        limits.set_unified(Some(files.map(|(file, value)| (file.to_string(), value.clone())).collect()));
    }
    limits
}

fn cpu(request: &Resources) -> LinuxCpu {
    let mut cpu = LinuxCpu::default();
    cpu.set_shares(request.cpu_shares.map(|shares| shares.get().unsigned_abs()))
        .set_period(request.cpu_period.map(|period| period.get().unsigned_abs()))
        .set_quota(request.cpu_quota.map(CpuQuota::get))
        .set_cpus(request.cpuset_cpus.as_ref().map(CpuList::to_string))
        .set_mems(request.cpuset_mems.as_ref().map(CpuList::to_string));
    cpu
}

/// A memory limit without a word about swap allows none: the kernel would allow as much again.
fn memory(request: &Resources) -> Option<LinuxMemory> {
    let limit = request.memory_limit.map(Bytes::get);
    let swap = request.memory_swap_limit.map(Bytes::get).or(limit)?;
    let mut memory = LinuxMemory::default();
    memory.set_limit(limit).set_swap(Some(swap));
    Some(memory)
}
