//! The directories of the store.

use crate::digest::Digest;
use crate::error::ImageError;
use rustix::fs::{Mode, OFlags};
use std::fs::{DirBuilder, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use sys::aside::Wanted;

/// Sets aside what is no directory on the way from the root to one of the store's. Where the root is, is the operator's
/// business.
fn clear(root: &Path, directory: &Path) -> Result<(), ImageError> {
    let below: Vec<&Path> = directory.ancestors().take_while(|path| *path != root).collect();
    for path in below.into_iter().rev() {
        let cleared = Wanted::Directory.clear(path);
        if let Some(aside) = cleared.map_err(|error| ImageError::io("set aside", path)(error.into()))? {
            tracing::error!(path = %path.display(), aside = %aside.display(), "what is no directory is set aside");
        }
    }
    Ok(())
}

/// Where things are.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
    counter: Arc<AtomicU64>,
    /// The first number of this process.
    first: u64,
}

impl Layout {
    /// Makes what is missing and sets the modes: nobody but root passes the top directory, so that no
    /// unprivileged user of the host can run a set-id file of a layer.
    pub(crate) fn create(root: &Path) -> Result<Self, ImageError> {
        let mut layout = Self { root: root.to_owned(), counter: Arc::default(), first: 0 };
        for directory in [
            root.to_owned(),
            layout.blobs(),
            layout.layers(),
            layout.fixups(),
            layout.outlines(),
            layout.unfinished(),
            layout.ingest(),
        ] {
            clear(root, &directory)?;
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o700);
            builder.create(&directory).map_err(ImageError::io("make directory", &directory))?;
            std::fs::set_permissions(&directory, Permissions::from_mode(0o700))
                .map_err(ImageError::io("set the mode of", &directory))?;
        }
        let numbers = layout.left_over()?.into_iter().filter_map(|path| number(&path));
        layout.first = numbers.max().map_or(0, |last| last.saturating_add(1));
        layout.counter.store(layout.first, Ordering::Relaxed);
        Ok(layout)
    }

    /// What an earlier process was making, and what it had put aside.
    pub(crate) fn left_over(&self) -> Result<Vec<PathBuf>, ImageError> {
        let directory = self.ingest();
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&directory).map_err(ImageError::io("list", &directory))? {
            let path = entry.map_err(ImageError::io("list", &directory))?.path();
            if self.first == 0 || number(&path).is_none_or(|number| number < self.first) {
                found.push(path);
            }
        }
        Ok(found)
    }

    /// Takes a directory out of the way at once, to be removed from where it is then. That needs no room on the disk.
    pub(crate) fn set_aside(&self, path: &Path) -> Result<Option<PathBuf>, ImageError> {
        let aside = self.ingest_path();
        match std::fs::rename(path, &aside) {
            Ok(()) => Ok(Some(aside)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ImageError::io("put aside", path)(error)),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.root.join("meta.redb")
    }

    /// The file that takes up the room which removal needs on a full disk.
    pub(crate) fn reserve(&self) -> PathBuf {
        self.root.join(super::database::RESERVE_NAME)
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    pub(crate) fn layers(&self) -> PathBuf {
        self.root.join("layers/sha256")
    }

    pub(crate) fn fixups(&self) -> PathBuf {
        self.root.join("fixups")
    }

    pub(crate) fn outlines(&self) -> PathBuf {
        self.root.join("outlines")
    }

    pub(crate) fn unfinished(&self) -> PathBuf {
        self.root.join("unfinished")
    }

    pub(crate) fn ingest(&self) -> PathBuf {
        self.root.join("ingest")
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    pub(crate) fn layer(&self, diff_id: &Digest) -> PathBuf {
        self.layers().join(diff_id.hex())
    }

    /// The outline of a layer's archive (see [`crate::unpack::Outline`]).
    pub(crate) fn outline(&self, diff_id: &Digest) -> PathBuf {
        self.outlines().join(diff_id.hex())
    }

    /// The fix-up layer of an image id (`sha256:…`).
    pub(crate) fn fixup(&self, id: &str) -> PathBuf {
        self.fixups().join(id.rsplit(':').next().unwrap_or(id))
    }

    /// A number that was not used before in this process.
    pub(crate) fn next(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }

    fn ingest_path(&self) -> PathBuf {
        self.ingest().join(self.next().to_string())
    }

    /// A new empty directory, the root of a layer.
    pub(crate) fn ingest_dir(&self) -> Result<IngestDir, ImageError> {
        let path = self.ingest_path();
        std::fs::create_dir(&path).map_err(ImageError::io("make directory", &path))?;
        let directory = IngestDir { path: Some(path.clone()) };
        std::fs::set_permissions(&path, Permissions::from_mode(0o755))
            .map_err(ImageError::io("set the mode of", &path))?;
        Ok(directory)
    }

    /// A new empty file.
    pub(crate) fn ingest_file(&self) -> Result<IngestFile, ImageError> {
        let path = self.ingest_path();
        let file = File::options()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(ImageError::io("create", &path))?;
        Ok(IngestFile { path: Some(path), file })
    }

    /// Keeps a document: written, on the disk, in its place; the caller syncs the directory.
    pub(crate) fn write_blob(&self, digest: &Digest, bytes: &[u8]) -> Result<(), ImageError> {
        let target = self.blob(digest);
        if target.metadata().is_ok_and(|there| there.len() == bytes.len() as u64) {
            return Ok(());
        }
        let mut ingest = self.ingest_file()?;
        ingest.file.write_all(bytes).map_err(ImageError::io("write", &target))?;
        ingest.place(&target)
    }

    /// Makes renames into the directory of blobs durable.
    pub(crate) fn sync_blobs(&self) -> Result<(), ImageError> {
        let path = self.blobs();
        File::open(&path).and_then(|directory| directory.sync_all()).map_err(ImageError::io("sync", path))
    }

    /// Writes everything of the filesystem to the disk: cheaper than every file of a layer by itself.
    pub(crate) fn sync(&self) -> Result<(), ImageError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(&self.root, flags, Mode::empty())
            .and_then(rustix::fs::syncfs)
            .map_err(|errno| ImageError::io("sync", &self.root)(errno.into()))
    }
}

fn number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.parse().ok()
}

/// A directory in the making; gone when dropped before it got its place.
#[derive(Debug)]
pub(crate) struct IngestDir {
    path: Option<PathBuf>,
}

impl IngestDir {
    pub(crate) fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new("/nonexistent"))
    }

    pub(crate) fn rename_to(mut self, target: &Path) -> Result<(), ImageError> {
        let from = self.path();
        std::fs::rename(from, target).map_err(ImageError::io("rename to", target))?;
        self.path = None;
        Ok(())
    }
}

impl Drop for IngestDir {
    fn drop(&mut self) {
        if let Some(path) = self.path.take()
            && let Err(error) = remove_tree(&path)
        {
            tracing::warn!(%error, "an unfinished layer is left until the next start");
        }
    }
}

/// A file in the making; gone when dropped before it got its place.
#[derive(Debug)]
pub(crate) struct IngestFile {
    path: Option<PathBuf>,
    file: File,
}

impl IngestFile {
    /// The open file, to write.
    pub(crate) fn handle(&self) -> std::io::Result<File> {
        self.file.try_clone()
    }

    /// Bytes that it takes on the disk.
    pub(crate) fn disk_usage(&self) -> Result<u64, ImageError> {
        let found = self
            .file
            .metadata()
            .map_err(ImageError::io("look at", self.path.as_deref().unwrap_or(Path::new(""))))?;
        Ok(found.blocks() * 512)
    }

    /// Makes the content visible, and leaves it to others to make it durable.
    pub(crate) fn rename_to(mut self, target: &Path) -> Result<(), ImageError> {
        if let Some(path) = &self.path {
            std::fs::rename(path, target).map_err(ImageError::io("rename to", target))?;
        }
        self.path = None;
        Ok(())
    }

    /// Makes the content durable and then visible.
    pub(crate) fn place(mut self, target: &Path) -> Result<(), ImageError> {
        self.file.sync_all().map_err(ImageError::io("sync", target))?;
        if let Some(path) = &self.path {
            std::fs::rename(path, target).map_err(ImageError::io("rename to", target))?;
        }
        self.path = None;
        Ok(())
    }
}

impl Drop for IngestFile {
    fn drop(&mut self) {
        if let Some(path) = self.path.take()
            && let Err(error) = std::fs::remove_file(&path)
        {
            tracing::warn!(path = %path.display(), %error, "an unfinished blob is left until the next start");
        }
    }
}

/// Removes a directory with everything in it, without following links; one that is gone is no error.
pub(crate) fn remove_tree(path: &Path) -> Result<(), ImageError> {
    sys::tree::remove(path).map_err(|error| ImageError::io("remove", path)(error.into()))
}
