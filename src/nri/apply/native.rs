//! What the runtime spec has and the shim does not do.

use super::ApplyError;
use oci_spec::runtime::{LinuxResources, Spec};

/// Refuses what would be left out.
pub(super) fn check(spec: &Spec) -> Result<(), ApplyError> {
    let refuse = |field: &str| Err(ApplyError::refused(field, "is not supported by the native handler"));
    let linux = spec.linux().as_ref();
    let devices = linux.and_then(|linux| linux.net_devices().as_ref());
    let names = devices.into_iter().flatten().flat_map(|(host, device)| [Some(host), device.name().as_ref()]);
    if names.flatten().any(|name| name.contains('%')) {
        return refuse("linux.net_devices: a template of a name");
    }
    match linux.and_then(|linux| linux.resources().as_ref()).and_then(limit) {
        Some(field) => refuse(&format!("linux.resources.{field}")),
        None => Ok(()),
    }
}

/// The first limit that the cgroup does not get.
fn limit(limits: &LinuxResources) -> Option<&'static str> {
    let memory = limits.memory().unwrap_or_default();
    let cpu = limits.cpu().as_ref();
    let table = [
        ("memory.kernel_tcp", memory.kernel_tcp().is_some()),
        ("memory.swappiness", memory.swappiness().is_some()),
        ("memory.disable_oom_killer", memory.disable_oom_killer().unwrap_or(false)),
        ("cpu.realtime_runtime", cpu.is_some_and(|cpu| cpu.realtime_runtime().is_some())),
        ("cpu.realtime_period", cpu.is_some_and(|cpu| cpu.realtime_period().is_some())),
    ];
    table.into_iter().find(|(_, asked)| *asked).map(|(field, _)| field)
}
