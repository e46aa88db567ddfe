//! A process beside a container's first one.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use sys::fd::{flag, namespace};
use sys::{fd, process, resolve, tty};
use wire::plan::{CgroupPlan, ExecPlan, IdMaps};

use crate::extras::Ending;
use crate::{Failure, Never, channel, creds};

/// What the fork hands to the child.
pub struct ExecChild<'a> {
    /// The plan.
    pub plan: &'a ExecPlan,
    /// The cgroups to join: the container's, or a tracking one below it.
    pub cgroup: &'a CgroupPlan,
    /// The child's end of the status channel.
    pub status: &'a OwnedFd,
    /// The child's ends of stdin, stdout and stderr; the null device where there is none.
    pub stdio: [Option<&'a OwnedFd>; 3],
    /// A terminal of the container takes their place; its master is sent to the shim.
    pub tty: bool,
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
    crate::null_stdio(&[0, 1, 2])?;
    let (uid, gid) = (child.ids.uid_outside(process.uid), child.ids.gid_outside(process.gid));
    for (number, end) in (0..).zip(child.stdio) {
        if let Some(end) = end {
            fd::set_owner(end, uid, gid)?;
            fd::set_standard(end.as_fd(), number)?;
        }
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
    if child.tty {
        let master = open_terminal(process.uid)?;
        channel::send_ready(child.status.as_fd(), Some(master.as_fd()))?;
    }
    creds::become_program(process, &Ending::default())
}

/// A terminal of the container's own devpts becomes stdio; returns its master.
fn open_terminal(uid: u32) -> Result<OwnedFd, Failure> {
    // The container's root is ours by now.
    let root = resolve::open(b"/", flag::O_PATH | flag::O_DIRECTORY)?;
    let (master, slave) = tty::open_pair(root.as_fd())?;
    fd::set_owner(&slave, uid, u32::MAX)?;
    tty::set_controlling(slave.as_fd())?;
    for number in 0..=2 {
        fd::set_standard(slave.as_fd(), number)?;
    }
    Ok(master)
}
