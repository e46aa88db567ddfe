//! The root filesystem: an overlay inside the container's own mount namespace, or a directory as it is.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use sys::fd::{as_path, errno, flag, propagation};
use sys::{SysError, SysResult, mount, resolve};
use wire::plan::RootfsPlan;

use crate::{Context, Failure};

/// Mounts the root at the plan's mountpoint.
pub(super) fn assemble(plan: &RootfsPlan) -> Result<OwnedFd, Failure> {
    if plan.layers.is_empty() && plan.directory.is_empty() {
        return Err(Failure::setup(errno::EINVAL, "mount root: the image has no layers".to_owned()));
    }
    if plan.propagation & propagation::SHARED != 0 {
        seclude(&plan.mountpoint).context("seclude", &plan.mountpoint)?;
    }
    let root = if plan.directory.is_empty() {
        supply_directories(plan).context("prepare", &plan.upper)?;
        mount_overlay(plan)
    } else {
        mount_directory(plan)
    };
    let root = root.context("mount root", &plan.mountpoint)?;
    let own = plan.propagation & !propagation::RECURSIVE;
    if own != 0 {
        mount::set_attributes(root.as_fd(), 0, own, false).context("set propagation of", b"/")?;
    }
    Ok(root)
}

/// Makes those of the usual mount points that no layer has in the writable layer: a tenth of the time that it
/// takes through the overlay.
fn supply_directories(plan: &RootfsPlan) -> SysResult<()> {
    for name in ["dev", "proc", "sys"] {
        let is_there = |dir: &Vec<u8>| std::fs::symlink_metadata(as_path(dir).join(name)).is_ok();
        if plan.layers.iter().chain([&plan.upper]).any(is_there) {
            continue;
        }
        let upper = resolve::open(&plan.upper, flag::O_PATH | flag::O_DIRECTORY)?;
        resolve::make_dir(upper.as_fd(), name.as_bytes())?;
    }
    Ok(())
}

fn mount_overlay(plan: &RootfsPlan) -> SysResult<OwnedFd> {
    let flags = flag::O_PATH | flag::O_DIRECTORY;
    match mount::overlay(&plan.layers, &plan.upper, &plan.work) {
        Ok(tree) => {
            let target = resolve::open(&plan.mountpoint, flags)?;
            mount::attach(tree.as_fd(), target.as_fd())?;
            Ok(tree)
        }
        // Kernels before 6.7 take the layers through mount(2) only, and long paths fit no option of fsconfig.
        Err(error) if matches!(error.errno, errno::EINVAL | errno::ENOSYS | errno::ENAMETOOLONG) => {
            mount::overlay_classic(&plan.layers, &plan.upper, &plan.work, &plan.mountpoint)?;
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

/// Makes the mount that holds `path` private: where the root stays shared with the host (a volume with
/// bidirectional propagation), the overlay would otherwise appear there too.
fn seclude(path: &[u8]) -> SysResult<()> {
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
        .context("enter root", &plan.mountpoint)
}
