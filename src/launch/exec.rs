//! A process beside a container's first one.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use sys::fd::namespace;
use sys::{fd, process};
use wire::plan::{CgroupPlan, ExecPlan, IdMaps};

use crate::extras::Ending;
use crate::{Failure, Never, creds};

/// What the fork hands to the child.
pub struct ExecChild<'a> {
    /// The plan.
    pub plan: &'a ExecPlan,
    /// The cgroups to join: the container's, or a tracking one below it.
    pub cgroup: &'a CgroupPlan,
    /// The child's end of the status channel.
    pub status: &'a OwnedFd,
    /// The writing ends of stdout's and stderr's pipes.
    pub output: (&'a OwnedFd, &'a OwnedFd),
    /// The container's first process.
    pub init: BorrowedFd<'a>,
    /// The container's root.
    pub root: BorrowedFd<'a>,
    /// The ids of the container's user namespace; empty: it has none.
    pub ids: &'a IdMaps,
    /// The fork has placed the child in its v2 cgroup.
    pub joined_v2: bool,
}

/// Enters the container and becomes the program.
pub fn run(child: &ExecChild<'_>) -> ! {
    let failure = match enter(child) {
        Err(failure) => failure,
        Ok(never) => match never {},
    };
    crate::fail(child.status.as_fd(), &failure)
}

fn enter(child: &ExecChild<'_>) -> Result<Never, Failure> {
    let process = &child.plan.process;
    crate::null_stdio(&[0])?;
    for (number, end) in [(1, child.output.0), (2, child.output.1)] {
        fd::set_owner(end, child.ids.uid_outside(process.uid), child.ids.gid_outside(process.gid))?;
        fd::set_standard(end.as_fd(), number)?;
    }
    fd::close_all_but(&[child.status.as_raw_fd(), child.init.as_raw_fd(), child.root.as_raw_fd()])?;
    crate::join_cgroups(child.cgroup, child.joined_v2)?;
    process::new_session()?;
    crate::set_oom_score(child.status.as_fd(), process.oom_score_adj)?;
    // The pidfd is that of the container's first process and of no later one: no other's namespaces are ever
    // entered. The PID namespace is the one that the fork took place in.
    let user = if child.ids.is_empty() { 0 } else { namespace::USER };
    process::enter(child.init, user | namespace::MOUNT | namespace::CGROUP)?;
    // The mount namespace's own root is another where the runtime lives in a chroot.
    process::change_root(child.root)?;
    fd::close_all_but(&[child.status.as_raw_fd()])?;
    creds::become_program(process, &Ending::default())
}
