//! Mount options as flags.

use crate::error::{OciError, OciResult};
use oci_spec::runtime::{Mount, Spec};
use std::path::Path;
use wire::plan::{IdMaps, MountPlan, MountSource};

/// `MOUNT_ATTR_*` of mount_setattr(2) by option; what `mount -o` calls them.
const ATTRIBUTES: [(&str, u64); 9] = [
    ("ro", libc::MOUNT_ATTR_RDONLY),
    ("nosuid", libc::MOUNT_ATTR_NOSUID),
    ("nodev", libc::MOUNT_ATTR_NODEV),
    ("noexec", libc::MOUNT_ATTR_NOEXEC),
    ("noatime", libc::MOUNT_ATTR_NOATIME),
    ("strictatime", libc::MOUNT_ATTR_STRICTATIME),
    ("nodiratime", libc::MOUNT_ATTR_NODIRATIME),
    ("nosymfollow", 0x0020_0000),
    // The kernel's default.
    ("relatime", 0),
];

/// Options that take an attribute back.
const CLEARS: [(&str, u64); 4] = [
    ("rw", libc::MOUNT_ATTR_RDONLY),
    ("suid", libc::MOUNT_ATTR_NOSUID),
    ("dev", libc::MOUNT_ATTR_NODEV),
    ("exec", libc::MOUNT_ATTR_NOEXEC),
];

const PROPAGATIONS: [(&str, libc::c_ulong); 4] = [
    ("private", libc::MS_PRIVATE),
    ("slave", libc::MS_SLAVE),
    ("shared", libc::MS_SHARED),
    ("unbindable", libc::MS_UNBINDABLE),
];

/// The flags of a propagation by name; with a leading `r` for everything below.
pub(super) fn propagation(name: &str) -> Option<u64> {
    let flag = |name: &str| PROPAGATIONS.iter().find(|(known, _)| *known == name).map(|(_, flag)| *flag);
    flag(name).or_else(|| name.strip_prefix('r').and_then(flag).map(|flag| flag | libc::MS_REC))
}

/// Whether the container's /dev is a filesystem of its own, in which nodes may be made.
pub(super) fn makes_dev(spec: &Spec) -> bool {
    let mounts = spec.mounts().iter().flatten();
    mounts.into_iter().any(|mount| mount.destination() == Path::new("/dev") && kind(mount) == "tmpfs")
}

/// The mounts in the spec's order.
pub(super) fn mounts(spec: &Spec) -> OciResult<Vec<MountPlan>> {
    spec.mounts().iter().flatten().map(plan).collect()
}

fn kind(mount: &Mount) -> &str {
    mount.typ().as_deref().unwrap_or("none")
}

fn plan(mount: &Mount) -> OciResult<MountPlan> {
    let options = mount.options().as_deref().unwrap_or_default();
    let refuse =
        |reason: String| OciError::invalid(format!("mount at {}", mount.destination().display()), reason);
    let mut attributes = 0;
    let mut recursive = false;
    let mut flags = 0;
    let mut bind = None;
    let mut data: Vec<&str> = Vec::new();
    for option in options.iter().map(String::as_str) {
        if let Some((_, bit)) = ATTRIBUTES.iter().find(|(name, _)| *name == option) {
            attributes |= bit;
        } else if let Some((_, bit)) = CLEARS.iter().find(|(name, _)| *name == option) {
            attributes &= !bit;
        } else if option == "rro" {
            attributes |= libc::MOUNT_ATTR_RDONLY;
            recursive = true;
        } else if option == "bind" || option == "rbind" {
            bind = Some(option == "rbind");
        } else if let Some(flag) = propagation(option) {
            flags = flag;
        } else {
            data.push(option);
        }
    }
    let source = mount.source().as_deref();
    let source = match (kind(mount), bind) {
        ("bind", _) | (_, Some(_)) => MountSource::Bind {
            path: super::bytes(source.ok_or_else(|| refuse("has no source".to_owned()))?),
            recursive: bind.unwrap_or(true),
        },
        ("cgroup" | "cgroup2", _) => MountSource::Cgroup,
        (fstype, _) => MountSource::Filesystem {
            fstype: fstype.as_bytes().to_vec(),
            source: super::bytes(source.unwrap_or(Path::new(fstype))),
            data: data.join(",").into_bytes(),
        },
    };
    if let (MountSource::Bind { .. }, Some(option)) = (&source, data.first()) {
        return Err(refuse(format!("{option:?} is no option of a bind mount")));
    }
    Ok(MountPlan {
        target: super::bytes(mount.destination()),
        source,
        attributes,
        recursive,
        propagation: flags,
        idmap: IdMaps::default(),
        idmap_recursive: false,
    })
}
