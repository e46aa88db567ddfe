//! Who has which address, remembered between calls.
//!
//! To find an attachment's addresses the standard plugin reads every file of the directory at each call. Here
//! they are read once, and again when the directory has changed by another hand. Whether an address is
//! free or whose it is when it is freed is always decided by the file itself; the index only says where
//! to look.

use super::owner::Owner;
use super::store::LONGEST;
use std::collections::HashMap;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use sys::sync::lock;

/// When the directory was changed last: inode, seconds, nanoseconds.
type Stamp = (u64, i64, i64);

#[derive(Debug, Default)]
struct Index {
    stamp: Option<Stamp>,
    entries: HashMap<IpAddr, Owner>,
}

/// The indexes, by directory.
#[derive(Debug, Default)]
pub(crate) struct Leases(Mutex<HashMap<PathBuf, Index>>);

impl Leases {
    /// Takes the index of a directory, whose lock the caller holds.
    pub(super) fn take(&self, directory: &Path) -> Guard<'_> {
        let index = lock(&self.0).remove(directory).unwrap_or_default();
        let valid = index.stamp.is_some() && index.stamp == stamp(directory);
        Guard { leases: self, directory: directory.to_path_buf(), index, valid }
    }
}

/// The index of one directory, taken while its lock is held and put back when it is released.
#[derive(Debug)]
pub(super) struct Guard<'a> {
    leases: &'a Leases,
    directory: PathBuf,
    index: Index,
    valid: bool,
}

impl Guard<'_> {
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

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if !self.valid {
            return;
        }
        let mut index = std::mem::take(&mut self.index);
        index.stamp = stamp(&self.directory);
        lock(&self.leases.0).insert(self.directory.clone(), index);
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
        // A file that vanishes meanwhile was freed by a hand that does not take the lock. What is no file says nobody's name.
        if let Ok(text) = sys::regular::read_text(&entry.path(), LONGEST) {
            entries.insert(ip, Owner::read(&text));
        }
    }
    Ok(entries)
}
