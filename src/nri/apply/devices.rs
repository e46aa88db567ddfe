//! Devices, by name and by number.

use super::ApplyError;
use crate::api::{CdiDevice, LinuxDevice, LinuxDeviceCgroup};
use crate::merge::marked;
use oci::cdi::Registry;
use oci_spec::runtime::{self as spec, Linux, LinuxDeviceType, Spec};
use std::path::PathBuf;

/// Devices that vendors describe.
pub(super) fn by_name(spec: &mut Spec, asked: &[CdiDevice], registry: &Registry) -> Result<(), ApplyError> {
    let names: Vec<String> = asked.iter().map(|device| device.name.clone()).collect();
    registry.inject(spec, &names).map_err(ApplyError::oci("CDI_devices"))
}

/// Nodes, and the right to use them.
pub(super) fn nodes(linux: &mut Linux, asked: &[LinuxDevice]) -> Result<(), ApplyError> {
    for device in asked {
        let path = marked(&device.path).unwrap_or(&device.path);
        if let Some(all) = linux.devices_mut() {
            all.retain(|known| known.path() != path);
        }
        if marked(&device.path).is_some() {
            continue;
        }
        let made = node(device)?;
        if made.typ() != LinuxDeviceType::P {
            allow(linux, rule_of(&made, access(device)));
        }
        linux.devices_mut().get_or_insert_default().push(made);
    }
    Ok(())
}

fn node(asked: &LinuxDevice) -> Result<spec::LinuxDevice, ApplyError> {
    let refuse =
        |reason: &str| ApplyError::refused(format!("linux.devices {:?}", asked.path), reason.to_owned());
    let kind = match asked.r#type.as_str() {
        "b" => LinuxDeviceType::B,
        "c" | "u" => LinuxDeviceType::C,
        "p" => LinuxDeviceType::P,
        _ => return Err(refuse(&format!("{:?} is no type of a device", asked.r#type))),
    };
    if !asked.path.starts_with('/') {
        return Err(refuse("is no absolute path"));
    }
    if u32::try_from(asked.major).is_err() || u32::try_from(asked.minor).is_err() {
        return Err(refuse("its number is out of range"));
    }
    let mut made = spec::LinuxDevice::default();
    made.set_path(PathBuf::from(&asked.path))
        .set_typ(kind)
        .set_major(asked.major)
        .set_minor(asked.minor)
        .set_file_mode(asked.file_mode.map(|mode| mode.value & 0o7777))
        .set_uid(asked.uid.map(|uid| uid.value))
        .set_gid(asked.gid.map(|gid| gid.value));
    Ok(made)
}

/// Reading and writing; a block device can be made, too.
fn access(asked: &LinuxDevice) -> &'static str {
    if asked.r#type == "b" { "rwm" } else { "rw" }
}

fn rule_of(device: &spec::LinuxDevice, access: &str) -> spec::LinuxDeviceCgroup {
    let mut rule = spec::LinuxDeviceCgroup::default();
    rule.set_allow(true)
        .set_typ(Some(device.typ()))
        .set_major(Some(device.major()))
        .set_minor(Some(device.minor()))
        .set_access(Some(access.to_owned()));
    rule
}

fn is_everything(rule: &spec::LinuxDeviceCgroup) -> bool {
    matches!(rule.typ(), None | Some(LinuxDeviceType::A))
}

/// A privileged container, whose last rule allows everything, needs no other.
fn allow(linux: &mut Linux, rule: spec::LinuxDeviceCgroup) {
    let rules = linux.resources_mut().get_or_insert_default().devices_mut().get_or_insert_default();
    if !rules.last().is_some_and(|last| last.allow() && is_everything(last)) {
        rules.push(rule);
    }
}

/// Rules without nodes.
pub(super) fn rules(linux: &mut Linux, asked: &[LinuxDeviceCgroup]) -> Result<(), ApplyError> {
    for rule in asked {
        let made = rule_asked(rule)?;
        if made.allow() {
            allow(linux, made);
        } else if is_everything(&made) {
            // From here on nothing is allowed but what follows.
            linux.resources_mut().get_or_insert_default().set_devices(Some(vec![made]));
        } else {
            let reason = "a rule that forbids one device is not supported, as others are forbidden anyway";
            return Err(ApplyError::refused("linux.resources.devices", reason));
        }
    }
    Ok(())
}

fn rule_asked(asked: &LinuxDeviceCgroup) -> Result<spec::LinuxDeviceCgroup, ApplyError> {
    let refuse = |reason: String| ApplyError::refused("linux.resources.devices", reason);
    let kind = match asked.r#type.as_str() {
        "" | "a" => LinuxDeviceType::A,
        "b" => LinuxDeviceType::B,
        "c" => LinuxDeviceType::C,
        other => return Err(refuse(format!("{other:?} is no type of a device"))),
    };
    if !asked.access.bytes().all(|c| matches!(c, b'r' | b'w' | b'm')) {
        return Err(refuse(format!("{:?} are no permissions", asked.access)));
    }
    let access = if asked.access.is_empty() { "rwm" } else { &asked.access };
    let mut made = spec::LinuxDeviceCgroup::default();
    made.set_allow(asked.allow)
        .set_typ(Some(kind))
        .set_major(asked.major.map(|number| number.value))
        .set_minor(asked.minor.map(|number| number.value))
        .set_access(Some(access.to_owned()));
    Ok(made)
}
