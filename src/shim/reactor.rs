//! The loop: waits, and hands what is ready to whom it concerns.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use launch::Null;
use sys::fd::errno;
use sys::poll::{ChildSignal, Poller};
use sys::process::SingleThread;
use sys::{SysError, SysResult, fd, poll, privilege, process, shim_spawn, socket};
use wire::frame;
use wire::msg::{ExitRecord, Reply};

use crate::attach::Client;
use crate::conn::Conn;
use crate::container::Handles;
use crate::execs::ExecHandles;
use crate::log::Stream;
use crate::pod::{Event, Pod, Ticket};
use crate::sandbox::Sandbox;

const LISTENER: u64 = 0;
const SIGNALS: u64 = 1;
const FIRST_TOKEN: u64 = 2;
/// The one buffer that everything is read into.
const BUFFER: usize = 32 << 10;
/// So many reads one output gets before the others have their turn.
const TURNS: usize = 8;
/// Without free descriptors the listener is left alone for so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Whose a descriptor is.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// A daemon's connection.
    Conn,
    /// The status channel of a container's child.
    Status(String),
    /// An output of a container.
    Output(String, Stream),
    /// The memory of a container.
    Memory(String),
    /// Where the runtime of a container sends its terminal.
    Console(String),
    /// The status channel of an exec's child.
    ExecStatus(u64),
    /// An output of an exec.
    ExecOutput(u64, Stream),
    /// A pipe to an attached client.
    Attached(u64),
}

/// A descriptor in the poller.
#[derive(Debug)]
pub(crate) struct Watched {
    token: u64,
    /// The descriptor.
    pub(crate) fd: OwnedFd,
}

/// Everything the shim holds.
#[derive(Debug)]
pub(crate) struct Shim {
    pub(crate) single: SingleThread,
    /// What streams lead to that nobody has the other end of, once one is needed.
    null: OnceCell<Null>,
    poller: Poller,
    signals: ChildSignal,
    listener: UnixListener,
    accept_again: Option<Instant>,
    sources: BTreeMap<u64, Source>,
    next_token: u64,
    pub(crate) conns: BTreeMap<u64, Conn>,
    pub(crate) pod: Pod,
    pub(crate) containers: BTreeMap<String, Handles>,
    pub(crate) execs: BTreeMap<u64, ExecHandles>,
    pub(crate) clients: BTreeMap<u64, Client>,
    pub(crate) sandbox: Option<Sandbox>,
    buffer: Vec<u8>,
}

/// Supervises until a shutdown is requested.
///
/// # Errors
/// The shim could not set itself up, or the poller is broken.
pub(crate) fn run() -> SysResult<()> {
    let single = SingleThread::claim()?;
    fd::close_all_but(&[shim_spawn::LISTENER])?;
    process::set_name(c"corten-shim");
    privilege::set_undumpable()?;
    privilege::set_subreaper()?;
    poll::ignore_farewells()?;
    // The modes of log files and device nodes are meant exactly.
    process::set_umask(0);
    let mut shim = Shim::new(single)?;
    let mut tokens = Vec::new();
    while !shim.is_done() {
        let timeout = shim.next_deadline().map(|at| at.saturating_duration_since(Instant::now()));
        shim.poller.wait(timeout, &mut tokens)?;
        for token in &tokens {
            shim.dispatch(*token);
        }
        shim.expire(Instant::now());
    }
    Ok(())
}

impl Shim {
    fn new(single: SingleThread) -> SysResult<Self> {
        let listener = UnixListener::from(fd::inherited(shim_spawn::LISTENER)?);
        fd::set_nonblocking(&listener)?;
        let poller = Poller::new()?;
        let signals = ChildSignal::new()?;
        poller.add(&listener, LISTENER, false)?;
        poller.add(&signals, SIGNALS, false)?;
        Ok(Self {
            single,
            null: OnceCell::new(),
            poller,
            signals,
            listener,
            accept_again: None,
            sources: BTreeMap::new(),
            next_token: FIRST_TOKEN,
            conns: BTreeMap::new(),
            pod: Pod::default(),
            containers: BTreeMap::new(),
            execs: BTreeMap::new(),
            clients: BTreeMap::new(),
            sandbox: None,
            buffer: vec![0; BUFFER],
        })
    }

    /// The null device for everything that this pod starts.
    pub(crate) fn null(&self) -> SysResult<&Null> {
        if self.null.get().is_none() {
            // Nobody else has set it in the meantime: there is one thread.
            let _ = self.null.set(Null::of_host()?);
        }
        self.null.get().ok_or_else(|| SysError::new("open", "/dev/null", errno::ENODEV))
    }

    fn dispatch(&mut self, token: u64) {
        match token {
            LISTENER => self.accept(),
            SIGNALS => {
                self.signals.drain();
                self.reap();
            }
            // A token that is not there belonged to something that went earlier in this turn.
            _ => match self.sources.get(&token).cloned() {
                Some(Source::Conn) => self.receive(token),
                Some(Source::Status(id)) => self.hear(&id),
                Some(Source::Output(id, stream)) => self.on_output(&id, stream),
                Some(Source::Memory(id)) => self.on_memory(&id),
                Some(Source::Console(id)) => self.on_console(&id),
                Some(Source::ExecStatus(number)) => self.hear_exec(number),
                Some(Source::ExecOutput(number, stream)) => self.on_exec_output(number, stream),
                Some(Source::Attached(number)) => self.on_attached(number),
                None => {}
            },
        }
    }

    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    let trusted = socket::peer_uid(stream.as_fd()).is_ok_and(|uid| uid == 0);
                    let token = self.next_token;
                    if trusted
                        && stream.set_nonblocking(true).is_ok()
                        && self.poller.add(&stream, token, false).is_ok()
                    {
                        self.next_token += 1;
                        self.sources.insert(token, Source::Conn);
                        self.conns.insert(token, Conn::new(stream));
                        self.feed(Event::Connected(token));
                    }
                }
                Err(error) if matches!(error.raw_os_error(), Some(errno::EMFILE | errno::ENFILE)) => {
                    // The connection stays pending, so the listener would wake us again and again.
                    if self.poller.remove(&self.listener).is_ok() {
                        self.accept_again = Some(Instant::now() + ACCEPT_PAUSE);
                    }
                    return;
                }
                Err(_) => return,
            }
        }
    }

    fn receive(&mut self, token: u64) {
        let Some(conn) = self.conns.get_mut(&token) else { return };
        if !conn.flush() {
            self.hang_up(token);
            return;
        }
        if conn.is_clogged() {
            self.update_interest(token);
            return;
        }
        let received = conn.receive(&mut self.buffer);
        for (id, request) in received.requests {
            self.feed(Event::Asked(Ticket { conn: token, id }, Box::new(request)));
        }
        if received.closed {
            self.hang_up(token);
        } else {
            self.update_interest(token);
        }
    }

    fn update_interest(&mut self, token: u64) {
        if let Some(conn) = self.conns.get(&token)
            && self.poller.set_interest(conn, token, !conn.is_clogged(), conn.is_behind()).is_err()
        {
            self.hang_up(token);
        }
    }

    fn hang_up(&mut self, token: u64) {
        self.sources.remove(&token);
        if let Some(conn) = self.conns.remove(&token) {
            // Closing does the same but for descriptors that a child still shares.
            let _ = self.poller.remove(&conn);
        }
        self.forget_clients_of(token);
        self.feed(Event::HungUp(token));
    }

    /// Answers a request; a daemon that is gone, or reads nothing, gets no answer.
    pub(crate) fn reply(&mut self, ticket: Ticket, reply: &Reply) {
        self.post(ticket.conn, frame::reply(ticket.id, reply), Vec::new());
    }

    /// Answers a request with descriptors; `false` when nobody is there to take them.
    pub(crate) fn reply_with(&mut self, ticket: Ticket, number: u64, passed: Vec<OwnedFd>) -> bool {
        let descriptors = u32::try_from(passed.len()).unwrap_or(u32::MAX);
        let reply = Reply::Opened { number, descriptors };
        self.post(ticket.conn, frame::reply(ticket.id, &reply), passed);
        self.conns.contains_key(&ticket.conn)
    }

    /// Tells every daemon that has said hello.
    pub(crate) fn announce(&mut self, record: ExitRecord) {
        let bytes = frame::event(&wire::msg::Event::Exited(record));
        let greeted: Vec<u64> =
            self.conns.iter().filter(|(_, conn)| conn.greeted).map(|(token, _)| *token).collect();
        for token in greeted {
            self.post(token, bytes.clone(), Vec::new());
        }
    }

    fn post(&mut self, token: u64, bytes: Vec<u8>, passed: Vec<OwnedFd>) {
        let Some(conn) = self.conns.get_mut(&token) else { return };
        let before = (conn.is_behind(), conn.is_clogged());
        if !conn.send(bytes, passed) {
            self.hang_up(token);
        } else if (conn.is_behind(), conn.is_clogged()) != before {
            self.update_interest(token);
        }
    }

    /// Puts a descriptor into the poller, non-blocking.
    pub(crate) fn watch(&mut self, fd: OwnedFd, source: Source) -> SysResult<Watched> {
        fd::set_nonblocking(&fd)?;
        let token = self.next_token;
        match &source {
            // A control file is always readable.
            Source::Memory(_) if sys::cgroup::is_file(&fd) => self.poller.add_urgent(&fd, token)?,
            _ => self.poller.add(&fd, token, false)?,
        }
        self.next_token += 1;
        self.sources.insert(token, source);
        Ok(Watched { token, fd })
    }

    /// Whether a descriptor is waited for to become readable, and writable.
    pub(crate) fn set_interest(&self, watched: &Watched, readable: bool, writable: bool) {
        // It was added; were it not, waiting for it would have failed before.
        let _ = self.poller.set_interest(&watched.fd, watched.token, readable, writable);
    }

    /// Takes it out again and closes it.
    pub(crate) fn unwatch(&mut self, watched: Watched) {
        self.sources.remove(&watched.token);
        // It was added, and a poller without it is all that is wanted.
        let _ = self.poller.remove(&watched.fd);
        drop(watched);
    }

    /// Reads what an output holds and passes it on; `true` at its end. A full turn's worth is left for later
    /// unless `all` is asked for; also what is left when `sink` says that it takes no more now.
    pub(crate) fn pump(
        &mut self,
        fd: OwnedFd,
        all: bool,
        mut sink: impl FnMut(&mut Self, &[u8]) -> bool,
    ) -> (OwnedFd, bool) {
        // What it holds now is read in any case, and once more for its end; who goes on writing is not waited for.
        let mut due = if all { sys::fd::waiting(&fd) + 1 } else { 0 };
        let mut file = File::from(fd);
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut ended = false;
        let mut turns = 0;
        while due > 0 || turns < TURNS {
            turns += 1;
            match file.read(&mut buffer) {
                Ok(0) => {
                    ended = true;
                    break;
                }
                Ok(count) => {
                    due = due.saturating_sub(count);
                    if !sink(self, buffer.get(..count).unwrap_or_default()) && !all {
                        break;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                // A terminal whose last slave is closed says EIO.
                Err(_) => {
                    ended = true;
                    break;
                }
            }
        }
        self.buffer = buffer;
        (OwnedFd::from(file), ended)
    }

    fn is_done(&mut self) -> bool {
        let Some(ticket) = self.pod.has_ended(Instant::now()) else { return false };
        self.reply(ticket, &Reply::Ok);
        true
    }

    fn next_deadline(&self) -> Option<Instant> {
        let clients = self.clients.values().filter_map(Client::deadline);
        clients.chain(self.accept_again).chain(self.pod.deadline()).min()
    }

    fn expire(&mut self, now: Instant) {
        if self.accept_again.is_some_and(|at| at <= now) {
            self.accept_again = None;
            if self.poller.add(&self.listener, LISTENER, false).is_err() {
                self.accept_again = Some(now + ACCEPT_PAUSE);
            }
        }
        let due = |deadline: Option<Instant>| deadline.is_some_and(|at| at <= now);
        if due(self.pod.deadline()) {
            self.feed(Event::Timer);
        }
        self.drop_stalled_clients(now);
    }
}
