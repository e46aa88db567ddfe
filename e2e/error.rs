//! What can go wrong in the harness.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A failure of the harness, or of what it drives.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A system call failed.
    #[error("{operation} failed")]
    System {
        /// Which.
        operation: &'static str,
        /// Why.
        source: nix::Error,
    },
    /// A command could not be run to its end, or ended with a failure.
    #[error("`{line}` {outcome}: {stderr}")]
    Command {
        /// The command line.
        line: String,
        /// How it ended.
        outcome: String,
        /// What it said on standard error.
        stderr: String,
    },
    /// An RPC failed.
    #[error("{method}: {}: {}", status.code(), status.message())]
    Rpc {
        /// The RPC.
        method: &'static str,
        /// The reply.
        status: Box<tonic::Status>,
    },
    /// The socket cannot be reached.
    #[error("cannot connect to {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: tonic::transport::Error,
    },
    /// Something did not happen in time.
    #[error("{what} did not happen within {after:?}: {last}")]
    Late {
        /// What was waited for.
        what: &'static str,
        /// How long.
        after: Duration,
        /// The last thing seen.
        last: String,
    },
    /// A server refused a request.
    #[error("{request}: the server answered: {reply}")]
    Refused {
        /// Method and path.
        request: String,
        /// Status line and body.
        reply: String,
    },
    /// A program that the harness needs is not there.
    #[error("{what} is missing; run `e2e/setup.sh {part}`")]
    Missing {
        /// The program.
        what: String,
        /// The part of setup.sh that provides it.
        part: &'static str,
    },
    /// The reply lacks a part that the interface promises.
    #[error("the reply to {method} lacks {part}")]
    Incomplete {
        /// The RPC or command.
        method: &'static str,
        /// What is missing.
        part: &'static str,
    },
    /// A line that is not in the CRI log format.
    #[error("{}:{line}: not in the CRI log format: {text:?}", path.display())]
    LogFormat {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The line.
        text: String,
    },
    /// Something came out differently.
    #[error("{what} is not as expected: {seen}")]
    Unexpected {
        /// What.
        what: &'static str,
        /// How it came out.
        seen: String,
    },
    /// The host is not as it was.
    #[error("the host differs from the baseline:\n{difference}")]
    Leftovers {
        /// One line a difference.
        difference: String,
    },
    /// A benchmark that proves nothing, or misses a bar.
    #[error("the benchmark is invalid: {reason}")]
    Invalid {
        /// Why.
        reason: String,
    },
}

/// Adds operation and path to an I/O error.
pub trait Context<T> {
    /// The result with an [`Error::Io`].
    ///
    /// # Errors
    /// The error that was there, with its context.
    fn at(self, operation: &'static str, path: impl Into<PathBuf>) -> Result<T, Error>;
}

impl<T> Context<T> for io::Result<T> {
    fn at(self, operation: &'static str, path: impl Into<PathBuf>) -> Result<T, Error> {
        self.map_err(|source| Error::Io { operation, path: path.into(), source })
    }
}

/// An error with everything that caused it, on one line.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a dyn std::error::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
