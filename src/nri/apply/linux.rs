//! Namespaces and what is kept in them, the cgroup's place, memory's.

use super::{ApplyError, without_nul};
use crate::api::{LinuxMemoryPolicy, LinuxNamespace, LinuxNetDevice, MpolFlag, MpolMode};
use crate::merge::marked;
use model::{CpuList, SysctlName, SysctlNamespace, SysctlValue};
use oci_spec::runtime::{self as spec, Linux, LinuxNamespaceType as Kind};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A container's cgroup is where its pod's limits and accounts are.
pub(super) fn cgroups_path(linux: &Linux, asked: &str) -> Result<(), ApplyError> {
    let own = linux.cgroups_path().as_deref().unwrap_or(Path::new(""));
    if asked.is_empty() || Path::new(asked) == own {
        return Ok(());
    }
    let reason =
        format!("{asked:?} is not supported: containers are kept in the pod's cgroup, as {}", own.display());
    Err(ApplyError::refused("linux.cgroups_path", reason))
}

/// Kinds that a container of the shim may have of its own, or share, as a plugin likes: what else it has is the pod's.
const FREE: [Kind; 1] = [Kind::Cgroup];

pub(super) fn namespaces(
    linux: &mut Linux,
    asked: &[LinuxNamespace],
    native: bool,
) -> Result<(), ApplyError> {
    for namespace in asked {
        let name = marked(&namespace.r#type).unwrap_or(&namespace.r#type);
        let field = format!("linux.namespaces {name:?}");
        let refuse = |reason: &str| ApplyError::refused(field.as_str(), reason);
        let kind = kind(name).ok_or_else(|| refuse("is no type of namespaces"))?;
        without_nul(&field, &namespace.path)?;
        let path = (!namespace.path.is_empty()).then(|| PathBuf::from(&namespace.path));
        let all = linux.namespaces_mut().get_or_insert_default();
        let known = all.iter().find(|known| known.typ() == kind).map(|known| known.path().clone());
        let wanted = marked(&namespace.r#type).is_none().then_some(path);
        if known == wanted {
            continue;
        }
        if native && (!FREE.contains(&kind) || wanted.as_ref().is_some_and(Option::is_some)) {
            return Err(refuse("the native handler takes it from the request alone"));
        }
        all.retain(|known| known.typ() != kind);
        if let Some(path) = wanted {
            let mut made = spec::LinuxNamespace::default();
            made.set_typ(kind).set_path(path);
            all.push(made);
        }
    }
    Ok(())
}

fn kind(name: &str) -> Option<Kind> {
    Some(match name {
        "mount" => Kind::Mount,
        "cgroup" => Kind::Cgroup,
        "uts" => Kind::Uts,
        "ipc" => Kind::Ipc,
        "user" => Kind::User,
        "pid" => Kind::Pid,
        "network" => Kind::Network,
        "time" => Kind::Time,
        _ => return None,
    })
}

fn has(linux: &Linux, kind: Kind) -> bool {
    linux.namespaces().iter().flatten().any(|namespace| namespace.typ() == kind)
}

/// Parameters of namespaces that are not the host's.
pub(super) fn sysctls(linux: &mut Linux, asked: &BTreeMap<String, String>) -> Result<(), ApplyError> {
    for key in asked.keys().filter_map(|key| marked(key)) {
        if let Some(all) = linux.sysctl_mut() {
            all.remove(key);
        }
    }
    for (key, value) in asked.iter().filter(|(key, _)| marked(key).is_none()) {
        let refuse = |reason: String| ApplyError::refused(format!("linux.sysctl {key:?}"), reason);
        let name = SysctlName::new(key.as_str()).map_err(|error| refuse(error.to_string()))?;
        let value = SysctlValue::new(value.as_str()).map_err(|error| refuse(error.to_string()))?;
        let kept = name.namespace().is_some_and(|of| {
            has(
                linux,
                match of {
                    SysctlNamespace::Network => Kind::Network,
                    SysctlNamespace::Ipc => Kind::Ipc,
                    SysctlNamespace::Uts => Kind::Uts,
                },
            )
        });
        if !kept {
            return Err(refuse("is no parameter of a namespace that the container has".to_owned()));
        }
        let all = linux.sysctl_mut().get_or_insert_default();
        all.insert(name.as_str().to_owned(), value.as_str().to_owned());
    }
    Ok(())
}

/// A name that the kernel takes for a network device.
fn is_device_name(name: &str) -> bool {
    let odd = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    !name.is_empty() && name.len() < 16 && name != "." && name != ".." && !name.chars().any(odd)
}

/// Devices of the host by name, each with its name in the pod.
pub(super) fn net_devices(
    linux: &mut Linux,
    asked: &BTreeMap<String, LinuxNetDevice>,
) -> Result<(), ApplyError> {
    for key in asked.keys().filter_map(|key| marked(key)) {
        if let Some(all) = linux.net_devices_mut() {
            all.remove(key);
        }
    }
    let mut taken = Vec::new();
    for (host, device) in asked.iter().filter(|(key, _)| marked(key).is_none()) {
        let inside = if device.name.is_empty() { host } else { &device.name };
        let refuse = |reason: String| ApplyError::refused(format!("linux.net_devices {host:?}"), reason);
        if let Some(name) = [host, inside].into_iter().find(|name| !is_device_name(name)) {
            return Err(refuse(format!("{name:?} is no name of a device")));
        }
        if !has(linux, Kind::Network) {
            return Err(refuse("the pod is on the host's network, where the device is already".to_owned()));
        }
        if taken.contains(&inside) {
            return Err(refuse(format!("two devices are to be called {inside:?}")));
        }
        let mut made = spec::LinuxNetDevice::default();
        made.set_name(Some(inside.clone()));
        linux.net_devices_mut().get_or_insert_default().insert(host.clone(), made);
        taken.push(inside);
    }
    Ok(())
}

pub(super) fn memory_policy(linux: &mut Linux, asked: Option<&LinuxMemoryPolicy>) -> Result<(), ApplyError> {
    const FIELD: &str = "linux.memory_policy";
    use spec::MemoryPolicyFlagType as Flag;
    use spec::MemoryPolicyModeType as Mode;
    let Some(asked) = asked else { return Ok(()) };
    let refuse = |reason: String| ApplyError::refused(FIELD, reason);
    let mode = match MpolMode::try_from(asked.mode) {
        Ok(MpolMode::MpolDefault) => Mode::MpolDefault,
        Ok(MpolMode::MpolPreferred) => Mode::MpolPreferred,
        Ok(MpolMode::MpolBind) => Mode::MpolBind,
        Ok(MpolMode::MpolInterleave) => Mode::MpolInterleave,
        Ok(MpolMode::MpolLocal) => Mode::MpolLocal,
        Ok(MpolMode::MpolPreferredMany) => Mode::MpolPreferredMany,
        Ok(MpolMode::MpolWeightedInterleave) => Mode::MpolWeightedInterleave,
        Err(_) => return Err(refuse(format!("mode {} is unknown", asked.mode))),
    };
    let flag = |flag: &i32| match MpolFlag::try_from(*flag) {
        Ok(MpolFlag::MpolFStaticNodes) => Ok(Flag::MpolFStaticNodes),
        Ok(MpolFlag::MpolFRelativeNodes) => Ok(Flag::MpolFRelativeNodes),
        Ok(MpolFlag::MpolFNumaBalancing) => Ok(Flag::MpolFNumaBalancing),
        Err(_) => Err(refuse(format!("flag {flag} is unknown"))),
    };
    let flags = asked.flags.iter().map(flag).collect::<Result<Vec<_>, _>>()?;
    let takes_nodes = !matches!(mode, Mode::MpolDefault | Mode::MpolLocal);
    if takes_nodes == asked.nodes.is_empty() && mode != Mode::MpolPreferred {
        let verb = if takes_nodes { "needs" } else { "takes no" };
        return Err(refuse(format!("{mode} {verb} nodes")));
    }
    if !asked.nodes.is_empty() {
        CpuList::new(asked.nodes.as_str()).map_err(|error| refuse(error.to_string()))?;
    }
    let mut made = spec::LinuxMemoryPolicy::default();
    made.set_mode(mode)
        .set_nodes((!asked.nodes.is_empty()).then(|| asked.nodes.clone()))
        .set_flags((!flags.is_empty()).then_some(flags));
    linux.set_memory_policy(Some(made));
    Ok(())
}
