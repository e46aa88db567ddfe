//! Clients that are attached to a container: each has pipes that repeat its output.
//!
//! The daemon empties the pipes without waiting for anybody. When it does not for once, the container's output is left
//! alone for a moment, for a daemon that merely had no turn; then the client is dropped and the container goes on.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use sys::{SysResult, fd};
use wire::msg::{ErrorCode, Reply, Streams};

use crate::log::Stream;
use crate::pod::Ticket;
use crate::reactor::{Source, Watched};
use crate::requests::{error, failed, unknown};
use crate::shim::Shim;

/// What a pipe to a client holds, in bytes.
const PIPE: i32 = 1 << 20;
/// How long a client's full pipe holds up the container's output, once.
const PATIENCE: Duration = Duration::from_millis(100);

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    /// The daemon's connection; the client leaves with it.
    conn: u64,
    container: String,
    /// It has the container's stdin.
    stdin: bool,
    pipes: Vec<Pipe>,
    /// When it is dropped, if its pipe is still full.
    drop_at: Option<Instant>,
    /// The container has ended: the client is let go when it has got the last of the output.
    is_last: bool,
}

#[derive(Debug)]
struct Pipe {
    /// What it repeats; one without only tells the daemon the end.
    stream: Option<Stream>,
    watched: Watched,
    /// What did not fit.
    pending: Vec<u8>,
}

impl Client {
    /// When its next timer fires.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.drop_at
    }
}

impl Pipe {
    /// Writes what fits and keeps the rest; `false` when the reader is gone.
    fn write(&mut self, bytes: &[u8]) -> bool {
        let count =
            if self.pending.is_empty() { fd::write_some(self.watched.fd.as_fd(), bytes) } else { Ok(0) };
        if let Ok(count) = count {
            self.pending.extend_from_slice(bytes.get(count..).unwrap_or_default());
        }
        count.is_ok()
    }

    fn flush(&mut self) -> bool {
        let count = fd::write_some(self.watched.fd.as_fd(), &self.pending);
        if let Ok(count) = count {
            self.pending.drain(..count);
            if self.pending.is_empty() {
                self.pending = Vec::new();
            }
        }
        count.is_ok()
    }
}

impl Shim {
    /// Gives the daemon the writing end of a container's stdin and pipes that repeat its output from now on.
    pub(crate) fn attach(&mut self, ticket: Ticket, id: &str, streams: Streams) -> Result<(), Reply> {
        let handles = self.containers.get(id).ok_or_else(|| unknown(id))?;
        let stdio = &handles.stdio;
        if self.pod.container(id).is_none_or(|one| one.running().is_none()) {
            return Err(error(ErrorCode::BadState, format!("container {id} is not running")));
        }
        let input = if stdio.tty {
            stdio.outputs.first().and_then(Option::as_ref).map(|master| master.fd.as_fd())
        } else {
            stdio.stdin.as_ref().map(AsFd::as_fd).filter(|_| streams.stdin)
        };
        let setup = |error| failed(ErrorCode::Setup, &error);
        let mut passed: Vec<OwnedFd> =
            input.map(fd::duplicate).transpose().map_err(setup)?.into_iter().collect();
        let wanted = [(Stream::Out, streams.stdout), (Stream::Err, streams.stderr && !stdio.tty)];
        let mut wanted: Vec<Option<Stream>> =
            wanted.into_iter().filter(|(_, is)| *is).map(|(stream, _)| Some(stream)).collect();
        if wanted.is_empty() {
            wanted.push(None);
        }
        let number = self.clients.last_key_value().map_or(0, |(last, _)| last + 1);
        let mut client = Client {
            conn: ticket.conn,
            container: id.to_owned(),
            stdin: streams.stdin,
            pipes: Vec::new(),
            drop_at: None,
            is_last: false,
        };
        for stream in wanted {
            match self.open_pipe(number, stream) {
                Ok((pipe, reader)) => {
                    client.pipes.push(pipe);
                    passed.push(reader);
                }
                Err(error) => {
                    self.close_pipes(client.pipes);
                    return Err(setup(error));
                }
            }
        }
        self.clients.insert(number, client);
        // A daemon that has hung up meanwhile has taken its clients with it.
        self.reply_with(ticket, 0, passed);
        Ok(())
    }

    fn open_pipe(&mut self, number: u64, stream: Option<Stream>) -> SysResult<(Pipe, OwnedFd)> {
        let (reader, writer) = fd::pipe()?;
        fd::enlarge_pipe(&writer, PIPE);
        let watched = self.reactor.watch(writer, Source::Attached(number))?;
        self.reactor.set_interest(&watched, false, false);
        Ok((Pipe { stream, watched, pending: Vec::new() }, reader))
    }

    fn close_pipes(&mut self, pipes: Vec<Pipe>) {
        for pipe in pipes {
            self.reactor.unwatch(pipe.watched);
        }
    }

    /// Repeats output to the clients of a container; `false` when one of them is behind and no more should be read.
    pub(crate) fn repeat(&mut self, id: &str, stream: Stream, bytes: &[u8]) -> bool {
        if self.clients.is_empty() {
            return true;
        }
        let mut gone = Vec::new();
        for (number, client) in self.clients.iter_mut().filter(|(_, client)| client.container == id) {
            for pipe in client.pipes.iter_mut().filter(|pipe| pipe.stream == Some(stream)) {
                if !pipe.write(bytes) {
                    gone.push(*number);
                } else if !pipe.pending.is_empty() && client.drop_at.is_none() {
                    client.drop_at = Some(Instant::now() + PATIENCE);
                }
            }
        }
        for number in gone {
            self.leave(number);
        }
        self.watch_for_room(id);
        !self.is_held_up(id)
    }

    fn watch_for_room(&self, id: &str) {
        let clients = self.clients.values().filter(|client| client.container == id);
        for pipe in clients.flat_map(|client| &client.pipes).filter(|pipe| !pipe.pending.is_empty()) {
            self.reactor.set_interest(&pipe.watched, false, true);
        }
    }

    /// Whether a client of the container has yet to take what was read.
    pub(crate) fn is_held_up(&self, id: &str) -> bool {
        self.clients.values().any(|client| client.drop_at.is_some() && client.container == id)
    }

    /// A client's pipe has room again, or its reader is gone.
    pub(crate) fn on_attached(&mut self, number: u64) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        let was_behind = client.pipes.iter().any(|pipe| !pipe.pending.is_empty());
        let reads = client.pipes.iter_mut().all(Pipe::flush);
        if !was_behind || !reads {
            self.leave(number);
            return;
        }
        let Some(client) = self.clients.get(&number) else { return };
        for pipe in client.pipes.iter().filter(|pipe| pipe.pending.is_empty()) {
            self.reactor.set_interest(&pipe.watched, false, false);
        }
        if client.pipes.iter().any(|pipe| !pipe.pending.is_empty()) {
            return;
        }
        if client.is_last {
            self.leave(number);
        } else if let Some(client) = self.clients.get_mut(&number) {
            client.drop_at = None;
            let id = client.container.clone();
            self.resume_output(&id);
        }
    }

    fn resume_output(&self, id: &str) {
        if self.is_held_up(id) {
            return;
        }
        if let Some(handles) = self.containers.get(id) {
            for output in handles.stdio.outputs.iter().flatten() {
                self.reactor.set_interest(output, true, false);
            }
        }
    }

    /// Drops clients whose time to empty their pipes is over.
    pub(crate) fn drop_stalled_clients(&mut self, now: Instant) {
        let is_due = |client: &Client| client.drop_at.is_some_and(|at| at <= now);
        let due: Vec<u64> =
            self.clients.iter().filter(|(_, client)| is_due(client)).map(|(number, _)| *number).collect();
        for number in due {
            if let Some(client) = self.clients.get(&number) {
                crate::report(&format!(
                    "container {}: an attached client that does not read is dropped",
                    client.container
                ));
            }
            self.leave(number);
        }
    }

    /// The daemon has hung up: its clients are gone.
    pub(crate) fn forget_clients_of(&mut self, conn: u64) {
        let theirs: Vec<u64> = self
            .clients
            .iter()
            .filter(|(_, client)| client.conn == conn)
            .map(|(number, _)| *number)
            .collect();
        for number in theirs {
            self.leave(number);
        }
    }

    fn leave(&mut self, number: u64) {
        let Some(client) = self.clients.remove(&number) else { return };
        self.close_pipes(client.pipes);
        if let Some(handles) = self.containers.get_mut(&client.container)
            && client.stdin
            && handles.stdio.stdin_once
        {
            handles.stdio.stdin = None;
        }
        self.resume_output(&client.container);
    }

    /// A container has ended and its output is read: its clients see the end when they have got all of it.
    pub(crate) fn end_clients(&mut self, id: &str) {
        let theirs: Vec<u64> = self
            .clients
            .iter()
            .filter(|(_, client)| client.container == id)
            .map(|(number, _)| *number)
            .collect();
        for number in theirs {
            match self.clients.get_mut(&number) {
                Some(client) if client.drop_at.is_some() => client.is_last = true,
                _ => self.leave(number),
            }
        }
    }
}
