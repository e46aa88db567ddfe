//! User namespaces: the child on its way into its pod's, and mounts that show their owners through one.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use sys::fd::{errno, namespace};
use sys::process::{Forked, SingleThread};
use sys::{SysResult, fd, mount, privilege, process};
use wire::plan::{IdMap, IdMaps};

use crate::{Context, Failure, channel};

/// Enters the pod's user namespace with a mount namespace that it owns, as its root.
///
/// With `forks` there is a PID namespace too. Only a process born inside can have one that the user namespace owns,
/// so a sibling takes this process's place: the shim is told of it, and this process ends.
pub(super) fn move_in(
    userns: BorrowedFd<'_>,
    status: BorrowedFd<'_>,
    forks: Option<&SingleThread>,
) -> Result<(), Failure> {
    process::enter(userns, namespace::USER).context("enter user namespace", b"")?;
    match forks {
        None => process::unshare(namespace::MOUNT)?,
        Some(single) => hand_over(status, single)?,
    }
    privilege::set_user(0, 0, &[]).context("become root of user namespace", b"")
}

/// Returns in the sibling, once the shim has been told of it.
fn hand_over(status: BorrowedFd<'_>, single: &SingleThread) -> Result<(), Failure> {
    let (told, tell) = fd::pipe()?;
    match process::fork_sibling(single, namespace::PID | namespace::MOUNT)? {
        Forked::Parent(sibling) => {
            if channel::send_handed_over(status, &sibling).is_err() {
                // Nobody is left who would supervise it.
                let _ = process::signal(sibling.pidfd.as_fd(), 9);
            }
            process::exit(0)
        }
        Forked::Child => {
            drop(tell);
            fd::wait_for_end(&told);
            Ok(())
        }
    }
}

/// The user namespaces that mounts are shown through: the pod's own, and any other that a mount asks for.
pub(super) struct Mapper<'a> {
    single: &'a SingleThread,
    pod: Option<(&'a IdMaps, BorrowedFd<'a>)>,
    made: Vec<(IdMaps, OwnedFd)>,
}

impl<'a> Mapper<'a> {
    pub(super) fn new(single: &'a SingleThread, pod: Option<(&'a IdMaps, BorrowedFd<'a>)>) -> Self {
        Self { single, pod, made: Vec::new() }
    }

    /// Whether the process is on its way into a user namespace.
    pub(super) fn has_pod(&self) -> bool {
        self.pod.is_some()
    }

    /// Lets a detached tree show its owners through these ids.
    pub(super) fn map(&mut self, tree: BorrowedFd<'_>, ids: &IdMaps, recursive: bool) -> SysResult<()> {
        if let Some((_, userns)) = self.pod.filter(|(known, _)| *known == ids) {
            return mount::set_idmap(tree, userns, recursive);
        }
        if let Some((_, userns)) = self.made.iter().find(|(known, _)| known == ids) {
            return mount::set_idmap(tree, userns.as_fd(), recursive);
        }
        let userns = sys::userns::create(self.single, &ranges(&ids.uids), &ranges(&ids.gids))?;
        mount::set_idmap(tree, userns.as_fd(), recursive)?;
        self.made.push((ids.clone(), userns));
        Ok(())
    }
}

/// In the terms of the system calls' crate.
pub fn ranges(maps: &[IdMap]) -> Vec<sys::userns::Range> {
    maps.iter().map(|map| (map.inside, map.outside, map.count)).collect()
}

/// The kernel's word for a filesystem that cannot be idmapped says nothing to anybody.
pub(super) fn explain(failure: Failure) -> Failure {
    if failure.errno != errno::EINVAL {
        return failure;
    }
    let message = format!("{} (the filesystem does not support idmapped mounts)", failure.message);
    Failure { message, ..failure }
}
