//! Mounts that come from images: an image as a volume, and the volumes that a container's own image declares.

use super::binds::{destination, map_owners, place};
use super::mounts::mount;
use crate::error::{OciError, OciResult};
use model::{Mount as Request, Rootfs, SandboxConfig};
use oci_spec::runtime::Mount;
use std::collections::{BTreeSet, HashSet};
use std::ops::Bound::{Included, Unbounded};
use std::path::{Path, PathBuf};

/// An image that a request mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageVolume {
    /// Which of the request's mounts asks for it.
    pub index: usize,
    /// What is shown, from [`crate::rootfs::RootView::directory`]; of two layers at least, as the kernel makes an
    /// overlay of no fewer.
    pub rootfs: Rootfs,
}

impl ImageVolume {
    /// How a spec calls it, as the source of an overlay without layers of its own.
    pub(crate) fn name(&self) -> String {
        format!("image-{}", self.index)
    }
}

/// A volume that the container's image declares and the request does not cover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnonymousVolume {
    /// Its directory on the host.
    pub dir: PathBuf,
    /// Where the container sees it.
    pub place: PathBuf,
}

/// What the daemon has found for a container.
#[derive(Debug, Clone, Copy, Default)]
pub struct Volumes<'a> {
    /// One for each mount of the request that names an image.
    pub images: &'a [ImageVolume],
    /// From [`anonymous_volumes`].
    pub anonymous: &'a [AnonymousVolume],
}

/// What the kernel shows there is not for an image to replace (some declare /sys/fs/cgroup).
const KERNELS: [&str; 3] = ["/proc", "/sys", "/dev"];

/// The volumes that an image declares, each with a directory of its own in `base`. Those at or below a mount of the
/// request are left out, so that what the user mounts there is what the program finds; so are those among the
/// kernel's own filesystems, and the root, which is writable as it is.
///
/// # Errors
/// [`OciError::Invalid`] for a place that cannot be mounted over.
pub fn anonymous_volumes(
    declared: &[String],
    requests: &[Request],
    base: &Path,
) -> OciResult<Vec<AnonymousVolume>> {
    let covered = Covered::new(requests);
    let mut places = HashSet::new();
    let mut volumes: Vec<AnonymousVolume> = Vec::new();
    for path in declared {
        let clean = crate::rootfs::clean(path);
        if clean == Path::new("/") || KERNELS.iter().any(|kernels| clean.starts_with(kernels)) {
            continue;
        }
        let place = destination("image config volumes", path, None)?;
        if covered.has(&place) || !places.insert(place.clone()) {
            continue;
        }
        volumes.push(AnonymousVolume { dir: base.join(volumes.len().to_string()), place });
    }
    Ok(volumes)
}

/// The places of a request's mounts; of those that lie in one another, the outermost.
struct Covered(BTreeSet<PathBuf>);

impl Covered {
    fn new(requests: &[Request]) -> Self {
        let mut covered = Self(BTreeSet::new());
        let places = requests.iter().map(|request| crate::rootfs::clean(request.container_path.as_str()));
        // In their order a directory comes right before what lies in it.
        for place in places.collect::<BTreeSet<_>>() {
            if !covered.has(&place) {
                covered.0.insert(place);
            }
        }
        covered
    }

    /// Whether a path is one of them or lies in one.
    fn has(&self, path: &Path) -> bool {
        let before = self.0.range::<Path, _>((Unbounded, Included(path))).next_back();
        before.is_some_and(|mount| path.starts_with(mount))
    }
}

/// The mount of an image: an overlay that nobody can write to. Of what it is made, the plan says.
pub(super) fn image(index: usize, request: &Request, volume: Option<&ImageVolume>) -> OciResult<Mount> {
    let field = format!("mounts[{index}].container_path");
    let place = place(&field, crate::rootfs::clean(request.container_path.as_str()), None)?;
    let volume =
        volume.ok_or_else(|| OciError::invalid(format!("mounts[{index}].image"), "was not resolved"))?;
    let mut options = vec!["ro", "nosuid", "nodev"];
    options.extend(request.options.iter().map(String::as_str));
    let mut mount = mount(place, "overlay", volume.name().into(), &options);
    map_owners(&mut mount, request)?;
    Ok(mount)
}

/// A bind of the volume's directory, whose files have the image's owners: in a user namespace of the pod's own they are
/// shown through its ids, as the image's are.
pub(super) fn anonymous(volume: &AnonymousVolume, pod: &SandboxConfig) -> OciResult<Mount> {
    let mut mount = mount(volume.place.clone(), "bind", volume.dir.clone(), &["rbind", "rprivate", "rw"]);
    if pod.linux.security.namespaces.users.is_some() {
        mount
            .set_uid_mappings(super::userns::mappings(pod, |users| users.uids)?)
            .set_gid_mappings(super::userns::mappings(pod, |users| users.gids)?);
    }
    Ok(mount)
}
