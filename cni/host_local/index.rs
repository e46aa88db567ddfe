//! Who has which address, remembered between calls of one process.
//!
//! To find an attachment's addresses the standard plugin reads every file of the directory at each call. Here
//! they are read once, and again when the directory has changed by another hand. Whether an address is
//! free or whose it is when it is freed is always decided by the file itself; the index only says where
//! to look.

use super::store::Owner;
use std::collections::HashMap;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// When the directory was changed last: inode, seconds, nanoseconds.
type Stamp = (u64, i64, i64);

#[derive(Debug, Default)]
struct Index {
    stamp: Option<Stamp>,
    entries: HashMap<IpAddr, Owner>,
}

static INDEXES: Mutex<Option<HashMap<PathBuf, Index>>> = Mutex::new(None);

/// The index of one directory, taken while its lock is held and put back when it is released.
#[derive(Debug)]
pub(super) struct Guard {
    directory: PathBuf,
    index: Index,
    valid: bool,
}

impl Guard {
    /// Takes the index of a directory, whose lock the caller holds.
    pub(super) fn take(directory: &Path) -> Self {
        let mut all = INDEXES.lock().unwrap_or_else(PoisonError::into_inner);
        let index = all.get_or_insert_default().remove(directory).unwrap_or_default();
        let valid = index.stamp.is_some() && index.stamp == stamp(directory);
        Self { directory: directory.to_path_buf(), index, valid }
    }

    /// Every address and its owner.
    pub(super) fn entries(&mut self, directory: &Path) -> std::io::Result<&HashMap<IpAddr, Owner>> {
        if !self.valid {
            self.index.entries = scan(directory)?;
            self.valid = true;
        }
        Ok(&self.index.entries)
    }

    pub(super) fn insert(&mut self, ip: IpAddr, owner: Owner) {
        self.index.entries.insert(ip, owner);
    }

    pub(super) fn remove(&mut self, ip: IpAddr) {
        self.index.entries.remove(&ip);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.valid {
            return;
        }
        let mut index = std::mem::take(&mut self.index);
        index.stamp = stamp(&self.directory);
        let mut all = INDEXES.lock().unwrap_or_else(PoisonError::into_inner);
        all.get_or_insert_default().insert(self.directory.clone(), index);
    }
}

fn stamp(directory: &Path) -> Option<Stamp> {
    let found = std::fs::metadata(directory).ok()?;
    Some((found.ino(), found.mtime(), found.mtime_nsec()))
}

fn scan(directory: &Path) -> std::io::Result<HashMap<IpAddr, Owner>> {
    let mut entries = HashMap::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let Some(ip) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A file that vanishes meanwhile was freed by a hand that does not take the lock.
        if let Ok(text) = std::fs::read_to_string(entry.path()) {
            entries.insert(ip, Owner::read(&text));
        }
    }
    Ok(entries)
}
