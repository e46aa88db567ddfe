//! The end of processes: whose they were, the last of the output, exit records.

use std::time::{Duration, Instant};

use launch::Failure;
use sys::process::{Ended, SIGKILL};
use wire::msg::{ErrorCode, ExitRecord};

use super::container::{Container, Next, Phase};
use super::{Action, End, Event, ExecFact, Fact, Pod, Remains, Rest};
use crate::requests::{error, refused};

/// How long the output of a dead container is waited for, when something outside of it holds the pipe.
const DRAIN: Duration = Duration::from_secs(2);
/// How often a cgroup is emptied again while processes fork in it.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
const KILLED: i32 = 128 + SIGKILL;
/// The exit code of a container whose program could not be run.
const NOT_STARTED: i32 = 128;

impl Pod {
    pub(super) fn on_reaped(&mut self, now: Instant, end: End) {
        if self.take_in(now, end) {
            return;
        }
        // It may be the child of a container that has just been handed over to it, and this is not told yet.
        let building = |one: &&Container| matches!(one.phase, Phase::Creating(_)) && one.kind.mapped;
        let building = self.containers.values().map(Box::as_ref).filter(building);
        self.todo.extend(building.map(|one| Action::Hear(one.id.clone())));
        if !self.todo.is_empty() {
            self.todo.push(Action::Then(Box::new(Event::ReapedAgain(end))));
        }
    }

    /// Hands an end to whom it concerns; `false` when it concerns nobody: an orphan that came to us as its reaper.
    pub(super) fn take_in(&mut self, now: Instant, end: End) -> bool {
        let pid = Some(end.how.pid);
        let helper = |one: &Container| one.kind.foreign.as_ref().and_then(|foreign| foreign.helper);
        let find =
            |is: &dyn Fn(&Container) -> bool| self.containers.values().map(Box::as_ref).find(|one| is(one));
        let (id, fact) = if let Some(container) = find(&|one| one.pid == pid) {
            (container.id.clone(), Fact::Ended(end))
        } else if let Some((number, _)) = self.execs.iter().find(|(_, exec)| exec.pid() == pid) {
            self.todo.push(Action::HearExec(*number));
            self.todo.push(Action::Then(Box::new(Event::Exec(*number, ExecFact::Ended(end)))));
            return true;
        } else if self.pause == pid {
            self.pause = None;
            self.todo.push(Action::ForgetPause);
            if self.shutdown.is_none() {
                // With it went the PID namespace that every other container would be in.
                self.end_all(now, None);
            }
            return true;
        } else if let Some(container) = find(&|one| helper(one) == pid) {
            (container.id.clone(), Fact::HelperEnded(end))
        } else {
            return false;
        };
        // What it said last comes first: why it failed, or that it had become its program.
        self.todo.push(Action::Hear(id.clone()));
        self.todo.push(Action::Then(Box::new(Event::Container(id, fact))));
        true
    }
}

impl Container {
    pub(super) fn on_ended(&mut self, now: Instant, end: End, todo: &mut Vec<Action>) {
        if self.pid != Some(end.how.pid) {
            // It has handed over to another.
            return;
        }
        if self.kind.joins && matches!(self.phase, Phase::Starting(_)) {
            // The one that it has succeeded may end a little later, and has the channel until then.
            self.on_closed(todo);
        }
        let is_create = self.kind.foreign.as_ref().is_some_and(|foreign| !foreign.adopted);
        if is_create && end.how.code == 0 {
            todo.push(Action::Adopt(self.id.clone(), end));
            return;
        }
        if is_create {
            self.failure.get_or_insert_with(|| refusal("create", ErrorCode::Setup, end.how));
        }
        self.on_gone(now, end, todo);
    }

    /// Nobody takes the place of what has ended.
    pub(super) fn on_gone(&mut self, now: Instant, end: End, todo: &mut Vec<Action>) {
        self.pid = None;
        self.ended = Some(end);
        self.burial.by = Some(now + DRAIN);
        todo.push(Action::ForgetProcess(self.id.clone()));
        self.try_bury(todo);
    }

    pub(super) fn on_helper_ended(&mut self, end: End, todo: &mut Vec<Action>) {
        if let Some(foreign) = &mut self.kind.foreign {
            foreign.helper = None;
        }
        todo.push(Action::ForgetHelper(self.id.clone()));
        if !self.is_alive() {
            return;
        }
        if end.how.code != 0 {
            self.failure.get_or_insert_with(|| refusal("start", ErrorCode::Exec, end.how));
        }
        if self.failure.is_some() {
            // What waits to be started is of no use any more.
            self.kill(todo);
        } else {
            self.has_started(todo);
        }
        self.try_bury(todo);
    }

    /// Buries a container that has ended, once nothing of it runs and all of its output is read, or the time for that is
    /// over.
    pub(super) fn try_bury(&mut self, todo: &mut Vec<Action>) {
        if self.ended.is_none() || !self.is_alive() {
            return;
        }
        todo.push(Action::Empty { id: self.id.clone(), kill: self.is_settled() && !self.kind.owns_pids });
    }

    /// No command of a runtime is under way.
    fn is_settled(&self) -> bool {
        self.kind.foreign.as_ref().is_none_or(|foreign| foreign.helper.is_none())
    }

    pub(super) fn on_emptied(&mut self, now: Instant, rest: Rest, todo: &mut Vec<Action>) -> Next {
        let Some(end) = self.ended.filter(|_| self.is_alive()) else { return Next::Keep };
        let is_overdue = self.burial.by.is_some_and(|by| by <= now);
        let is_alone = rest.alone && self.is_settled();
        let is_over = is_overdue || is_alone && rest.silent;
        if !is_over {
            self.burial.again = (!is_alone).then(|| now + LOOK_AGAIN);
            return Next::Keep;
        }
        if let Phase::Creating(ticket) = self.phase {
            let failure = self.failure.take();
            let ended = || {
                let text =
                    format!("container {} was ended by {} while it was set up", self.id, cause(end.how));
                error(ErrorCode::Setup, text)
            };
            todo.push(Action::DiscardLog(self.id.clone()));
            todo.push(Action::Reply(ticket, failure.map_or_else(ended, |failure| refused(&failure))));
            todo.push(Action::Release(self.id.clone()));
            return Next::Forget;
        }
        todo.push(Action::Close { id: self.id.clone(), count: end.how.code == KILLED });
        Next::Keep
    }

    pub(super) fn bury(&mut self, remains: Remains, todo: &mut Vec<Action>) -> Next {
        let Some(End { how, at_ns }) = self.ended.filter(|_| self.is_alive()) else { return Next::Keep };
        self.burial = super::container::Burial::default();
        self.memory.survives_at = None;
        let failure = self.failure.take();
        // A shell says 137 for a child that was killed, and ends with it when that was its last command.
        let killed = how.code == KILLED && !(self.memory.killed && how.signal == Some(SIGKILL));
        let record = ExitRecord {
            id: self.id.clone(),
            code: if failure.is_some() { NOT_STARTED } else { how.code },
            signal: how.signal,
            oom: killed && remains.oom_kills > self.memory.survived,
            finished_at_ns: at_ns,
            started_at_ns: if failure.is_some() { 0 } else { self.started_at_ns },
            start_error: failure.as_ref().map(|failure| failure.message.clone()),
            log_bytes_lost: remains.bytes_lost,
        };
        todo.push(Action::Release(self.id.clone()));
        todo.push(Action::Then(Box::new(Event::Silenced(self.id.clone()))));
        todo.push(Action::WriteExit(record.clone()));
        match (&self.phase, &failure) {
            (Phase::Starting(ticket), Some(failure)) => todo.push(Action::Reply(*ticket, refused(failure))),
            // Whoever still has the channel keeps it from telling so.
            (Phase::Starting(_), None) => _ = self.has_started(todo),
            _ => {}
        }
        self.phase = Phase::Exited(record.clone());
        todo.push(Action::Announce(record));
        if self.removers.is_empty() { Next::Keep } else { Next::Forget }
    }
}

fn refusal(command: &str, kind: ErrorCode, ended: Ended) -> Failure {
    let how = match ended.signal {
        Some(signal) => format!("was ended by signal {signal}"),
        None => format!("ended with code {}", ended.code),
    };
    Failure { kind, errno: 0, message: format!("the runtime's command {command} {how}") }
}

fn cause(ended: Ended) -> String {
    match ended.signal {
        Some(signal) => format!("signal {signal}"),
        None => format!("exit code {}", ended.code),
    }
}
