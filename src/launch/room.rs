//! Room for a process that takes another's place, in a cgroup that holds as many processes as it may.
//!
//! The kernel holds forks to the limit, and nobody who is moved: so runtimes that move a process in need no place at all.
//! Here the process that forks is moved out, and the one that it forks is moved in before it does anything. That costs
//! milliseconds, and is done only where a fork was refused.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use sys::fd::{as_path, errno, flag};
use sys::process::{self, SIGKILL};
use sys::{SysError, SysResult, cgroup, resolve};
use wire::plan::{CgroupPlan, ProcessPlan};

/// `CAP_SYS_PTRACE`.
const TRACES: u64 = 1 << 19;
/// `CAP_SYS_ADMIN`.
const ADMINISTERS: u64 = 1 << 21;

/// What was done for one launch.
#[derive(Debug, Default)]
pub struct Room {
    /// The process that was to fork, which is outside of its cgroup.
    left: Option<OwnedFd>,
    /// The one that it has forked is inside.
    entered: bool,
}

/// Whether a process could take over another of its PID namespace while that is outside of its cgroup, and stay there.
/// Who administers the host needs no such way.
pub fn is_refused(plan: &ProcessPlan, is_mapped: bool) -> bool {
    !is_mapped && plan.bounding & (TRACES | ADMINISTERS) == TRACES
}

impl Room {
    /// For a process that was born outside.
    pub fn left_by(process: OwnedFd) -> Self {
        Self { left: Some(process), entered: false }
    }

    /// Makes room for a launch that asks for it: first for the process that forks, then for the one that it has forked.
    ///
    /// # Errors
    /// The kernel's; `EAGAIN` for whoever asks again.
    pub fn make(&mut self, plan: &CgroupPlan, pid: i32, is_successor: bool) -> SysResult<()> {
        match (&self.left, is_successor) {
            (None, false) => {
                self.left = Some(process::pidfd_open(pid)?);
                limits(plan).iter().try_for_each(|limit| limit.take_out(pid))
            }
            (Some(_), true) if !self.entered => {
                limits(plan).iter().try_for_each(|limit| limit.take_in(pid))?;
                self.entered = true;
                Ok(())
            }
            _ => Err(SysError::new("make room in cgroup", "", errno::EAGAIN)),
        }
    }

    /// Ends the process that has left its cgroup, where nobody looks for it. `true` when the other may be outside, too.
    pub fn clear(&self) -> bool {
        if let Some(process) = &self.left {
            // It has ended by itself: fine.
            let _ = process::signal(process.as_fd(), SIGKILL);
        }
        self.left.is_some() && !self.entered
    }
}

/// The v2 cgroup for a process whose own is full: the outermost, where processes are without limits.
pub fn outside(plan: &CgroupPlan) -> Option<OwnedFd> {
    let dir = cgroup::outermost(as_path(plan.v2.as_ref()?));
    resolve::open(dir.as_os_str().as_encoded_bytes(), flag::O_PATH | flag::O_DIRECTORY).ok()
}

/// A cgroup that may have a limit of processes.
struct Limit {
    dir: PathBuf,
    /// The file that moves a process.
    file: &'static str,
}

impl Limit {
    fn take_out(&self, pid: i32) -> SysResult<()> {
        let outermost = cgroup::outermost(&self.dir);
        cgroup::join(&outermost, self.file, pid).or_else(|error| {
            // It hands controllers down, as that of a namespace may: this process's own takes another one.
            let own = cgroup::own_v2(&outermost).filter(|_| self.file == V2).ok_or(error)?;
            cgroup::join(&own, self.file, pid)
        })
    }

    fn take_in(&self, pid: i32) -> SysResult<()> {
        cgroup::join(&self.dir, self.file, pid)
    }
}

const V1: &str = "tasks";
const V2: &str = "cgroup.procs";

/// Those of v1 that count processes, or else that of v2.
fn limits(plan: &CgroupPlan) -> Vec<Limit> {
    let v1 = plan.v1.iter().map(|dir| as_path(dir)).filter(|dir| dir.join("pids.max").exists());
    let v1: Vec<_> = v1.map(|dir| Limit { dir: dir.to_path_buf(), file: V1 }).collect();
    if !v1.is_empty() {
        return v1;
    }
    plan.v2.iter().map(|dir| Limit { dir: as_path(dir).to_path_buf(), file: V2 }).collect()
}
