//! The pod's own part: the namespaces that the shim lives in and every container inherits, and the pause.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;

use sys::fd::{as_path, errno, flag, namespace};
use sys::process::{Child, Forked, SIGKILL, SingleThread};
use sys::userns::Holder;
use sys::{SysError, SysResult, cgroup, fd, process, resolve, socket};
use wire::msg::{ErrorCode, Reply};
use wire::plan::{IdMaps, SandboxPlan};

use crate::pod::Event;
use crate::requests::{error, failed, refused};
use crate::shim::Shim;
use launch::channel::{self, Status};
use launch::{Failure, Joined, PauseChild, Procfs, ranges, run_pause};

/// The pod, once it is set up.
#[derive(Debug)]
pub(crate) struct Sandbox {
    /// Where exit files go.
    pub(crate) exits: PathBuf,
    /// Holds the pod's PID namespace, until it is reaped.
    pub(crate) pause: Option<Child>,
    /// That namespace, for containers that join it.
    pub(crate) joined: Option<Rc<Joined>>,
    /// The pod's own user namespace, and its ids.
    pub(crate) userns: Option<(IdMaps, OwnedFd)>,
}

impl Shim {
    /// Kills the pause and with it everything in the pod's PID namespace.
    pub(crate) fn kill_pause(&self) {
        if let Some(pause) = self.sandbox.as_ref().and_then(|sandbox| sandbox.pause.as_ref()) {
            // Ended already: fine.
            let _ = process::signal(pause.pidfd.as_fd(), SIGKILL);
        }
    }

    /// The pause has been reaped.
    pub(crate) fn forget_pause(&mut self) {
        if let Some(sandbox) = &mut self.sandbox {
            sandbox.pause = None;
        }
    }

    /// Moves the shim into the pod. A shim that fails here is of no more use.
    pub(crate) fn set_up_sandbox(&mut self, plan: &SandboxPlan) -> Result<Reply, Reply> {
        if self.sandbox.is_some() {
            return Err(error(ErrorCode::BadState, "the sandbox is set up already"));
        }
        let mut warnings = Vec::new();
        let setup = |error| failed(ErrorCode::Setup, &error);
        let userns = enter_pod(&self.single, plan, &mut warnings).map_err(setup)?;
        failpoint::reach!("shim.sandbox.entered").map_err(|injected| setup(injected.into()))?;
        let (pause, joined) = if plan.pause.is_empty() {
            (None, None)
        } else {
            let (pause, joined) = self.start_pause(plan, userns.as_ref().map(AsFd::as_fd), &mut warnings)?;
            failpoint::pass!("shim.sandbox.paused");
            (Some(pause), Some(Rc::new(joined)))
        };
        let userns = userns.map(|userns| (plan.ids.clone(), userns));
        let pause_pid = pause.as_ref().map(|pause| pause.pid);
        self.sandbox = Some(Sandbox { exits: as_path(&plan.exits).to_path_buf(), pause, joined, userns });
        self.feed(Event::SandboxUp(pause_pid));
        failpoint::pass!("shim.sandbox.ready");
        Ok(Reply::Sandbox { pause_pid, warnings })
    }

    /// Forks the pause and waits for its exec: the one wait of the shim, before there is anybody to keep
    /// waiting.
    fn start_pause(
        &self,
        plan: &SandboxPlan,
        userns: Option<BorrowedFd<'_>>,
        warnings: &mut Vec<String>,
    ) -> Result<(Child, Joined), Reply> {
        let setup = |error| failed(ErrorCode::Setup, &error);
        let (ours, theirs) = socket::message_pair().map_err(setup)?;
        let null = self.null().map_err(setup)?;
        let pids = if userns.is_none() { namespace::PID } else { 0 };
        let forked = process::fork(&self.single, pids | namespace::MOUNT, None).map_err(setup)?;
        let mut child = match forked {
            Forked::Child => run_pause(&PauseChild {
                plan,
                status: &theirs,
                null: Some(null),
                userns,
                single: &self.single,
            }),
            Forked::Parent(child) => child,
        };
        drop(theirs);
        let mut failure: Option<Failure> = None;
        let (mut mounts, mut procfs) = (None, None);
        loop {
            match channel::receive(ours.as_fd()) {
                Some(Status::Warning(text)) => warnings.push(text),
                Some(Status::Failed(reason)) => failure = Some(reason),
                Some(Status::HandedOver(sibling)) => child = sibling,
                Some(Status::Mounts(told)) => mounts = Some(told),
                Some(Status::Procfs(told)) => procfs = Some(told),
                Some(Status::Ready(_) | Status::Root(_) | Status::Crowded) | None => {}
                Some(Status::Closed) => break,
            }
        }
        if let Some(failure) = failure {
            return Err(refused(&failure));
        }
        let ended = || error(ErrorCode::Setup, "the pause ended while it was set up");
        let (mounts, mount) = mounts.zip(procfs).ok_or_else(ended)?;
        let process = fd::duplicate(child.pidfd.as_fd()).map_err(setup)?;
        Ok((child, Joined { process, procfs: Procfs::Held { mounts, mount } }))
    }
}

/// Returns the pod's user namespace, if it has one of its own.
fn enter_pod(
    single: &SingleThread,
    plan: &SandboxPlan,
    warnings: &mut Vec<String>,
) -> SysResult<Option<OwnedFd>> {
    for dir in &plan.cgroup.v1 {
        cgroup::join_self(as_path(dir), "tasks")?;
    }
    // On a hybrid host the v2 tree limits nothing, and joining it from inside costs milliseconds.
    if let (Some(dir), true) = (&plan.cgroup.v2, plan.cgroup.v1.is_empty()) {
        cgroup::join_self(as_path(dir), "cgroup.procs")?;
    }
    warnings.extend(launch::host::set_oom_score(plan.oom_score_adj)?);
    let userns = if plan.ids.is_empty() {
        enter_namespaces(plan)?;
        None
    } else {
        Some(enter_owned_namespaces(single, plan)?)
    };
    if !plan.hostname.is_empty() {
        if !plan.new_uts {
            return Err(SysError::new("set hostname of the host", as_path(&plan.hostname), errno::EINVAL));
        }
        process::set_hostname(&plan.hostname)?;
    }
    launch::host::write_sysctls(&plan.sysctls)?;
    Ok(userns)
}

fn enter_namespaces(plan: &SandboxPlan) -> SysResult<()> {
    if !plan.netns.is_empty() {
        let netns = resolve::open(&plan.netns, flag::O_RDONLY)?;
        process::enter(netns.as_fd(), namespace::NET)
            .map_err(|error| SysError::new("enter network namespace", as_path(&plan.netns), error.errno))?;
    }
    match fresh(plan) {
        0 => Ok(()),
        fresh => process::unshare(fresh),
    }
}

fn fresh(plan: &SandboxPlan) -> i32 {
    let ipc = if plan.new_ipc { namespace::IPC } else { 0 };
    ipc | if plan.new_uts { namespace::UTS } else { 0 }
}

/// A user namespace, and the pod's others owned by it. The shim enters those and stays with the host's users: it keeps
/// the logs and the records.
fn enter_owned_namespaces(single: &SingleThread, plan: &SandboxPlan) -> SysResult<OwnedFd> {
    let network = if plan.netns.is_empty() { 0 } else { namespace::NET };
    let owned = network | fresh(plan);
    let holder = Holder::new(single, owned, &ranges(&plan.ids.uids), &ranges(&plan.ids.gids))?;
    if network != 0 {
        holder.pin("net", as_path(&plan.netns))?;
    }
    if owned != 0 {
        holder.enter(owned)?;
    }
    holder.namespace("user")
}
