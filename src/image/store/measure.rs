//! What everything takes on its filesystem: blocks and inodes, as `du` counts them.
//!
//! Layers are counted once each, behind a pull. What lies beside them is a few small files an image, counted when it is
//! asked for after a change.

use super::record::FsUsage;
use super::{Store, lock};
use crate::digest::Digest;
use crate::metrics::Metrics;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Bytes of allocated blocks, and inodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    pub bytes: u64,
    pub inodes: u64,
}

/// What a layer takes so far that is being unpacked, as its unpacking knows it.
#[derive(Debug, Default)]
pub(crate) struct Growing {
    bytes: AtomicU64,
    inodes: AtomicU64,
}

impl Growing {
    /// Bytes and inodes so far.
    pub(crate) fn tell(&self, bytes: u64, inodes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
        self.inodes.store(inodes, Ordering::Relaxed);
    }
}

impl Taken {
    fn add(&mut self, found: &Stat) {
        self.bytes += u64::try_from(found.st_blocks).unwrap_or(0) * 512;
        self.inodes += 1;
    }
}

impl Store {
    /// What the whole store takes.
    pub(crate) fn fs_usage(&self) -> FsUsage {
        let layers = self.index().usage();
        let known = *lock(&self.beside);
        let beside = known.unwrap_or_else(|| {
            let counted = self.count_beside();
            *lock(&self.beside) = Some(counted);
            counted
        });
        let mut live = Taken::default();
        if let Ok(found) = rustix::fs::stat(self.layout.database()) {
            live.add(&found);
        }
        for growing in lock(&self.growing).iter().filter_map(Weak::upgrade) {
            live.bytes += growing.bytes.load(Ordering::Relaxed);
            live.inodes += growing.inodes.load(Ordering::Relaxed);
        }
        let (bytes, inodes) = self.unfinished_usage();
        FsUsage {
            mountpoint: self.layout.root().to_owned(),
            bytes: layers.layers + beside.bytes + live.bytes + bytes,
            inodes: layers.layer_inodes + beside.inodes + live.inodes + inodes,
        }
    }

    /// A layer begins to be unpacked: it counts until this is dropped.
    pub(crate) fn growing(&self) -> Arc<Growing> {
        let mut all = lock(&self.growing);
        all.retain(|growing| growing.strong_count() > 0);
        let growing = Arc::default();
        all.push(Arc::downgrade(&growing));
        growing
    }

    /// Something was put beside the layers, or taken away.
    pub(crate) fn changed_beside(&self) {
        *lock(&self.beside) = None;
    }

    /// Everything but what is in layers, what is being made, what interrupted pulls left, and the database, which
    /// changes at any time.
    fn count_beside(&self) -> Taken {
        let layout = &self.layout;
        let (layers, ingest, unfinished) = (layout.layers(), layout.ingest(), layout.unfinished());
        let (mut taken, mut waiting) = (Taken::default(), vec![layout.root().to_owned()]);
        while let Some(path) = waiting.pop() {
            if let Ok(found) = rustix::fs::lstat(&path) {
                taken.add(&found);
            }
            if [&layers, &ingest, &unfinished].contains(&&path) {
                continue;
            }
            for entry in std::fs::read_dir(&path).into_iter().flatten().flatten() {
                let below = entry.path();
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    waiting.push(below);
                } else if below != layout.database()
                    && let Ok(found) = rustix::fs::lstat(&below)
                {
                    taken.add(&found);
                }
            }
        }
        taken
    }

    /// What these layers take; one that goes away meanwhile needs no count. Blocks.
    pub(super) fn count(&self, layers: &[Digest]) -> Vec<(Digest, Taken)> {
        let count = |id: &Digest| Some((id.clone(), tree(&self.layout.layer(id)).ok()?));
        layers.iter().filter_map(count).collect()
    }

    /// Counts the layers that were not counted yet. The records learn it with the next pull. Blocks.
    pub(super) fn count_new(&self) {
        let waiting: Vec<Digest> = {
            let index = self.index();
            let waiting = index.layers.iter().filter(|(_, layer)| !layer.measured);
            waiting.map(|(id, _)| id.clone()).collect()
        };
        let counted = self.count(&waiting);
        self.index().measured(counted);
    }

    /// Tells the sizes to Prometheus, everything counted. Blocks.
    pub(crate) fn measure(&self, metrics: &Metrics) {
        self.count_new();
        let (usage, images) = {
            let index = self.index();
            (index.usage(), index.list().len())
        };
        metrics.store(images, usage.layers, usage.blobs, self.fs_usage().inodes);
    }
}

/// What the tree takes, itself included and hard links once; no link is followed.
fn tree(root: &Path) -> Result<Taken, Errno> {
    let top = rustix::fs::open(root, DIRECTORY, Mode::empty())?;
    let mut taken = Taken::default();
    taken.add(&rustix::fs::fstat(&top)?);
    let mut linked = HashSet::new();
    let mut waiting: Vec<Vec<u8>> = vec![b".".to_vec()];
    while let Some(path) = waiting.pop() {
        let directory = below(&top, &path)?;
        for entry in Dir::read_from(&directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let found = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let is_directory = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
            if is_directory || found.st_nlink < 2 || linked.insert(found.st_ino) {
                taken.add(&found);
            }
            if is_directory {
                waiting.push([&path, &b"/"[..], name.to_bytes()].concat());
            }
        }
    }
    Ok(taken)
}

fn below(top: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(top, std::ffi::OsStr::from_bytes(path), DIRECTORY, Mode::empty(), how)
}
