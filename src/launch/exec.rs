//! A process beside a container's first one.

use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use sys::fd::namespace;
use sys::process::{SingleThread, Successor};
use sys::{fd, privilege, process, tty};
use wire::plan::{CgroupPlan, ExecPlan, IdMaps};

use crate::agent::Handover;
use crate::birth::Birth;
use crate::extras::Extras;
use crate::labels::Labels;
use crate::{Failure, Never, channel, creds, keyring, null};

/// Where a fork has placed a command's first process, as far as v2 goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Birthplace {
    /// In the cgroup that it is to join.
    Place,
    /// Where the forking process is: it joins by itself.
    Forker,
    /// Outside, as its cgroup is full: it stays there, and its successor is taken in.
    Outside,
}

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
    /// The null device for streams that are missing; one of its own where there is none.
    pub null: Option<&'a null::Null>,
    /// A terminal of the container takes their place; its master is sent to the shim.
    pub tty: bool,
    /// The container's first process.
    pub init: BorrowedFd<'a>,
    /// The container's root.
    pub root: BorrowedFd<'a>,
    /// The ids of the container's user namespace; empty: it has none.
    pub ids: &'a IdMaps,
    /// Where the fork has placed the child.
    pub birthplace: Birthplace,
    /// For the fork into the container's PID namespace.
    pub single: &'a SingleThread,
    /// Where the number of the process goes that becomes the program.
    pub successor: &'a Successor,
    /// What a caller other than the shim adds.
    pub extras: Extras<'a>,
}

/// Enters the container and becomes the program, or rather makes the process that does.
pub fn run(child: &ExecChild<'_>) -> ! {
    let failure = match enter(child) {
        Err(failure) => failure,
        Ok(never) => match never {},
    };
    crate::fail(child.status.as_fd(), &failure)
}

fn enter(child: &ExecChild<'_>) -> Result<Never, Failure> {
    let process = &child.plan.process;
    let nulls = take_stdio(child)?;
    let outlasting = child.extras.kept(child.status.as_raw_fd());
    let mut kept = outlasting.clone();
    kept.extend(failpoint::descriptor());
    kept.extend([child.init.as_raw_fd(), child.root.as_raw_fd()]);
    fd::close_all_but(&kept)?;
    crate::join_cgroups(child.cgroup, child.birthplace != Birthplace::Forker)?;
    failpoint::reach!("launch.exec.joined")?;
    crate::set_oom_score(child.status.as_fd(), process.oom_score_adj)?;
    let labels = Labels::open(process)?;
    let handover = Handover::new(process, true)?;
    let pids = if handover.is_some() { Some(child.init) } else { None };
    enter_namespaces(child, if pids.is_some() { 0 } else { namespace::PID })?;
    failpoint::reach!("launch.exec.entered")?;
    if !child.extras.keeps_keyring {
        keyring::join(&child.plan.container, &labels)?;
    }
    if child.tty {
        let master = open_terminal(child.root, process.uid)?;
        tty::set_first_size(master.as_fd(), child.plan.size);
        channel::send_ready(child.status.as_fd(), Some(master.as_fd()))?;
    } else {
        null::take_own(child.root, &nulls)?;
    }
    let kept: Vec<_> = labels.kept().chain(pids.map(|fd| fd.as_raw_fd())).chain(outlasting).collect();
    fd::close_all_but(&kept)?;
    let agent = match (handover, child.extras.agent) {
        (Some(handover), Some(agent)) => Some(handover.over(Some(fd::duplicate(agent)?))),
        (handover, _) => handover.map(|handover| handover.over(None)),
    };
    child.successor.withhold()?;
    let outside = Cell::new(child.birthplace == Birthplace::Outside);
    let birth = Birth { single: child.single, successor: child.successor, tty: child.tty, pids, outside };
    creds::become_program(process, &child.extras.ending(child.status, labels, agent, Some(birth))?);
}

/// Stdin, stdout and stderr, given to the program's user; returns those that are the null device.
fn take_stdio(child: &ExecChild<'_>) -> Result<Vec<RawFd>, Failure> {
    let process = &child.plan.process;
    let owner = (child.ids.uid_outside(process.uid), child.ids.gid_outside(process.gid));
    let mut nulls = Vec::new();
    for (number, end) in (0..).zip(child.stdio) {
        match end {
            Some(end) => {
                child.extras.give(end, owner)?;
                fd::set_standard(end.as_fd(), number)?;
            }
            None => nulls.push(number),
        }
    }
    if !nulls.is_empty() {
        null::set_standard(child.null, &nulls)?;
    }
    Ok(nulls)
}

/// The container's namespaces and its root. Of its PID namespace the successor becomes part, unless it is entered later
/// (`pids` is 0): for the sake of a thread of the agent's.
///
/// The pidfd is that of the container's first process and of no later one: no other's namespaces are ever entered.
fn enter_namespaces(child: &ExecChild<'_>, pids: i32) -> Result<(), Failure> {
    let user = if child.ids.is_empty() { 0 } else { namespace::USER };
    let own = user | namespace::MOUNT | namespace::CGROUP | pids;
    process::enter(child.init, own | child.extras.foreign)?;
    // The mount namespace's own root is another where the runtime lives in a chroot.
    process::change_root(child.root)?;
    if user != 0 {
        // Who is nobody inside owns nothing there, a new terminal neither.
        privilege::set_user(0, 0, &[])?;
    }
    Ok(())
}

/// A terminal of the container's own devpts becomes stdio; returns its master.
fn open_terminal(root: BorrowedFd<'_>, uid: u32) -> Result<OwnedFd, Failure> {
    let (master, slave) = tty::open_pair(root)?;
    fd::set_owner(&slave, uid, u32::MAX)?;
    for number in 0..=2 {
        fd::set_standard(slave.as_fd(), number)?;
    }
    Ok(master)
}
