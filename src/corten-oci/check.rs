//! What a valid configuration can say and this runtime does not do is refused by name, before anything is done.

use oci_spec::runtime::{Linux, LinuxNamespace, LinuxNamespaceType, LinuxResources, Process, Spec};
use wire::plan::IdMap;

use crate::error::{Error, Result};

fn refuse(field: &str, present: bool) -> Result<()> {
    if present { Err(Error::invalid(field, "is not supported")) } else { Ok(()) }
}

/// Refuses the whole configuration if a part cannot be honoured.
pub(crate) fn spec(spec: &Spec) -> Result<()> {
    version(spec.version())?;
    refuse("solaris", spec.solaris().is_some())?;
    refuse("windows", spec.windows().is_some())?;
    refuse("vm", spec.vm().is_some())?;
    refuse("zos", spec.zos().is_some())?;
    process(spec.process().as_ref().ok_or_else(|| Error::invalid("process", "is missing"))?)?;
    let linux = spec.linux().as_ref().ok_or_else(|| Error::invalid("linux", "is missing"))?;
    let namespaces = linux.namespaces().as_deref().unwrap_or_default();
    let of = |kind| namespaces.iter().find(|one: &&LinuxNamespace| one.typ() == kind);
    match of(LinuxNamespaceType::Mount) {
        None => {
            return Err(Error::invalid("linux.namespaces", "a mount namespace of its own is needed"));
        }
        Some(mount) => refuse("linux.namespaces: a mount namespace to join", mount.path().is_some())?,
    }
    for (index, one) in namespaces.iter().enumerate() {
        if namespaces.iter().skip(index + 1).any(|other| other.typ() == one.typ()) {
            return Err(Error::invalid("linux.namespaces", format!("{} is there twice", one.typ())));
        }
    }
    user_namespace(linux, of(LinuxNamespaceType::User))?;
    refuse("linux.namespaces: time", of(LinuxNamespaceType::Time).is_some())?;
    if of(LinuxNamespaceType::Uts).is_none_or(|uts| uts.path().is_some()) {
        let named = spec.hostname().as_ref().or(spec.domainname().as_ref());
        if named.is_some_and(|name| !name.is_empty()) && of(LinuxNamespaceType::Uts).is_none() {
            return Err(Error::invalid("hostname", "needs a UTS namespace"));
        }
    }
    let given = |present: bool, field: &str| refuse(field, present);
    given(linux.net_devices().as_ref().is_some_and(|list| !list.is_empty()), "linux.netDevices")?;
    given(linux.intel_rdt().is_some(), "linux.intelRdt")?;
    given(linux.personality().is_some(), "linux.personality")?;
    given(linux.time_offsets().as_ref().is_some_and(|list| !list.is_empty()), "linux.timeOffsets")?;
    given(linux.mount_label().as_ref().is_some_and(|label| !label.is_empty()), "linux.mountLabel")?;
    given(
        linux.seccomp().as_ref().is_some_and(|profile| profile.listener_path().is_some()),
        "linux.seccomp.listenerPath",
    )?;
    linux.resources().as_ref().map_or(Ok(()), resources)
}

/// A new user namespace needs ids; without one they mean nothing. What one to join has is seen when it is opened.
fn user_namespace(linux: &Linux, namespace: Option<&LinuxNamespace>) -> Result<()> {
    let lists = [("linux.uidMappings", linux.uid_mappings()), ("linux.gidMappings", linux.gid_mappings())];
    for (field, list) in lists {
        let given = list.as_ref().is_some_and(|list| !list.is_empty());
        match namespace {
            None if given => return Err(Error::invalid(field, "needs a user namespace")),
            Some(one) if one.path().is_none() && !given => {
                return Err(Error::invalid(field, "is missing for a new user namespace"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Refuses users who do not exist in the container's user namespace, and one without root, who sets the container up.
pub(crate) fn mapped(spec: &Spec) -> Result<()> {
    let ids = oci::plan::ids_of_spec(spec);
    if ids.is_empty() {
        return Ok(());
    }
    let is_mapped = |maps: &[IdMap], id: u32| {
        maps.iter().any(|map| id.checked_sub(map.inside).is_some_and(|offset| offset < map.count))
    };
    let missing = |field: &str, id: u32| Err(Error::invalid(field, format!("{id} is not mapped")));
    for (field, maps) in [("linux.uidMappings", &ids.uids), ("linux.gidMappings", &ids.gids)] {
        if !is_mapped(maps, 0) {
            return missing(field, 0);
        }
    }
    let Some(user) = spec.process().as_ref().map(Process::user) else { return Ok(()) };
    if !is_mapped(&ids.uids, user.uid()) {
        return missing("process.user.uid", user.uid());
    }
    let groups = user.additional_gids().iter().flatten().copied();
    match groups.chain([user.gid()]).find(|gid| !is_mapped(&ids.gids, *gid)) {
        Some(gid) => missing("process.user.gid", gid),
        None => Ok(()),
    }
}

/// Refuses a process that cannot be run as asked.
pub(crate) fn process(process: &Process) -> Result<()> {
    if process.args().as_ref().and_then(|args| args.first()).is_none_or(String::is_empty) {
        return Err(Error::invalid("process.args", "is empty"));
    }
    if !process.cwd().is_absolute() {
        return Err(Error::invalid("process.cwd", "is not an absolute path"));
    }
    refuse("process.execCPUAffinity", process.exec_cpu_affinity().is_some())?;
    let named = |name: &Option<String>| name.as_ref().is_some_and(|name| !name.is_empty());
    if named(process.apparmor_profile()) && !has_apparmor() {
        return Err(Error::invalid("process.apparmorProfile", "the kernel runs without AppArmor"));
    }
    refuse("process.selinuxLabel", named(process.selinux_label()))?;
    refuse("process.commandLine", named(process.command_line()))?;
    refuse("process.user.username", named(process.user().username()))
}

fn has_apparmor() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|state| state.starts_with(b"Y"))
}

/// Refuses limits that would not be set. A zero is how callers spell "not limited".
pub(crate) fn resources(resources: &LinuxResources) -> Result<()> {
    let signed = |value: Option<i64>| value.is_some_and(|value| value != 0);
    let unsigned = |value: Option<u64>| value.is_some_and(|value| value != 0);
    if let Some(cpu) = resources.cpu() {
        refuse("linux.resources.cpu.idle", signed(cpu.idle()))?;
        refuse("linux.resources.cpu.burst", unsigned(cpu.burst()))?;
        refuse("linux.resources.cpu.realtimeRuntime", signed(cpu.realtime_runtime()))?;
        refuse("linux.resources.cpu.realtimePeriod", unsigned(cpu.realtime_period()))?;
    }
    if let Some(memory) = resources.memory() {
        refuse("linux.resources.memory.reservation", signed(memory.reservation()))?;
        refuse("linux.resources.memory.kernelTCP", signed(memory.kernel_tcp()))?;
        refuse("linux.resources.memory.swappiness", memory.swappiness().is_some())?;
        refuse("linux.resources.memory.disableOOMKiller", memory.disable_oom_killer().unwrap_or(false))?;
    }
    let io = resources.block_io().as_ref();
    refuse(
        "linux.resources.blockIO",
        io.is_some_and(|io| *io != oci_spec::runtime::LinuxBlockIo::default()),
    )?;
    let network = resources.network().as_ref();
    let limits_network = |network: &oci_spec::runtime::LinuxNetwork| {
        network.class_id().is_some_and(|id| id != 0)
            || network.priorities().as_ref().is_some_and(|list| !list.is_empty())
    };
    refuse("linux.resources.network", network.is_some_and(limits_network))?;
    refuse("linux.resources.rdma", resources.rdma().as_ref().is_some_and(|map| !map.is_empty()))?;
    devices(resources)
}

/// The device rules are an allow list: denials behind an allowance have no place in it.
fn devices(resources: &LinuxResources) -> Result<()> {
    let rules = resources.devices().as_deref().unwrap_or_default();
    let everything = |rule: &oci_spec::runtime::LinuxDeviceCgroup| {
        rule.typ().is_none_or(|typ| typ == oci_spec::runtime::LinuxDeviceType::A)
            && rule.major().is_none_or(|number| number < 0)
            && rule.minor().is_none_or(|number| number < 0)
    };
    let last_for_all = rules.iter().rposition(everything).map_or(0, |at| at + 1);
    let exception = rules.iter().skip(last_for_all).find(|rule| !rule.allow());
    if exception.is_some() {
        return Err(Error::invalid("linux.resources.devices", "has a denial of single devices"));
    }
    Ok(())
}

fn version(version: &str) -> Result<()> {
    let mut parts = version.splitn(3, '.');
    let number = |part: Option<&str>| part.is_some_and(|part| part.parse::<u32>().is_ok());
    let major = parts.next();
    let patch = parts.clone().nth(1).map(|patch| patch.split(['-', '+']).next().unwrap_or_default());
    if !number(major) || !number(parts.next()) || !number(patch) {
        return Err(Error::invalid("ociVersion", format!("{version:?} is not a version")));
    }
    if major != Some("1") {
        return Err(Error::invalid("ociVersion", format!("{version:?} is not a version 1")));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
