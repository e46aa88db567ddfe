//! Commands in memory: the part of the world that runs them, and single cases.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use sys::process::{Ended, SIGKILL};
use wire::msg::{ErrorCode, Reply, Request, Streams};
use wire::plan::ExecPlan;

use super::super::{Action, Event, ExecFact, Ticket};
use super::world::{World, failure};
use super::{By, is_error};

/// A command's output is waited for so long.
const DRAIN: Duration = Duration::from_millis(100);
const GIVEN_UP: Duration = Duration::from_secs(2);

/// A command as it really is.
#[derive(Debug)]
pub(super) struct FakeExec {
    pub(super) pid: i32,
    successor: Option<i32>,
    said: VecDeque<ExecFact>,
    pub(super) has_hung_up: bool,
    channel_closed: bool,
    is_open: bool,
    /// Something holds its output.
    pub(super) held: bool,
    /// So many times its tree is found populated.
    pub(super) left: u32,
    /// No signal ends it.
    pub(super) immortal: bool,
    pub(super) ended: Option<(Ended, Instant)>,
    reaped: Option<Instant>,
    since: Instant,
    timeout: Option<Duration>,
}

pub(super) fn exec_plan(container: &str, timeout_ms: u64) -> ExecPlan {
    let mut plan = ExecPlan { container: container.to_owned(), timeout_ms, ..ExecPlan::default() };
    plan.drain_ms = u64::try_from(DRAIN.as_millis()).unwrap();
    plan.process.argv = vec![b"/bin/command".to_vec()];
    plan
}

impl World {
    /// A request to run a command; its number, if it was taken.
    pub(super) fn command(&mut self, container: &str, timeout_ms: u64) -> (Ticket, Option<u64>) {
        self.newest = None;
        let ticket = self.ask(Request::Exec(exec_plan(container, timeout_ms)));
        (ticket, self.newest)
    }

    pub(super) fn open_command(&mut self, container: &str) -> (Ticket, Option<u64>) {
        self.newest = None;
        let streams = Streams { stdin: true, stdout: true, stderr: true };
        let plan = exec_plan(container, 0);
        let ticket = self.ask(Request::OpenExec { plan, streams, tty: false });
        (ticket, self.newest)
    }

    pub(super) fn exec_fact(&mut self, number: u64, fact: ExecFact) {
        self.feed(Event::Exec(number, fact));
    }

    pub(super) fn hear_exec(&mut self, number: u64) {
        while let Some(fake) = self.execs.get_mut(&number).filter(|fake| !fake.channel_closed) {
            let fact = match fake.said.pop_front() {
                Some(fact) => fact,
                None if fake.has_hung_up => {
                    fake.channel_closed = true;
                    ExecFact::Closed
                }
                None => return,
            };
            self.exec_fact(number, fact);
        }
    }

    /// The command becomes its program.
    pub(super) fn run_exec(&mut self, number: u64) {
        if let Some(fake) = self.execs.get_mut(&number) {
            fake.has_hung_up = true;
        }
    }

    /// Its program goes on in another process, and the first one ends.
    pub(super) fn exec_appears(&mut self, number: u64) {
        let pid = self.next_pid();
        let Some(fake) = self.execs.get_mut(&number).filter(|fake| fake.ended.is_none()) else { return };
        let builder = std::mem::replace(&mut fake.pid, pid);
        fake.successor = Some(pid);
        self.end_process(builder, 0, None);
    }

    pub(super) fn end_exec(&mut self, number: u64, code: i32, signal: Option<i32>) {
        let now = self.now;
        let Some(fake) = self.execs.get_mut(&number).filter(|fake| fake.ended.is_none()) else { return };
        let pid = fake.pid;
        fake.has_hung_up |= fake.successor.is_none();
        fake.ended = Some((Ended { pid, code, signal }, now));
        self.end_process(pid, code, signal);
    }

    pub(super) fn hold_exec(&mut self, number: u64, held: bool) {
        let Some(fake) = self.execs.get_mut(&number) else { return };
        if std::mem::replace(&mut fake.held, held) && !held {
            let silent = fake.is_silent();
            self.exec_fact(number, ExecFact::Drained { silent });
        }
    }

    pub(super) fn succeed_execs(&mut self) {
        let numbers: Vec<u64> = self.execs.keys().copied().collect();
        for number in numbers {
            self.succeed_exec(number);
        }
    }

    fn succeed_exec(&mut self, number: u64) {
        if let Some(pid) = self.execs.get_mut(&number).and_then(|fake| fake.successor.take()) {
            self.exec_fact(number, ExecFact::Succeeded(pid));
        }
    }

    pub(super) fn note_reaped(&mut self, pid: i32) {
        let now = self.now;
        for fake in self.execs.values_mut().filter(|fake| fake.pid == pid) {
            fake.reaped = Some(now);
        }
    }

    pub(super) fn perform_exec(&mut self, action: Action) {
        match action {
            Action::HearExec(number) => self.hear_exec(number),
            Action::PassStreams(ticket, number) => {
                assert!(self.execs[&number].is_open);
                self.perform(Action::Reply(ticket, Reply::Opened { number, descriptors: 3 }));
            }
            Action::DrainExec(number) => {
                let silent = self.execs[&number].is_silent();
                self.exec_fact(number, ExecFact::Drained { silent });
            }
            Action::KillExec(number) => self.kill_exec(number),
            Action::Answer { ticket, number, reply } => {
                self.check_answer(number, &reply);
                self.perform(Action::Reply(ticket, reply));
            }
            Action::ForgetExec(number) => drop(self.execs.remove(&number)),
            Action::CloseExec(..) => {}
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn fork_exec(&mut self, number: u64, plan: &ExecPlan, is_open: bool) {
        if std::mem::take(&mut self.no_forks) {
            return self.exec_fact(number, ExecFact::NotForked(World::no_fork()));
        }
        let timeout = if is_open { 0 } else { plan.timeout_ms };
        let fake = FakeExec {
            pid: self.next_pid(),
            successor: None,
            said: VecDeque::new(),
            has_hung_up: false,
            channel_closed: false,
            is_open,
            held: false,
            left: 0,
            immortal: false,
            ended: None,
            reaped: None,
            since: self.now,
            timeout: (timeout > 0).then(|| Duration::from_millis(timeout)),
        };
        let pid = fake.pid;
        self.newest = Some(number);
        assert!(self.execs.insert(number, fake).is_none(), "two commands have a number");
        self.exec_fact(number, ExecFact::Forked(pid));
    }

    fn kill_exec(&mut self, number: u64) {
        self.succeed_exec(number);
        let fake = self.execs.get_mut(&number).unwrap();
        let empty = fake.left == 0 && fake.ended.is_some();
        fake.left = fake.left.saturating_sub(1);
        if !fake.immortal {
            self.end_exec(number, 128 + SIGKILL, Some(SIGKILL));
        }
        self.exec_fact(number, ExecFact::Killed { empty });
    }

    /// An answer is neither early nor wrong.
    fn check_answer(&self, number: u64, reply: &Reply) {
        let fake = &self.execs[&number];
        let Reply::Exec { exit_code, timed_out, .. } = reply else { return };
        if *timed_out {
            let timeout = fake.timeout.unwrap();
            assert!(self.now >= fake.since + timeout, "early: {fake:?}");
            let is_dead = fake.left == 0 && fake.reaped.is_some();
            assert!(is_dead || self.now >= fake.since + timeout + GIVEN_UP, "alive: {fake:?}");
        } else {
            let reaped = fake.reaped.expect("an answer before the end");
            assert_eq!(*exit_code, fake.ended.unwrap().0.code);
            assert!(!fake.held || self.now >= reaped + DRAIN, "output is missing: {fake:?}");
        }
    }
}

impl FakeExec {
    fn is_silent(&self) -> bool {
        !self.held && (self.is_open || self.ended.is_some())
    }
}

fn exit_code(reply: Option<&Reply>) -> Option<(i32, bool)> {
    match reply {
        Some(Reply::Exec { exit_code, timed_out, .. }) => Some((*exit_code, *timed_out)),
        _ => None,
    }
}

#[test]
fn a_command_is_answered_when_it_has_ended_and_its_output_is_read() {
    let mut world = World::new();
    world.run("c");
    let (ticket, number) = world.command("c", 0);
    let number = number.unwrap();
    world.run_exec(number);
    world.execs.get_mut(&number).unwrap().held = true;
    world.end_exec(number, 4, None);
    world.reap();
    assert_eq!(world.reply(ticket), None);
    world.hold_exec(number, false);
    assert_eq!(exit_code(world.reply(ticket)), Some((4, false)));
    let (late, number) = world.command("c", 0);
    world.execs.get_mut(&number.unwrap()).unwrap().held = true;
    world.end_exec(number.unwrap(), 0, None);
    world.reap();
    world.advance(DRAIN);
    assert_eq!(exit_code(world.reply(late)), Some((0, false)), "it is not waited for any longer");
}

#[test]
fn a_command_whose_time_is_up_is_killed_with_all_of_its_tree() {
    let mut world = World::new();
    world.run("c");
    let (ticket, number) = world.command("c", 500);
    world.execs.get_mut(&number.unwrap()).unwrap().left = 3;
    world.advance(Duration::from_millis(499));
    assert!(world.execs[&number.unwrap()].ended.is_none());
    world.advance(Duration::from_millis(1));
    assert!(world.execs[&number.unwrap()].ended.is_some());
    world.reap();
    assert_eq!(world.reply(ticket), None, "its children are there yet");
    world.advance(Duration::from_millis(10));
    assert_eq!(exit_code(world.reply(ticket)), Some((137, true)));
}

#[test]
fn a_command_that_nothing_kills_is_given_up() {
    let mut world = World::new();
    world.run("c");
    let (ticket, number) = world.command("c", 500);
    world.execs.get_mut(&number.unwrap()).unwrap().immortal = true;
    world.advance(Duration::from_millis(2400));
    assert_eq!(world.reply(ticket), None);
    world.advance(Duration::from_millis(110));
    assert_eq!(exit_code(world.reply(ticket)), Some((137, true)));
}

#[test]
fn a_command_that_cannot_run_is_refused_with_its_reason() {
    let mut world = World::new();
    let (early, _) = world.command("c", 0);
    assert!(is_error(world.reply(early), ErrorCode::NotFound));
    world.create(&super::plan("c"));
    let (early, _) = world.command("c", 0);
    assert!(is_error(world.reply(early), ErrorCode::BadState));
    let mut world = World::new();
    world.run("c");
    for open in [false, true] {
        let (ticket, number) = if open { world.open_command("c") } else { world.command("c", 0) };
        let number = number.unwrap();
        let fake = world.execs.get_mut(&number).unwrap();
        fake.said.push_back(ExecFact::Failed(failure("exec /none: no such file")));
        world.end_exec(number, 1, None);
        world.reap();
        assert!(is_error(world.reply(ticket), ErrorCode::Setup), "{open}");
    }
    world.no_forks = true;
    let (ticket, _) = world.command("c", 0);
    assert!(is_error(world.reply(ticket), ErrorCode::Setup));
    let mut empty = exec_plan("c", 0);
    empty.process.argv.clear();
    let ticket = world.ask(Request::Exec(empty));
    assert!(is_error(world.reply(ticket), ErrorCode::Invalid));
}

#[test]
fn the_end_of_an_open_command_is_kept_for_who_asks() {
    let mut world = World::new();
    world.feed(Event::Connected(7));
    world.run("c");
    let (opened, number) = world.open_command("c");
    let number = number.unwrap();
    let early = world.ask(Request::WaitExec { number });
    assert!(is_error(world.reply(early), ErrorCode::NotFound), "it is not open yet");
    world.run_exec(number);
    world.hear_exec(number);
    assert_eq!(world.reply(opened), Some(&Reply::Opened { number, descriptors: 3 }));
    world.end_exec(number, 5, None);
    world.reap();
    let (_, second) = world.open_command("c");
    assert_ne!(second, Some(number), "the number of an end that is kept is taken");
    let waits = world.ask(Request::WaitExec { number });
    assert_eq!(exit_code(world.reply(waits)), Some((5, false)));
    let again = world.ask(Request::WaitExec { number });
    assert!(is_error(world.reply(again), ErrorCode::NotFound));
}

#[test]
fn everybody_who_waits_for_an_open_command_is_told() {
    let mut world = World::new();
    world.run("c");
    let number = world.open_command("c").1.unwrap();
    world.run_exec(number);
    world.hear_exec(number);
    let waits = [(); 2].map(|()| world.ask(Request::WaitExec { number }));
    world.end_exec(number, 5, None);
    world.reap();
    assert!(waits.iter().all(|wait| exit_code(world.reply(*wait)) == Some((5, false))));
}

#[test]
fn the_ends_of_who_has_hung_up_are_nobody_s() {
    for early in [true, false] {
        let mut world = World::new();
        world.feed(Event::Connected(7));
        world.run("c");
        let number = world.open_command("c").1.unwrap();
        world.run_exec(number);
        world.hear_exec(number);
        if early {
            world.feed(Event::HungUp(7));
        }
        world.end_exec(number, 5, None);
        world.reap();
        if !early {
            assert_eq!(world.pod.outcomes.len(), 1);
            world.feed(Event::HungUp(7));
        }
        assert!(world.pod.outcomes.is_empty() && world.pod.execs.is_empty(), "{early}");
    }
}

#[test]
fn an_open_command_that_ends_before_its_builder_has_been_opened() {
    let mut world = World::new();
    world.feed(Event::Connected(7));
    world.run("c");
    let (opened, number) = world.open_command("c");
    let number = number.unwrap();
    // The builder, which has the channel, lives a little longer than the command.
    world.exec_appears(number);
    world.end_exec(number, 5, None);
    world.reap_in(true);
    assert!(matches!(world.reply(opened), Some(Reply::Opened { .. })), "{:?}", world.reply(opened));
    let waits = world.ask(Request::WaitExec { number });
    assert_eq!(exit_code(world.reply(waits)), Some((5, false)));
}

#[test]
fn what_a_command_used_too_much_of_is_no_matter_of_the_container_s() {
    let mut world = World::new();
    world.run("c");
    let number = world.command("c", 0).1.unwrap();
    world.fake("c").kills += 1;
    world.end_exec(number, 137, Some(9));
    world.reap();
    world.end("c", By::Somebody);
    world.reap();
    assert!(!world.announced[0].oom);
}
