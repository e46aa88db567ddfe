//! Clients that are attached to a container, and how long it waits for them.
//!
//! The daemon empties a client's pipes without waiting for anybody. When it does not for once, the container's output is
//! left alone for a moment, for a daemon that merely had no turn; then the client is dropped and the container goes on.

use std::time::{Duration, Instant};

use wire::msg::{ErrorCode, Reply, Streams};

use super::{Action, ClientFact, Course, Pod, Ticket};
use crate::requests::{error, unknown};

/// How long at a time a client's full pipe holds up the container's output.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);
/// Bytes by which a client may be behind: at the end of a container its output is read whoever waits.
pub(super) const LIMIT: usize = 1 << 20;

/// What is known of one client.
#[derive(Debug)]
pub(super) struct Client {
    /// Who asked for it; it leaves with that connection.
    ticket: Ticket,
    container: String,
    /// It has the container's stdin.
    stdin: bool,
    /// When it is dropped, if it is still behind.
    drop_at: Option<Instant>,
    /// The container has ended: the client is let go when it has got the last of the output.
    is_last: bool,
}

impl Client {
    /// When its next timer fires.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.drop_at
    }

    fn holds_up(&self, id: &str) -> bool {
        self.drop_at.is_some() && !self.is_last && self.container == id
    }
}

impl Pod {
    /// Attach is answered when the client's pipes stand.
    pub(super) fn attach(&mut self, ticket: Ticket, id: &str, streams: Streams) -> Result<Course, Reply> {
        let container = self.containers.get(id).ok_or_else(|| unknown(id))?;
        if container.running().is_none() {
            return Err(error(ErrorCode::BadState, format!("container {id} is not running")));
        }
        let number = self.clients.last_key_value().map_or(0, |(last, _)| last + 1);
        let (container, stdin) = (id.to_owned(), streams.stdin);
        let client = Client { ticket, container, stdin, drop_at: None, is_last: false };
        self.clients.insert(number, client);
        Ok(Course::Attach(number))
    }

    /// Whether what a container writes now is for a client.
    pub(crate) fn is_for(&self, number: u64, id: &str) -> bool {
        self.clients.get(&number).is_some_and(|client| !client.is_last && client.container == id)
    }

    /// Something has happened to a client.
    pub(super) fn on_client(&mut self, now: Instant, number: u64, fact: ClientFact) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        match fact {
            ClientFact::Opened => self.todo.push(Action::PassPipes(client.ticket, number)),
            ClientFact::NotOpened(reply) => {
                self.todo.push(Action::Reply(client.ticket, reply));
                self.clients.remove(&number);
            }
            ClientFact::Gone => self.leave(number),
            ClientFact::Behind(0) if client.is_last => self.leave(number),
            ClientFact::Behind(bytes) if bytes > LIMIT => self.give_up(number),
            ClientFact::Behind(bytes) => {
                client.drop_at = (bytes > 0).then(|| client.drop_at.unwrap_or(now + PATIENCE));
                let id = client.container.clone();
                self.todo.push(Action::AwaitRoom(number));
                self.hold_or_resume(&id);
            }
        }
    }

    /// A container's output is left alone while a client of it is behind.
    fn hold_or_resume(&mut self, id: &str) {
        let is_held = self.clients.values().any(|client| client.holds_up(id));
        if let Some(container) = self.containers.get_mut(id)
            && container.hold(is_held)
        {
            let id = id.to_owned();
            self.todo.push(if is_held { Action::Hold(id) } else { Action::Resume(id) });
        }
    }

    /// Drops clients whose time to empty their pipes is over.
    pub(super) fn on_client_timers(&mut self, now: Instant) {
        for number in self.clients_that(|client| client.drop_at.is_some_and(|at| at <= now)) {
            self.give_up(number);
        }
    }

    fn clients_that(&self, is: impl Fn(&Client) -> bool) -> Vec<u64> {
        self.clients.iter().filter(|(_, client)| is(client)).map(|(number, _)| *number).collect()
    }

    fn give_up(&mut self, number: u64) {
        if let Some(client) = self.clients.get(&number) {
            self.todo.push(Action::ReportStalled(client.container.clone()));
        }
        self.leave(number);
    }

    /// The daemon has hung up: its clients are gone.
    pub(super) fn leave_with(&mut self, conn: u64) {
        for number in self.clients_that(|client| client.ticket.conn == conn) {
            self.leave(number);
        }
    }

    fn leave(&mut self, number: u64) {
        let Some(client) = self.clients.remove(&number) else { return };
        self.todo.push(Action::CloseClient(number));
        // The next container of its name is none of its business.
        if client.is_last {
            return;
        }
        let id = client.container;
        if client.stdin && self.containers.get(&id).is_some_and(|container| container.stdin_once()) {
            self.todo.push(Action::CloseStdin(id.clone()));
        }
        self.hold_or_resume(&id);
    }

    /// A container has ended and its output is read: its clients see the end when they have got all of it.
    pub(super) fn end_clients(&mut self, id: &str) {
        for number in self.clients_that(|client| !client.is_last && client.container == id) {
            match self.clients.get_mut(&number) {
                Some(client) if client.drop_at.is_some() => client.is_last = true,
                _ => self.leave(number),
            }
        }
    }
}
