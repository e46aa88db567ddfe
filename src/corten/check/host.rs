//! The files of the host by which it is judged.

use std::fs;
use std::path::PathBuf;

/// A host, whose files lie below a directory.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) root: PathBuf,
    /// Whether containers are to be labelled.
    pub(super) selinux: bool,
}

impl Host {
    /// What a file says, without the white space around it; `None` where it is not there.
    pub(super) fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path(path)).ok().map(|text| text.trim().to_owned())
    }

    pub(super) fn number(&self, path: &str) -> Option<u64> {
        self.read(path)?.parse().ok()
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        fs::symlink_metadata(self.path(path)).is_ok()
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}
