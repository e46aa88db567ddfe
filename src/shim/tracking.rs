//! Cgroups of commands with a timeout.
//!
//! Such an exec runs in a cgroup of its own below the container's: whatever it starts stays in there, also what has
//! left its session or lost its parent, so that a timeout reaches all of it. That is a v2 directory where the kernel has
//! `cgroup.kill`, also one of a hybrid host, else a v1 freezer's. One of v2 that a command has left empty serves the next:
//! to make and remove a cgroup takes the kernel as long as to fork.

use std::collections::VecDeque;
use std::path::PathBuf;

use sys::fd::as_path;
use sys::{cgroup, mount};
use wire::plan::{CgroupPlan, ContainerPlan, MountPlan, MountSource};

use crate::execs::Command;
use crate::shim::Shim;

/// So many of those that were left full are looked at when a command ends.
const SWEPT: usize = 4;

/// The cgroups of one container's commands.
#[derive(Debug, Default)]
pub(crate) struct ExecCgroups {
    /// So many were made, each with a name of its own.
    made: u64,
    /// An empty one, for the next command.
    spare: Option<PathBuf>,
    /// The container has a say in them: what it has made of one is not the next command's.
    are_shared: bool,
    /// Those that commands have left processes in.
    full: VecDeque<PathBuf>,
}

impl ExecCgroups {
    /// Those of a container by this plan.
    pub(crate) fn of(plan: &ContainerPlan) -> Self {
        let is_writable = |mount: &MountPlan| {
            matches!(mount.source, MountSource::Cgroup) && mount.attributes & mount::READ_ONLY == 0
        };
        Self { are_shared: plan.mounts.iter().any(is_writable), ..Self::default() }
    }

    /// Removes those whose last process has ended meanwhile. Each command leaves one at most, so that some of them in turn
    /// are enough to look at.
    fn sweep(&mut self) {
        for _ in 0..self.full.len().min(SWEPT) {
            let Some(dir) = self.full.pop_front() else { return };
            if cgroup::remove(&dir).is_err() {
                self.full.push_back(dir);
            }
        }
    }

    /// Those that are left to be removed.
    pub(crate) fn left(&self) -> impl Iterator<Item = &PathBuf> {
        self.full.iter().chain(&self.spare)
    }
}

impl Shim {
    /// What the command's child is to join, and the cgroup among that by which it is tracked.
    pub(crate) fn track(&mut self, command: &Command<'_>, first: i32) -> (Option<PathBuf>, CgroupPlan) {
        match self.containers.get_mut(&command.plan.container) {
            Some(handles) if command.plan.runtime.is_empty() => {
                track(command, first, &mut handles.exec_cgroups)
            }
            // What a runtime starts is in the container's own cgroup.
            _ => (None, command.plan.cgroup.clone()),
        }
    }

    /// Gives the cgroup of a command up that has ended, or keeps it for the next.
    pub(crate) fn untrack(&mut self, dir: PathBuf, container: &str, is_clean: bool) {
        let Some(handles) = self.containers.get_mut(container) else {
            // The daemon looks after what is left of a container that has gone.
            let _ = cgroup::remove(&dir);
            return;
        };
        let cgroups = &mut handles.exec_cgroups;
        let is_wanted = is_clean && !cgroups.are_shared && cgroups.spare.is_none();
        if is_wanted && handles.first.child.is_some() && cgroup::is_idle(&dir) {
            cgroups.spare = Some(dir);
        } else if cgroup::remove(&dir).is_err() {
            // Processes that it left in the background, as it may: gone with the container.
            cgroups.full.push_back(dir);
        }
        cgroups.sweep();
    }
}

/// The cgroup that an exec with a timeout is tracked by, which is made unless there is a spare one; the plan that the child
/// joins names it in the container's place. One without a timeout is beside the container's first process.
fn track(command: &Command<'_>, first: i32, cgroups: &mut ExecCgroups) -> (Option<PathBuf>, CgroupPlan) {
    let plan = command.plan;
    let mut joined = plan.cgroup.clone();
    if plan.timeout_ms == 0 || command.is_open {
        let beside =
            |dir: Vec<u8>| cgroup::beside(as_path(&dir), first).into_os_string().into_encoded_bytes();
        joined.v2 = joined.v2.map(beside);
        return (None, joined);
    }
    if let Some(dir) = cgroups.spare.take() {
        if !cgroup::is_idle(&dir) {
            cgroups.full.push_back(dir);
            return track(command, first, cgroups);
        }
        joined.v2 = Some(dir.as_os_str().as_encoded_bytes().to_vec());
        return (Some(dir), joined);
    }
    let kills = |dir: &Vec<u8>| as_path(dir).join("cgroup.kill").exists();
    let v2 = joined.v2.clone().filter(kills);
    let Some(parent) = v2.as_ref().or(joined.kill.as_ref()) else { return (None, joined) };
    let dir = as_path(parent).join(format!("exec-{}", cgroups.made));
    cgroups.made += 1;
    if let Err(error) = std::fs::create_dir(&dir)
        && error.kind() != std::io::ErrorKind::AlreadyExists
    {
        crate::report(&format!("container {}: no cgroup for an exec: {error}", plan.container));
        return (None, joined);
    }
    let name = dir.as_os_str().as_encoded_bytes().to_vec();
    if v2.is_some() {
        joined.v2 = Some(name);
    } else if let Some(entry) = joined.v1.iter_mut().find(|entry| *entry == parent) {
        *entry = name;
    }
    (Some(dir), joined)
}
