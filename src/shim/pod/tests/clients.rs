//! Attached clients in memory: what containers write, pipes with little room, and readers that take their time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use wire::msg::{ErrorCode, Reply, Request, Streams};

use super::super::client::{LIMIT, PATIENCE};
use super::super::{Action, ClientFact, Event, Ticket};
use super::world::World;
use crate::clients::{Pipes, Sink};
use crate::log::Stream;

pub(super) const BOTH: [Stream; 2] = [Stream::Out, Stream::Err];
/// What a pipe holds.
pub(super) const ROOM: usize = 1000;
/// What is read at once.
const READ: usize = 700;

/// A pipe's writing end.
#[derive(Debug, Default)]
pub(super) struct FakePipe {
    holds: Vec<u8>,
    reader_is_gone: bool,
    waits_for_room: bool,
}

impl Sink for FakePipe {
    fn take(&mut self, bytes: &[u8]) -> Option<usize> {
        assert!(!bytes.is_empty(), "nothing is no question");
        let count = bytes.len().min(ROOM - self.holds.len());
        self.holds.extend_from_slice(&bytes[..count]);
        (!self.reader_is_gone).then_some(count)
    }
}

/// A client, with what it has read.
#[derive(Debug)]
pub(super) struct FakeClient {
    ticket: Ticket,
    id: String,
    streams: Vec<Option<Stream>>,
    /// What its container had written before.
    since: [usize; 2],
    pipes: Option<Pipes<Shared>>,
    /// The same ones, as the reader sees them.
    ends: Vec<Shared>,
    pub(super) got: [Vec<u8>; 2],
    behind_since: Option<Instant>,
    /// It went for its own sake, or that of its connection.
    has_left: bool,
    /// Its container has ended.
    is_over: bool,
    pub(super) was_given_up: bool,
    has_stdin: bool,
}

/// A pipe has two ends.
#[derive(Debug, Clone, Default)]
pub(super) struct Shared(std::rc::Rc<std::cell::RefCell<FakePipe>>);

impl Sink for Shared {
    fn take(&mut self, bytes: &[u8]) -> Option<usize> {
        self.0.borrow_mut().take(bytes)
    }
}

/// What containers write, and who reads it.
#[derive(Debug, Default)]
pub(super) struct Streaming {
    /// Written and unread, by container.
    unread: BTreeMap<String, [Vec<u8>; 2]>,
    pub(super) written: BTreeMap<String, [Vec<u8>; 2]>,
    pub(super) logged: BTreeMap<String, [Vec<u8>; 2]>,
    held: BTreeSet<String>,
    over: BTreeSet<String>,
    pub(super) clients: Vec<FakeClient>,
    /// The clients that the pod knows, by their numbers.
    numbers: BTreeMap<u64, usize>,
    pub(super) stdin_closed: BTreeSet<String>,
    /// The next pipes cannot be opened.
    pub(super) no_pipes: bool,
    stalled: Option<String>,
}

fn index(stream: Stream) -> usize {
    usize::from(stream == Stream::Err)
}

impl Streaming {
    /// A container of this name begins, perhaps not the first one.
    pub(super) fn renew(&mut self, id: &str) {
        self.over.remove(id);
    }

    /// A container's output is over: what its clients have by then, and what waits for them, is all there is.
    pub(super) fn silence(&mut self, id: &str) {
        self.over.insert(id.to_owned());
        for client in self.clients.iter_mut().filter(|client| client.id == id) {
            client.is_over = true;
        }
        self.held.remove(id);
    }
}

impl World {
    pub(super) fn attach(&mut self, conn: u64, id: &str, streams: Streams) -> (Ticket, Option<usize>) {
        let before = self.streaming.clients.len();
        let ticket = self.ask_on(conn, Request::Attach { id: id.to_owned(), streams });
        (ticket, (self.streaming.clients.len() > before).then_some(before))
    }

    pub(super) fn open_client(&mut self, number: u64, id: &str, streams: Streams) {
        if std::mem::take(&mut self.streaming.no_pipes) {
            let reply = Reply::Error { kind: ErrorCode::Setup, errno: 24, message: "pipe".into() };
            return self.feed(Event::Client(number, ClientFact::NotOpened(reply)));
        }
        let wanted = [(Stream::Out, streams.stdout), (Stream::Err, streams.stderr)];
        let mut wanted: Vec<_> = wanted.into_iter().filter(|(_, is)| *is).map(|(one, _)| Some(one)).collect();
        if wanted.is_empty() {
            wanted.push(None);
        }
        let ends: Vec<Shared> = wanted.iter().map(|_| Shared::default()).collect();
        let logged = self.streaming.logged.entry(id.to_owned()).or_default();
        let client = FakeClient {
            ticket: *self.tickets.last().unwrap(),
            id: id.to_owned(),
            since: [logged[0].len(), logged[1].len()],
            pipes: Some(Pipes::new(wanted.iter().copied().zip(ends.iter().cloned()))),
            streams: wanted,
            ends,
            got: [Vec::new(), Vec::new()],
            behind_since: None,
            has_left: false,
            is_over: false,
            was_given_up: false,
            has_stdin: streams.stdin,
        };
        self.streaming.clients.push(client);
        assert!(self.streaming.numbers.insert(number, self.streaming.clients.len() - 1).is_none());
        self.feed(Event::Client(number, ClientFact::Opened));
    }

    /// The container writes something that is like nothing it has written before.
    pub(super) fn write(&mut self, id: &str, stream: Stream, count: usize) {
        if self.streaming.over.contains(id) || !self.fakes.contains_key(id) {
            return;
        }
        let written = &mut self.streaming.written.entry(id.to_owned()).or_default()[index(stream)];
        let text: Vec<u8> =
            (written.len()..written.len() + count).map(|at| u8::try_from(at % 251).unwrap()).collect();
        written.extend_from_slice(&text);
        self.streaming.unread.entry(id.to_owned()).or_default()[index(stream)].extend_from_slice(&text);
    }

    /// The loop finds a container's output readable.
    pub(super) fn read(&mut self, id: &str) {
        for stream in BOTH {
            while !self.streaming.held.contains(id) && self.read_once(id, stream) {}
        }
    }

    pub(super) fn read_all(&mut self, id: &str) {
        for stream in BOTH {
            while self.read_once(id, stream) {}
        }
    }

    fn read_once(&mut self, id: &str, stream: Stream) -> bool {
        let Some(unread) = self.streaming.unread.get_mut(id).map(|both| &mut both[index(stream)]) else {
            return false;
        };
        let bytes: Vec<u8> = unread.drain(..unread.len().min(READ)).collect();
        if bytes.is_empty() {
            return false;
        }
        // The log comes first, whoever reads beside it.
        self.streaming.logged.entry(id.to_owned()).or_default()[index(stream)].extend_from_slice(&bytes);
        let mut facts = Vec::new();
        for (number, at) in &self.streaming.numbers {
            let client = &mut self.streaming.clients[*at];
            if let Some(pipes) = client.pipes.as_mut().filter(|_| self.pod.is_for(*number, id))
                && let Some(fact) = pipes.repeat(stream, &bytes)
            {
                facts.push((*number, fact));
            }
        }
        for (number, fact) in facts {
            self.learn_client(number, fact);
        }
        true
    }

    fn learn_client(&mut self, number: u64, fact: ClientFact) {
        if let Some(at) = self.streaming.numbers.get(&number) {
            let client = &mut self.streaming.clients[*at];
            let behind = client.pipes.as_ref().map_or(0, Pipes::behind);
            client.behind_since = (behind > 0).then(|| client.behind_since.unwrap_or(self.now));
            client.has_left |= matches!(fact, ClientFact::Gone);
        }
        self.feed(Event::Client(number, fact));
    }

    /// The reader of a client takes so many bytes out of each pipe.
    pub(super) fn take(&mut self, at: usize, count: usize) {
        let Some(client) = self.streaming.clients.get_mut(at) else { return };
        for (stream, end) in client.streams.iter().zip(&client.ends) {
            let mut pipe = end.0.borrow_mut();
            let count = count.min(pipe.holds.len());
            let taken = pipe.holds.drain(..count);
            client.got[stream.map_or(0, index)].extend(taken);
        }
    }

    /// The reader goes.
    pub(super) fn close_reader(&mut self, at: usize) {
        if let Some(client) = self.streaming.clients.get_mut(at) {
            client.ends.iter().for_each(|end| end.0.borrow_mut().reader_is_gone = true);
        }
    }

    pub(super) fn hang_up(&mut self, conn: u64) {
        for client in self.streaming.clients.iter_mut().filter(|client| client.pipes.is_some()) {
            client.has_left |= client.ticket.conn == conn;
        }
        self.feed(Event::HungUp(conn));
    }

    /// What the loop finds of a client's pipes at once: those with room that is waited for, and those without a reader.
    pub(super) fn turn(&mut self, at: usize) {
        let Some((number, _)) = self.streaming.numbers.iter().find(|(_, one)| **one == at) else { return };
        let number = *number;
        let is_ready =
            |pipe: &FakePipe| pipe.reader_is_gone || pipe.waits_for_room && pipe.holds.len() < ROOM;
        let ends = self.streaming.clients[at].ends.iter().enumerate();
        let ready: Vec<usize> =
            ends.filter(|(_, end)| is_ready(&end.0.borrow())).map(|(one, _)| one).collect();
        for one in ready {
            let Some(at) = self.streaming.numbers.get(&number) else { return };
            let Some(fact) = self.streaming.clients[*at].pipes.as_mut().map(|pipes| pipes.flush(one)) else {
                return;
            };
            self.learn_client(number, fact);
        }
    }

    pub(super) fn perform_for_client(&mut self, action: Action) {
        match action {
            Action::PassPipes(ticket, number) => {
                let reply = Reply::Opened { number: 0, descriptors: 1 };
                assert_eq!(ticket, self.streaming.clients[self.streaming.numbers[&number]].ticket);
                assert!(self.replies.insert(ticket, reply).is_none(), "{ticket:?} is answered twice");
            }
            Action::AwaitRoom(number) => {
                let client = &self.streaming.clients[self.streaming.numbers[&number]];
                for (end, waits) in client.pipes.iter().flat_map(Pipes::ends) {
                    end.0.borrow_mut().waits_for_room = waits;
                }
            }
            Action::CloseClient(number) => self.close_client(number),
            Action::CloseStdin(id) => {
                let of_it =
                    |client: &FakeClient| client.id == id && client.has_stdin && client.pipes.is_none();
                assert!(self.streaming.clients.iter().any(of_it), "nobody with stdin has left");
                self.streaming.stdin_closed.insert(id);
            }
            Action::Hold(id) => assert!(self.streaming.held.insert(id), "it is left alone already"),
            Action::Resume(id) => {
                let was_held = self.streaming.held.remove(&id);
                assert!(was_held || self.streaming.over.contains(&id), "it is read already");
            }
            Action::ReportStalled(id) => self.streaming.stalled = Some(id),
            other => panic!("{other:?} is about no client"),
        }
    }

    /// Whoever is let go has got everything, has gone itself, or was waited for for as long as is said.
    fn close_client(&mut self, number: u64) {
        let at = self.streaming.numbers.remove(&number).expect("closed twice");
        let stalled = self.streaming.stalled.take();
        let client = &mut self.streaming.clients[at];
        let behind = client.pipes.take().map_or(0, |pipes| pipes.behind());
        let waited = client.behind_since.is_some_and(|since| since + PATIENCE <= self.now);
        client.was_given_up = stalled.is_some();
        if client.was_given_up {
            assert_eq!(stalled.as_ref(), Some(&client.id));
            assert!(waited || behind > LIMIT, "given up too early: {client:?}");
        } else if !client.has_left {
            assert!(client.is_over && behind == 0, "let go with {behind} to come: {client:?}");
        }
        self.done.push(format!("close client {at}"));
    }

    /// What holds at any time.
    pub(super) fn check_clients(&self) {
        for (id, written) in &self.streaming.written {
            let logged = self.streaming.logged.get(id).cloned().unwrap_or_default();
            for (logged, written) in logged.iter().zip(written) {
                assert!(written.starts_with(logged), "the log of {id} is not what was written");
            }
        }
        for client in &self.streaming.clients {
            let behind = client.pipes.as_ref().map_or(0, Pipes::behind);
            assert!(behind <= LIMIT, "{behind} bytes are kept for one client");
            let in_time = client.behind_since.is_none_or(|since| self.now < since + PATIENCE);
            assert!(client.pipes.is_none() || in_time, "waited for too long: {client:?}");
            self.check_got(client);
        }
        for id in self.streaming.written.keys() {
            let waits = |client: &&FakeClient| {
                &client.id == id && client.pipes.as_ref().is_some_and(|pipes| pipes.behind() > 0)
            };
            let is_behind = self.streaming.clients.iter().any(|client| waits(&client));
            let is_held = self.streaming.held.contains(id);
            let is_over = self.streaming.over.contains(id);
            assert!(is_held == (is_behind && !is_over), "{id}: held {is_held}, somebody behind {is_behind}");
            assert_eq!(is_held, self.pod.is_held(id) && !is_over);
        }
    }

    /// Nothing lost, nothing doubled, in order; all of it for whoever stays and reads.
    fn check_got(&self, client: &FakeClient) {
        for stream in BOTH {
            let wanted = client.streams.contains(&Some(stream));
            let logged = self.streaming.logged.get(&client.id).cloned().unwrap_or_default();
            let since = &logged[index(stream)][client.since[index(stream)]..];
            let got = &client.got[index(stream)];
            assert!(wanted || got.is_empty(), "{client:?}");
            assert!(since.starts_with(got), "a client has got what was not written");
        }
    }

    /// Everything that was written since it came.
    pub(super) fn has_all(&self, at: usize) -> bool {
        let client = &self.streaming.clients[at];
        BOTH.into_iter().filter(|stream| client.streams.contains(&Some(*stream))).all(|stream| {
            let written = &self.streaming.written.get(&client.id).cloned().unwrap_or_default()[index(stream)];
            client.got[index(stream)] == written[client.since[index(stream)]..]
        })
    }

    /// It has stayed until the end, or until now.
    pub(super) fn has_stayed(&self, at: usize) -> bool {
        let client = &self.streaming.clients[at];
        !client.has_left && !client.was_given_up
    }

    pub(super) fn is_attached(&self, at: usize) -> bool {
        self.streaming.clients[at].pipes.is_some()
    }
}
