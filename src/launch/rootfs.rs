//! The root filesystem: an overlay inside the container's own mount namespace, or a directory as it is.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use sys::fd::{as_path, errno, flag, propagation};
use sys::{SysError, SysResult, mount, resolve};
use wire::plan::{IdMaps, RootfsPlan};

use crate::ground::Ground;
use crate::{Context, Failure, userns};

/// Mounts the root at the plan's mountpoint. With a user namespace it stays detached, for [`place`]; among the host's mounts
/// too, for [`Ground::leave`].
pub(super) fn assemble(
    plan: &RootfsPlan,
    ids: &IdMaps,
    userns: Option<BorrowedFd<'_>>,
    ground: &mut Ground<'_>,
) -> Result<OwnedFd, Failure> {
    if plan.layers.is_empty() && plan.directory.is_empty() {
        return Err(Failure::setup(errno::EINVAL, "mount root: the image has no layers".to_owned()));
    }
    if plan.propagation & propagation::SHARED != 0 {
        seclude(&plan.mountpoint).context("seclude", &plan.mountpoint)?;
    }
    if plan.directory.is_empty() {
        supply_directories(plan, ids).context("prepare", &plan.upper)?;
    }
    Ok(match (plan.directory.is_empty(), userns) {
        (true, None) => mount_overlay(plan, ground).context("mount root", &plan.mountpoint)?,
        (true, Some(userns)) => mount_mapped(plan, userns)?,
        (false, None) => mount_directory(plan).context("mount root", &plan.mountpoint)?,
        // Its owners are those that the caller has given it.
        (false, Some(_)) => {
            mount::clone_tree(None, &plan.directory, true).context("mount root", &plan.directory)?
        }
    })
}

/// Makes those of the usual mount points that no layer has in the writable layer: a tenth of the time that it
/// takes through the overlay.
///
/// The layer and they belong to the root of the user namespace, as a new file in it would.
fn supply_directories(plan: &RootfsPlan, ids: &IdMaps) -> SysResult<()> {
    let upper_path = as_path(&plan.upper);
    let owner = (ids.uid_outside(0), ids.gid_outside(0));
    let own = |path: &Path| {
        if ids.is_empty() {
            return Ok(());
        }
        std::os::unix::fs::lchown(path, Some(owner.0), Some(owner.1)).map_err(SysError::io("chown", path))
    };
    own(upper_path)?;
    for name in ["dev", "proc", "sys"] {
        let is_there = |dir: &Vec<u8>| std::fs::symlink_metadata(as_path(dir).join(name)).is_ok();
        if plan.layers.iter().chain([&plan.upper]).any(is_there) {
            continue;
        }
        let upper = resolve::open(&plan.upper, flag::O_PATH | flag::O_DIRECTORY)?;
        resolve::make_dir(upper.as_fd(), name.as_bytes())?;
        own(&upper_path.join(name))?;
    }
    Ok(())
}

fn mount_overlay(plan: &RootfsPlan, ground: &mut Ground<'_>) -> SysResult<OwnedFd> {
    let flags = flag::O_PATH | flag::O_DIRECTORY;
    match mount::overlay(&plan.layers, &plan.upper, &plan.work, &plan.label) {
        Ok(tree) if ground.is_hosts() => Ok(tree),
        Ok(tree) => {
            let target = resolve::open(&plan.mountpoint, flags)?;
            mount::attach(tree.as_fd(), target.as_fd())?;
            Ok(tree)
        }
        // Kernels before 6.7 take the layers through mount(2) only, and long paths fit no option of fsconfig.
        Err(error) if matches!(error.errno, errno::EINVAL | errno::ENOSYS | errno::ENAMETOOLONG) => {
            ground.copy()?;
            mount::overlay_classic(&plan.layers, &plan.upper, &plan.work, &plan.mountpoint, &plan.label)?;
            resolve::open(&plan.mountpoint, flags)
        }
        Err(error) => Err(error),
    }
}

/// The directory becomes a mount of its own, over itself: only a mount can become the root.
fn mount_directory(plan: &RootfsPlan) -> SysResult<OwnedFd> {
    let tree = mount::clone_tree(None, &plan.directory, true)?;
    let target = resolve::open(&plan.mountpoint, flag::O_PATH | flag::O_DIRECTORY)?;
    mount::attach(tree.as_fd(), target.as_fd())?;
    Ok(tree)
}

/// Tries whether such a root can be mounted here at all; the caller's mount namespace is its own.
///
/// # Errors
/// Why not.
pub fn probe_mapped(plan: &RootfsPlan, userns: BorrowedFd<'_>) -> Result<(), Failure> {
    mount_mapped(plan, userns).map(drop)
}

/// An overlay of layers that show their owners through the user namespace, not attached. The layers are found below
/// the mountpoint for as long as it takes to mount them.
fn mount_mapped(plan: &RootfsPlan, userns: BorrowedFd<'_>) -> Result<OwnedFd, Failure> {
    let base = mount::common_directory(&plan.layers);
    let shown = mount::clone_tree(None, base, false).context("mount root", base)?;
    mount::set_idmap(shown.as_fd(), userns, false).context("mount root", base).map_err(userns::explain)?;
    let target = resolve::open(&plan.mountpoint, flag::O_PATH | flag::O_DIRECTORY)?;
    mount::attach(shown.as_fd(), target.as_fd()).context("mount root", &plan.mountpoint)?;
    let below = |layer: &Vec<u8>| {
        [&plan.mountpoint, b"/".as_slice(), layer.get(base.len()..).unwrap_or_default()].concat()
    };
    let layers: Vec<Vec<u8>> = plan.layers.iter().map(below).collect();
    let root = match mount::overlay(&layers, &plan.upper, &plan.work, &plan.label) {
        Err(error) if matches!(error.errno, errno::EINVAL | errno::ENOSYS | errno::ENAMETOOLONG) => {
            overlay_detached(plan, &layers)
        }
        other => other,
    };
    let root = root.context("mount root", &plan.mountpoint).map_err(userns::explain)?;
    mount::detach(&plan.mountpoint).context("mount root", &plan.mountpoint)?;
    Ok(root)
}

fn overlay_detached(plan: &RootfsPlan, layers: &[Vec<u8>]) -> SysResult<OwnedFd> {
    mount::overlay_classic(layers, &plan.upper, &plan.work, &plan.mountpoint, &plan.label)?;
    let root = mount::clone_tree(None, &plan.mountpoint, false)?;
    mount::detach(&plan.mountpoint)?;
    Ok(root)
}

/// Attaches a detached root where a process without rights on the host finds a place for it: over the root directory,
/// which it is about to leave.
pub(super) fn place(root: BorrowedFd<'_>) -> Result<(), Failure> {
    let target = resolve::open(b"/", flag::O_PATH | flag::O_DIRECTORY)?;
    mount::attach(root, target.as_fd()).context("attach root", b"/")
}

/// Makes the mount that holds `path` private: where the root stays shared with the host (a volume with
/// bidirectional propagation), the overlay would otherwise appear there too.
pub(super) fn seclude(path: &[u8]) -> SysResult<()> {
    let mut path = path;
    loop {
        match mount::classic(b"", path, b"", propagation::PRIVATE, b"") {
            Err(error) if error.errno == errno::EINVAL => {}
            other => return other,
        }
        path = match resolve::split(path) {
            Some((parent, _)) => parent,
            None => return Err(SysError::new("seclude", "/", errno::EINVAL)),
        };
    }
}

/// Everything is in place: read-only if asked for, and the process moves in. Without `pivot` the root is moved over
/// the old one, as for a host whose root is the initial ramdisk.
pub(super) fn finish(root: BorrowedFd<'_>, plan: &RootfsPlan, pivot: bool) -> Result<(), Failure> {
    if plan.readonly {
        crate::mounts::configure(root, mount::READ_ONLY, 0, false).context("make read-only", b"/")?;
    }
    if !pivot {
        return mount::move_into(root).context("enter root", &plan.mountpoint);
    }
    mount::pivot_into(root, plan.propagation & propagation::SHARED != 0)
        .context("enter root", &plan.mountpoint)?;
    // A root that is shared already cannot be pivoted into.
    let own = plan.propagation & !propagation::RECURSIVE;
    if own != 0 {
        mount::set_attributes(root, 0, own, false).context("set propagation of", b"/")?;
    }
    Ok(())
}
