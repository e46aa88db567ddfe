//! Whether a configuration of the operator's has been in force on this node: a file that outlives restarts.
//!
//! A node with a network plugin of its own may lack its configuration for a while, when that is being replaced or
//! a volume is not mounted yet. Pods of that time must wait, and not get another network.

use crate::{NetError, Result};
use std::fs::File;
use std::path::{Path, PathBuf};

/// The longest path.
const LONGEST: u64 = 4096;

pub(crate) struct Configured {
    path: PathBuf,
    noted: Option<String>,
    /// The file could not be written: what was noted is known to this process alone.
    unwritten: bool,
}

impl Configured {
    pub(crate) fn open(data_dir: &Path) -> Self {
        Self { path: data_dir.join("configured"), noted: None, unwritten: false }
    }

    /// Remembers the file that is in force, over restarts where that can be written.
    pub(crate) fn note(&mut self, conf: &Path) {
        let name = conf.display().to_string();
        if self.noted.as_ref() == Some(&name) && (self.unwritten || self.path.exists()) {
            return;
        }
        let written = self.write(&name);
        if let Err(error) = &written {
            tracing::warn!(%error, "cannot remember over a restart that a network configuration was in force");
        }
        self.unwritten = written.is_err();
        self.noted = Some(name);
    }

    fn write(&self, name: &str) -> Result<()> {
        sys::fs::write_atomic(&self.path, name.as_bytes(), 0o600)?;
        let sync = |path: &Path| File::open(path).and_then(|file| file.sync_all());
        sync(&self.path)
            .and_then(|()| self.path.parent().map_or(Ok(()), sync))
            .map_err(NetError::state("sync", &self.path))
    }

    /// The configuration that was in force last, and the file that says so; `None` where there was none, or where
    /// somebody has removed that file.
    pub(crate) fn last(&mut self) -> Option<(String, PathBuf)> {
        if !self.unwritten {
            self.noted = sys::regular::read_text(&self.path, LONGEST).ok();
        }
        self.noted.clone().map(|name| (name, self.path.clone()))
    }
}
