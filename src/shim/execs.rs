//! What the shim holds of commands beside a container's first process. Where they stand is known by `pod`.
//!
//! One whose output is captured is watched from here, and may have a timeout (`tracking`). One that is opened gets its
//! pipes or its terminal, and the daemon the other ends.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use sys::fd::{as_path, errno};
use sys::process::{Child, Forked, SIGKILL, Successor};
use sys::{SysError, SysResult, cgroup, process, socket};
use wire::msg::{ErrorCode, Reply, Streams};
use wire::plan::{CgroupPlan, ExecPlan};

use crate::capture::Capture;
use crate::crowd;
use crate::exec_ends::Ends;
use crate::log::Stream;
use crate::pod::{Event, ExecFact, Ticket};
use crate::reactor::{Source, Watched};
use crate::requests::failed;
use crate::shim::Shim;
use launch::channel::{self, Status};
use launch::room::Room;
use launch::{ExecChild, run_exec};

/// So many commands at a time have their child's ends kept: with more, descriptors are scarce.
const KEPT: usize = 32;

/// A command as it is asked for.
pub(crate) struct Command<'a> {
    /// What runs.
    pub(crate) plan: &'a ExecPlan,
    /// Its streams.
    pub(crate) streams: Streams,
    /// A terminal in their place.
    pub(crate) tty: bool,
    /// The daemon has the other ends, and no time is too long; else the output is captured.
    pub(crate) is_open: bool,
}

impl<'a> Command<'a> {
    /// One whose output is captured.
    pub(crate) fn captured(plan: &'a ExecPlan) -> Self {
        let streams = Streams { stdin: false, stdout: true, stderr: true };
        Self { plan, streams, tty: false, is_open: false }
    }
}

/// What is held of one command.
#[derive(Debug)]
pub(crate) struct ExecHandles {
    /// Where the number of the one stands that takes its process's place in the container.
    pub(crate) successor: Option<Successor>,
    pub(crate) status: Option<Watched>,
    outputs: [Option<Watched>; 2],
    captures: [Capture; 2],
    /// The child's ends, so that nobody is woken by their closing before the end, which tells the same: when the program
    /// runs, and when it ends, it needs the processor itself.
    kept: Vec<OwnedFd>,
    /// What the daemon gets once the program runs, until then.
    passed: Option<Vec<OwnedFd>>,
    tracked: Option<PathBuf>,
    /// Nobody has killed it there or failed to run there.
    is_clean: bool,
    /// The cgroup that its program is in, and what was done for a place there.
    pub(crate) joined: CgroupPlan,
    pub(crate) room: Room,
}

impl Shim {
    /// The same as `learn` for a command.
    fn learn_exec(&mut self, number: u64, fact: ExecFact) {
        self.feed(Event::Exec(number, fact));
    }

    /// Forks a command beside a container's first process.
    pub(crate) fn run_command(&mut self, number: u64, first: i32, command: &Command<'_>) {
        let plan = command.plan;
        let (tracked, joined) = self.track(command, first);
        let begun = Ends::new(command.streams, command.tty)
            .and_then(|ends| self.launch_exec(plan, &joined, number, ends))
            .and_then(|launched| self.connect(number, command, launched));
        match begun {
            Ok((mut handles, pid)) => {
                (handles.tracked, handles.joined) = (tracked, joined);
                self.execs.insert(number, Box::new(handles));
                self.learn_exec(number, ExecFact::Forked(pid));
            }
            Err(error) => {
                if let Some(dir) = tracked {
                    // What was forked is on its way out, if anything was.
                    self.untrack(dir, &plan.container, false);
                }
                self.learn_exec(number, ExecFact::NotForked(failed(ErrorCode::Setup, &error)));
            }
        }
    }

    fn launch_exec(
        &mut self,
        plan: &ExecPlan,
        joined: &CgroupPlan,
        number: u64,
        ends: Ends,
    ) -> SysResult<Launched> {
        let (ours, theirs) = socket::message_pair()?;
        let (child, successor, room) = self.fork_exec(plan, joined, &theirs, &ends)?;
        failpoint::pass!("shim.exec.forked");
        match self.reactor.watch(ours, Source::ExecStatus(number)) {
            Ok(status) => Ok(Launched { child, successor, room, status, theirs, ends }),
            Err(error) => Err(abandon(&child, error)),
        }
    }

    /// Keeps the ends of a command's pipes, or those that the daemon gets.
    fn connect(
        &mut self,
        number: u64,
        command: &Command<'_>,
        launched: Launched,
    ) -> SysResult<(ExecHandles, i32)> {
        let Launched { child, successor, room, status, theirs, ends } = launched;
        let (outputs, kept, passed) = if command.is_open {
            ([None, None], Vec::new(), Some(ends.into_passed()))
        } else {
            let (outputs, mut kept) = self.watch_outputs(number, ends, &child)?;
            kept.push(theirs);
            // A runtime tells by its ends how far it is.
            if successor.is_none() || self.execs.len() >= KEPT {
                kept.clear();
            }
            (outputs, kept, None)
        };
        let capture = || Capture::new(command.plan.output_cap);
        let captures = [capture(), capture()];
        let status = Some(status);
        let handles = ExecHandles {
            successor,
            status,
            outputs,
            captures,
            kept,
            passed,
            tracked: None,
            is_clean: true,
            joined: CgroupPlan::default(),
            room,
        };
        Ok((handles, child.pid))
    }

    /// The readers, and the child's ends.
    fn watch_outputs(
        &mut self,
        number: u64,
        ends: Ends,
        child: &Child,
    ) -> SysResult<([Option<Watched>; 2], Vec<OwnedFd>)> {
        let (mut outputs, mut theirs) = ([None, None], Vec::new());
        for (index, (end, stream)) in ends.output.into_iter().zip([Stream::Out, Stream::Err]).enumerate() {
            let Some((reader, writer)) = end else { continue };
            theirs.push(writer);
            let watched = self.reactor.watch(reader, Source::ExecOutput(number, stream));
            let watched = watched.map_err(|error| abandon(child, error))?;
            if let Some(slot) = outputs.get_mut(index) {
                *slot = Some(watched);
            }
        }
        Ok((outputs, theirs))
    }

    fn fork_exec(
        &self,
        plan: &ExecPlan,
        joined: &CgroupPlan,
        status: &OwnedFd,
        ends: &Ends,
    ) -> SysResult<(Child, Option<Successor>, Room)> {
        let [out, err] = &ends.output;
        let stdio = [
            ends.stdin.as_ref().map(|(reader, _)| reader),
            out.as_ref().map(|(_, writer)| writer),
            err.as_ref().map(|(_, writer)| writer),
        ];
        if !plan.runtime.is_empty() {
            return Ok((self.fork_foreign_exec(plan, status, stdio, ends.tty)?, None, Room::default()));
        }
        let container = self.containers.get(&plan.container);
        let (container, init, root) = container
            .and_then(|one| Some((one, one.first.child.as_ref()?, one.first.root.as_ref()?)))
            .ok_or_else(|| SysError::new("exec", &plan.container, errno::ESRCH))?;
        let agent = plan.process.seccomp_agent.as_ref();
        let agent = agent.map(|agent| socket::connect_stream(as_path(&agent.socket))).transpose()?;
        let (successor, null) = (Successor::new()?, self.null()?);
        let (forked, birthplace) = self.fork_beside(joined)?;
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
                birthplace,
                single: &self.single,
                successor: &successor,
                extras: launch::Extras { agent: agent.as_ref().map(AsFd::as_fd), ..Default::default() },
            }),
            Forked::Parent(child) => {
                // What is forked next belongs to others.
                successor.withhold()?;
                let room = crowd::room(&child, birthplace)?;
                Ok((child, Some(successor), room))
            }
        }
    }

    /// Takes in what a command's child says.
    pub(crate) fn hear_exec(&mut self, number: u64) {
        while let Some(handles) = self.execs.get_mut(&number) {
            let Some(status) = &handles.status else { return };
            match channel::receive(status.fd.as_fd()) {
                None => return,
                Some(Status::Failed(failure)) => {
                    handles.is_clean = false;
                    self.learn_exec(number, ExecFact::Failed(failure));
                }
                Some(Status::Ready(master)) => {
                    // The terminal comes first. What comes later may be of the container's making.
                    if let Some(passed) = handles.passed.as_mut().filter(|passed| passed.is_empty()) {
                        passed.extend(master);
                    }
                }
                Some(Status::Closed) => {
                    let status = handles.status.take();
                    self.learn_exec(number, ExecFact::Closed);
                    if let Some(status) = status {
                        self.reactor.unwatch(status);
                    }
                }
                Some(Status::Crowded) => self.make_room_for_exec(number),
                Some(_) => {}
            }
        }
    }

    /// Gives the daemon its ends. Without a daemon the command goes on until it misses its streams.
    pub(crate) fn pass_streams(&mut self, ticket: Ticket, number: u64) {
        let passed = self.execs.get_mut(&number).and_then(|handles| handles.passed.take());
        self.reply_with(ticket, number, passed.unwrap_or_default());
    }

    /// Reads an output of a command.
    pub(crate) fn on_exec_output(&mut self, number: u64, stream: Stream) {
        self.read_exec_output(number, stream, false);
        self.tell_drained(number);
    }

    /// Takes in what a command that has ended has still said, and what is left of its output.
    pub(crate) fn drain_exec(&mut self, number: u64) {
        if let Some(handles) = self.execs.get_mut(&number) {
            handles.kept.clear();
        }
        self.hear_exec(number);
        self.read_exec_output(number, Stream::Out, true);
        self.read_exec_output(number, Stream::Err, true);
        self.tell_drained(number);
    }

    fn tell_drained(&mut self, number: u64) {
        if let Some(handles) = self.execs.get(&number) {
            let silent = handles.outputs.iter().all(Option::is_none);
            self.learn_exec(number, ExecFact::Drained { silent });
        }
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
            self.reactor.unwatch(watched);
        } else if let Some(slot) = self.execs.get_mut(&number).and_then(|exec| exec.outputs.get_mut(index)) {
            *slot = Some(watched);
        }
    }

    /// A command's process is the one that has taken its place in the container, once there is one.
    pub(crate) fn succeed_exec(&mut self, number: u64) {
        let Some(handles) = self.execs.get_mut(&number) else { return };
        if let Some(pid) = handles.successor.as_ref().and_then(Successor::pid) {
            handles.successor = None;
            self.learn_exec(number, ExecFact::Succeeded(pid));
        }
    }

    /// The same for all of them.
    pub(crate) fn succeed_execs(&mut self) {
        let waiting = self.execs.iter().filter(|(_, handles)| handles.successor.is_some());
        let waiting: Vec<u64> = waiting.map(|(number, _)| *number).collect();
        for number in waiting {
            self.succeed_exec(number);
        }
    }

    /// Kills everything that a command has started.
    pub(crate) fn kill_exec(&mut self, number: u64) {
        self.succeed_exec(number);
        let first = self.pod.exec_process(number);
        let Some(handles) = self.execs.get_mut(&number) else { return };
        handles.is_clean = false;
        let open = handles.room.clear();
        let empty = match (&handles.tracked, first) {
            (Some(dir), _) => cgroup::kill_all(dir),
            // Without a cgroup of its own its descendants are looked for.
            (None, Some(first)) => process::kill_tree(first),
            (None, None) => true,
        };
        if let (true, Some(first)) = (open, first) {
            // It has ended by itself: fine.
            let _ = process::kill(first, SIGKILL);
        }
        self.learn_exec(number, ExecFact::Killed { empty });
    }

    /// Reads the last of a command's output, and lets go of all else that it holds.
    pub(crate) fn close_exec(&mut self, number: u64, container: &str) {
        self.read_exec_output(number, Stream::Out, true);
        self.read_exec_output(number, Stream::Err, true);
        let Some(handles) = self.execs.get_mut(&number) else { return };
        let held = handles.outputs.iter_mut().chain([&mut handles.status]);
        let held: Vec<Watched> = held.filter_map(Option::take).collect();
        let tracked = handles.tracked.take();
        handles.room.clear();
        for watched in held {
            self.reactor.unwatch(watched);
        }
        if let (Some(dir), is_clean) = (tracked, handles.is_clean) {
            self.untrack(dir, container, is_clean);
        }
    }

    /// Answers with what a command has written.
    pub(crate) fn answer_exec(&mut self, ticket: Ticket, number: u64, mut reply: Reply) {
        if let (Some(handles), Reply::Exec { stdout, stderr, truncated, .. }) =
            (self.execs.get_mut(&number), &mut reply)
        {
            *truncated = handles.captures.iter().any(Capture::is_truncated);
            let [out, err] = &mut handles.captures;
            (*stdout, *stderr) = (out.take(), err.take());
        }
        self.reply(ticket, &reply);
    }
}

/// A command that was forked.
struct Launched {
    child: Child,
    successor: Option<Successor>,
    room: Room,
    status: Watched,
    /// The child's end of that.
    theirs: OwnedFd,
    ends: Ends,
}

/// Kills a child that cannot be supervised; it is reaped as an orphan of no interest.
fn abandon(child: &Child, error: SysError) -> SysError {
    // Ended by itself in the meantime: fine.
    let _ = process::signal(child.pidfd.as_fd(), SIGKILL);
    error
}
