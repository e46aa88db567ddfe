//! Images as volumes: an overlay of their layers that nobody can write to.

use std::os::fd::{AsFd, OwnedFd};

use sys::fd::{errno, flag};
use sys::{SysResult, mount, resolve};
use wire::plan::MountPlan;

use crate::ground::Ground;
use crate::userns::{self, Mapper};
use crate::{Context, Failure, rootfs};

/// The overlay, not attached. `scratch` is a directory on which something may be mounted for the moment.
pub(super) fn overlay(
    plan: &MountPlan,
    (layers, label): (&[Vec<u8>], &[u8]),
    scratch: &[u8],
    mapper: &mut Mapper<'_>,
    ground: &mut Ground<'_>,
) -> Result<OwnedFd, Failure> {
    if plan.idmap.is_empty() {
        return detached(layers, scratch, label, ground).context("mount", &plan.target);
    }
    ground.copy().context("mount", &plan.target)?;
    // The overlay itself cannot show other owners: its layers do, found at `scratch` for as long as it takes.
    let base = mount::common_directory(layers);
    let shown = mount::clone_tree(None, base, false).context("mount", &plan.target)?;
    let mapped = mapper.map(shown.as_fd(), &plan.idmap, false);
    mapped.context("mount", &plan.target).map_err(userns::explain)?;
    let mut place = || {
        rootfs::seclude(scratch)?;
        let target = resolve::open(scratch, flag::O_PATH | flag::O_DIRECTORY)?;
        mount::attach(shown.as_fd(), target.as_fd())?;
        let below = |layer: &Vec<u8>| {
            [scratch, b"/".as_slice(), layer.get(base.len()..).unwrap_or_default()].concat()
        };
        let layers: Vec<Vec<u8>> = layers.iter().map(below).collect();
        let tree = detached(&layers, scratch, label, ground)?;
        mount::detach(scratch)?;
        Ok(tree)
    };
    place().context("mount", &plan.target).map_err(userns::explain)
}

/// Kernels before 6.7 take the layers through mount(2) only, which attaches them at once.
fn detached(layers: &[Vec<u8>], scratch: &[u8], label: &[u8], ground: &mut Ground<'_>) -> SysResult<OwnedFd> {
    match mount::overlay_read_only(layers, label) {
        Err(error) if matches!(error.errno, errno::EINVAL | errno::ENOSYS | errno::ENAMETOOLONG) => {}
        tree => return tree,
    }
    ground.copy()?;
    rootfs::seclude(scratch)?;
    mount::overlay_read_only_classic(layers, scratch, label)?;
    let tree = mount::clone_tree(None, scratch, false)?;
    mount::detach(scratch)?;
    Ok(tree)
}
