//! What all containers together have on their filesystem, for ImageFsInfo.
//!
//! Counting means walking. A walk is at most a twentieth of the time: until the next is due, readers get the last count
//! with its time. A count that took long is renewed behind the scenes.

use super::Stats;
use super::layer::{SHARE, measure};
use crate::error::EngineError;
use crate::{blocking, now};
use model::FsUsage;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use sys::sync::lock;

/// Nobody waits longer than that for a second count.
const PATIENCE: Duration = Duration::from_millis(50);

/// The last count.
#[derive(Default)]
pub(crate) struct Disk(Mutex<Known>);

#[derive(Default)]
struct Known {
    counted: Option<Counted>,
    renewing: bool,
}

#[derive(Clone)]
struct Counted {
    usage: FsUsage,
    at: Instant,
    took: Duration,
}

impl Stats {
    /// Bytes and inodes of everything that containers have written.
    pub(crate) async fn containers_on_disk(self: &Arc<Self>) -> Result<FsUsage, EngineError> {
        let known = lock(&self.disk.0).counted.clone();
        if let Some(known) = known {
            if known.at.elapsed() < known.took * SHARE {
                return Ok(known.usage);
            }
            if known.took > PATIENCE {
                self.renew();
                return Ok(known.usage);
            }
        }
        let reader = Arc::clone(self);
        blocking("measuring writable layers", move || Ok(reader.count_disk())).await
    }

    fn renew(self: &Arc<Self>) {
        if !std::mem::replace(&mut lock(&self.disk.0).renewing, true) {
            let reader = Arc::clone(self);
            tokio::task::spawn_blocking(move || {
                reader.count_disk();
                lock(&reader.disk.0).renewing = false;
            });
        }
    }

    fn count_disk(&self) -> FsUsage {
        let (root, at, timestamp) = (self.layers.clone(), Instant::now(), now());
        // The kubelet takes a failure for a broken runtime: what cannot be read counts as nothing.
        let (bytes, inodes) = measure(&root, u64::MAX).ok().flatten().unwrap_or_default();
        let usage = FsUsage { timestamp, mountpoint: root.to_path_buf(), bytes, inodes };
        lock(&self.disk.0).counted = Some(Counted { usage: usage.clone(), at, took: at.elapsed() });
        usage
    }
}
