//! What goes wrong with plugins.

use crate::merge::MergeError;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why a request that plugins have a say in fails, or why there are no plugins at all.
#[derive(Debug, Error)]
pub enum Error {
    /// The socket cannot be opened.
    #[error("cannot listen for NRI plugins on {}", socket.display())]
    Listen {
        /// Its path.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something else lies there.
    #[error("cannot listen for NRI plugins on {}: it is there, and is no socket: remove it", socket.display())]
    NoSocket {
        /// Its path.
        socket: PathBuf,
    },
    /// Somebody else answers there.
    #[error("another runtime listens for NRI plugins on {}", socket.display())]
    Occupied {
        /// Its path.
        socket: PathBuf,
    },
    /// Its file is gone, or somebody has put another in its place.
    #[error("another runtime, or somebody else, has taken {} of NRI plugins away", socket.display())]
    Displaced {
        /// Its path.
        socket: PathBuf,
    },
    /// A plugin answered with an error.
    #[error("NRI plugin {plugin:?} refuses {request}: {message}")]
    Refused {
        /// Its index and name.
        plugin: String,
        /// What it was asked.
        request: &'static str,
        /// Its words.
        message: String,
    },
    /// A plugin left a request without an answer, and its policy is that the request fails then.
    #[error("NRI plugin {plugin:?} does not answer {request}: {reason}")]
    Unanswered {
        /// Its index and name.
        plugin: String,
        /// What it was asked.
        request: &'static str,
        /// How it failed.
        reason: String,
    },
    /// What plugins want does not go together.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// A validator does not let the container be created.
    #[error("NRI validator {validator:?} rejects the container: {reason}")]
    Rejected {
        /// Its index and name.
        validator: String,
        /// Its words.
        reason: String,
    },
}

/// With [`Error`].
pub type NriResult<T> = Result<T, Error>;
