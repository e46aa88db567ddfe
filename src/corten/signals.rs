//! What the daemon does on signals: SIGTERM and SIGINT end it, SIGHUP makes it read its configuration again, SIGUSR1 makes it
//! tell in the log what it is doing. SIGUSR2 and SIGALRM, which would kill it, do nothing.

use crate::error::Error;
use crate::in_flight;
use crate::reload::Reloader;
use engine::Engine;
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals of the daemon, caught from the moment this is made.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
    tell: Signal,
    /// Caught, not ignored: programs that are executed would inherit the latter.
    _void: [Signal; 2],
}

impl Signals {
    /// Takes over the signals.
    ///
    /// # Errors
    /// The kernel refuses a handler.
    pub(crate) fn catch() -> Result<Self, Error> {
        let catch = |kind| signal(kind).map_err(|source| Error::Runtime { what: "signal handling", source });
        Ok(Self {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
            reload: catch(SignalKind::hangup())?,
            tell: catch(SignalKind::user_defined1())?,
            _void: [catch(SignalKind::user_defined2())?, catch(SignalKind::alarm())?],
        })
    }

    /// Serves the other signals until one asks the daemon to end; says which.
    pub(crate) async fn until_stopped(mut self, reloader: &Arc<Reloader>, engine: &Engine) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.reload.recv() => {
                    let reloader = reloader.clone();
                    // It may ask runtimes, which takes what it takes.
                    tokio::spawn(async move { reloader.reload("SIGHUP").await });
                }
                _ = self.tell.recv() => in_flight::tell(engine),
            }
        }
    }
}
