//! The pod's own part: the namespaces that the shim lives in and every container inherits, and the pause.

use std::os::fd::AsFd;
use std::path::PathBuf;

use sys::fd::{as_path, errno, flag, namespace};
use sys::process::{Child, Forked};
use sys::{SysResult, cgroup, process, resolve, socket};
use wire::msg::{ErrorCode, Reply};
use wire::plan::SandboxPlan;

use crate::reactor::Shim;
use crate::requests::{error, failed, refused};
use launch::channel::{self, Status};
use launch::{Failure, run_pause};

const SIGKILL: i32 = 9;

/// The pod, once it is set up.
#[derive(Debug)]
pub(crate) struct Sandbox {
    /// Where exit files go.
    pub(crate) exits: PathBuf,
    /// Holds the pod's PID namespace, until it is reaped.
    pub(crate) pause: Option<Child>,
}

impl Sandbox {
    /// Kills the pause and with it everything in the pod's PID namespace.
    pub(crate) fn kill_pause(&self) {
        if let Some(pause) = &self.pause {
            // Ended already: fine.
            let _ = process::signal(pause.pidfd.as_fd(), SIGKILL);
        }
    }
}

impl Shim {
    /// Moves the shim into the pod. A shim that fails here is of no more use.
    pub(crate) fn set_up_sandbox(&mut self, plan: &SandboxPlan) -> Result<Reply, Reply> {
        if self.sandbox.is_some() {
            return Err(error(ErrorCode::BadState, "the sandbox is set up already"));
        }
        let mut warnings = Vec::new();
        enter_pod(plan, &mut warnings).map_err(|error| failed(ErrorCode::Setup, &error))?;
        let pause = if plan.pause.is_empty() { None } else { Some(self.start_pause(plan, &mut warnings)?) };
        let pause_pid = pause.as_ref().map(|pause| pause.pid);
        self.sandbox = Some(Sandbox { exits: as_path(&plan.exits).to_path_buf(), pause });
        Ok(Reply::Sandbox { pause_pid, warnings })
    }

    /// Forks the pause and waits for its exec: the one wait of the shim, before there is anybody to keep
    /// waiting.
    fn start_pause(&self, plan: &SandboxPlan, warnings: &mut Vec<String>) -> Result<Child, Reply> {
        let setup = |error| failed(ErrorCode::Setup, &error);
        let (ours, theirs) = socket::message_pair().map_err(setup)?;
        let forked = process::fork(&self.single, namespace::PID | namespace::MOUNT, None).map_err(setup)?;
        let child = match forked {
            Forked::Child => run_pause(plan, &theirs),
            Forked::Parent(child) => child,
        };
        drop(theirs);
        let mut failure: Option<Failure> = None;
        loop {
            match channel::receive(ours.as_fd()) {
                Some(Status::Warning(text)) => warnings.push(text),
                Some(Status::Failed(reason)) => failure = Some(reason),
                Some(Status::Ready(_)) | None => {}
                Some(Status::Closed) => break,
            }
        }
        failure.map_or(Ok(child), |failure| Err(refused(&failure)))
    }
}

fn enter_pod(plan: &SandboxPlan, warnings: &mut Vec<String>) -> SysResult<()> {
    for dir in &plan.cgroup.v1 {
        cgroup::join_self(as_path(dir), "tasks")?;
    }
    // On a hybrid host the v2 tree limits nothing, and joining it from inside costs milliseconds.
    if let (Some(dir), true) = (&plan.cgroup.v2, plan.cgroup.v1.is_empty()) {
        cgroup::join_self(as_path(dir), "cgroup.procs")?;
    }
    warnings.extend(launch::host::set_oom_score(plan.oom_score_adj)?);
    if !plan.netns.is_empty() {
        let netns = resolve::open(&plan.netns, flag::O_RDONLY)?;
        process::enter(netns.as_fd(), namespace::NET).map_err(|error| {
            sys::SysError::new("enter network namespace", as_path(&plan.netns), error.errno)
        })?;
    }
    let mut fresh = 0;
    fresh |= if plan.new_ipc { namespace::IPC } else { 0 };
    fresh |= if plan.new_uts { namespace::UTS } else { 0 };
    if fresh != 0 {
        process::unshare(fresh)?;
    }
    if !plan.hostname.is_empty() {
        if !plan.new_uts {
            return Err(sys::SysError::new(
                "set hostname of the host",
                as_path(&plan.hostname),
                errno::EINVAL,
            ));
        }
        process::set_hostname(&plan.hostname)?;
    }
    launch::host::write_sysctls(&plan.sysctls)
}
