//! What is in /dev.

use crate::error::{OciError, OciResult};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, Spec};
use wire::plan::{Bytes, DevicePlan};

/// The devices that the runtime spec promises to every container.
const DEFAULT: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// Links that programs expect: (target, path).
const LINKS: [(&str, &str); 6] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("/proc/kcore", "/dev/core"),
    ("pts/ptmx", "/dev/ptmx"),
];

/// The default devices, and those of the spec; a device of the spec replaces a default one of the same path. In a
/// /dev that is not the container's own, nothing is made.
pub(super) fn devices(spec: &Spec, own_dev: bool) -> OciResult<Vec<DevicePlan>> {
    let listed = spec.linux().as_ref().and_then(|linux| linux.devices().as_ref());
    let mut listed: Vec<DevicePlan> = listed.into_iter().flatten().map(plan).collect::<OciResult<_>>()?;
    if !own_dev {
        listed.retain(|device| !device.path.starts_with(b"/dev/"));
        return Ok(listed);
    }
    let mut devices: Vec<DevicePlan> = DEFAULT
        .iter()
        .filter(|(path, ..)| !listed.iter().any(|device| device.path == path.as_bytes()))
        .map(|(path, major, minor)| DevicePlan {
            path: path.as_bytes().to_vec(),
            mode: sys::fd::file_type::CHARACTER | 0o666,
            major: *major,
            minor: *minor,
            uid: 0,
            gid: 0,
        })
        .collect();
    devices.extend(listed);
    Ok(devices)
}

/// The standard links.
pub(super) fn symlinks() -> Vec<(Bytes, Bytes)> {
    LINKS.iter().map(|(target, path)| (target.as_bytes().to_vec(), path.as_bytes().to_vec())).collect()
}

fn plan(device: &LinuxDevice) -> OciResult<DevicePlan> {
    let refuse = |reason: &str| OciError::invalid(format!("device {}", device.path().display()), reason);
    if !device.path().is_absolute() || device.path().file_name().is_none() {
        return Err(refuse("is no absolute path of a file"));
    }
    let number = |number: i64| u32::try_from(number).map_err(|_| refuse("has a number out of range"));
    let kind = match device.typ() {
        LinuxDeviceType::B => sys::fd::file_type::BLOCK,
        LinuxDeviceType::C | LinuxDeviceType::U => sys::fd::file_type::CHARACTER,
        LinuxDeviceType::P => sys::fd::file_type::FIFO,
        LinuxDeviceType::A => return Err(refuse("has no type")),
    };
    Ok(DevicePlan {
        path: super::bytes(device.path()),
        mode: kind | (device.file_mode().unwrap_or(0o666) & 0o7777),
        major: number(device.major())?,
        minor: number(device.minor())?,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
    })
}
