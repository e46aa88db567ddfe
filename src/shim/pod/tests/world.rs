//! A kernel and its processes in memory: carries out the pod's actions and lets it know what comes of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use launch::Failure;
use sys::process::{Ended, SIGKILL};
use wire::msg::{ErrorCode, ExitRecord, Reply, Request};
use wire::plan::{ContainerPlan, IdMap, IdMaps, PidNamespace};

use super::super::{Action, Birth, Count, Course, End, Event, Fact, Pod, Remains, Rest, Ticket};
use super::clients::Streaming;
use super::commands::FakeExec;
use super::fake::{By, Fake};

pub(super) fn plan(id: &str) -> ContainerPlan {
    let mut plan =
        ContainerPlan { id: id.to_owned(), pid_namespace: PidNamespace::New, ..Default::default() };
    plan.process.argv = vec![b"/bin/program".to_vec()];
    plan.cgroup.oom = Some(b"/cgroup".to_vec());
    plan
}

/// Of a pod with users of its own.
pub(super) fn ids() -> IdMaps {
    let map = IdMap { inside: 0, outside: 65536, count: 65536 };
    IdMaps { uids: vec![map], gids: vec![map] }
}

pub(super) fn failure(message: &str) -> Failure {
    Failure { kind: ErrorCode::Setup, errno: 2, message: message.to_owned() }
}

pub(super) struct World {
    pub(super) pod: Pod,
    pub(super) now: Instant,
    start: Instant,
    next: i32,
    pub(super) fakes: BTreeMap<String, Fake>,
    pub(super) execs: BTreeMap<u64, FakeExec>,
    /// What containers write, and who reads it.
    pub(super) streaming: Streaming,
    /// The command that was forked last.
    pub(super) newest: Option<u64>,
    /// Ended, not reaped.
    zombies: Vec<Ended>,
    pub(super) replies: BTreeMap<Ticket, Reply>,
    pub(super) tickets: Vec<Ticket>,
    pub(super) requests: Vec<Request>,
    pub(super) announced: Vec<ExitRecord>,
    /// Actions that leave something behind.
    pub(super) done: Vec<String>,
    /// The next fork fails.
    pub(super) no_forks: bool,
}

impl World {
    /// Before the sandbox request.
    pub(super) fn bare() -> Self {
        let now = Instant::now();
        Self {
            pod: Pod::default(),
            now,
            start: now,
            next: 1000,
            fakes: BTreeMap::new(),
            execs: BTreeMap::new(),
            streaming: Streaming::default(),
            newest: None,
            zombies: Vec::new(),
            replies: BTreeMap::new(),
            tickets: Vec::new(),
            requests: Vec::new(),
            announced: Vec::new(),
            done: Vec::new(),
            no_forks: false,
        }
    }

    pub(super) fn new() -> Self {
        let mut world = Self::bare();
        world.feed(Event::SandboxUp(None));
        world
    }

    pub(super) fn fake(&mut self, id: &str) -> &mut Fake {
        self.fakes.get_mut(id).unwrap()
    }

    pub(super) fn pid(&self, id: &str) -> i32 {
        self.fakes[id].pid
    }

    pub(super) fn reply(&self, ticket: Ticket) -> Option<&Reply> {
        self.replies.get(&ticket)
    }

    pub(super) fn wall(&self) -> i64 {
        i64::try_from((self.now - self.start).as_nanos()).unwrap() + 1
    }

    pub(super) fn ask(&mut self, request: Request) -> Ticket {
        self.ask_on(7, request)
    }

    /// The same on a connection of this number.
    pub(super) fn ask_on(&mut self, conn: u64, request: Request) -> Ticket {
        let ticket = Ticket { conn, id: self.tickets.len() as u64 };
        self.tickets.push(ticket);
        let asked = request.clone();
        self.requests.push(request);
        match (self.pod.asked(self.now, ticket, &asked), &asked) {
            (Course::Do(actions), _) => actions.into_iter().for_each(|action| self.perform(action)),
            (Course::Build, Request::Create(plan)) => self.build(plan),
            (Course::Run { number, .. }, Request::Exec(plan)) => self.fork_exec(number, plan, false),
            (Course::Run { number, .. }, Request::OpenExec { plan, .. }) => {
                self.fork_exec(number, plan, true);
            }
            (Course::Attach(number), Request::Attach { id, streams }) => {
                self.open_client(number, id, *streams);
            }
            _ => self.perform(Action::Reply(ticket, Reply::Ok)),
        }
        ticket
    }

    pub(super) fn create(&mut self, plan: &ContainerPlan) -> Ticket {
        self.ask(Request::Create(plan.clone()))
    }

    /// Creates and starts a container.
    pub(super) fn run(&mut self, id: &str) {
        self.create(&plan(id));
        self.ready(id);
        self.ask(Request::Start { id: id.to_owned() });
        self.exec(id);
    }

    pub(super) fn learn(&mut self, id: &str, fact: Fact) {
        self.feed(Event::Container(id.to_owned(), fact));
    }

    /// The child says something, which is heard when the shim listens.
    pub(super) fn say(&mut self, id: &str, fact: Fact) {
        self.fake(id).said.push_back(fact);
    }

    pub(super) fn ready(&mut self, id: &str) {
        self.say(id, Fact::Ready);
        self.hear(id);
    }

    /// The child becomes its program.
    pub(super) fn exec(&mut self, id: &str) {
        assert!(self.fakes[id].told);
        self.fake(id).has_hung_up = true;
        self.hear(id);
    }

    /// The builder makes another process, tells so, and ends.
    pub(super) fn hand_over(&mut self, id: &str) {
        let (builder, sibling) = (self.pid(id), self.next_pid());
        self.say(id, Fact::HandedOver(sibling));
        let fake = self.fake(id);
        (fake.pid, fake.has_handed_over) = (sibling, true);
        self.end_process(builder, 0, None);
    }

    /// The program begins in the PID namespace that it joins.
    pub(super) fn appear(&mut self, id: &str) {
        let pid = self.next_pid();
        let fake = self.fake(id);
        (fake.successor, fake.pid, fake.has_appeared) = (Some(pid), pid, true);
    }

    pub(super) fn next_pid(&mut self) -> i32 {
        self.next += 1;
        self.next
    }

    pub(super) fn end_of(pid: i32, code: i32, signal: Option<i32>) -> End {
        End { how: Ended { pid, code, signal }, at_ns: 1 }
    }

    pub(super) fn end_process(&mut self, pid: i32, code: i32, signal: Option<i32>) {
        self.zombies.push(Ended { pid, code, signal });
    }

    /// The first process ends, and with it its end of the channel.
    pub(super) fn end(&mut self, id: &str, by: By) {
        let fake = self.fake(id);
        if fake.by.is_some() {
            return;
        }
        fake.by = Some(by);
        fake.has_hung_up |= !fake.has_appeared;
        fake.kills += u64::from(by == By::Kernel);
        let pid = fake.pid;
        match by {
            By::Itself(code) => self.end_process(pid, code, None),
            By::Kernel | By::Us | By::Somebody => self.end_process(pid, 128 + SIGKILL, Some(SIGKILL)),
        }
    }

    /// Everything that has ended is reaped, the last first when it is asked for so.
    pub(super) fn reap_in(&mut self, backwards: bool) {
        while !self.zombies.is_empty() {
            let how = if backwards { self.zombies.pop().unwrap() } else { self.zombies.remove(0) };
            let ids: Vec<String> = self.fakes.keys().cloned().collect();
            for id in ids {
                self.succeed(&id);
            }
            self.succeed_execs();
            self.note_reaped(how.pid);
            let at_ns = self.wall();
            self.feed(Event::Reaped(End { how, at_ns }));
        }
    }

    pub(super) fn reap(&mut self) {
        self.reap_in(false);
    }

    /// Lets time pass, and timers fire.
    pub(super) fn advance(&mut self, by: Duration) {
        let until = self.now + by;
        while let Some(at) =
            self.pod.deadline().filter(|at| *at <= until && self.pod.has_ended(*at).is_none())
        {
            self.now = self.now.max(at);
            self.feed(Event::Timer);
        }
        self.now = until;
    }

    pub(super) fn feed(&mut self, event: Event) {
        for action in self.pod.on(self.now, event) {
            self.perform(action);
        }
    }

    /// The shim reads the child's channel.
    pub(super) fn hear(&mut self, id: &str) {
        while let Some(fake) = self.fakes.get_mut(id).filter(|fake| !fake.channel_closed) {
            match fake.said.pop_front() {
                Some(fact) => {
                    if let Fact::HandedOver(pid) = fact {
                        fake.known = pid;
                    }
                    self.learn(id, fact);
                }
                None if fake.has_hung_up => {
                    self.succeed(id);
                    self.learn(id, Fact::Closed);
                }
                None => return,
            }
        }
    }

    fn succeed(&mut self, id: &str) {
        let Some(fake) = self.fakes.get_mut(id) else { return };
        if let Some(pid) = fake.successor.take() {
            fake.known = pid;
            self.learn(id, Fact::Succeeded(pid));
        }
    }

    fn kill(&mut self, id: &str) {
        self.succeed(id);
        if self.fakes.get(id).is_some_and(|fake| !fake.immortal && fake.pid == fake.known) {
            self.end(id, By::Us);
        }
    }

    pub(super) fn perform(&mut self, action: Action) {
        match action {
            Action::Reply(ticket, reply) => {
                self.check_reply(ticket, &reply);
                assert!(self.replies.insert(ticket, reply).is_none(), "{ticket:?} is answered twice");
            }
            Action::Announce(record) => {
                self.check_exit(&record);
                self.done.push(format!("announce {}", record.id));
                self.announced.push(record);
            }
            Action::Then(event) => {
                if let Event::Silenced(id) = event.as_ref() {
                    self.done.push(format!("end clients {id}"));
                    self.streaming.silence(id);
                }
                self.feed(*event);
            }
            Action::Hear(id) => self.hear(&id),
            Action::Tell(id) => {
                let at_ns = self.wall();
                let fake = self.fake(&id);
                assert!(!fake.channel_closed, "told over a closed channel");
                fake.told = !fake.has_hung_up;
                let ended = Reply::Error { kind: ErrorCode::BadState, errno: 0, message: "has ended".into() };
                let fact = if fake.told { Fact::Told(at_ns) } else { Fact::NotTold(ended) };
                self.learn(&id, fact);
            }
            Action::CloseStatus(id) => {
                let was_closed = std::mem::replace(&mut self.fake(&id).channel_closed, true);
                assert!(!was_closed, "closed twice");
            }
            Action::Count { id, known: _, doomed } => {
                self.succeed(&id);
                let fake = self.fake(&id);
                let dying = fake.by.is_some() || fake.pid != fake.known;
                if !dying {
                    fake.outlived = fake.kills;
                }
                let count = Count { kills: fake.kills, dying, doomed };
                self.learn(&id, Fact::Counted(count));
            }
            Action::Signal { ticket, id, signal, .. } => {
                if signal == SIGKILL {
                    self.kill(&id);
                }
                self.perform(Action::Reply(ticket, Reply::Ok));
            }
            Action::Kill(id) => self.kill(&id),
            Action::Empty { id, kill } => {
                let fake = self.fake(&id);
                let alone = !kill || fake.left == 0;
                fake.left = fake.left.saturating_sub(u32::from(kill));
                let silent = !fake.held;
                self.read_all(&id);
                self.learn(&id, Fact::Emptied(Rest { alone, silent }));
            }
            Action::Close { id, count } => {
                let oom_kills = if count { self.fakes[&id].kills } else { 0 };
                self.learn(&id, Fact::Closing(Remains { oom_kills, bytes_lost: 0 }));
            }
            Action::DiscardLog(id) => self.done.push(format!("discard log {id}")),
            Action::Release(id) => self.done.push(format!("release {id}")),
            Action::WriteExit(record) => self.done.push(format!("write exit {}", record.id)),
            Action::Forget(id) => {
                self.done.push(format!("forget {id}"));
                self.fakes.remove(&id);
            }
            Action::HearExec(_)
            | Action::PassStreams(..)
            | Action::DrainExec(_)
            | Action::KillExec(_)
            | Action::CloseExec(..)
            | Action::Answer { .. }
            | Action::ForgetExec(_) => self.perform_exec(action),
            Action::PassPipes(..)
            | Action::AwaitRoom(_)
            | Action::CloseClient(_)
            | Action::CloseStdin(_)
            | Action::Hold(_)
            | Action::Resume(_)
            | Action::ReportStalled(_) => self.perform_for_client(action),
            Action::RunStart(id) => self.run_start(&id),
            Action::Adopt(id, end) => self.adopt(&id, end),
            Action::WatchMemory(id) => self.done.push(format!("watch memory {id}")),
            Action::KillPause => self.done.push("kill the pause".to_owned()),
            Action::ForgetPause | Action::ForgetHelper(_) => {}
            Action::ForgetProcess(id) => self.fake(&id).known = 0,
        }
    }

    fn build(&mut self, plan: &ContainerPlan) {
        if std::mem::take(&mut self.no_forks) {
            return self.learn(&plan.id, Fact::NotForked(World::no_fork()));
        }
        let joins = matches!(plan.pid_namespace, PidNamespace::Pod | PidNamespace::Container(_));
        let (pid, at_ns) = (self.next_pid(), self.wall());
        self.done.push(format!("build {}", plan.id));
        self.fakes.insert(
            plan.id.clone(),
            Fake { pid, known: pid, joins, is_mapped: !plan.ids.is_empty(), ..Fake::default() },
        );
        self.learn(&plan.id, Fact::Forked(Birth { pid, at_ns, joins, oom_kills: 0 }));
    }
}
