//! A container from its fork to its running program.

use std::time::{Duration, Instant};

use launch::Failure;
use wire::msg::{ContainerSnapshot, ContainerState, ErrorCode, ExitRecord, Reply};
use wire::plan::{ContainerPlan, PidNamespace};

use super::{Action, Birth, Count, End, Fact, Ticket};
use crate::requests::error;

/// Who lives so long after the kernel has killed for want of memory was not meant.
const SURVIVES: Duration = Duration::from_millis(100);

/// Where a container stands, and who waits for it to move on.
#[derive(Debug)]
pub(super) enum Phase {
    /// The child builds it; Create is to be answered.
    Creating(Ticket),
    /// The child waits for the word.
    Created,
    /// The child has got it; Start is to be answered.
    Starting(Ticket),
    /// The program runs.
    Running,
    /// It has ended, and everything about it is known.
    Exited(ExitRecord),
}

/// How its processes come about.
#[derive(Debug)]
pub(super) struct Kind {
    /// The first process is PID 1 of a namespace: the kernel kills the others with it.
    pub(super) owns_pids: bool,
    /// It joins a PID namespace: another process than the builder becomes its program.
    pub(super) joins: bool,
    /// That has happened.
    pub(super) succeeded: bool,
    /// It lives in a user namespace: the builder hands over to another process.
    pub(super) mapped: bool,
    /// A runtime makes it.
    pub(super) foreign: Option<Foreign>,
}

/// What a container of a runtime has beside the others.
#[derive(Debug, Default)]
pub(super) struct Foreign {
    /// The runtime's command that is under way, until it is reaped.
    pub(super) helper: Option<i32>,
    /// The first process has been taken in.
    pub(super) adopted: bool,
}

/// Whose the kernel's kills in its cgroup were.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Kills are counted.
    pub(super) counted: bool,
    /// Kills that it has survived, or that were before it.
    pub(super) survived: u64,
    /// When it has survived the last one, if it lives then.
    pub(super) survives_at: Option<Instant>,
    /// SIGKILL came from here, and so not from the kernel.
    pub(super) killed: bool,
}

/// When a container that has ended is looked at.
#[derive(Debug, Default)]
pub(super) struct Burial {
    /// When to look again whether it can be buried.
    pub(super) again: Option<Instant>,
    /// When to bury it whatever still holds its output.
    pub(super) by: Option<Instant>,
}

/// What is to become of a container.
pub(super) enum Next {
    Keep,
    Forget,
}

/// What is known of one container.
#[derive(Debug)]
pub(crate) struct Container {
    pub(super) id: String,
    pub(super) phase: Phase,
    pub(super) kind: Kind,
    /// Its first process, until that is reaped.
    pub(super) pid: Option<i32>,
    /// Its child says no more.
    pub(super) is_silent: bool,
    pub(super) created_at_ns: i64,
    pub(super) started_at_ns: i64,
    pub(super) memory: Memory,
    /// It was killed for good: so is whatever takes the place of its first process.
    is_doomed: bool,
    pub(super) failure: Option<Failure>,
    pub(super) ended: Option<End>,
    pub(super) burial: Burial,
    pub(super) removers: Vec<Ticket>,
    /// Its stdin ends with the first attached client that has it.
    stdin_once: bool,
    /// Its output is left alone for a client that is behind.
    is_held: bool,
}

impl Container {
    /// One that is about to be built.
    pub(super) fn new(ticket: Ticket, plan: &ContainerPlan) -> Self {
        let foreign = plan.runtime.is_some();
        Self {
            id: plan.id.clone(),
            phase: Phase::Creating(ticket),
            kind: Kind {
                owns_pids: plan.pid_namespace == PidNamespace::New && !foreign,
                joins: false,
                succeeded: false,
                mapped: !plan.ids.is_empty(),
                foreign: foreign.then(Foreign::default),
            },
            pid: None,
            is_silent: false,
            created_at_ns: 0,
            started_at_ns: 0,
            memory: Memory { counted: plan.cgroup.oom.is_some(), ..Memory::default() },
            is_doomed: false,
            failure: None,
            ended: None,
            burial: Burial::default(),
            removers: Vec::new(),
            stdin_once: plan.stdio.stdin_once,
            is_held: false,
        }
    }

    /// Has processes, or is not buried yet.
    pub(super) fn is_alive(&self) -> bool {
        !matches!(self.phase, Phase::Exited(_))
    }

    /// Its first process has not been reaped.
    pub(super) fn has_process(&self) -> bool {
        self.pid.is_some()
    }

    /// What its child says of itself is not believed any more: another may have the channel, too.
    pub(crate) fn is_built(&self) -> bool {
        !matches!(self.phase, Phase::Creating(_))
    }

    /// Its first process, if its program runs.
    pub(crate) fn running(&self) -> Option<i32> {
        self.pid.filter(|_| matches!(self.phase, Phase::Running))
    }

    /// Its stdin ends with the first attached client that has it.
    pub(super) fn stdin_once(&self) -> bool {
        self.stdin_once
    }

    /// Its output is left alone.
    pub(super) fn is_held(&self) -> bool {
        self.is_held
    }

    /// Its output is to be left alone, or read again; `false` when it is so already.
    pub(super) fn hold(&mut self, held: bool) -> bool {
        std::mem::replace(&mut self.is_held, held) != held
    }

    /// Who waits for its removal.
    pub(super) fn into_removers(self) -> Vec<Ticket> {
        self.removers
    }

    /// When its next timer fires.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.burial.again.into_iter().chain(self.burial.by).chain(self.memory.survives_at).min()
    }

    /// Its own line of a greeting.
    pub(super) fn snapshot(&self) -> ContainerSnapshot {
        let (state, exit) = match &self.phase {
            Phase::Creating(_) => (ContainerState::Creating, None),
            Phase::Created => (ContainerState::Created, None),
            Phase::Starting(_) | Phase::Running => (ContainerState::Running, None),
            Phase::Exited(record) => (ContainerState::Exited, Some(record.clone())),
        };
        // A builder that is about to be succeeded is nobody's first process any more.
        let is_builder = self.kind.joins && matches!(self.phase, Phase::Starting(_)) && !self.kind.succeeded;
        ContainerSnapshot {
            id: self.id.clone(),
            state,
            pid: self.pid.filter(|_| !is_builder).unwrap_or(0),
            created_at_ns: self.created_at_ns,
            started_at_ns: self.started_at_ns,
            exit,
        }
    }

    /// Takes in what has happened to it.
    pub(super) fn on(&mut self, now: Instant, fact: Fact, todo: &mut Vec<Action>) -> Next {
        match fact {
            Fact::Forked(birth) => self.on_forked(birth),
            Fact::NotForked(reply) => {
                if let Phase::Creating(ticket) = self.phase {
                    todo.push(Action::Reply(ticket, reply));
                }
                return Next::Forget;
            }
            Fact::HandedOver(pid) => self.replace_process(pid, todo),
            Fact::Succeeded(pid) => {
                self.kind.succeeded = true;
                self.replace_process(pid, todo);
            }
            Fact::Ready => self.on_created(todo),
            Fact::Failed(failure) => self.failure = Some(failure),
            Fact::Broken(failure) => {
                // Killed, it is reaped and its request answered like that of any child that failed.
                self.failure = Some(failure);
                self.kill(todo);
            }
            Fact::Closed => self.on_closed(todo),
            Fact::Told(at_ns) => self.started_at_ns = at_ns,
            Fact::NotTold(reply) => self.on_not_told(reply, todo),
            Fact::HelperRuns(at_ns, pid) => self.on_helper(at_ns, pid),
            Fact::Counted(count) => self.on_counted(count),
            Fact::OutOfMemory => {
                self.memory.survives_at.get_or_insert(now + SURVIVES);
            }
            Fact::OutputOver => self.try_bury(todo),
            Fact::Adopted(pid) => self.on_adopted(pid, todo),
            Fact::NotAdopted(failure, end) => {
                self.failure = Some(failure);
                self.on_gone(now, end, todo);
            }
            Fact::Ended(end) => self.on_ended(now, end, todo),
            Fact::HelperEnded(end) => self.on_helper_ended(end, todo),
            Fact::Emptied(rest) => return self.on_emptied(now, rest, todo),
            Fact::Closing(remains) => return self.bury(remains, todo),
        }
        Next::Keep
    }

    /// A timer of it has fired.
    pub(super) fn on_timer(&mut self, now: Instant, todo: &mut Vec<Action>) {
        if self.memory.survives_at.is_some_and(|at| at <= now) {
            self.memory.survives_at = None;
            self.count(false, todo);
        }
        self.try_bury(todo);
    }

    fn on_forked(&mut self, birth: Birth) {
        self.pid = Some(birth.pid);
        self.kind.joins = birth.joins;
        self.created_at_ns = birth.at_ns;
        self.memory.survived = birth.oom_kills;
    }

    /// Another process is its first one from now on.
    fn replace_process(&mut self, pid: i32, todo: &mut Vec<Action>) {
        if self.pid.is_none() {
            return;
        }
        self.pid = Some(pid);
        if self.is_doomed || self.memory.killed {
            // That was meant for both.
            self.kill(todo);
        }
    }

    fn on_created(&mut self, todo: &mut Vec<Action>) {
        if let (Phase::Creating(ticket), Some(pid)) = (&self.phase, self.pid) {
            todo.push(Action::Reply(*ticket, Reply::Created { pid }));
            self.phase = Phase::Created;
        }
    }

    fn on_adopted(&mut self, pid: i32, todo: &mut Vec<Action>) {
        if let Some(foreign) = &mut self.kind.foreign {
            foreign.adopted = true;
        }
        self.replace_process(pid, todo);
        self.on_created(todo);
    }

    /// Its program is to run.
    pub(super) fn start(&mut self, ticket: Ticket, todo: &mut Vec<Action>) -> Result<(), Reply> {
        let state = |what: &str| error(ErrorCode::BadState, format!("container {} {what}", self.id));
        match (&self.phase, &self.kind.foreign) {
            (Phase::Created, Some(_)) => todo.push(Action::RunStart(self.id.clone())),
            (Phase::Created, None) if !self.is_silent => todo.push(Action::Tell(self.id.clone())),
            (Phase::Created | Phase::Exited(_), _) => return Err(state("has ended")),
            (Phase::Creating(_), _) => return Err(state("is not set up yet")),
            (Phase::Starting(_) | Phase::Running, _) => return Err(state("runs already")),
        }
        self.phase = Phase::Starting(ticket);
        Ok(())
    }

    fn on_not_told(&mut self, reply: Reply, todo: &mut Vec<Action>) {
        if let Phase::Starting(ticket) = self.phase {
            self.phase = Phase::Created;
            todo.push(Action::Reply(ticket, reply));
        }
    }

    fn on_helper(&mut self, at_ns: i64, pid: i32) {
        self.started_at_ns = at_ns;
        self.is_silent = false;
        if let Some(foreign) = &mut self.kind.foreign {
            foreign.helper = Some(pid);
        }
    }

    /// Its program runs, or it has ended.
    pub(super) fn on_closed(&mut self, todo: &mut Vec<Action>) {
        if self.failure.is_none()
            && self.kind.foreign.is_none()
            && self.has_started(todo)
            && self.memory.counted
        {
            todo.push(Action::WatchMemory(self.id.clone()));
        }
        if !self.is_silent {
            self.is_silent = true;
            todo.push(Action::CloseStatus(self.id.clone()));
        }
    }

    /// Answers Start; `false` when nobody waits for that.
    pub(super) fn has_started(&mut self, todo: &mut Vec<Action>) -> bool {
        let Phase::Starting(ticket) = self.phase else { return false };
        // The process that a runtime has left behind is known since its creation.
        let pid = self.pid.filter(|_| self.kind.foreign.is_none()).unwrap_or(0);
        todo.push(Action::Reply(ticket, Reply::Started { started_at_ns: self.started_at_ns, pid }));
        self.phase = Phase::Running;
        true
    }

    /// Counts the kernel's kills at a moment at which it may live; SIGKILL may be about to be sent to it.
    pub(super) fn count(&self, doomed: bool, todo: &mut Vec<Action>) {
        if self.has_process() {
            let known = self.memory.survived;
            todo.push(Action::Count { id: self.id.clone(), known, doomed });
        }
    }

    /// While it lives, whatever the kernel killed in its cgroup until now was not itself.
    fn on_counted(&mut self, count: Count) {
        if self.has_process() && !count.dying {
            self.memory.survived = self.memory.survived.max(count.kills);
            self.memory.killed |= count.doomed;
        }
    }

    /// Kills it; it is buried when it has been reaped.
    pub(super) fn kill(&mut self, todo: &mut Vec<Action>) {
        self.is_doomed = true;
        if self.has_process() {
            self.count(true, todo);
            todo.push(Action::Kill(self.id.clone()));
        }
    }

    /// Kills it, to be forgotten once it is buried.
    pub(super) fn remove(&mut self, ticket: Ticket, todo: &mut Vec<Action>) {
        self.removers.push(ticket);
        self.kill(todo);
    }
}
