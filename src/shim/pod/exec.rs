//! A command beside a container's first process, from its fork to its answer.

use std::time::{Duration, Instant};

use launch::Failure;
use sys::process::{Ended, SIGKILL};
use wire::msg::{ErrorCode, Reply};
use wire::plan::ExecPlan;

use super::{Action, Course, End, ExecFact, Pod, Ticket};
use crate::requests::{error, refused, unknown};

/// How often the tree is killed again until it is dead, and how long at most.
const KILL_AGAIN: Duration = Duration::from_millis(2);
const KILL_FOR: Duration = Duration::from_secs(2);

/// What the daemon wants of a command, and who is to be answered.
#[derive(Debug)]
enum Purpose {
    /// Its output, once it has ended.
    Output(Ticket),
    /// Its streams, once it runs.
    Opening(Ticket),
    /// Its end, which these have asked for already; any may on the connection that opened it.
    Open(u64, Vec<Ticket>),
}

/// What time means for a command.
#[derive(Debug)]
enum Clock {
    /// Runs, until then at most.
    Running(Option<Instant>),
    /// Its time was up: killed again at the first instant, given up at the second.
    Killing(Instant, Instant),
    /// It has ended; its output is waited for until then.
    Draining(Instant),
}

/// What is known of one command.
#[derive(Debug)]
pub(crate) struct Exec {
    number: u64,
    container: String,
    purpose: Purpose,
    /// The process whose end is the command's, until it is reaped.
    pid: Option<i32>,
    timeout: Option<Duration>,
    drain: Duration,
    clock: Clock,
    failure: Option<Failure>,
    ended: Option<Ended>,
}

/// A command's result, and who is told.
struct Outcome {
    container: String,
    purpose: Purpose,
    reply: Reply,
}

impl Exec {
    /// The process whose end is the command's, until it is reaped.
    pub(crate) fn pid(&self) -> Option<i32> {
        self.pid
    }

    /// Where it runs.
    pub(super) fn container(&self) -> &str {
        &self.container
    }

    /// When its next timer fires.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.clock {
            Clock::Running(limit) => limit,
            Clock::Killing(again, _) => Some(again),
            Clock::Draining(until) => Some(until),
        }
    }

    fn on_forked(&mut self, now: Instant, pid: i32) {
        self.pid = Some(pid);
        self.clock = Clock::Running(self.timeout.map(|timeout| now + timeout));
    }

    /// Its program runs, or it has ended: the daemon's ends are passed on.
    fn open(&mut self, todo: &mut Vec<Action>) {
        if let (Purpose::Opening(ticket), None) = (&self.purpose, &self.failure) {
            todo.push(Action::PassStreams(*ticket, self.number));
            self.purpose = Purpose::Open(ticket.conn, Vec::new());
        }
    }

    fn on_ended(&mut self, now: Instant, end: End, todo: &mut Vec<Action>) {
        // Whoever still has the channel keeps it from telling so.
        self.open(todo);
        self.pid = None;
        self.ended = Some(end.how);
        if let Clock::Running(_) = self.clock {
            self.clock = Clock::Draining(now + self.drain);
        }
        todo.push(Action::DrainExec(self.number));
    }

    /// Its time is up; one that has ended needs no more.
    fn kill(&mut self, now: Instant, todo: &mut Vec<Action>) {
        if let Clock::Running(_) = self.clock {
            self.clock = Clock::Killing(now + KILL_AGAIN, now + KILL_FOR);
            todo.push(Action::KillExec(self.number));
        }
    }

    /// A timer of it has fired; `true` when it is over.
    fn on_timer(&mut self, now: Instant, todo: &mut Vec<Action>) -> bool {
        match self.clock {
            Clock::Running(_) => self.kill(now, todo),
            Clock::Killing(_, until) => {
                self.clock = Clock::Killing(now + KILL_AGAIN, until);
                todo.push(Action::KillExec(self.number));
            }
            Clock::Draining(_) => return true,
        }
        false
    }

    /// Its output was read as far as there is any; `true` when it is over.
    fn on_drained(&self, now: Instant, silent: bool, todo: &mut Vec<Action>) -> bool {
        match self.clock {
            Clock::Running(_) => false,
            Clock::Draining(until) => silent || until <= now,
            Clock::Killing(..) => {
                todo.push(Action::KillExec(self.number));
                false
            }
        }
    }

    /// Everything that it has started was killed, if there was any; `true` when it is over.
    fn on_killed(&self, now: Instant, empty: bool) -> bool {
        matches!(self.clock, Clock::Killing(_, until) if empty && self.pid.is_none() || until <= now)
    }

    fn into_outcome(self) -> Outcome {
        let reply = match &self.failure {
            Some(failure) => refused(failure),
            None => Reply::Exec {
                exit_code: self.ended.map_or(128 + SIGKILL, |ended| ended.code),
                stdout: Vec::new(),
                stderr: Vec::new(),
                timed_out: matches!(self.clock, Clock::Killing(..)),
                truncated: false,
            },
        };
        Outcome { container: self.container, purpose: self.purpose, reply }
    }
}

impl Pod {
    /// Exec is answered when the command has ended.
    pub(super) fn exec(&mut self, ticket: Ticket, plan: &ExecPlan) -> Result<Course, Reply> {
        let timeout = (plan.timeout_ms > 0).then(|| Duration::from_millis(plan.timeout_ms));
        self.begin(Purpose::Output(ticket), plan, timeout)
    }

    /// Kills a command whose output nobody waits for any more.
    pub(super) fn kill_exec(&mut self, now: Instant, ticket: Ticket, request: u64) {
        let asked = Ticket { id: request, ..ticket };
        let mut execs = self.execs.values_mut();
        if let Some(exec) = execs.find(|exec| matches!(exec.purpose, Purpose::Output(it) if it == asked)) {
            exec.kill(now, &mut self.todo);
        }
        self.todo.push(Action::Reply(ticket, Reply::Ok));
    }

    /// OpenExec is answered when the program runs, which may take what time it wants.
    pub(super) fn open_exec(&mut self, ticket: Ticket, plan: &ExecPlan) -> Result<Course, Reply> {
        self.begin(Purpose::Opening(ticket), plan, None)
    }

    fn begin(
        &mut self,
        purpose: Purpose,
        plan: &ExecPlan,
        timeout: Option<Duration>,
    ) -> Result<Course, Reply> {
        let id = &plan.container;
        let container = self.containers.get(id).ok_or_else(|| unknown(id))?;
        let Some(first) = container.running() else {
            return Err(error(ErrorCode::BadState, format!("container {id} is not running")));
        };
        if plan.process.argv.first().is_none_or(Vec::is_empty) {
            return Err(error(ErrorCode::Invalid, "the command is empty"));
        }
        let number = self.next_number();
        let exec = Exec {
            number,
            container: id.clone(),
            purpose,
            pid: None,
            timeout,
            drain: Duration::from_millis(plan.drain_ms),
            clock: Clock::Running(None),
            failure: None,
            ended: None,
        };
        self.execs.insert(number, Box::new(exec));
        Ok(Course::Run { number, first })
    }

    fn next_number(&self) -> u64 {
        let last = |key: Option<&u64>| key.map_or(0, |last| last + 1);
        last(self.execs.keys().next_back()).max(last(self.outcomes.keys().next_back()))
    }

    /// Answers now when the command has ended, else then.
    pub(super) fn wait_exec(&mut self, ticket: Ticket, number: u64) -> Result<(), Reply> {
        if let Some((_, reply)) = self.outcomes.remove(&number) {
            self.todo.push(Action::Reply(ticket, reply));
            return Ok(());
        }
        match self.execs.get_mut(&number).map(|exec| &mut exec.purpose) {
            Some(Purpose::Open(_, waiters)) => {
                waiters.push(ticket);
                Ok(())
            }
            _ => Err(error(ErrorCode::NotFound, format!("command {number} is not open"))),
        }
    }

    /// Something has happened to a command.
    pub(super) fn on_exec(&mut self, now: Instant, number: u64, fact: ExecFact) {
        let Some(exec) = self.execs.get_mut(&number) else { return };
        let is_over = match fact {
            ExecFact::Forked(pid) => {
                exec.on_forked(now, pid);
                false
            }
            ExecFact::NotForked(reply) => {
                if let Some(Purpose::Output(ticket) | Purpose::Opening(ticket)) =
                    self.execs.remove(&number).map(|exec| exec.purpose)
                {
                    self.todo.push(Action::Reply(ticket, reply));
                }
                return;
            }
            ExecFact::Succeeded(pid) => {
                exec.pid = exec.pid.map(|_| pid);
                false
            }
            ExecFact::Failed(failure) => {
                exec.failure = Some(failure);
                false
            }
            ExecFact::Closed => {
                exec.open(&mut self.todo);
                false
            }
            ExecFact::Ended(end) => {
                if exec.pid == Some(end.how.pid) {
                    // What the command used too much of is no matter of the container's.
                    if let Some(container) = self.containers.get(&exec.container) {
                        container.count(false, &mut self.todo);
                    }
                    exec.on_ended(now, end, &mut self.todo);
                }
                false
            }
            ExecFact::Drained { silent } => exec.on_drained(now, silent, &mut self.todo),
            ExecFact::Killed { empty } => exec.on_killed(now, empty),
        };
        if is_over {
            self.finish(number);
        }
    }

    pub(super) fn on_exec_timers(&mut self, now: Instant) {
        let mut over = Vec::new();
        for (number, exec) in &mut self.execs {
            if exec.deadline().is_some_and(|at| at <= now) && exec.on_timer(now, &mut self.todo) {
                over.push(*number);
            }
        }
        for number in over {
            self.finish(number);
        }
    }

    /// Nothing more is to come of a command, or the time for it is over.
    fn finish(&mut self, number: u64) {
        let Some(exec) = self.execs.remove(&number) else { return };
        let Outcome { container, purpose, reply } = exec.into_outcome();
        self.todo.push(Action::CloseExec(number, container));
        match purpose {
            Purpose::Output(ticket) => self.todo.push(Action::Answer { ticket, number, reply }),
            Purpose::Opening(ticket) => self.todo.push(Action::Reply(ticket, reply)),
            Purpose::Open(conn, waiters) if waiters.is_empty() => {
                if self.conns.contains(&conn) {
                    self.outcomes.insert(number, (conn, reply));
                }
            }
            Purpose::Open(_, waiters) => {
                let replies = waiters.into_iter().map(|ticket| Action::Reply(ticket, reply.clone()));
                self.todo.extend(replies);
            }
        }
        self.todo.push(Action::ForgetExec(number));
    }
}
