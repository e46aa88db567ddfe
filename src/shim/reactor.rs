//! Descriptors and their readiness: what is waited for, whose it is, and who knocks.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use sys::fd::errno;
use sys::poll::{ChildSignal, Poller};
use sys::{SysResult, cgroup, fd, socket};

use crate::log::Stream;

const LISTENER: u64 = 0;
const SIGNALS: u64 = 1;
const FIRST_TOKEN: u64 = 2;
/// Without free descriptors the listener is left alone for so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Whose a descriptor is.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// Daemons that come.
    Listener,
    /// Children that end.
    Children,
    /// A daemon's connection, by its token.
    Conn(u64),
    /// The status channel of a container's child.
    Status(String),
    /// An output of a container.
    Output(String, Stream),
    /// The memory of a container.
    Memory(String),
    /// Where the runtime of a container sends its terminal.
    Console(String),
    /// The status channel of a command's child.
    ExecStatus(u64),
    /// An output of a command.
    ExecOutput(u64, Stream),
    /// A pipe to an attached client: which client's, and which of its pipes.
    Attached(u64, usize),
}

/// A descriptor in the poller.
#[derive(Debug)]
pub(crate) struct Watched {
    token: u64,
    /// The descriptor.
    pub(crate) fd: OwnedFd,
}

/// Everything that is waited for.
#[derive(Debug)]
pub(crate) struct Reactor {
    poller: Poller,
    signals: ChildSignal,
    listener: Option<UnixListener>,
    accept_again: Option<Instant>,
    sources: BTreeMap<u64, Source>,
    next_token: u64,
    ready: Vec<u64>,
}

impl Reactor {
    /// Waits for children.
    pub(crate) fn new() -> SysResult<Self> {
        let poller = Poller::new()?;
        let signals = ChildSignal::new()?;
        poller.add(&signals, SIGNALS, false)?;
        let sources = BTreeMap::from([(SIGNALS, Source::Children)]);
        let (next_token, ready) = (FIRST_TOKEN, Vec::new());
        Ok(Self { poller, signals, listener: None, accept_again: None, sources, next_token, ready })
    }

    /// From now on daemons are waited for, too.
    pub(crate) fn listen(&mut self, listener: OwnedFd) -> SysResult<()> {
        fd::set_nonblocking(&listener)?;
        let listener = self.listener.insert(listener.into());
        self.sources.insert(LISTENER, Source::Listener);
        self.poller.add(listener, LISTENER, false)
    }

    /// Waits until something is ready or the time has come.
    pub(crate) fn wait(&mut self, until: Option<Instant>) -> SysResult<()> {
        let until = until.into_iter().chain(self.accept_again).min();
        let timeout = until.map(|at| at.saturating_duration_since(Instant::now()));
        self.poller.wait(timeout, &mut self.ready)?;
        self.ready.reverse();
        Ok(())
    }

    /// The next of what was ready.
    pub(crate) fn take_ready(&mut self) -> Option<Source> {
        loop {
            // A token that is not there belonged to something that went earlier in this turn.
            if let Some(source) = self.sources.get(&self.ready.pop()?) {
                return Some(source.clone());
            }
        }
    }

    /// Takes note of the signal of children.
    pub(crate) fn drain_signals(&self) {
        self.signals.drain();
    }

    /// A daemon that has come, and the token of its connection. Nobody else is let in.
    pub(crate) fn accept(&mut self) -> Option<(u64, UnixStream)> {
        let listener = self.listener.as_ref()?;
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    let trusted = socket::peer_uid(stream.as_fd()).is_ok_and(|uid| uid == 0);
                    let token = self.next_token;
                    if trusted
                        && stream.set_nonblocking(true).is_ok()
                        && self.poller.add(&stream, token, false).is_ok()
                    {
                        self.next_token += 1;
                        self.sources.insert(token, Source::Conn(token));
                        return Some((token, stream));
                    }
                }
                Err(error) if matches!(error.raw_os_error(), Some(errno::EMFILE | errno::ENFILE)) => {
                    // The connection stays pending, so the listener would wake us again and again.
                    if self.poller.remove(listener).is_ok() {
                        self.accept_again = Some(Instant::now() + ACCEPT_PAUSE);
                    }
                    return None;
                }
                Err(_) => return None,
            }
        }
    }

    /// Looks at the listener again, if it was left alone for long enough.
    pub(crate) fn expire(&mut self, now: Instant) {
        let Some(listener) = &self.listener else { return };
        if self.accept_again.is_some_and(|at| at <= now) {
            let added = self.poller.add(listener, LISTENER, false);
            self.accept_again = added.is_err().then(|| now + ACCEPT_PAUSE);
        }
    }

    /// Puts a descriptor into the poller, non-blocking.
    pub(crate) fn watch(&mut self, fd: OwnedFd, source: Source) -> SysResult<Watched> {
        fd::set_nonblocking(&fd)?;
        let token = self.next_token;
        match &source {
            // A control file is always readable.
            Source::Memory(_) if cgroup::is_file(&fd) => self.poller.add_urgent(&fd, token)?,
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

    /// Lets a descriptor rest: it is told once at most, also of its end, until there is interest in it again.
    pub(crate) fn pause(&self, watched: &Watched) {
        let _ = self.poller.pause(&watched.fd, watched.token);
    }

    /// Whether a connection is waited for to become readable, and writable; `false` when it is of no use any more.
    pub(crate) fn set_conn_interest(&self, token: u64, conn: impl AsFd, wanted: Interest) -> bool {
        self.poller.set_interest(conn, token, wanted.readable, wanted.writable).is_ok()
    }

    /// Takes a descriptor out again and closes it.
    pub(crate) fn unwatch(&mut self, watched: Watched) {
        self.drop_conn(watched.token, watched.fd);
    }

    /// The same for a connection.
    pub(crate) fn drop_conn(&mut self, token: u64, fd: impl AsFd) {
        self.sources.remove(&token);
        // Closing does the same but for descriptors that a child still shares.
        let _ = self.poller.remove(&fd);
    }
}

/// What a connection is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interest {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}
