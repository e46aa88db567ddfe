//! Content that another runtime has kept on this host: a file a blob, by its digest.

use super::archive::{Blobs, MAX_DOCUMENT};
use crate::digest::Digest;
use crate::error::ImageError;
use bytes::Bytes;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use sys::regular;

/// A directory with `blobs/sha256/<digits>`.
#[derive(Clone)]
pub(super) struct Content {
    root: PathBuf,
    /// What was found to be something else.
    spoilt: Vec<Digest>,
    /// Whether anything came from elsewhere.
    fetched: Arc<AtomicBool>,
}

impl Content {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, spoilt: Vec::new(), fetched: Arc::default() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.root
    }

    /// Goes on without this blob; `false` where it did so before.
    pub(super) fn distrust(&mut self, digest: &Digest) -> bool {
        let is_new = !self.spoilt.contains(digest);
        self.spoilt.push(digest.clone());
        is_new
    }

    pub(super) fn note_fetched(&self) {
        self.fetched.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_fetched(&self) -> bool {
        self.fetched.load(Ordering::Relaxed)
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }
}

impl Blobs for Content {
    fn verified(&self, digest: &Digest) -> Result<Bytes, ImageError> {
        let path = self.blob(digest);
        let mut bytes = Vec::new();
        let read = self.open(digest)?.take(MAX_DOCUMENT + 1).read_to_end(&mut bytes);
        read.map_err(ImageError::io("read", &path))?;
        if bytes.len() as u64 > MAX_DOCUMENT {
            return Err(ImageError::ArchiveDocument { name: digest.to_string(), limit: MAX_DOCUMENT });
        }
        let actual = Digest::of(&bytes);
        if actual == *digest {
            return Ok(Bytes::from(bytes));
        }
        Err(ImageError::Spoilt { root: self.root.clone(), expected: digest.clone(), actual })
    }

    fn open(&self, digest: &Digest) -> Result<File, ImageError> {
        let path = self.blob(digest);
        let missing = || ImageError::NotKept { root: self.root.clone(), digest: digest.clone() };
        if self.spoilt.contains(digest) {
            return Err(missing());
        }
        match regular::open_regular(&path) {
            Ok(file) => Ok(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing()),
            Err(source) => Err(ImageError::io("open", path)(source)),
        }
    }

    fn has(&self, digest: &Digest) -> bool {
        !self.spoilt.contains(digest) && self.blob(digest).is_file()
    }
}
