//! Volumes whose mounts are to be seen by the host, with mounts of the container below them. Those are the container's
//! own: attached while the volume is private, they stay unseen; only then it joins the host's peer group.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use sys::fd::{errno, flag, propagation};
use sys::{SysResult, fd, mount, peers, resolve};
use wire::plan::{MountPlan, MountSource};

use crate::{Context, Failure};

/// A volume that is private for the time being.
pub(super) struct Volume<'a> {
    target: &'a [u8],
    /// Another copy of it, in the host's peer groups.
    example: OwnedFd,
    /// What is private, and by what example it is to be shared.
    secluded: Vec<(OwnedFd, OwnedFd)>,
}

/// What a path is below a directory.
fn below<'p>(directory: &[u8], path: &'p [u8]) -> Option<&'p [u8]> {
    path.strip_prefix(directory)?.strip_prefix(b"/").filter(|rest| !rest.is_empty())
}

impl<'a> Volume<'a> {
    /// Makes a volume private, not attached yet, when it is to be shared and one of the mounts that follow lies below it.
    /// Before Linux 5.15, where nothing joins a group later, it stays shared.
    pub(super) fn seclude(
        plan: &'a MountPlan,
        tree: &OwnedFd,
        following: &[MountPlan],
    ) -> Result<Option<Self>, Failure> {
        let MountSource::Bind { path, recursive } = &plan.source else { return Ok(None) };
        let is_shared = plan.propagation & propagation::SHARED != 0;
        if !is_shared || !following.iter().any(|mount| below(&plan.target, &mount.target).is_some()) {
            return Ok(None);
        }
        let make = || -> SysResult<Option<Self>> {
            let example = mount::clone_tree(None, path, *recursive)?;
            let trial = mount::clone_tree(None, path, false)?;
            mount::set_attributes(trial.as_fd(), 0, propagation::PRIVATE, false)?;
            if peers::join(example.as_fd(), trial.as_fd()).is_err() {
                return Ok(None);
            }
            mount::set_attributes(tree.as_fd(), 0, propagation::PRIVATE, false)?;
            let secluded = vec![(fd::duplicate(example.as_fd())?, fd::duplicate(tree.as_fd())?)];
            Ok(Some(Self { target: &plan.target, example, secluded }))
        };
        make().context("mount", &plan.target)
    }

    /// The same for a mount of the host's within the volume, which another is about to lie over.
    pub(super) fn cover(&mut self, root: BorrowedFd<'_>, path: &[u8]) -> Result<(), Failure> {
        let Some(rest) = below(self.target, path) else { return Ok(()) };
        let flags = flag::O_PATH | flag::O_NOFOLLOW;
        let (Ok(to), Ok(from)) = (
            resolve::open_in_root(root, path, flags),
            resolve::open_in_root(self.example.as_fd(), rest, flags),
        ) else {
            return Ok(());
        };
        match mount::set_attributes(to.as_fd(), 0, propagation::PRIVATE, false) {
            // Nothing is mounted there.
            Err(error) if error.errno == errno::EINVAL => {}
            other => {
                other.context("mount", path)?;
                self.secluded.push((from, to));
            }
        }
        Ok(())
    }

    /// Shares all of it again.
    pub(super) fn join(self) -> Result<(), Failure> {
        for (from, to) in &self.secluded {
            match peers::join(from.as_fd(), to.as_fd()) {
                // A mount that was private on the host stays so.
                Err(error) if error.errno == errno::EINVAL => {}
                other => other.context("share", self.target)?,
            }
        }
        Ok(())
    }
}
