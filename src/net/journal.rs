//! The attachments that exist on this node since it was booted: one file each, written before ADD begins.
//! A daemon that dies in the middle of an ADD finds here which configuration DEL must be given. Attachments of pods that
//! went before all of their DEL succeeded stay as files of another kind, until it does.

use crate::{Attachment, NetError, Result};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use sys::aside::{Wanted, is_there};

/// The extension of files of attachments whose pods are gone.
const LEFT: &str = "left";
/// Longer than any attachment: a plugin's result is cut off long before.
const LONGEST: u64 = 64 << 20;

#[derive(Clone)]
pub(crate) struct Journal {
    dir: PathBuf,
}

/// An attachment of a pod that went before its DEL had succeeded.
pub(crate) struct Leftover {
    pub(crate) attachment: Attachment,
    pub(crate) path: PathBuf,
    /// How long ago the pod went.
    pub(crate) age: Duration,
}

impl Journal {
    pub(crate) fn open(state_dir: &Path) -> Result<Self> {
        let dir = state_dir.join("attachments");
        make_dir(state_dir)?;
        make_dir(&dir)?;
        // Also that of an earlier daemon: addresses and ports of pods are nobody else's business.
        fs::set_permissions(state_dir, fs::Permissions::from_mode(0o700))
            .map_err(NetError::state("set the mode of", state_dir))?;
        sys::fs::sweep_temporaries(&dir);
        Ok(Self { dir })
    }

    pub(crate) fn write(&self, attachment: &Attachment) -> Result<()> {
        write(&self.path(&attachment.container_id, &attachment.ifname), attachment)
    }

    /// `None` when there is none, or when it cannot be read any more.
    pub(crate) fn read(&self, container_id: &str, ifname: &str) -> Option<Attachment> {
        let path = self.path(container_id, ifname);
        self.load(&path).or_else(|| self.load(&path.with_extension(LEFT)))
    }

    pub(crate) fn remove(&self, container_id: &str, ifname: &str) -> Result<()> {
        let path = self.path(container_id, ifname);
        let left = path.with_extension(LEFT);
        // What was set aside of it is of no use any more.
        [&sys::aside::name(&left), &sys::aside::name(&path), &left, &path]
            .into_iter()
            .try_for_each(|path| remove(path))
    }

    /// Keeps an attachment of a pod that goes before its DEL has succeeded.
    pub(crate) fn leave(&self, attachment: &Attachment) -> Result<Leftover> {
        let path = self.path(&attachment.container_id, &attachment.ifname);
        let left = path.with_extension(LEFT);
        write(&left, attachment)?;
        remove(&path)?;
        Ok(Leftover { attachment: attachment.clone(), path: left, age: Duration::ZERO })
    }

    /// The attachments of pods that there are or may be.
    pub(crate) fn all(&self) -> Result<Vec<Attachment>> {
        let paths = self.with_extension("json")?;
        Ok(paths.iter().filter_map(|path| self.load(path)).collect())
    }

    /// The attachments of pods that went before their DEL had succeeded.
    pub(crate) fn left(&self) -> Result<Vec<Leftover>> {
        let left = |path: PathBuf| {
            let attachment = self.load(&path)?;
            let written = fs::metadata(&path).and_then(|found| found.modified()).ok();
            let age = written.and_then(|written| SystemTime::now().duration_since(written).ok());
            Some(Leftover { attachment, path, age: age.unwrap_or_default() })
        };
        Ok(self.with_extension(LEFT)?.into_iter().filter_map(left).collect())
    }

    fn with_extension(&self, wanted: &str) -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(&self.dir).map_err(NetError::state("read", &self.dir))?;
        let paths = entries.flatten().map(|entry| entry.path());
        Ok(paths.filter(|path| path.extension().is_some_and(|extension| extension == wanted)).collect())
    }

    fn load(&self, path: &Path) -> Option<Attachment> {
        let error = match sys::regular::read(path, LONGEST) {
            Ok(text) => match serde_json::from_slice(&text) {
                Ok(attachment) => return Some(attachment),
                Err(error) => error.into(),
            },
            Err(_) if !is_there(path) => return None,
            Err(error) => error,
        };
        tracing::warn!(path = %path.display(), %error, "cannot read a network attachment");
        if let Err(error) = Wanted::File.clear(path) {
            tracing::warn!(%error, "it stays in the way");
        }
        None
    }

    fn path(&self, container_id: &str, ifname: &str) -> PathBuf {
        self.dir.join(format!("{container_id}-{ifname}.json"))
    }
}

fn write(path: &Path, attachment: &Attachment) -> Result<()> {
    let encoded = serde_json::to_vec(attachment).map_err(io::Error::from);
    Ok(sys::fs::write_atomic(path, &encoded.map_err(NetError::state("encode", path))?, 0o600)?)
}

fn remove(path: &Path) -> Result<()> {
    sys::aside::remove(path).map_err(NetError::state("remove", path))
}

/// Makes a directory. Something else in its place is set aside.
pub(crate) fn make_dir(dir: &Path) -> Result<()> {
    if let Some(aside) = Wanted::Directory.clear(dir)? {
        tracing::error!(path = %dir.display(), aside = %aside.display(), "what is no directory is set aside");
    }
    fs::create_dir_all(dir).map_err(NetError::state("create", dir))
}
