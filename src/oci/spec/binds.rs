//! Mounts of paths of the host.

use super::env::refuse_nul;
use super::mounts::mount;
use super::propagation::Sharing;
use super::settings::Settings;
use crate::error::{OciError, OciResult};
use crate::rootfs::clean;
use model::{AbsPath, IdMapping, Mount as Request, Propagation};
use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder, Mount};
use std::io::ErrorKind;
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

/// `PROC_SUPER_MAGIC`.
const PROCFS: u64 = 0x9fa0;
/// `PROC_ROOT_INO`.
const PROCFS_ROOT: u64 = 1;

/// The mount that a request asks for. A source that does not exist is none of its faults: it is made as a directory
/// when everything else is decided ([`super::make_sources`]).
pub(super) fn bind(
    index: usize,
    (request, host_path): (&Request, &AbsPath),
    sharing: &Sharing,
    settings: &Settings,
) -> OciResult<Mount> {
    let field = |name: &str| format!("mounts[{index}].{name}");
    let source = host_path.as_path().to_path_buf();
    let place = place(&field("container_path"), clean(request.container_path.as_str()), Some(&source))?;
    match std::fs::metadata(&source) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(OciError::Missing { field: field("host_path"), path: source, source: error });
        }
        _ => {}
    }
    let access = access(index, request, settings)?;
    let propagation = match request.propagation {
        Propagation::Private => "rprivate",
        Propagation::HostToContainer => "rslave",
        Propagation::Bidirectional => "rshared",
    };
    if request.propagation != Propagation::Private {
        sharing.check(&field("propagation"), &source, request.propagation)?;
    }
    let mut options = vec!["rbind", propagation, access];
    if !request.uid_mappings.is_empty() {
        // Only the mount itself: what is mounted below has owners of its own.
        options.push("idmap");
    }
    options.extend(request.options.iter().map(String::as_str));
    let mut bind = mount(place, "bind", source, &options);
    map_owners(&mut bind, request)?;
    Ok(bind)
}

/// The owners of the files are shown as the request says.
pub(super) fn map_owners(mount: &mut Mount, request: &Request) -> OciResult<()> {
    if !request.uid_mappings.is_empty() {
        mount
            .set_uid_mappings(Some(mappings(&request.uid_mappings)?))
            .set_gid_mappings(Some(mappings(&request.gid_mappings)?));
    }
    Ok(())
}

/// `rw`, `ro` or `rro`.
fn access(index: usize, request: &Request, settings: &Settings) -> OciResult<&'static str> {
    let field = format!("mounts[{index}].recursive_read_only");
    match (request.readonly, request.recursive_read_only) {
        (false, false) => Ok("rw"),
        (true, false) => Ok("ro"),
        (true, true) if request.propagation == Propagation::Private => {
            if settings.recursive_read_only {
                Ok("rro")
            } else {
                Err(OciError::NoRecursiveReadOnly { field })
            }
        }
        _ => Err(OciError::invalid(field, "needs readonly and private propagation")),
    }
}

/// Where a mount may be. `source` is what is bound there, if it is a path of the host.
///
/// # Errors
/// [`OciError::Invalid`] with `field` for a place that nothing may be mounted at.
pub fn destination(field: &str, path: &str, source: Option<&Path>) -> OciResult<PathBuf> {
    refuse_nul(field, path)?;
    if path.is_empty() {
        return Err(OciError::invalid(field, "is empty"));
    }
    // Relative ones have always meant below the root.
    place(field, clean(path), source)
}

/// The same, of a path that is one, cleaned.
pub(super) fn place(field: &str, place: PathBuf, source: Option<&Path>) -> OciResult<PathBuf> {
    if place == Path::new("/") {
        return Err(OciError::invalid(field, "would hide the whole root filesystem"));
    }
    if place.starts_with("/proc") && !may_replace(&place, source) {
        return Err(OciError::invalid(field, format!("{} may not be replaced", place.display())));
    }
    Ok(place)
}

/// The whole of procfs only by a procfs; in it, the files of the list.
fn may_replace(place: &Path, source: Option<&Path>) -> bool {
    let is_procfs = |path: &Path| {
        let magic = rustix::fs::statfs(path).is_ok_and(|found| u64::try_from(found.f_type) == Ok(PROCFS));
        magic && rustix::fs::stat(path).is_ok_and(|found| found.st_ino == PROCFS_ROOT)
    };
    if place == Path::new("/proc") {
        return source.is_some_and(is_procfs);
    }
    PROC_REPLACEABLE.iter().any(|file| place == Path::new(file))
}

fn mappings(ranges: &[IdMapping]) -> OciResult<Vec<LinuxIdMapping>> {
    let range = |range: &IdMapping| {
        Ok(LinuxIdMappingBuilder::default()
            .host_id(range.host_id)
            .container_id(range.container_id)
            .size(range.length)
            .build()?)
    };
    ranges.iter().map(range).collect()
}
