//! Commands beside a container's first process.
//!
//! An exec with a timeout runs in a cgroup of its own below the container's: whatever it starts stays in
//! there, also what has left its session or lost its parent, so that a timeout reaches all of it. That is a
//! v2 directory where the kernel has `cgroup.kill`, also one of a hybrid host, else a v1 freezer's.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sys::fd::{as_path, errno};
use sys::process::{Child, Ended, Forked};
use sys::{SysError, SysResult, cgroup, fd, process, socket};
use wire::msg::{ErrorCode, Reply};
use wire::plan::{CgroupPlan, ExecPlan};

use crate::capture::Capture;
use crate::container::Phase;
use crate::log::Stream;
use crate::reactor::{Shim, Source, Ticket, Watched};
use crate::requests::{error, failed, refused, unknown};
use launch::channel::{self, Status};
use launch::{ExecChild, Failure, run_exec};

const SIGKILL: i32 = 9;
/// How often the tree is killed again until it is dead, and how long at most.
const KILL_AGAIN: Duration = Duration::from_millis(2);
const KILL_FOR: Duration = Duration::from_secs(2);

/// One command.
#[derive(Debug)]
pub(crate) struct Exec {
    ticket: Ticket,
    container: String,
    /// Until it is reaped.
    pub(crate) child: Option<Child>,
    status: Option<Watched>,
    outputs: [Option<Watched>; 2],
    captures: [Capture; 2],
    failure: Option<Failure>,
    ended: Option<Ended>,
    drain: Duration,
    tracked: Option<PathBuf>,
    clock: Clock,
}

/// What time means for an exec.
#[derive(Debug)]
enum Clock {
    /// Runs, until then at most.
    Running(Option<Instant>),
    /// Its time was up: killed again at the first instant, given up at the second.
    Killing(Instant, Instant),
    /// It has ended; its output is waited for until then.
    Draining(Instant),
}

impl Exec {
    /// When its next timer fires.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.clock {
            Clock::Running(limit) => limit,
            Clock::Killing(again, _) => Some(again),
            Clock::Draining(until) => Some(until),
        }
    }

    /// Kills the whole tree; `true` when nothing is left of it.
    fn kill(&self) -> bool {
        match (&self.tracked, &self.child) {
            (Some(dir), _) => cgroup::kill_all(dir) && self.child.is_none(),
            // Without a cgroup what it started in its session is reached.
            (None, Some(child)) => process::kill_group(child.pid, SIGKILL).is_err(),
            (None, None) => true,
        }
    }

    fn is_silent(&self) -> bool {
        self.outputs.iter().all(Option::is_none)
    }
}

impl Shim {
    /// Forks the command; Exec is answered when it has ended.
    pub(crate) fn exec(&mut self, ticket: Ticket, plan: ExecPlan) -> Result<(), Reply> {
        let id = &plan.container;
        let container = self.containers.get(id).ok_or_else(|| unknown(id))?;
        if !matches!(container.phase, Phase::Running) || container.child.is_none() {
            return Err(error(ErrorCode::BadState, format!("container {id} is not running")));
        }
        if plan.process.argv.first().is_none_or(Vec::is_empty) {
            return Err(error(ErrorCode::Invalid, "the command is empty"));
        }
        let number = self.next_number();
        let (tracked, joined) = track(&plan, number);
        let result = self.launch_exec(&plan, &joined, number);
        let (child, status, outputs) = result.map_err(|error| {
            if let Some(dir) = &tracked {
                // Nothing is in it yet.
                let _ = cgroup::remove(dir);
            }
            failed(ErrorCode::Setup, &error)
        })?;
        let limit = (plan.timeout_ms > 0).then(|| Instant::now() + Duration::from_millis(plan.timeout_ms));
        let exec = Exec {
            ticket,
            child: Some(child),
            status: Some(status),
            outputs,
            captures: [Capture::new(plan.output_cap), Capture::new(plan.output_cap)],
            failure: None,
            ended: None,
            drain: Duration::from_millis(plan.drain_ms),
            tracked,
            clock: Clock::Running(limit),
            container: plan.container,
        };
        self.execs.insert(number, exec);
        Ok(())
    }

    fn next_number(&self) -> u64 {
        self.execs.last_key_value().map_or(0, |(last, _)| last + 1)
    }

    fn launch_exec(
        &mut self,
        plan: &ExecPlan,
        joined: &CgroupPlan,
        number: u64,
    ) -> SysResult<(Child, Watched, [Option<Watched>; 2])> {
        let status = socket::message_pair()?;
        let (out, err) = (fd::pipe()?, fd::pipe()?);
        let child = self.fork_exec(plan, joined, &status.1, (&out.1, &err.1))?;
        let watched = (|| {
            let status = self.watch(status.0, Source::ExecStatus(number))?;
            let out = self.watch(out.0, Source::ExecOutput(number, Stream::Out))?;
            let err = self.watch(err.0, Source::ExecOutput(number, Stream::Err))?;
            Ok((status, [Some(out), Some(err)]))
        })();
        match watched {
            Ok((status, outputs)) => Ok((child, status, outputs)),
            Err(error) => {
                // Reaped as an orphan of no interest.
                let _ = process::signal(child.pidfd.as_fd(), SIGKILL);
                Err(error)
            }
        }
    }

    fn fork_exec(
        &self,
        plan: &ExecPlan,
        joined: &CgroupPlan,
        status: &OwnedFd,
        output: (&OwnedFd, &OwnedFd),
    ) -> SysResult<Child> {
        let container = self.containers.get(&plan.container);
        let (container, init, root) = container
            .and_then(|container| Some((container, container.child.as_ref()?, container.root.as_ref()?)))
            .ok_or_else(|| SysError::new("exec", &plan.container, errno::ESRCH))?;
        let (forked, joined_v2) = self.fork(0, joined.v2.as_deref(), Some(init.pidfd.as_fd()))?;
        match forked {
            Forked::Child => run_exec(&ExecChild {
                plan,
                cgroup: joined,
                status,
                output,
                init: init.pidfd.as_fd(),
                root: root.as_fd(),
                ids: &container.ids,
                joined_v2,
            }),
            Forked::Parent(child) => Ok(child),
        }
    }

    /// Takes in what an exec's child says.
    pub(crate) fn on_exec_status(&mut self, number: u64) {
        while let Some(exec) = self.execs.get_mut(&number) {
            let Some(status) = &exec.status else { return };
            match channel::receive(status.fd.as_fd()) {
                None => return,
                Some(Status::Failed(failure)) => exec.failure = Some(failure),
                Some(Status::Warning(_) | Status::Ready(_) | Status::HandedOver(_) | Status::Root(_)) => {}
                Some(Status::Closed) => {
                    if let Some(status) = exec.status.take() {
                        self.unwatch(status);
                    }
                }
            }
        }
    }

    /// Reads an output of an exec.
    pub(crate) fn on_exec_output(&mut self, number: u64, stream: Stream) {
        self.read_exec_output(number, stream, false);
        self.try_finish(number, Instant::now());
    }

    fn read_exec_output(&mut self, number: u64, stream: Stream, all: bool) {
        let index = usize::from(stream == Stream::Err);
        let slot = self.execs.get_mut(&number).and_then(|exec| exec.outputs.get_mut(index));
        let Some(mut watched) = slot.and_then(Option::take) else { return };
        let (fd, over) = self.pump(watched.fd, all, |shim, bytes| {
            let capture = shim.execs.get_mut(&number).and_then(|exec| exec.captures.get_mut(index));
            if let Some(capture) = capture {
                capture.push(bytes);
            }
        });
        watched.fd = fd;
        if over {
            self.unwatch(watched);
        } else if let Some(slot) = self.execs.get_mut(&number).and_then(|exec| exec.outputs.get_mut(index)) {
            *slot = Some(watched);
        }
    }

    /// The command itself has ended.
    pub(crate) fn on_exec_ended(&mut self, number: u64, ended: Ended) {
        self.on_exec_status(number);
        let now = Instant::now();
        let Some(exec) = self.execs.get_mut(&number) else { return };
        exec.child = None;
        exec.ended = Some(ended);
        if let Clock::Running(_) = exec.clock {
            exec.clock = Clock::Draining(now + exec.drain);
        }
        self.read_exec_output(number, Stream::Out, true);
        self.read_exec_output(number, Stream::Err, true);
        self.try_finish(number, now);
    }

    /// A timer of an exec has fired.
    pub(crate) fn on_exec_deadline(&mut self, number: u64, now: Instant) {
        if let Some(exec) = self.execs.get_mut(&number) {
            match exec.clock {
                Clock::Running(_) => {
                    exec.kill();
                    exec.clock = Clock::Killing(now + KILL_AGAIN, now + KILL_FOR);
                }
                Clock::Killing(_, until) => exec.clock = Clock::Killing(now + KILL_AGAIN, until),
                Clock::Draining(_) => {}
            }
        }
        self.try_finish(number, now);
    }

    /// Answers when nothing more is to come, or the time for it is over.
    fn try_finish(&mut self, number: u64, now: Instant) {
        let Some(exec) = self.execs.get_mut(&number) else { return };
        let timed_out = matches!(exec.clock, Clock::Killing(..));
        let over = match exec.clock {
            Clock::Running(_) => false,
            Clock::Draining(until) => exec.is_silent() || until <= now,
            Clock::Killing(_, until) => exec.kill() && exec.child.is_none() || until <= now,
        };
        if !over {
            return;
        }
        self.read_exec_output(number, Stream::Out, true);
        self.read_exec_output(number, Stream::Err, true);
        let Some(mut exec) = self.execs.remove(&number) else { return };
        for watched in exec.outputs.iter_mut().chain([&mut exec.status]).filter_map(Option::take) {
            self.unwatch(watched);
        }
        if let Some(dir) = exec.tracked.take()
            && cgroup::remove(&dir).is_err()
            && let Some(container) = self.containers.get_mut(&exec.container)
        {
            // Processes that it left in the background, as it may: gone with the container.
            container.exec_cgroups.push(dir);
        }
        let reply = match &exec.failure {
            Some(failure) => refused(failure),
            None => {
                let truncated = exec.captures.iter().any(Capture::is_truncated);
                let [out, err] = &mut exec.captures;
                Reply::Exec {
                    exit_code: exec.ended.map_or(128 + SIGKILL, |ended| ended.code),
                    stdout: out.take(),
                    stderr: err.take(),
                    timed_out,
                    truncated,
                }
            }
        };
        self.reply(exec.ticket, &reply);
    }
}

/// Makes the cgroup that an exec with a timeout is tracked by; the plan that the child joins names it in the
/// container's place.
fn track(plan: &ExecPlan, number: u64) -> (Option<PathBuf>, CgroupPlan) {
    let mut joined = plan.cgroup.clone();
    if plan.timeout_ms == 0 {
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
