//! Cgroups of commands with a timeout.
//!
//! Such an exec runs in a cgroup of its own below the container's: whatever it starts stays in there, also what has
//! left its session or lost its parent, so that a timeout reaches all of it. That is a v2 directory where the kernel has
//! `cgroup.kill`, also one of a hybrid host, else a v1 freezer's.

use std::path::PathBuf;

use sys::cgroup;
use sys::fd::as_path;
use wire::plan::CgroupPlan;

use crate::execs::Command;

/// Makes the cgroup that an exec with a timeout is tracked by; the plan that the child joins names it in the
/// container's place. One without a timeout is beside the container's first process.
pub(crate) fn track(command: &Command<'_>, number: u64, first: i32) -> (Option<PathBuf>, CgroupPlan) {
    let plan = command.plan;
    let mut joined = plan.cgroup.clone();
    // What a runtime starts is in the container's own cgroup.
    if !plan.runtime.is_empty() {
        return (None, joined);
    }
    if plan.timeout_ms == 0 || command.is_open {
        let beside =
            |dir: Vec<u8>| cgroup::beside(as_path(&dir), first).into_os_string().into_encoded_bytes();
        joined.v2 = joined.v2.map(beside);
        return (None, joined);
    }
    let kills = |dir: &Vec<u8>| as_path(dir).join("cgroup.kill").exists();
    let v2 = joined.v2.clone().filter(kills);
    let Some(parent) = v2.as_ref().or(joined.kill.as_ref()) else { return (None, joined) };
    let dir = as_path(parent).join(format!("exec-{number}"));
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
