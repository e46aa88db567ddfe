//! What a tree takes on its filesystem, as `du` counts it.

use super::trail::Trail;
use super::walk::Walk;
use crate::{SysError, SysResult};
use nix::sys::stat::FileStat;
use std::collections::HashSet;
use std::path::Path;

/// So many files with several names are known one by one: 2 MiB.
const KNOWN: usize = 1 << 16;
/// Parts of a file that has more names than those.
const PARTS: u128 = 1 << 32;

/// Bytes of allocated blocks, and inodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes.
    pub bytes: u64,
    /// Files, directories and everything else.
    pub inodes: u64,
}

/// A sum of what things take, in which a file with several names counts once.
#[derive(Debug, Default)]
pub struct Tally {
    usage: Usage,
    linked: HashSet<(u64, u64)>,
    /// Of files with several names behind those that are known: an equal part of the file for each name.
    parts: (u128, u128),
}

impl Tally {
    /// One more thing, under one of its names.
    pub fn add(&mut self, stat: &FileStat) {
        let bytes = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
        let is_dir = stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
        if !is_dir && stat.st_nlink > 1 {
            let key = (stat.st_dev, stat.st_ino);
            if self.linked.contains(&key) {
                return;
            }
            if self.linked.len() >= KNOWN {
                let names = u128::from(stat.st_nlink);
                self.parts.0 = self.parts.0.saturating_add(u128::from(bytes) * PARTS / names);
                self.parts.1 = self.parts.1.saturating_add(PARTS / names);
                return;
            }
            self.linked.insert(key);
        }
        self.usage.bytes = self.usage.bytes.saturating_add(bytes);
        self.usage.inodes += 1;
    }

    /// One that knows as many files with several names as it ever does.
    #[cfg(test)]
    pub(super) fn crowded() -> Self {
        Self { linked: (0..KNOWN as u64).map(|inode| (u64::MAX, inode)).collect(), ..Self::default() }
    }

    /// The sum so far.
    pub fn sum(&self) -> Usage {
        let whole = |parts: u128| u64::try_from((parts + PARTS / 2) / PARTS).unwrap_or(u64::MAX);
        Usage {
            bytes: self.usage.bytes.saturating_add(whole(self.parts.0)),
            inodes: self.usage.inodes.saturating_add(whole(self.parts.1)),
        }
    }
}

/// What the tree takes, itself included; `None` when there are more than `most` inodes. No link is followed, nothing
/// that is mounted counts, and what vanishes or cannot be read is no matter.
///
/// # Errors
/// The kernel's, of the top.
pub fn usage(top: &Path, most: u64) -> SysResult<Option<Usage>> {
    let trail = Trail::open(top)?;
    let mut tally = Tally::default();
    tally.add(&nix::sys::stat::fstat(trail.here()).map_err(SysError::nix("stat", top))?);
    let mut walk = Walk::new(trail);
    loop {
        match walk.advance() {
            Ok(Some(entry)) => tally.add(entry.stat),
            Ok(None) => return Ok(Some(tally.sum())),
            Err(_) => {}
        }
        if tally.usage.inodes > most {
            return Ok(None);
        }
    }
}
