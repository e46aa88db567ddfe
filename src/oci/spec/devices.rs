//! The host's devices, for privileged containers.

use crate::error::{OciError, OciResult};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};
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

/// Every device node below /dev. Links are not followed, and nodes that go away meanwhile are left out.
pub(super) fn of_host() -> OciResult<Vec<LinuxDevice>> {
    let mut found = Vec::new();
    let mut todo = vec![PathBuf::from("/dev")];
    while let Some(dir) = todo.pop() {
        let entries = std::fs::read_dir(&dir).map_err(OciError::io("list", &dir))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            if SKIPPED.iter().any(|skipped| path == Path::new(skipped)) {
                continue;
            }
            let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
            let kind = metadata.file_type();
            if kind.is_dir() {
                todo.push(path);
            } else if kind.is_char_device() || kind.is_block_device() {
                let typ = if kind.is_block_device() { LinuxDeviceType::B } else { LinuxDeviceType::C };
                found.push(node(path, typ, &metadata));
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
