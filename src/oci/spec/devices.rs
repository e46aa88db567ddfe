//! Devices of the host: those of a request, and all of them for privileged containers.

use super::inputs::ContainerInputs;
use super::settings::HostDevices;
use crate::error::{OciError, OciResult};
use crate::last::keep_last;
use crate::rootfs::clean;
use model::{Device, User};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Directories of /dev that are mounts of their own or hold none, and files that every container gets anyway.
const SKIPPED: [&str; 9] = [
    "/dev/pts",
    "/dev/shm",
    "/dev/fd",
    "/dev/mqueue",
    "/dev/.lxc",
    "/dev/.lxd-mounts",
    "/dev/.udev",
    "/dev/console",
    "/dev/ptmx",
];

/// The nodes that a container gets, and what it may do with them beyond the usual devices.
pub(super) fn devices(inputs: &ContainerInputs<'_>) -> OciResult<(Vec<LinuxDevice>, Vec<LinuxDeviceCgroup>)> {
    let shown = inputs.container.security.privileged && inputs.host_devices == HostDevices::Shown;
    let mut nodes = if shown { of_host()? } else { Vec::new() };
    let mut rules = Vec::new();
    for (index, request) in inputs.container.devices.iter().enumerate() {
        for mut device in requested(index, request)? {
            if inputs.settings.device_ownership {
                take_over(&mut device, inputs);
            }
            if device.typ() != LinuxDeviceType::P {
                rules.push(rule(&device, &request.permissions));
            }
            nodes.push(device);
        }
    }
    keep_last(&mut nodes, |node: &LinuxDevice| node.path().as_path());
    Ok((nodes, rules))
}

/// The rule that allows a container to use a device.
pub(crate) fn rule(device: &LinuxDevice, permissions: &str) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(true)
        .set_typ(Some(device.typ()))
        .set_major(Some(device.major()))
        .set_minor(Some(device.minor()))
        .set_access(Some(permissions.to_owned()));
    rule
}

/// One device, or every block and character device below a directory.
fn requested(index: usize, request: &Device) -> OciResult<Vec<LinuxDevice>> {
    let field = |name: &str| format!("devices[{index}].{name}");
    let place = clean(request.container_path.as_str());
    if place == Path::new("/") || place.starts_with("/proc") || place.starts_with("/sys") {
        return Err(OciError::invalid(field("container_path"), "is no place for a device"));
    }
    let missing = |source| OciError::Missing {
        field: field("host_path"),
        path: request.host_path.as_path().into(),
        source,
    };
    let host = std::fs::canonicalize(&request.host_path).map_err(missing)?;
    let metadata = std::fs::symlink_metadata(&host).map_err(missing)?;
    if metadata.is_dir() {
        let moved = |mut device: LinuxDevice| {
            let inner = device.path().strip_prefix(&host).map(|inner| place.join(inner));
            if let Ok(path) = inner {
                device.set_path(path);
            }
            device
        };
        return Ok(below(&host)?.into_iter().map(moved).collect());
    }
    let typ = kind(&metadata).ok_or_else(|| {
        OciError::invalid(field("host_path"), format!("{} is not a device", request.host_path))
    })?;
    Ok(vec![node(place, typ, &metadata)])
}

/// The device at a path of the host, links followed.
pub(crate) fn at(path: &Path) -> std::io::Result<LinuxDevice> {
    let real = std::fs::canonicalize(path)?;
    let metadata = std::fs::symlink_metadata(&real)?;
    let typ = kind(&metadata)
        .ok_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a device"))?;
    Ok(node(real, typ, &metadata))
}

/// The node belongs to the user and group that the request names by number, other than root.
fn take_over(device: &mut LinuxDevice, inputs: &ContainerInputs<'_>) {
    let security = &inputs.container.security;
    if let Some(User::Uid(uid)) = security.user
        && uid != 0
    {
        device.set_uid(Some(uid));
    }
    if let Some(gid) = security.group.filter(|gid| *gid != 0) {
        device.set_gid(Some(gid));
    }
}

fn kind(metadata: &std::fs::Metadata) -> Option<LinuxDeviceType> {
    let kind = metadata.file_type();
    if kind.is_block_device() {
        Some(LinuxDeviceType::B)
    } else if kind.is_char_device() {
        Some(LinuxDeviceType::C)
    } else if kind.is_fifo() {
        Some(LinuxDeviceType::P)
    } else {
        None
    }
}

fn of_host() -> OciResult<Vec<LinuxDevice>> {
    below(Path::new("/dev"))
}

/// Every block and character device below a directory. Links are not followed, and nodes that go away meanwhile are
/// left out.
fn below(root: &Path) -> OciResult<Vec<LinuxDevice>> {
    let mut found = Vec::new();
    let mut todo = vec![root.to_owned()];
    while let Some(dir) = todo.pop() {
        let entries = std::fs::read_dir(&dir).map_err(OciError::io("list", &dir))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            if SKIPPED.iter().any(|skipped| path == Path::new(skipped)) {
                continue;
            }
            let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
            if metadata.is_dir() {
                todo.push(path);
                continue;
            }
            match kind(&metadata) {
                Some(LinuxDeviceType::P) | None => {}
                Some(typ) => found.push(node(path, typ, &metadata)),
            }
        }
    }
    found.sort_by(|a, b| a.path().cmp(b.path()));
    Ok(found)
}

fn node(path: PathBuf, typ: LinuxDeviceType, metadata: &std::fs::Metadata) -> LinuxDevice {
    let mut device = LinuxDevice::default();
    device
        .set_path(path)
        .set_typ(typ)
        .set_major(rustix::fs::major(metadata.rdev()).into())
        .set_minor(rustix::fs::minor(metadata.rdev()).into())
        .set_file_mode(Some(metadata.mode() & 0o7777))
        .set_uid(Some(metadata.uid()))
        .set_gid(Some(metadata.gid()));
    device
}
