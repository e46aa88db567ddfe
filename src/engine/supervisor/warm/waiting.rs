//! One supervisor that was started ahead.

use super::super::native::SHIM_NAME;
use crate::error::EngineError;
use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};
use sys::fd::errno;
use sys::shim_spawn::{Given, ShimProcess, spawn_shim};
use sys::{fd, socket};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::AbortHandle;
use wire::naming::{NAMELESS, WAITS};

/// How long one may take until it waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// A supervisor without a pod.
#[derive(Debug)]
pub(super) struct Nameless {
    pub(super) process: ShimProcess,
    /// Nobody inherits it: it ends with the daemon, and the supervisor by that.
    pub(super) link: OwnedFd,
}

impl Nameless {
    /// Starts one, and hears that it waits. Blocks.
    pub(super) fn start(binary: &Path, bare: Option<BorrowedFd<'_>>) -> Result<Self, EngineError> {
        let failed = || EngineError::sys(format!("start {binary:?} ahead"));
        let (link, theirs) = socket::message_pair().map_err(failed())?;
        fd::set_nonblocking(&link).map_err(failed())?;
        let args = [SHIM_NAME, NAMELESS].map(|text| CString::new(text).unwrap_or_default());
        let environment = failpoint::environment();
        let given = Given { socket: theirs.as_fd(), bare, log: None };
        let process = spawn_shim(binary, given, &args, &environment).map_err(failed())?;
        // Held here, it would keep the end of one that has ended from being seen.
        drop(theirs);
        let nameless = Self { process, link };
        match nameless.hear(binary) {
            Ok(()) => Ok(nameless),
            Err(error) => {
                nameless.end();
                Err(error)
            }
        }
    }

    fn hear(&self, binary: &Path) -> Result<(), EngineError> {
        failpoint::reach!("engine.warm.spawned")?;
        let (begin, mut said) = (Instant::now(), [0; WAITS.len() + 1]);
        let heard = loop {
            socket::wait_readable(self.link.as_fd(), PATIENCE.saturating_sub(begin.elapsed()));
            match socket::receive(self.link.as_fd(), &mut said) {
                Err(error) if error.errno == errno::EAGAIN && begin.elapsed() < PATIENCE => {}
                other => break other,
            }
        };
        let (length, _) = heard.map_err(EngineError::sys(format!("start {binary:?} ahead")))?;
        if said.get(..length) == Some(WAITS) {
            return Ok(());
        }
        let problem = io::Error::other("it does not wait for a pod as a supervisor of this release does");
        Err(EngineError::io("start ahead", binary)(problem))
    }

    /// Kills it and waits for its end, which does not take long: it holds nothing and has begun nothing. Blocks.
    pub(super) fn end(self) {
        end_now(&self.process.pidfd);
    }

    /// Has its end told from now on. Within a runtime.
    pub(super) fn watched(self, tell: impl FnOnce() + Send + 'static) -> Waiting {
        let watched = self.process.pidfd.try_clone().and_then(|pidfd| {
            #[expect(
                deprecated,
                reason = "an owned descriptor keeps what the unsafe successor asks its caller to keep"
            )]
            AsyncFd::with_interest(pidfd, Interest::READABLE)
        });
        let watch = tokio::spawn(async move {
            // Of one that cannot be watched the end is seen when a pod comes.
            let Ok(watched) = watched else { return };
            if watched.readable().await.is_ok() {
                tell();
            }
        });
        Waiting { nameless: self, _watch: Watch(watch.abort_handle()) }
    }
}

/// One whose end is told for as long as it waits.
#[derive(Debug)]
pub(super) struct Waiting {
    nameless: Nameless,
    _watch: Watch,
}

#[derive(Debug)]
struct Watch(AbortHandle);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Waiting {
    /// Whether it has ended.
    pub(super) fn has_ended(&self) -> bool {
        socket::is_abandoned(self.nameless.link.as_fd())
    }

    /// Has it serve a pod from now on, with what it is passed; where that fails it is ended. Blocks.
    pub(super) fn name(self, pod: &str, passed: [BorrowedFd<'_>; 2]) -> Result<ShimProcess, EngineError> {
        let told = self.tell(pod, passed);
        let Self { nameless, .. } = self;
        match told {
            Ok(()) => Ok(ShimProcess { link: Some(nameless.link), ..nameless.process }),
            Err(error) => {
                nameless.end();
                Err(error)
            }
        }
    }

    fn tell(&self, pod: &str, passed: [BorrowedFd<'_>; 2]) -> Result<(), EngineError> {
        let link = self.nameless.link.as_fd();
        socket::write(link, pod.as_bytes(), &passed).map_err(EngineError::sys("name a supervisor"))?;
        Ok(failpoint::reach!("engine.warm.handed")?)
    }

    /// Ends it, or takes note of its end. Blocks.
    pub(super) fn end(self) {
        self.nameless.end();
    }
}

/// Ends one that has no pod yet, or none that anybody knows, and blocks until it is gone.
pub(crate) fn end_now(pidfd: &OwnedFd) {
    // One that has ended is to be waited for all the same.
    let _ = pidfd_send_signal(pidfd, Signal::KILL);
    let wait = || waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
    while matches!(wait(), Err(Errno::INTR)) {}
}
