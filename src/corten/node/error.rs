//! Why a host is not as an installer was to leave it.

use std::io;
use std::path::{Path, PathBuf};

/// The failure of an installer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    /// The system refuses.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A program of the host cannot be started, or fails.
    #[error("`{line}` failed on this host: {said}")]
    Program {
        /// The program with its arguments.
        line: String,
        /// What it said.
        said: String,
    },
    /// The checks have found what keeps pods from running.
    #[error("this host is refused, and as it was, because it cannot run pods: {0}")]
    Unfit(String),
    /// Nothing here starts services.
    #[error(
        "this host is refused: it has no systemctl, or systemd has not started it (there is no /run/systemd/system), and the daemon is a service of systemd"
    )]
    NoSystemd,
    /// No host is mounted there.
    #[error("{} is not the root of a host: it has no directory usr", .0.display())]
    NoHost(PathBuf),
    /// Another installation would be hidden.
    #[error("this host is refused: {} is of another installation of corten: remove that first, or keep this node out by nodeSelector", .0.display())]
    Installed(PathBuf),
    /// What is in a file's place cannot be kept.
    #[error("this host is refused: {} is no regular file", .0.display())]
    Irregular(PathBuf),
    /// Links that lead round.
    #[error("cannot resolve {}: too many symbolic links", .0.display())]
    Links(PathBuf),
    /// What the installer wrote is not to be read.
    #[error("cannot understand {}, by which everything is put back: mend it, or move it away and take what it names from the host by hand", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// Pods would lose their runtime.
    #[error(
        "pods run here by corten ({0}): drain the node, have its kubelet ask the other runtime again (kubelet.switch=false), and remove what is left on the node with `systemctl stop corten` and `corten wipe --yes`"
    )]
    InUse(usize),
    /// The kubelet cannot be told.
    #[error("the kubelet is not switched: {0}")]
    Kubelet(String),
    /// A readiness probe's answer.
    #[error("{0}")]
    NotReady(String),
    /// What is to be changed of a DaemonSet is no JSON.
    #[error("--patch is no JSON")]
    Patch(#[source] serde_json::Error),
    /// The API server does not answer as asked.
    #[error(transparent)]
    Api(#[from] super::roll::ApiError),
    /// Not every node is as it was to be.
    #[error("{0}")]
    Nodes(String),
    /// No signal can be waited for.
    #[error("cannot wait for a signal")]
    Signals(#[source] io::Error),
}

impl NodeError {
    /// An error of the system, by what was done to what.
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { what, path, source }
    }
}
