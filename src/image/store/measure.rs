//! What everything takes on its filesystem: blocks and inodes, as `du` counts them.
//!
//! Layers are counted once each, behind a pull. What lies beside them is a few small files an image, counted when it is
//! asked for after a change.

use super::Store;
use crate::digest::Digest;
use crate::metrics::Metrics;
use model::FsUsage;
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use sys::sync::lock;
use sys::tree::{Tally, Trail, Walk};

/// Bytes of allocated blocks, and inodes.
pub(crate) type Taken = sys::tree::Usage;

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

impl Store {
    /// What the whole store takes, in allocated blocks: layers, blobs, directories and records.
    pub(crate) fn fs_usage(&self) -> FsUsage {
        let layers = self.index().usage();
        let known = *lock(&self.beside);
        let beside = known.unwrap_or_else(|| {
            let counted = self.count_beside();
            *lock(&self.beside) = Some(counted);
            counted
        });
        let mut live = Taken::default();
        for changing in [self.layout.database(), self.layout.reserve()] {
            if let Ok(found) = std::fs::metadata(changing) {
                live.bytes += found.blocks() * 512;
                live.inodes += 1;
            }
        }
        for growing in lock(&self.growing).iter().filter_map(Weak::upgrade) {
            live.bytes += growing.bytes.load(Ordering::Relaxed);
            live.inodes += growing.inodes.load(Ordering::Relaxed);
        }
        let (bytes, inodes) = self.unfinished_usage();
        let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        FsUsage {
            timestamp: since_1970.map_or(0, |time| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)),
            mountpoint: self.layout.root().to_owned(),
            bytes: layers.layers + beside.bytes + live.bytes + bytes,
            inodes: layers.layer_inodes + beside.inodes + live.inodes + inodes,
        }
    }

    /// What the reserve takes, if there was room for it.
    pub(crate) fn reserved(&self) -> u64 {
        std::fs::metadata(self.layout.reserve()).map_or(0, |found| found.blocks() * 512)
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

    /// Everything but what is in layers, what is being made, what interrupted pulls left, the database and its
    /// reserve, which change at any time.
    fn count_beside(&self) -> Taken {
        let mut tally = Tally::default();
        let Ok(top) = Trail::open(self.layout.root()) else { return tally.sum() };
        if let Ok(found) = nix::sys::stat::fstat(top.here()) {
            tally.add(&found);
        }
        let mut walk = Walk::new(top);
        let (mut of_layers, mut skips) = (false, false);
        loop {
            match walk.advance() {
                Ok(Some(entry)) => {
                    let name = entry.name.to_bytes();
                    if entry.depth == 0 {
                        of_layers = name == b"layers";
                        skips = matches!(name, b"ingest" | b"unfinished");
                    }
                    skips |= of_layers && entry.depth == 1;
                    if entry.depth > 0 || !matches!(name, b"meta.redb" | b"reserve") {
                        tally.add(entry.stat);
                    }
                }
                Ok(None) => return tally.sum(),
                // What cannot be read does not count.
                Err(_) => {}
            }
            if std::mem::take(&mut skips) {
                walk.skip();
            }
        }
    }

    /// What these layers take; one that goes away meanwhile needs no count. Blocks.
    pub(super) fn count(&self, layers: &[Digest]) -> Vec<(Digest, Taken)> {
        let count =
            |id: &Digest| Some((id.clone(), sys::tree::usage(&self.layout.layer(id), u64::MAX).ok()??));
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
