//! What an installer has changed on a host, kept there for taking it back. It is on disk before what it tells of.

use super::host::{Access, Host};
use super::{NodeError, OWN};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// All that was changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Whether `/var/lib/corten` was there before, and stays.
    pub(super) had_data: bool,
    /// `/var/lib/corten` as it was where nothing was in it, for one as the place of a mount: it comes back so.
    #[serde(default)]
    pub(super) empty_data: Option<Access>,
    /// Whether the daemon and its state are gone, and only files are left to be put back.
    #[serde(default)]
    pub(super) ended: bool,
    /// Files, in the order in which they came.
    pub(super) files: Vec<Placed>,
    /// Directories that were made, the outer ones first.
    pub(super) directories: Vec<PathBuf>,
    /// The kubelet's file, where it was switched.
    pub(super) kubelet: Option<Placed>,
}

/// A file that was put in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Placed {
    pub(super) path: PathBuf,
    /// What was there before: the name of its copy, and who might do what with it.
    pub(super) before: Option<(String, Access)>,
    /// What was put there, of a file that is the administrator's from then on.
    #[serde(default)]
    pub(super) put: Option<String>,
}

impl Record {
    /// That of a host, if it has one.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn load(host: &Host) -> Result<Option<Self>, NodeError> {
        let path = file();
        let Some(bytes) = host.read(&path)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|source| NodeError::Record { path, source })
    }

    /// Writes it.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn save(&self, host: &Host) -> Result<(), NodeError> {
        let path = file();
        let own = host.path(Path::new(OWN))?;
        fs::create_dir_all(own.join("before")).map_err(NodeError::io("make", &own))?;
        let text =
            serde_json::to_vec(self).map_err(|source| NodeError::Record { path: path.clone(), source })?;
        host.write(&path, &text, Access::of_root(0o600))
    }

    /// Whether a file is Corten's by this record.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.files.iter().any(|placed| placed.path == path)
    }

    /// Keeps what is in a place.
    ///
    /// # Errors
    /// It is no regular file, or cannot be copied.
    pub(super) fn keep(&self, host: &Host, path: &Path) -> Result<Placed, NodeError> {
        let Some(access) = host.look(path)? else {
            return Ok(Placed { path: path.to_path_buf(), before: None, put: None });
        };
        let own = host.path(Path::new(OWN))?.join("before");
        fs::create_dir_all(&own).map_err(NodeError::io("make", &own))?;
        let name = path.to_string_lossy().replace('%', "%25").replace('/', "%2F");
        let bytes = host.read(path)?.unwrap_or_default();
        host.write(&before(&name), &bytes, Access::of_root(0o600))?;
        Ok(Placed { path: path.to_path_buf(), before: Some((name, access)), put: None })
    }
}

impl Placed {
    /// What was there before; `None` where nothing was.
    ///
    /// # Errors
    /// Its copy is gone.
    pub(super) fn kept(&self, host: &Host) -> Result<Option<(Vec<u8>, Access)>, NodeError> {
        let Some((name, access)) = &self.before else { return Ok(None) };
        let copy = before(name);
        let bytes =
            host.read(&copy)?.ok_or_else(|| NodeError::io("read", &copy)(ErrorKind::NotFound.into()))?;
        Ok(Some((bytes, *access)))
    }

    /// Whether an administrator has made it theirs since.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn is_theirs(&self, host: &Host) -> Result<bool, NodeError> {
        let Some(put) = &self.put else { return Ok(false) };
        Ok(host.read(&self.path)?.is_some_and(|now| now != put.as_bytes()))
    }

    /// Puts back what was there before, unless an administrator has made it theirs since.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn restore(&self, host: &Host) -> Result<(), NodeError> {
        if self.is_theirs(host)? {
            return Ok(());
        }
        match self.kept(host)? {
            Some((bytes, access)) => host.write(&self.path, &bytes, access),
            None => host.remove(&self.path),
        }
    }
}

fn file() -> PathBuf {
    Path::new(OWN).join("record.json")
}

fn before(name: &str) -> PathBuf {
    Path::new(OWN).join("before").join(name)
}
