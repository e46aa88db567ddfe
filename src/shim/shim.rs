//! The shim: all that it holds, and its loop.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

use launch::Null;
use sys::fd::{errno, namespace};
use sys::process::SingleThread;
use sys::{SysError, SysResult, fd, poll, privilege, process, schedule, shim_spawn};
use wire::msg::Reply;

use crate::attach::Client;
use crate::conn::Conn;
use crate::container::Handles;
use crate::execs::ExecHandles;
use crate::naming;
use crate::pod::{Event, Pod};
use crate::reactor::{Reactor, Source};
use crate::sandbox::Sandbox;

/// The one buffer that everything is read into.
const BUFFER: usize = 32 << 10;
/// So many reads one output gets before the others have their turn.
const TURNS: usize = 8;

/// Everything the shim holds.
#[derive(Debug)]
pub(crate) struct Shim {
    pub(crate) single: SingleThread,
    /// What containers' mount namespaces are made of, where the daemon had one.
    pub(crate) bare: Option<OwnedFd>,
    /// What streams lead to that nobody has the other end of, once one is needed.
    null: OnceCell<Null>,
    pub(crate) reactor: Reactor,
    pub(crate) pod: Pod,
    pub(crate) conns: BTreeMap<u64, Conn>,
    // In boxes: a map has room for eleven from the first on.
    pub(crate) containers: BTreeMap<String, Box<Handles>>,
    pub(crate) execs: BTreeMap<u64, Box<ExecHandles>>,
    pub(crate) clients: BTreeMap<u64, Client>,
    pub(crate) sandbox: Option<Sandbox>,
    pub(crate) buffer: Vec<u8>,
}

/// Supervises until a shutdown is requested. One that is nameless waits for its pod first, with everything ready that
/// does not depend on which that is.
///
/// # Errors
/// The shim could not set itself up, or the poller is broken.
pub(crate) fn run(is_nameless: bool) -> SysResult<()> {
    let single = SingleThread::claim()?;
    let bare = fd::inherited_namespace(shim_spawn::BARE_MOUNTS, namespace::MOUNT);
    let kept = [shim_spawn::LISTENER].into_iter().chain(bare.as_ref().map(AsRawFd::as_raw_fd));
    fd::close_all_but(&kept.chain(failpoint::descriptor()).collect::<Vec<_>>())?;
    process::set_name(c"corten-shim");
    privilege::set_undumpable()?;
    privilege::set_subreaper()?;
    poll::ignore_farewells()?;
    // Whoever waits for an answer waits for these turns; without them it takes longer.
    let _ = schedule::take_short_turns();
    // The modes of log files and device nodes are meant exactly.
    process::set_umask(0);
    let mut shim = Shim::new(single, bare)?;
    let socket = fd::inherited(shim_spawn::LISTENER)?;
    let listener = if is_nameless { naming::wait(socket)? } else { Some(socket) };
    let Some(listener) = listener else { return Ok(()) };
    shim.reactor.listen(listener)?;
    failpoint::pass!("shim.run.started");
    while !shim.is_done() {
        shim.reactor.wait(shim.pod.deadline())?;
        while let Some(source) = shim.reactor.take_ready() {
            shim.dispatch(source);
        }
        shim.expire(Instant::now());
        if shim.sandbox.is_some() {
            // At leisure, for the first container; one that cannot be made is met again there.
            let _ = shim.null();
            poll::learn_ignored();
        }
    }
    Ok(())
}

impl Shim {
    fn new(single: SingleThread, bare: Option<OwnedFd>) -> SysResult<Self> {
        Ok(Self {
            single,
            bare,
            null: OnceCell::new(),
            reactor: Reactor::new()?,
            pod: Pod::default(),
            conns: BTreeMap::new(),
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

    fn dispatch(&mut self, source: Source) {
        match source {
            Source::Listener => self.accept(),
            Source::Children => {
                self.reactor.drain_signals();
                self.reap();
            }
            Source::Conn(token) => self.receive(token),
            Source::Status(id) => self.hear(&id),
            Source::Output(id, stream) => self.on_output(&id, stream),
            Source::Memory(id) => self.on_memory(&id),
            Source::Console(id) => self.on_console(&id),
            Source::ExecStatus(number) => self.hear_exec(number),
            Source::ExecOutput(number, stream) => self.on_exec_output(number, stream),
            Source::Attached(number, index) => self.on_attached(number, index),
        }
    }

    fn is_done(&mut self) -> bool {
        let now = Instant::now();
        if self.pod.has_fallen(now) {
            crate::report("the pod's pause has ended, and all else of the pod with it");
            return true;
        }
        let Some(ticket) = self.pod.has_ended(now) else { return false };
        self.reply(ticket, &Reply::Ok);
        failpoint::pass!("shim.shutdown.answered");
        true
    }

    fn expire(&mut self, now: Instant) {
        self.reactor.expire(now);
        if self.pod.deadline().is_some_and(|at| at <= now) {
            self.feed(Event::Timer);
        }
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
}
