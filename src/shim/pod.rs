//! A pod as a state machine: what happens goes in as an [`Event`], what is to be done comes out as [`Action`]s. It holds
//! no descriptor, makes no system call and reads no clock, so that every order of events can be tried in memory.
//!
//! Actions are carried out in their order. What one of them brings about (a fork that succeeds, a count that was read)
//! comes back as an event before the next one is carried out.

mod action;
mod burial;
mod client;
mod container;
mod event;
mod exec;
mod requests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use wire::msg::{ContainerSnapshot, Reply};

pub(crate) use action::{Action, Course};
pub(crate) use container::Container;
pub(crate) use event::{Birth, ClientFact, Count, End, Event, ExecFact, Fact, Remains, Rest};
pub(crate) use exec::Exec;

/// A pod that does not die in this time is left behind.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// Who waits for a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket {
    /// The connection's token; the connection may be gone.
    pub(crate) conn: u64,
    /// The request's frame id.
    pub(crate) id: u64,
}

/// The pod's shutdown under way.
#[derive(Debug)]
struct Shutdown {
    /// Who asked; nobody, where the pause has ended by itself.
    ticket: Option<Ticket>,
    /// When to leave regardless of what is left.
    by: Instant,
}

/// What is known of a pod.
#[derive(Debug, Default)]
pub(crate) struct Pod {
    // In boxes: a map has room for eleven from the first on.
    containers: BTreeMap<String, Box<Container>>,
    execs: BTreeMap<u64, Box<Exec>>,
    clients: BTreeMap<u64, client::Client>,
    /// How commands ended that nobody has asked about yet, with the connection that may.
    outcomes: BTreeMap<u64, (u64, Reply)>,
    conns: BTreeSet<u64>,
    is_set_up: bool,
    /// Until it is reaped.
    pause: Option<i32>,
    shutdown: Option<Shutdown>,
    /// What the event at hand has led to so far.
    todo: Vec<Action>,
}

impl Pod {
    /// Takes in what has happened, and says what is to be done.
    pub(crate) fn on(&mut self, now: Instant, event: Event) -> Vec<Action> {
        match event {
            Event::SandboxUp(pause) => {
                self.is_set_up = true;
                self.pause = pause;
            }
            Event::Container(id, fact) => self.on_fact(now, &id, fact),
            Event::Exec(number, fact) => self.on_exec(now, number, fact),
            Event::Client(number, fact) => self.on_client(now, number, fact),
            Event::Silenced(id) => self.end_clients(&id),
            Event::Connected(conn) => {
                self.conns.insert(conn);
            }
            Event::HungUp(conn) => {
                self.conns.remove(&conn);
                self.outcomes.retain(|_, (owner, _)| *owner != conn);
                self.leave_with(conn);
            }
            Event::Reaped(end) => self.on_reaped(now, end),
            Event::ReapedAgain(end) => {
                self.take_in(now, end);
            }
            Event::Timer => self.on_timer(now),
        }
        std::mem::take(&mut self.todo)
    }

    /// When the next timer fires.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let containers = self.containers.values().filter_map(|one| one.deadline());
        let execs = self.execs.values().filter_map(|one| one.deadline());
        let clients = self.clients.values().filter_map(client::Client::deadline);
        containers.chain(execs).chain(clients).chain(self.shutdown.as_ref().map(|shutdown| shutdown.by)).min()
    }

    /// Who is to be told that the pod has ended, once it has.
    pub(crate) fn has_ended(&self, now: Instant) -> Option<Ticket> {
        self.over(now)?.ticket
    }

    /// Whether it has ended without being asked to.
    pub(crate) fn has_fallen(&self, now: Instant) -> bool {
        self.over(now).is_some_and(|shutdown| shutdown.ticket.is_none())
    }

    /// The shutdown that is over.
    fn over(&self, now: Instant) -> Option<&Shutdown> {
        let alive = self.pause.is_some() || self.containers.values().any(|one| one.is_alive());
        self.shutdown.as_ref().filter(|shutdown| !alive || shutdown.by <= now)
    }

    /// Its containers, for a greeting.
    pub(crate) fn snapshots(&self) -> Vec<ContainerSnapshot> {
        self.containers.values().map(|one| one.snapshot()).collect()
    }

    /// The sandbox request has been carried out.
    pub(crate) fn is_set_up(&self) -> bool {
        self.is_set_up
    }

    /// The pause's process, while there is one.
    pub(crate) fn pause(&self) -> Option<i32> {
        self.pause
    }

    /// One of its containers.
    pub(crate) fn container(&self, id: &str) -> Option<&Container> {
        self.containers.get(id).map(Box::as_ref)
    }

    /// The output of one of its containers is left alone for a client that is behind.
    pub(crate) fn is_held(&self, id: &str) -> bool {
        self.containers.get(id).is_some_and(|container| container.is_held())
    }

    /// The process of one of its commands, until that is reaped.
    pub(crate) fn exec_process(&self, number: u64) -> Option<i32> {
        self.execs.get(&number).and_then(|exec| exec.pid())
    }

    /// The commands in a container that have not ended, with their processes.
    pub(crate) fn execs_of(&self, id: &str) -> Vec<(u64, i32)> {
        let own = self.execs.iter().filter(|(_, exec)| exec.container() == id);
        own.filter_map(|(number, exec)| Some((*number, exec.pid()?))).collect()
    }

    fn on_timer(&mut self, now: Instant) {
        for container in self.containers.values_mut() {
            if container.deadline().is_some_and(|at| at <= now) {
                container.on_timer(now, &mut self.todo);
            }
        }
        self.on_exec_timers(now);
        self.on_client_timers(now);
    }

    fn on_fact(&mut self, now: Instant, id: &str, fact: Fact) {
        // What comes late is about a container that is forgotten.
        let Some(container) = self.containers.get_mut(id) else { return };
        if let container::Next::Forget = container.on(now, fact, &mut self.todo) {
            self.forget(id);
        }
    }

    /// Drops a dead container.
    fn forget(&mut self, id: &str) {
        if let Some(container) = self.containers.remove(id) {
            self.todo.push(Action::Forget(id.to_owned()));
            let removers = container.into_removers().into_iter();
            self.todo.extend(removers.map(|ticket| Action::Reply(ticket, Reply::Ok)));
        }
    }
}
