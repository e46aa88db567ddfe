//! Where a daemon under test keeps its things.

use std::path::{Path, PathBuf};

/// Where a daemon keeps its things.
#[derive(Debug, Clone)]
pub struct Place {
    /// The directory of everything below.
    pub root: PathBuf,
    /// The CRI socket.
    pub socket: PathBuf,
    /// Runtime state.
    pub state: PathBuf,
    /// Durable data.
    pub data: PathBuf,
    /// CNI configurations.
    pub cni: PathBuf,
    /// Registry mirrors.
    pub certs: PathBuf,
    /// What the daemon says.
    pub log: PathBuf,
}

impl Place {
    /// What lies below a directory.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
            socket: root.join("r.sock"),
            state: root.join("s"),
            data: root.join("d"),
            cni: root.join("cni"),
            certs: root.join("certs.d"),
            log: root.join("daemon.log"),
        }
    }
}
