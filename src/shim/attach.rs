//! The pipes of clients that are attached to a container: opened, written to and closed here. How long it waits for them
//! is decided in `pod`.

use std::os::fd::{AsFd, OwnedFd};

use sys::{SysResult, fd};
use wire::msg::{ErrorCode, Streams};

use crate::clients::{Pipes, Sink};
use crate::log::Stream;
use crate::pod::{ClientFact, Event, Ticket};
use crate::reactor::{Source, Watched};
use crate::requests::failed;
use crate::shim::Shim;

/// What a pipe to a client holds, in bytes.
const PIPE: i32 = 1 << 20;

/// What is held of one client.
#[derive(Debug)]
pub(crate) struct Client {
    pipes: Pipes<Watched>,
    /// What the daemon gets, until then.
    passed: Vec<OwnedFd>,
}

impl Sink for Watched {
    fn take(&mut self, bytes: &[u8]) -> Option<usize> {
        fd::write_some(self.fd.as_fd(), bytes).ok()
    }
}

impl Shim {
    /// The same as `learn` for a client.
    fn learn_client(&mut self, number: u64, fact: ClientFact) {
        self.feed(Event::Client(number, fact));
    }

    /// Makes the writing end of a container's stdin and pipes that repeat its output from now on, for the daemon.
    pub(crate) fn open_client(&mut self, number: u64, id: &str, streams: Streams) {
        let opened = self.input(id, streams).and_then(|input| {
            let outputs = self.outputs(id, streams);
            self.open_pipes(number, outputs, input.into_iter().collect())
        });
        match opened {
            Ok(client) => {
                self.clients.insert(number, client);
                self.learn_client(number, ClientFact::Opened);
            }
            Err(error) => {
                self.learn_client(number, ClientFact::NotOpened(failed(ErrorCode::Setup, &error)));
            }
        }
    }

    /// A terminal's master is for both ways.
    fn input(&self, id: &str, streams: Streams) -> SysResult<Option<OwnedFd>> {
        let Some(stdio) = self.containers.get(id).map(|handles| &handles.stdio) else { return Ok(None) };
        let input = if stdio.tty {
            stdio.outputs.first().and_then(Option::as_ref).map(|master| master.fd.as_fd())
        } else {
            stdio.stdin.as_ref().map(AsFd::as_fd).filter(|_| streams.stdin)
        };
        input.map(fd::duplicate).transpose()
    }

    fn outputs(&self, id: &str, streams: Streams) -> Vec<Option<Stream>> {
        let tty = self.containers.get(id).is_some_and(|handles| handles.stdio.tty);
        let wanted = [(Stream::Out, streams.stdout), (Stream::Err, streams.stderr && !tty)];
        let wanted: Vec<_> =
            wanted.into_iter().filter(|(_, is)| *is).map(|(stream, _)| Some(stream)).collect();
        if wanted.is_empty() { vec![None] } else { wanted }
    }

    fn open_pipes(
        &mut self,
        number: u64,
        outputs: Vec<Option<Stream>>,
        mut passed: Vec<OwnedFd>,
    ) -> SysResult<Client> {
        let mut ends = Vec::new();
        let mut opened = Ok(());
        for (index, stream) in outputs.into_iter().enumerate() {
            opened = self.open_pipe(Source::Attached(number, index)).map(|(end, reader)| {
                ends.push((stream, end));
                passed.push(reader);
            });
            if opened.is_err() {
                break;
            }
        }
        let client = Client { pipes: Pipes::new(ends), passed };
        match opened {
            Ok(()) => Ok(client),
            Err(error) => {
                self.close_pipes(client);
                Err(error)
            }
        }
    }

    fn open_pipe(&mut self, source: Source) -> SysResult<(Watched, OwnedFd)> {
        failpoint::reach!("shim.attach.piped")?;
        let (reader, writer) = fd::pipe()?;
        fd::enlarge_pipe(&writer, PIPE);
        let watched = self.reactor.watch(writer, source)?;
        self.reactor.set_interest(&watched, false, false);
        Ok((watched, reader))
    }

    fn close_pipes(&mut self, client: Client) {
        for end in client.pipes.into_ends() {
            self.reactor.unwatch(end);
        }
    }

    /// Gives the daemon its ends. A daemon that has hung up meanwhile takes its clients with it.
    pub(crate) fn pass_pipes(&mut self, ticket: Ticket, number: u64) {
        let passed = self.clients.get_mut(&number).map(|client| std::mem::take(&mut client.passed));
        failpoint::pass!("shim.attach.opened");
        self.reply_with(ticket, 0, passed.unwrap_or_default());
    }

    /// Repeats output to the clients of a container; `false` when one of them is behind and no more should be read.
    pub(crate) fn repeat(&mut self, id: &str, stream: Stream, bytes: &[u8]) -> bool {
        if self.clients.is_empty() {
            return true;
        }
        let theirs = self.clients.iter_mut().filter(|(number, _)| self.pod.is_for(**number, id));
        let facts =
            theirs.filter_map(|(number, client)| Some((*number, client.pipes.repeat(stream, bytes)?)));
        let facts: Vec<_> = facts.collect();
        for (number, fact) in facts {
            self.learn_client(number, fact);
        }
        !self.pod.is_held(id)
    }

    /// A client's pipe has room again, or its reader is gone.
    pub(crate) fn on_attached(&mut self, number: u64, index: usize) {
        if let Some(fact) = self.clients.get_mut(&number).map(|client| client.pipes.flush(index)) {
            self.learn_client(number, fact);
        }
    }

    /// Waits for room in the pipes of a client for which something is left.
    pub(crate) fn await_room(&self, number: u64) {
        for (end, waits) in self.clients.get(&number).iter().flat_map(|client| client.pipes.ends()) {
            self.reactor.set_interest(end, false, waits);
        }
    }

    /// A client gets no more.
    pub(crate) fn close_client(&mut self, number: u64) {
        failpoint::pass!("shim.attach.left");
        if let Some(client) = self.clients.remove(&number) {
            self.close_pipes(client);
        }
    }

    /// Leaves the output of a container alone.
    pub(crate) fn hold(&self, id: &str) {
        for output in
            self.containers.get(id).iter().flat_map(|handles| handles.stdio.outputs.iter().flatten())
        {
            self.reactor.pause(output);
        }
    }

    /// Goes on reading it.
    pub(crate) fn resume(&self, id: &str) {
        for output in
            self.containers.get(id).iter().flat_map(|handles| handles.stdio.outputs.iter().flatten())
        {
            self.reactor.set_interest(output, true, false);
        }
    }
}
