//! A process beside a container's first one.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use sys::fd::namespace;
use sys::{fd, process, tty};
use wire::plan::{CgroupPlan, ExecPlan, IdMaps};

use crate::agent::Handover;
use crate::extras::Extras;
use crate::labels::Labels;
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
    /// What a caller other than the shim adds.
    pub extras: Extras<'a>,
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
    let owner = (child.ids.uid_outside(process.uid), child.ids.gid_outside(process.gid));
    crate::null_stdio(&[0, 1, 2])?;
    for (number, end) in (0..).zip(child.stdio) {
        if let Some(end) = end {
            child.extras.give(end, owner)?;
            fd::set_standard(end.as_fd(), number)?;
        }
    }
    let outlasting = child.extras.kept(child.status.as_raw_fd());
    let mut kept = outlasting.clone();
    kept.extend([child.init.as_raw_fd(), child.root.as_raw_fd()]);
    fd::close_all_but(&kept)?;
    crate::join_cgroups(child.cgroup, child.joined_v2)?;
    process::new_session()?;
    crate::set_oom_score(child.status.as_fd(), process.oom_score_adj)?;
    // The pidfd is that of the container's first process and of no later one: no other's namespaces are ever
    // entered. The PID namespace is the one that the fork took place in.
    let labels = Labels::open(process)?;
    let handover = Handover::new(process)?;
    let user = if child.ids.is_empty() { 0 } else { namespace::USER };
    process::enter(child.init, user | namespace::MOUNT | namespace::CGROUP | child.extras.foreign)?;
    // The mount namespace's own root is another where the runtime lives in a chroot.
    process::change_root(child.root)?;
    if child.tty {
        let master = open_terminal(child.root, process.uid)?;
        tty::set_first_size(master.as_fd(), child.plan.size);
        channel::send_ready(child.status.as_fd(), Some(master.as_fd()))?;
    }
    let kept: Vec<_> = labels.kept().chain(outlasting).collect();
    fd::close_all_but(&kept)?;
    let agent = match (handover, child.extras.agent) {
        (Some(handover), Some(agent)) => Some(handover.over(Some(fd::duplicate(agent)?))),
        (handover, _) => handover.map(|handover| handover.over(None)),
    };
    creds::become_program(process, &child.extras.ending(child.status, labels, agent))
}

/// A terminal of the container's own devpts becomes stdio; returns its master.
fn open_terminal(root: BorrowedFd<'_>, uid: u32) -> Result<OwnedFd, Failure> {
    let (master, slave) = tty::open_pair(root)?;
    fd::set_owner(&slave, uid, u32::MAX)?;
    tty::set_controlling(slave.as_fd())?;
    for number in 0..=2 {
        fd::set_standard(slave.as_fd(), number)?;
    }
    Ok(master)
}
