//! Limits in the spec's terms.

use super::settings::Settings;
use crate::error::{OciError, OciResult};
use model::Resources;
use oci_spec::runtime::{
    LinuxCpu, LinuxDeviceCgroup, LinuxDeviceType, LinuxHugepageLimit, LinuxMemory, LinuxPids, LinuxResources,
};

/// The limits of a request; 0 is no limit in all of its fields. Also for UpdateContainerResources.
///
/// # Errors
/// [`OciError::Invalid`] naming the field for values that no kernel takes.
pub fn resources(request: &Resources, settings: &Settings, all_devices: bool) -> OciResult<LinuxResources> {
    let mut devices = LinuxDeviceCgroup::default();
    devices.set_allow(all_devices).set_typ(Some(LinuxDeviceType::A)).set_access(Some("rwm".to_owned()));
    let mut limits = LinuxResources::default();
    limits.set_devices(Some(vec![devices])).set_cpu(Some(cpu(request)?)).set_memory(memory(request)?);
    limits.set_pids((settings.pids_limit > 0).then(|| {
        let mut pids = LinuxPids::default();
        pids.set_limit(settings.pids_limit);
        pids
    }));
    if !request.hugepages.is_empty() {
        let pages = request.hugepages.iter().map(|(size, bytes)| {
            let mut limit = LinuxHugepageLimit::default();
            limit.set_page_size(size.clone()).set_limit(i64::try_from(*bytes).unwrap_or(i64::MAX));
            limit
        });
        limits.set_hugepage_limits(Some(pages.collect()));
    }
    if !request.unified.is_empty() {
        limits.set_unified(Some(request.unified.clone().into_iter().collect()));
    }
    Ok(limits)
}

fn cpu(request: &Resources) -> OciResult<LinuxCpu> {
    let mut cpu = LinuxCpu::default();
    cpu.set_shares(unsigned("cpu_shares", request.cpu_shares)?)
        .set_period(unsigned("cpu_period", request.cpu_period)?)
        .set_quota((request.cpu_quota != 0).then_some(request.cpu_quota))
        .set_cpus((!request.cpuset_cpus.is_empty()).then(|| request.cpuset_cpus.clone()))
        .set_mems((!request.cpuset_mems.is_empty()).then(|| request.cpuset_mems.clone()));
    Ok(cpu)
}

/// A memory limit without a word about swap allows none: the kernel would allow as much again.
fn memory(request: &Resources) -> OciResult<Option<LinuxMemory>> {
    let (limit, swap) = (request.memory_limit, request.memory_swap_limit);
    if limit < 0 && limit != -1 {
        return Err(OciError::invalid("linux.resources.memory_limit_in_bytes", "is negative"));
    }
    if swap > 0 && swap < limit {
        return Err(OciError::invalid(
            "linux.resources.memory_swap_limit_in_bytes",
            "is below the memory limit, which it includes",
        ));
    }
    if limit == 0 && swap == 0 {
        return Ok(None);
    }
    let swap = if swap == 0 { limit } else { swap };
    let mut memory = LinuxMemory::default();
    memory.set_limit((limit != 0).then_some(limit)).set_swap(Some(swap));
    Ok(Some(memory))
}

fn unsigned(field: &str, value: i64) -> OciResult<Option<u64>> {
    match u64::try_from(value) {
        Ok(0) => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(_) => Err(OciError::invalid(format!("linux.resources.{field}"), "is negative")),
    }
}
