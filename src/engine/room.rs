//! What removed pods and containers leave on the disk, and when its room has to be free before anybody hears of the
//! removal.
//!
//! A kubelet whose disk is short evicts a pod, waits until its containers are listed no more, and measures at once: room
//! that comes a moment later costs another pod.

use crate::Core;
use crate::error::EngineError;
use std::io::ErrorKind::{DirectoryNotEmpty, IsADirectory, NotADirectory, NotFound, StorageFull};
use std::path::{Path, PathBuf};
use std::time::Duration;
use sys::tree::Trash;
use tokio::sync::oneshot;

/// Names of directories whose pods or containers are removed begin so.
pub(crate) const REMOVED: &str = ".removed-";

/// Nobody waits longer than that for room.
const PATIENCE: Duration = Duration::from_secs(10);

/// Parts of a disk that the kubelet wants to have left by default, and some more: 15 % of the bytes, 5 % of the inodes.
const BYTES_SHORT: u64 = 5;
const INODES_SHORT: u64 = 10;

/// A container that has written so much may be one that a kubelet evicts, whatever it wants to have left.
const LARGE: u64 = 16 << 20;
const MANY: u64 = 512;

/// The end of a deletion that is waited for.
pub(crate) type Room = Option<oneshot::Receiver<()>>;

impl Core {
    /// Takes the directory of a removed pod or container out of the way at once, and tells where to.
    pub(crate) fn set_aside(&self, dir: &Path, id: &str) -> Result<Option<PathBuf>, EngineError> {
        let aside = dir.with_file_name(format!("{REMOVED}{id}"));
        match std::fs::rename(dir, &aside) {
            Ok(()) => return Ok(Some(aside)),
            Err(error) if error.kind() == NotFound => {}
            // A disk may be too full for another name, and the name may be taken.
            Err(error)
                if matches!(error.kind(), StorageFull | DirectoryNotEmpty | NotADirectory | IsADirectory) =>
            {
                sys::tree::remove(dir).map_err(|error| EngineError::io("remove", dir)(error.into()))?;
            }
            Err(error) => return Err(EngineError::io("set aside", dir)(error)),
        }
        Ok(None)
    }

    /// Deletes behind what a container had written; where that is much, or the disk is short, the end is told.
    pub(crate) fn discard_layer(&self, aside: PathBuf) -> Room {
        if !is_short(&self.paths.layers()) && !is_large(&aside) {
            self.trash.discard(aside);
            return None;
        }
        let (done, room) = oneshot::channel();
        // Nobody may wait any more.
        self.trash.discard_first(aside, move || {
            let _ = done.send(());
        });
        Some(room)
    }
}

/// Waits for room, where there is some to wait for. What takes long goes on behind.
pub(crate) async fn wait<T>(room: Option<impl Future<Output = T>>) {
    if let Some(room) = room
        && tokio::time::timeout(PATIENCE, room).await.is_err()
    {
        tracing::info!("what a removed container had takes long to delete: going on before its room is free");
    }
}

/// Where the files of removed pods and containers go; where their deletion fails, the next one and the next start try again.
pub(crate) fn trash() -> Trash {
    Trash::new(|path, error| {
        tracing::warn!(path = %path.display(), %error, "what was removed is not deleted: the next removal tries again, and the next start");
    })
}

/// Whether a kubelet may be about to make room on the filesystem.
fn is_short(dir: &Path) -> bool {
    let Ok(found) = rustix::fs::statvfs(dir) else { return false };
    // Some filesystems count no inodes.
    found.f_bavail.saturating_mul(BYTES_SHORT) < found.f_blocks
        || found.f_favail.saturating_mul(INODES_SHORT) < found.f_files
}

fn is_large(dir: &Path) -> bool {
    match sys::tree::usage(dir, MANY) {
        Ok(Some(usage)) => usage.bytes >= LARGE,
        Ok(None) => true,
        Err(_) => false,
    }
}
