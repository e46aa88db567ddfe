//! A PID namespace that others are in already, and its procfs.
//!
//! Procfs shows the PID namespace of whoever mounts it, and who mounts it needs capabilities that a tracer in there
//! would take from it. So nobody enters the namespace for that: a container that joins it gets a copy of a procfs that
//! was mounted when nobody else was there. A mount can be copied only from within its mount namespace, which is visited.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use sys::fd::{errno, flag, namespace};
use sys::process::Successor;
use sys::{SysError, SysResult, fd, mount, process, resolve};
use wire::plan::{MountPlan, MountSource};

use crate::{Context, Failure};

/// The number of procfs's root directory.
const PROCFS_ROOT: u64 = 1;
/// As containers have it.
const ATTRIBUTES: u64 = mount::NO_SUID | mount::NO_DEV | mount::NO_EXEC;

/// A PID namespace to join.
#[derive(Debug)]
pub struct Joined {
    /// A process of it, by its pidfd.
    pub process: OwnedFd,
    /// The procfs that shows it.
    pub procfs: Procfs,
}

/// Where a procfs is.
#[derive(Debug)]
pub enum Procfs {
    /// This mount, in this mount namespace.
    Held {
        /// The mount namespace.
        mounts: OwnedFd,
        /// The mount's root.
        mount: OwnedFd,
    },
    /// At `/proc` of the container that the process is the first one of.
    Of {
        /// The process's number.
        pid: i32,
        /// The container's root directory.
        root: OwnedFd,
    },
}

/// What a container needs that joins a PID namespace.
pub struct Joining<'a> {
    /// The namespace.
    pub joined: &'a Joined,
    /// Where the number of the process goes that becomes the program.
    pub successor: &'a Successor,
}

/// A procfs of the calling process's PID namespace, not attached yet.
pub(super) fn new_procfs() -> SysResult<OwnedFd> {
    mount::filesystem(b"proc", b"proc", b"", ATTRIBUTES)
}

impl Joined {
    /// The descriptors that it consists of.
    pub(super) fn kept(&self) -> Vec<RawFd> {
        match &self.procfs {
            Procfs::Held { mounts, mount } => {
                vec![self.process.as_raw_fd(), mounts.as_raw_fd(), mount.as_raw_fd()]
            }
            Procfs::Of { root, .. } => vec![self.process.as_raw_fd(), root.as_raw_fd()],
        }
    }

    /// Copies its procfs for those of the mounts that are one. To be called with the host's privileges; the
    /// mount namespace is left for a moment.
    pub(super) fn supply(
        &self,
        mounts: &[MountPlan],
        sources: &mut [Option<OwnedFd>],
    ) -> Result<(), Failure> {
        for (plan, source) in mounts.iter().zip(sources) {
            if is_procfs(plan) {
                *source = Some(self.copy().context("mount", &plan.target)?);
            }
        }
        Ok(())
    }

    fn copy(&self) -> SysResult<OwnedFd> {
        match &self.procfs {
            Procfs::Held { mounts, mount } => {
                visit(mounts.as_fd(), || mount::clone_tree(Some(mount.as_fd()), b"", false))
            }
            Procfs::Of { pid, root } => self.copy_of(*pid, root.as_fd()),
        }
    }

    /// The container may have put something else there: only the root of a procfs of the very namespace is copied.
    fn copy_of(&self, pid: i32, root: BorrowedFd<'_>) -> SysResult<OwnedFd> {
        let other = || SysError::new("find the target container's procfs", "/proc", errno::EXDEV);
        let name = format!("/proc/{pid}/ns/pid");
        let namespace = fs::read_link(&name).map_err(SysError::io("read", &name))?;
        // The number was that process's until now.
        process::signal(self.process.as_fd(), 0)?;
        let (copied, first) = visit(self.process.as_fd(), || {
            let found = resolve::open_in_root(root, b"/proc", flag::O_PATH | flag::O_NOFOLLOW)?;
            fd::expect_procfs(&found).map_err(|_| other())?;
            if fd::identity(&found)?.inode != PROCFS_ROOT {
                return Err(other());
            }
            let first = resolve::open_beneath(found.as_fd(), b"1/ns", flag::O_PATH).map_err(|_| other())?;
            Ok((mount::clone_tree(Some(found.as_fd()), b"", false)?, first))
        })?;
        let name = format!("/proc/self/fd/{}/pid", first.as_raw_fd());
        if fs::read_link(&name).map_err(SysError::io("read", &name))? == namespace {
            Ok(copied)
        } else {
            Err(other())
        }
    }
}

/// Does something in another mount namespace.
fn visit<T>(mounts: BorrowedFd<'_>, what: impl FnOnce() -> SysResult<T>) -> SysResult<T> {
    let own = resolve::open(b"/proc/self/ns/mnt", flag::O_RDONLY)?;
    let root = resolve::open(b"/", flag::O_PATH | flag::O_DIRECTORY)?;
    process::enter(mounts, namespace::MOUNT)?;
    let done = what();
    process::enter(own.as_fd(), namespace::MOUNT)?;
    // The mount namespace's own root is another where the runtime lives in a chroot.
    process::change_root(root.as_fd())?;
    done
}

/// Whether a mount is a new procfs.
pub(super) fn is_procfs(plan: &MountPlan) -> bool {
    matches!(&plan.source, MountSource::Filesystem { fstype, .. } if fstype == b"proc")
}

/// A copied mount has the attributes of its source: they become those of the plan.
pub(super) fn as_copy(plan: &MountPlan) -> MountPlan {
    let source = MountSource::Bind { path: plan.target.clone(), recursive: false };
    let cleared = (mount::READ_ONLY | ATTRIBUTES) & !plan.attributes;
    MountPlan { source, cleared, ..plan.clone() }
}
