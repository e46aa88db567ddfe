//! What the daemon does on signals: SIGTERM and SIGINT end it, SIGHUP makes it read the log level again.

use crate::config;
use crate::error::{Error, chain};
use crate::logging::LevelHandle;
use std::path::PathBuf;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals of the daemon, caught from the moment this is made.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
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
        })
    }

    /// Serves SIGHUP until a signal asks the daemon to end; says which.
    pub(crate) async fn until_stopped(mut self, file: Option<PathBuf>, level: LevelHandle) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.reload.recv() => reload(file.as_deref(), &level),
            }
        }
    }
}

/// Only the log level changes in a running daemon; a file that is refused changes nothing.
fn reload(file: Option<&std::path::Path>, level: &LevelHandle) {
    match config::load(file) {
        Ok(loaded) => match level.set(&loaded.config.log.level) {
            Ok(()) => tracing::info!(
                level = loaded.config.log.level,
                "read the log level again; other settings need a restart"
            ),
            Err(error) => tracing::error!(error = chain(&error), "the log level stays"),
        },
        Err(error) => tracing::error!(error = chain(&error), "the configuration is refused, nothing changes"),
    }
}
