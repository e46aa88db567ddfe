//! What a container sees, and where.

use super::binds;
use super::inputs::ContainerInputs;
use super::propagation::Sharing;
use super::volumes::{self, ImageVolume};
use crate::error::OciResult;
use model::{Mount as Request, Propagation};
use oci_spec::runtime::Mount;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// Every mount in the order in which it is made: by depth, so that nothing hides what lies below it, and as
/// requested within a depth. A request replaces the standard mount of the same place.
pub(super) fn mounts(inputs: &ContainerInputs<'_>) -> OciResult<Vec<Mount>> {
    let images: HashMap<usize, &ImageVolume> =
        inputs.volumes.images.iter().map(|volume| (volume.index, volume)).collect();
    let travels = |mount: &Request| mount.host_path.is_some() && mount.propagation != Propagation::Private;
    let sharing = match inputs.container.mounts.iter().any(travels) {
        true => Sharing::of_host()?,
        false => Sharing::default(),
    };
    let requested = inputs
        .container
        .mounts
        .iter()
        .enumerate()
        .map(|(index, mount)| match &mount.host_path {
            Some(path) => binds::bind(index, (mount, path), &sharing, inputs.settings),
            None => volumes::image(index, mount, images.get(&index).copied()),
        })
        .chain(inputs.volumes.anonymous.iter().map(|volume| volumes::anonymous(volume, inputs.sandbox)))
        .collect::<OciResult<Vec<_>>>()?;
    let places: HashSet<&Path> = requested.iter().map(|mount| mount.destination().as_path()).collect();
    let own_dev = places.contains(Path::new("/dev"));
    let mut mounts: Vec<Mount> = standard(inputs)
        .into_iter()
        .filter(|mount| {
            let place = mount.destination();
            !(places.contains(place.as_path()) || own_dev && place.starts_with("/dev"))
        })
        .collect();
    mounts.extend(requested);
    mounts.sort_by_key(|mount| mount.destination().components().count());
    Ok(mounts)
}

/// The propagation that the root mount needs for its containers' mounts: a shared mount below a private root would
/// reach nobody.
pub(super) fn root_propagation(requests: &[Request]) -> &'static str {
    if requests.iter().any(|mount| mount.propagation == Propagation::Bidirectional) {
        "rshared"
    } else {
        "rslave"
    }
}

fn standard(inputs: &ContainerInputs<'_>) -> Vec<Mount> {
    let privileged = inputs.container.security.privileged;
    let access = if privileged { "rw" } else { "ro" };
    let mut mounts = vec![
        filesystem("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        filesystem("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        filesystem(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        filesystem("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        filesystem("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", access]),
        filesystem("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", access]),
    ];
    if let Some(shm) = inputs.files.shm {
        mounts.push(pod_file("/dev/shm", shm, &["rw", "nosuid", "nodev", "noexec"]));
    }
    let access = if inputs.container.security.readonly_rootfs { "ro" } else { "rw" };
    let files = &inputs.files;
    for (place, source) in [
        ("/etc/hosts", files.hosts),
        ("/etc/resolv.conf", files.resolv_conf),
        ("/etc/hostname", files.hostname),
    ] {
        if let Some(source) = source {
            mounts.push(pod_file(place, source, &[access, "nosuid", "nodev"]));
        }
    }
    mounts
}

fn pod_file(place: &str, source: &Path, options: &[&str]) -> Mount {
    let options: Vec<&str> = ["rbind", "rprivate"].iter().chain(options).copied().collect();
    mount(place.into(), "bind", source.to_path_buf(), &options)
}

fn filesystem(place: &str, kind: &str, source: &str, options: &[&str]) -> Mount {
    mount(place.into(), kind, source.into(), options)
}

pub(super) fn mount(place: PathBuf, kind: &str, source: PathBuf, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(place)
        .set_typ(Some(kind.to_owned()))
        .set_source(Some(source))
        .set_options(Some(options.iter().map(|option| (*option).to_owned()).collect()));
    mount
}
