//! Commands beside a container's first process.
//!
//! One whose output is captured is watched from here, and may have a timeout (`tracking`). One that is opened gets its
//! pipes or its terminal, and the daemon the other ends.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sys::fd::{as_path, errno};
use sys::process::{Child, Ended, Forked, SIGKILL, Successor};
use sys::{SysError, SysResult, cgroup, process, socket};
use wire::msg::{ErrorCode, Reply, Streams};
use wire::plan::{CgroupPlan, ExecPlan};

use crate::capture::Capture;
use crate::exec_ends::Ends;
use crate::log::Stream;
use crate::pod::{Fact, Ticket};
use crate::reactor::{Shim, Source, Watched};
use crate::requests::{error, failed, refused, unknown};
use crate::tracking::track;
use launch::channel::{self, Status};
use launch::{ExecChild, Failure, run_exec};

/// How often the tree is killed again until it is dead, and how long at most.
const KILL_AGAIN: Duration = Duration::from_millis(2);
const KILL_FOR: Duration = Duration::from_secs(2);

/// What the daemon wants of a command, and who is to be answered.
#[derive(Debug)]
enum Purpose {
    /// Its output, once it has ended.
    Output(Ticket),
    /// Its streams, once it runs.
    Opening(Ticket, Vec<OwnedFd>),
    /// Its end, if the connection that opened it has asked already.
    Open(u64, Option<Ticket>),
}

/// One command.
#[derive(Debug)]
pub(crate) struct Exec {
    purpose: Purpose,
    container: String,
    /// The process whose end is the command's, until it is reaped.
    pid: Option<i32>,
    /// Where the number of the one stands that takes its place in the container.
    successor: Option<Successor>,
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

    /// The process whose end is the command's.
    fn first(&mut self) -> Option<i32> {
        if let Some(pid) = self.successor.as_ref().and_then(Successor::pid) {
            self.successor = None;
            self.pid = Some(pid);
        }
        self.pid
    }

    /// Whether the command ends with this process. One that has been succeeded means nothing any more.
    pub(crate) fn ends_with(&mut self, pid: i32) -> bool {
        self.first() == Some(pid)
    }

    /// Kills the whole tree; `true` when nothing is left of it.
    fn kill(&mut self) -> bool {
        match (self.first(), &self.tracked) {
            (first, Some(dir)) => cgroup::kill_all(dir) && first.is_none(),
            // Without a cgroup of its own its descendants are looked for.
            (Some(first), None) => process::kill_tree(first),
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
        let streams = Streams { stdin: false, stdout: true, stderr: true };
        self.begin_exec(plan, (streams, false), Purpose::Output(ticket))
    }

    /// Forks the command; OpenExec is answered when its program runs.
    pub(crate) fn open_exec(
        &mut self,
        ticket: Ticket,
        plan: ExecPlan,
        streams: Streams,
        tty: bool,
    ) -> Result<(), Reply> {
        let plan = ExecPlan { timeout_ms: 0, output_cap: 0, ..plan };
        self.begin_exec(plan, (streams, tty), Purpose::Opening(ticket, Vec::new()))
    }

    /// Answers now when the command has ended, else then.
    pub(crate) fn wait_exec(&mut self, ticket: Ticket, number: u64) -> Result<Option<Reply>, Reply> {
        if let Some((_, reply)) = self.outcomes.remove(&number) {
            return Ok(Some(reply));
        }
        match self.execs.get_mut(&number).map(|exec| &mut exec.purpose) {
            Some(Purpose::Open(_, waiter)) => {
                *waiter = Some(ticket);
                Ok(None)
            }
            _ => Err(error(ErrorCode::NotFound, format!("command {number} is not open"))),
        }
    }

    fn begin_exec(
        &mut self,
        plan: ExecPlan,
        (streams, tty): (Streams, bool),
        mut purpose: Purpose,
    ) -> Result<(), Reply> {
        let id = &plan.container;
        let container = self.pod.container(id).ok_or_else(|| unknown(id))?;
        let Some(first) = container.running() else {
            return Err(error(ErrorCode::BadState, format!("container {id} is not running")));
        };
        if plan.process.argv.first().is_none_or(Vec::is_empty) {
            return Err(error(ErrorCode::Invalid, "the command is empty"));
        }
        let number = self.next_number();
        let (tracked, joined) = track(&plan, number, first);
        let result = Ends::new(streams, tty).and_then(|ends| self.launch_exec(&plan, &joined, number, ends));
        let (child, successor, status, ends) = result.map_err(|error| {
            if let Some(dir) = &tracked {
                // Nothing is in it yet.
                let _ = cgroup::remove(dir);
            }
            failed(ErrorCode::Setup, &error)
        })?;
        let outputs = match &mut purpose {
            Purpose::Opening(_, passed) => {
                *passed = ends.into_passed();
                [None, None]
            }
            _ => {
                self.watch_outputs(number, ends, &child).map_err(|error| failed(ErrorCode::Setup, &error))?
            }
        };
        let limit = (plan.timeout_ms > 0).then(|| Instant::now() + Duration::from_millis(plan.timeout_ms));
        let exec = Exec {
            purpose,
            pid: Some(child.pid),
            successor,
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
        let last = |key: Option<&u64>| key.map_or(0, |last| last + 1);
        last(self.execs.keys().next_back()).max(last(self.outcomes.keys().next_back()))
    }

    fn launch_exec(
        &mut self,
        plan: &ExecPlan,
        joined: &CgroupPlan,
        number: u64,
        ends: Ends,
    ) -> SysResult<(Child, Option<Successor>, Watched, Ends)> {
        let (ours, theirs) = socket::message_pair()?;
        let (child, successor) = self.fork_exec(plan, joined, &theirs, &ends)?;
        match self.watch(ours, Source::ExecStatus(number)) {
            Ok(status) => Ok((child, successor, status, ends)),
            Err(error) => Err(abandon(&child, error)),
        }
    }

    fn watch_outputs(&mut self, number: u64, ends: Ends, child: &Child) -> SysResult<[Option<Watched>; 2]> {
        let mut outputs = [None, None];
        for (index, (end, stream)) in ends.output.into_iter().zip([Stream::Out, Stream::Err]).enumerate() {
            let Some((reader, _)) = end else { continue };
            let watched = self.watch(reader, Source::ExecOutput(number, stream));
            let watched = watched.map_err(|error| abandon(child, error))?;
            if let Some(slot) = outputs.get_mut(index) {
                *slot = Some(watched);
            }
        }
        Ok(outputs)
    }

    fn fork_exec(
        &self,
        plan: &ExecPlan,
        joined: &CgroupPlan,
        status: &OwnedFd,
        ends: &Ends,
    ) -> SysResult<(Child, Option<Successor>)> {
        let [out, err] = &ends.output;
        let stdio = [
            ends.stdin.as_ref().map(|(reader, _)| reader),
            out.as_ref().map(|(_, writer)| writer),
            err.as_ref().map(|(_, writer)| writer),
        ];
        if !plan.runtime.is_empty() {
            return Ok((self.fork_foreign_exec(plan, status, stdio, ends.tty)?, None));
        }
        let container = self.containers.get(&plan.container);
        let (container, init, root) = container
            .and_then(|one| Some((one, one.first.child.as_ref()?, one.first.root.as_ref()?)))
            .ok_or_else(|| SysError::new("exec", &plan.container, errno::ESRCH))?;
        let agent = plan.process.seccomp_agent.as_ref();
        let agent = agent.map(|agent| socket::connect_stream(as_path(&agent.socket))).transpose()?;
        let (successor, null) = (Successor::new()?, self.null()?);
        let (forked, joined_v2) = self.fork(0, joined.v2.as_deref())?;
        match forked {
            Forked::Child => run_exec(&ExecChild {
                plan,
                cgroup: joined,
                status,
                stdio,
                null: Some(null),
                tty: ends.tty,
                init: init.pidfd.as_fd(),
                root: root.as_fd(),
                ids: &container.place.ids,
                joined_v2,
                single: &self.single,
                successor: &successor,
                extras: launch::Extras { agent: agent.as_ref().map(AsFd::as_fd), ..Default::default() },
            }),
            Forked::Parent(child) => {
                // What is forked next belongs to others.
                successor.withhold()?;
                Ok((child, Some(successor)))
            }
        }
    }

    /// Takes in what an exec's child says.
    pub(crate) fn on_exec_status(&mut self, number: u64) {
        while let Some(exec) = self.execs.get_mut(&number) {
            let Some(status) = &exec.status else { return };
            match channel::receive(status.fd.as_fd()) {
                None => return,
                Some(Status::Failed(failure)) => exec.failure = Some(failure),
                Some(Status::Ready(master)) => {
                    // The terminal comes first. What comes later may be of the container's making.
                    if let Purpose::Opening(_, passed) = &mut exec.purpose
                        && passed.is_empty()
                    {
                        passed.extend(master);
                    }
                }
                Some(Status::Closed) => {
                    let status = exec.status.take();
                    if let (Purpose::Opening(ticket, passed), None) = (&mut exec.purpose, &exec.failure) {
                        let (ticket, passed) = (*ticket, std::mem::take(passed));
                        exec.purpose = Purpose::Open(ticket.conn, None);
                        // Without a daemon the command goes on until it misses its streams.
                        self.reply_with(ticket, number, passed);
                    }
                    if let Some(status) = status {
                        self.unwatch(status);
                    }
                }
                Some(_) => {}
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
            true
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
        exec.pid = None;
        exec.ended = Some(ended);
        if let Clock::Running(_) = exec.clock {
            exec.clock = Clock::Draining(now + exec.drain);
        }
        let container = exec.container.clone();
        self.learn(&container, Fact::Outlived);
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
            Clock::Killing(_, until) => exec.kill() && exec.pid.is_none() || until <= now,
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
        match exec.purpose {
            Purpose::Output(ticket) | Purpose::Opening(ticket, _) | Purpose::Open(_, Some(ticket)) => {
                self.reply(ticket, &reply);
            }
            Purpose::Open(conn, None) if self.conns.contains_key(&conn) => {
                self.outcomes.insert(number, (conn, reply));
            }
            Purpose::Open(_, None) => {}
        }
    }
}

/// Kills a child that cannot be supervised; it is reaped as an orphan of no interest.
fn abandon(child: &Child, error: SysError) -> SysError {
    // Ended by itself in the meantime: fine.
    let _ = process::signal(child.pidfd.as_fd(), SIGKILL);
    error
}
