//! What interrupted pulls left, kept for the next try: the part of a layer that came in, and layers that are whole
//! while their image is not.
//!
//! ```text
//! unfinished/<digest>.part     the first bytes of a compressed layer
//!            <diff id>.layer   the record of an unpacked layer, until an image's record names it
//! ```
//! Neither is synced: after a kill they are right, and after a power loss they are not trusted (a part is verified
//! with the whole, a record names the boot in which it was written).

use super::rows::LayerRecord;
use super::{Layout, Store};
use crate::digest::Digest;
use crate::error::ImageError;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use sys::sync::lock;

/// The record of a layer that no image names yet.
#[derive(Serialize, Deserialize)]
struct Unfinished {
    diff_id: Digest,
    record: LayerRecord,
}

/// The part of a layer that is there already. The file stays when this is dropped, for the next try.
pub(crate) struct Partial {
    in_use: Arc<InUse>,
    path: PathBuf,
    file: File,
    length: u64,
}

/// The end of the file, for the one thread that writes there.
pub(crate) struct Kept {
    file: File,
    /// Until the thread has ended, nobody else may write.
    _in_use: Arc<InUse>,
}

impl Kept {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.file.write_all(bytes)
    }
}

struct InUse {
    store: Arc<Store>,
    digest: Digest,
}

impl Drop for InUse {
    fn drop(&mut self) {
        lock(&self.store.partials).remove(&self.digest);
    }
}

impl Partial {
    /// Bytes that are there.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn digest(&self) -> &Digest {
        &self.in_use.digest
    }

    /// The open file, to read what is there.
    pub(crate) fn handle(&self) -> Result<File, ImageError> {
        self.file.try_clone().map_err(ImageError::io("open", &self.path))
    }

    /// The end of the file, to write what comes.
    pub(crate) fn end(&self) -> Result<Kept, ImageError> {
        Ok(Kept { file: self.handle()?, _in_use: Arc::clone(&self.in_use) })
    }

    /// Makes the content durable and puts it in its place.
    pub(crate) fn place(self, target: &Path) -> Result<(), ImageError> {
        self.file.sync_all().map_err(ImageError::io("sync", &self.path))?;
        std::fs::rename(&self.path, target).map_err(ImageError::io("rename to", target))
    }

    /// It is of no use any more.
    pub(crate) fn discard(self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a part of a layer is left until the next clean-up");
        }
    }
}

impl Store {
    /// Opens what is there of a layer, or begins it; `None` while another download writes the same.
    pub(crate) fn partial(
        self: &Arc<Self>,
        digest: &Digest,
        size: u64,
    ) -> Result<Option<Partial>, ImageError> {
        if !lock(&self.partials).insert(digest.clone()) {
            return Ok(None);
        }
        let in_use = Arc::new(InUse { store: Arc::clone(self), digest: digest.clone() });
        let path = part(&self.layout, digest);
        let open = || -> std::io::Result<(File, u64)> {
            let file = File::options().read(true).append(true).create(true).open(&path)?;
            let mut length = file.metadata()?.len();
            if length > size {
                file.set_len(0)?;
                length = 0;
            }
            Ok((file, length))
        };
        let (file, length) = open().map_err(ImageError::io("open", &path))?;
        Ok(Some(Partial { in_use, path, file, length }))
    }

    /// Notes that the layer is whole, before it is put in its place.
    pub(super) fn note_unfinished(&self, diff_id: &Digest, record: &LayerRecord) -> Result<(), ImageError> {
        let path = note(&self.layout, diff_id);
        let unfinished = Unfinished { diff_id: diff_id.clone(), record: record.clone() };
        let text = serde_json::to_vec(&unfinished)
            .map_err(|source| ImageError::Record { id: diff_id.to_string(), source })?;
        std::fs::write(&path, text).map_err(ImageError::io("write", &path))?;
        lock(&self.unfinished).insert(diff_id.clone(), SystemTime::now());
        Ok(())
    }

    /// These layers need no notes any more: an image names them, or nobody shall.
    pub(crate) fn forget_unfinished(&self, diff_ids: &[Digest]) {
        for diff_id in diff_ids {
            if lock(&self.unfinished).remove(diff_id).is_some() {
                // One that stays is taken for damaged at the next start, and removed.
                let _ = std::fs::remove_file(note(&self.layout, diff_id));
            }
        }
    }

    /// Whether the layer is kept for the next try of the pull that brought it.
    pub(super) fn is_unfinished(&self, diff_id: &Digest) -> bool {
        lock(&self.unfinished).get(diff_id).is_some_and(|since| self.is_fresh(*since))
    }

    fn is_fresh(&self, since: SystemTime) -> bool {
        is_fresh(since, self.config().keep_unfinished())
    }

    /// Removes parts that nobody writes and that are too old (or all of those). Goes on past failures.
    pub(super) fn remove_parts(&self, all: bool) -> Result<(), ImageError> {
        let directory = self.layout.unfinished();
        let mut result = Ok(());
        for entry in std::fs::read_dir(&directory).map_err(ImageError::io("list", &directory))? {
            let path = entry.map_err(ImageError::io("list", &directory))?.path();
            let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
            let Ok(digest) = Digest::parse(&format!("sha256:{name}")) else { continue };
            let kept = if path.extension().is_some_and(|kind| kind == "part") {
                let written = path.metadata().and_then(|file| file.modified());
                let fresh = !all && written.is_ok_and(|written| self.is_fresh(written));
                fresh || lock(&self.partials).contains(&digest)
            } else {
                lock(&self.unfinished).contains_key(&digest)
            };
            if !kept {
                result = result.and(std::fs::remove_file(&path).map_err(ImageError::io("remove", &path)));
            }
        }
        result
    }

    /// Bytes and files of what is unfinished.
    pub(crate) fn unfinished_usage(&self) -> (u64, u64) {
        let Ok(entries) = std::fs::read_dir(self.layout.unfinished()) else { return (0, 0) };
        entries.flatten().filter_map(|entry| entry.metadata().ok()).fold((0, 0), |(bytes, files), file| {
            (bytes + std::os::unix::fs::MetadataExt::blocks(&file) * 512, files + 1)
        })
    }
}

/// The whole layers that an earlier daemon noted in this boot, and since when.
pub(super) fn load(layout: &Layout, boot_id: &str, keep: Duration) -> Vec<(Digest, LayerRecord, SystemTime)> {
    let Ok(entries) = std::fs::read_dir(layout.unfinished()) else { return Vec::new() };
    let mut found = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_none_or(|kind| kind != "layer") {
            continue;
        }
        let since = path.metadata().and_then(|file| file.modified());
        let noted =
            std::fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Unfinished>(&text).ok());
        match (noted, since) {
            (Some(Unfinished { diff_id, record }), Ok(since))
                if record.boot_id.as_deref() == Some(boot_id)
                    && is_fresh(since, keep)
                    && note(layout, &diff_id) == path
                    && layout.layer(&diff_id).is_dir() =>
            {
                found.push((diff_id, record, since));
            }
            _ => {
                // Its layer has no record then, and goes with the first sweep.
                let _ = std::fs::remove_file(&path);
            }
        }
    }
    found
}

/// A clock that was set back makes nothing younger than new.
fn is_fresh(since: SystemTime, keep: Duration) -> bool {
    match SystemTime::now().duration_since(since) {
        Ok(age) => age < keep,
        Err(ahead) => ahead.duration() < keep,
    }
}

fn part(layout: &Layout, digest: &Digest) -> PathBuf {
    layout.unfinished().join(format!("{}.part", digest.hex()))
}

fn note(layout: &Layout, diff_id: &Digest) -> PathBuf {
    layout.unfinished().join(format!("{}.layer", diff_id.hex()))
}
