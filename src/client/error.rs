//! Why a command fails.

use crate::print::PrintError;
use std::io;
use std::path::PathBuf;

/// The failure of a command.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens.
    #[error(
        "no daemon listens on {}: is it running? `systemctl status corten` tells; --socket names another socket",
        path.display()
    )]
    Down {
        /// The socket.
        path: PathBuf,
    },
    /// The socket is root's.
    #[error("{} may be opened by root alone: run this as root", path.display())]
    Forbidden {
        /// The socket.
        path: PathBuf,
    },
    /// It cannot be reached for another reason.
    #[error("cannot reach the daemon on {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What listens there does not speak the CRI.
    #[error("cannot talk to the daemon on {}", path.display())]
    Talk {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: hyper::Error,
    },
    /// It listens, and does nothing else.
    #[error("the daemon on {} does not answer within {seconds} s: it hangs, or is stopped", path.display())]
    Silent {
        /// The socket.
        path: PathBuf,
        /// How long it had.
        seconds: u64,
    },
    /// The daemon refuses, or fails.
    #[error("cannot {doing}: {reason}")]
    Refused {
        /// What was asked for.
        doing: String,
        /// What the daemon says.
        reason: String,
    },
    /// It is not there any more.
    #[error("cannot {doing}: {reason}")]
    Missing {
        /// What was asked for.
        doing: String,
        /// What the daemon says.
        reason: String,
    },
    /// Nothing has this name.
    #[error("no {what} has the id or the name {name:?}: `{list}` lists them")]
    NoSuch {
        /// Pod or container.
        what: &'static str,
        /// What was looked for.
        name: String,
        /// What lists those that are there.
        list: &'static str,
    },
    /// What has it is of the other kind.
    #[error("{name:?} is {is}, and a {what} is wanted here: `{list}` lists them")]
    OtherKind {
        /// Pod or container.
        what: &'static str,
        /// What was looked for.
        name: String,
        /// What it is.
        is: String,
        /// What lists those that are there.
        list: &'static str,
    },
    /// Several have it.
    #[error("{name:?} may be any of these, name one of them by its id: {candidates}")]
    Ambiguous {
        /// What was looked for.
        name: String,
        /// Those that have it, with their ids.
        candidates: String,
    },
    /// An option has a value that is none.
    #[error("{option} {value:?}: {reason}")]
    Option {
        /// Which.
        option: &'static str,
        /// What it has.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// There is no log.
    #[error("container {name} has no log: its pod was made without a directory of logs")]
    NoLog {
        /// Whose.
        name: String,
    },
    /// The log cannot be read.
    #[error("cannot read the log {}", path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It must run.
    #[error(
        "cannot run a command in container {name}: it is {state}; `corten ps -a` lists containers with their states"
    )]
    NotRunning {
        /// Which.
        name: String,
        /// How it is.
        state: String,
    },
    /// The streams of a command cannot be had.
    #[error("cannot open the streams of the command at {address}")]
    Dial {
        /// Where.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// Their server says something else than expected.
    #[error("the streams of the command at {address}: {reason}")]
    Stream {
        /// Where.
        address: String,
        /// What is wrong.
        reason: String,
    },
    /// The terminal cannot be set up.
    #[error("cannot use this terminal")]
    Terminal {
        /// Why.
        source: io::Error,
    },
    /// The asynchronous runtime cannot start.
    #[error("cannot start the asynchronous runtime")]
    Runtime {
        /// Why.
        source: io::Error,
    },
    /// stdout cannot be written.
    #[error(transparent)]
    Print(#[from] PrintError),
}
