//! What a container sees, and where.

use super::env::refuse_nul;
use super::inputs::ContainerInputs;
use crate::error::{OciError, OciResult};
use crate::rootfs::clean;
use model::{Mount as Request, Propagation};
use oci_spec::runtime::Mount;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Files of /proc that programs like lxcfs replace; anything else there would blind the security of the rest.
const PROC_REPLACEABLE: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// Every mount in the order in which it is made: by depth, so that nothing hides what lies below it, and as
/// requested within a depth. A request replaces the standard mount of the same place.
pub(super) fn mounts(inputs: &ContainerInputs<'_>) -> OciResult<Vec<Mount>> {
    let requested = inputs
        .container
        .mounts
        .iter()
        .enumerate()
        .map(|(index, mount)| bind(index, mount))
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

fn bind(index: usize, request: &Request) -> OciResult<Mount> {
    let field = |name: &str| format!("mounts[{index}].{name}");
    let place = destination(&field("container_path"), &request.container_path)?;
    refuse_nul(&field("host_path"), &request.host_path)?;
    if !request.host_path.starts_with('/') {
        let reason = format!("{:?} is not an absolute path", request.host_path);
        return Err(OciError::invalid(field("host_path"), reason));
    }
    let source = PathBuf::from(&request.host_path);
    std::fs::metadata(&source).map_err(|error| OciError::Missing {
        field: field("host_path"),
        path: source.clone(),
        source: error,
    })?;
    if request.recursive_read_only && (!request.readonly || request.propagation != Propagation::Private) {
        return Err(OciError::invalid(
            field("recursive_read_only"),
            "needs readonly and private propagation",
        ));
    }
    let propagation = match request.propagation {
        Propagation::Private => "rprivate",
        Propagation::HostToContainer => "rslave",
        Propagation::Bidirectional => "rshared",
    };
    if request.propagation != Propagation::Private {
        needs_sharing(&field("propagation"), &source, request.propagation)?;
    }
    let access = match (request.readonly, request.recursive_read_only) {
        (_, true) => "rro",
        (true, false) => "ro",
        (false, false) => "rw",
    };
    Ok(mount(place, "bind", source, &["rbind", propagation, access]))
}

fn destination(field: &str, path: &str) -> OciResult<PathBuf> {
    refuse_nul(field, path)?;
    if path.is_empty() {
        return Err(OciError::invalid(field, "is empty"));
    }
    // The interface calls it a path in the container; relative ones have always meant below the root.
    let place = clean(path);
    if place == Path::new("/") {
        return Err(OciError::invalid(field, "would hide the whole root filesystem"));
    }
    let in_proc = place.starts_with("/proc");
    if in_proc && !PROC_REPLACEABLE.iter().any(|file| place == Path::new(file)) {
        return Err(OciError::invalid(field, format!("{} may not be replaced", place.display())));
    }
    Ok(place)
}

/// Mounts travel only through a mount that the host shares: asking for it elsewhere would be silently void.
fn needs_sharing(field: &str, source: &Path, propagation: Propagation) -> OciResult<()> {
    let table = std::fs::read_to_string("/proc/self/mountinfo")
        .map_err(OciError::io("read", "/proc/self/mountinfo"))?;
    let real = std::fs::canonicalize(source).map_err(OciError::io("resolve", source))?;
    let tags = sharing_of(&table, &real);
    let enough =
        tags.contains("shared:") || (propagation == Propagation::HostToContainer && tags.contains("master:"));
    if enough {
        return Ok(());
    }
    Err(OciError::invalid(field, format!("{} is not on a shared mount of the host", source.display())))
}

/// The optional fields of the mount that holds a path: the last one mounted on the longest prefix.
fn sharing_of(table: &str, path: &Path) -> String {
    let mut best = (0, String::new());
    for line in table.lines() {
        let Some((mount, _)) = line.split_once(" - ") else { continue };
        let fields: Vec<&str> = mount.split(' ').collect();
        let Some(point) = fields.get(4).map(|point| point.replace("\\040", " ")) else { continue };
        let depth = Path::new(&point).components().count();
        if path.starts_with(&point) && depth >= best.0 {
            best = (depth, fields.get(6..).unwrap_or_default().join(" "));
        }
    }
    best.1
}

fn pod_file(place: &str, source: &Path, options: &[&str]) -> Mount {
    let options: Vec<&str> = ["rbind", "rprivate"].iter().chain(options).copied().collect();
    mount(place.into(), "bind", source.to_path_buf(), &options)
}

fn filesystem(place: &str, kind: &str, source: &str, options: &[&str]) -> Mount {
    mount(place.into(), kind, source.into(), options)
}

fn mount(place: PathBuf, kind: &str, source: PathBuf, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(place)
        .set_typ(Some(kind.to_owned()))
        .set_source(Some(source))
        .set_options(Some(options.iter().map(|option| (*option).to_owned()).collect()));
    mount
}
