//! The failures of this program. Some texts are runc's: callers look for them.

use std::io;
use std::path::PathBuf;

use crate::status::Status;

/// The result of everything in this program.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No state directory of that name.
    #[error("container does not exist: {0}")]
    NoSuchContainer(String),
    /// The id is taken.
    #[error("container with given ID already exists: {0}")]
    Exists(String),
    /// The first process has ended.
    #[error("container not running")]
    NotRunning,
    /// The container is in a state that does not allow the command.
    #[error("cannot {operation} container {id} that is {status}")]
    State {
        /// What was attempted.
        operation: &'static str,
        /// The container.
        id: String,
        /// Its state.
        status: Status,
    },
    /// Only stopped containers are deleted.
    #[error("cannot delete container {id} that is not stopped: {status}")]
    NotStopped {
        /// The container.
        id: String,
        /// Its state.
        status: Status,
    },
    /// An argument or a field of the configuration cannot be honoured.
    #[error("{field}: {reason}")]
    Invalid {
        /// The argument, or the field by its path in config.json.
        field: String,
        /// Why.
        reason: String,
    },
    /// The child could not set the container up, or could not run the program.
    #[error("unable to start container process: {0}")]
    Launch(String),
    /// A command beside a container's first process failed.
    #[error("exec failed: {0}")]
    Exec(Box<Error>),
    /// A hook failed.
    #[error("error running {stage} hook {}: {problem}", path.display())]
    Hook {
        /// Which.
        stage: &'static str,
        /// The program.
        path: PathBuf,
        /// What it said, or how it ended.
        problem: String,
    },
    /// A JSON document is not what it should be.
    #[error("{}: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A file operation failed.
    #[error("{op} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        op: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// From the crate of specs, plans and cgroups.
    #[error(transparent)]
    Oci(#[from] oci::OciError),
    /// From the crate of system calls.
    #[error(transparent)]
    Sys(#[from] sys::SysError),
}

impl Error {
    /// Something that cannot be honoured.
    pub(crate) fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), reason: reason.into() }
    }

    /// For `map_err` on file operations.
    pub(crate) fn io(op: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { op, path, source }
    }

    /// For `map_err` on JSON.
    pub(crate) fn json(path: impl Into<PathBuf>) -> impl FnOnce(serde_json::Error) -> Self {
        let path = path.into();
        move |source| Self::Json { path, source }
    }

    /// What the process exits with; an exec's failure is told from the program's own codes.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Exec(_) => 255,
            _ => 1,
        }
    }
}

impl From<launch::Failure> for Error {
    fn from(failure: launch::Failure) -> Self {
        Self::Launch(failure.message)
    }
}
