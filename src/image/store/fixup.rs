//! Attributes of directories that a layer holds but does not describe.
//!
//! A layer may have `tmp/x` without an entry for `tmp`. Unpacked by itself it gets a `tmp` made up for it,
//! which in the overlay would hide the mode and owner that a layer below gives `tmp`. As layers are shared
//! by images with different layers below, they stay as they are: an image that needs it gets one more layer
//! on top, with nothing but those directories, as the layers below describe them.

use super::layout::IngestDir;
use super::record::ImageRecord;
use super::{Layout, Store};
use crate::error::ImageError;
use rustix::fd::OwnedFd;
use rustix::fs::{Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const OVERLAY: &[u8] = b"trusted.overlay.";
const OPAQUE: &str = "trusted.overlay.opaque";

impl Store {
    /// Makes the image's fix-up layer, where it needs one, and then the image visible.
    pub(crate) fn finish_image(&self, mut record: ImageRecord) -> Result<(), ImageError> {
        let target = self.layout.fixup(&record.id);
        if let Some((directory, inodes)) = self.fixup(&record)? {
            // The same image always needs the same: one that is there may be in use.
            if !target.exists() {
                directory.rename_to(&target)?;
            }
            record.fixup = inodes;
        }
        self.commit(record)
    }

    pub(crate) fn fixup(&self, record: &ImageRecord) -> Result<Option<(IngestDir, u64)>, ImageError> {
        let mut stack = Vec::with_capacity(record.layers.len());
        for id in record.layers.iter().rev() {
            let implied = self.layer(id).map(|layer| layer.implied).unwrap_or_default();
            stack.push(LayerDir::open(&self.layout, id, implied)?);
        }
        let implied: BTreeSet<&String> = stack.iter().flat_map(|layer| &layer.implied).collect();
        let mut needed = BTreeMap::new();
        for path in implied {
            if let Some(view) = view(&stack, path)?
                && view.described.differs(&view.top)
            {
                needed.insert(path.clone(), view.described);
            }
        }
        if needed.is_empty() {
            return Ok(None);
        }
        // The way to each of them, and the root, have to look as they would without this layer.
        let ways: BTreeSet<String> = needed.keys().flat_map(|path| above(path)).collect();
        for path in ways {
            if !needed.contains_key(&path)
                && let Some(view) = view(&stack, &path)?
            {
                needed.insert(path, view.described);
            }
        }
        let directory = self.layout.ingest_dir()?;
        build(directory.path(), &needed)?;
        let inodes = needed.len() as u64;
        Ok(Some((directory, inodes)))
    }
}

/// The directory of a layer in an image's stack.
pub(crate) struct LayerDir {
    root: OwnedFd,
    implied: HashSet<String>,
}

/// A directory of the merged tree.
struct View {
    /// As the highest layer that has it shows it: what an overlay of these layers shows.
    top: Attributes,
    /// As the highest layer with an entry for it describes it; `top` where none does.
    described: Attributes,
}

#[derive(Clone)]
struct Attributes {
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: (i64, i64),
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

enum Seen {
    Absent,
    /// Something that is no directory, or an opaque directory without it: nothing below shows through.
    Hidden,
    Directory(OwnedFd, bool),
}

impl LayerDir {
    fn open(layout: &Layout, id: &crate::Digest, implied: Vec<String>) -> Result<Self, ImageError> {
        let path = layout.layer(id);
        let root = rustix::fs::open(&path, DIRECTORY, Mode::empty())
            .map_err(|errno| ImageError::io("open", &path)(errno.into()))?;
        Ok(Self { root, implied: implied.into_iter().collect() })
    }

    fn look(&self, path: &str) -> Result<Seen, Errno> {
        let mut opaque = false;
        let mut found = None;
        for prefix in above(path).into_iter().chain([path.to_owned()]) {
            let name = if prefix.is_empty() { "." } else { prefix.as_str() };
            let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            match rustix::fs::openat2(&self.root, name, DIRECTORY, Mode::empty(), how) {
                Ok(fd) => {
                    opaque |= rustix::fs::fgetxattr(&fd, OPAQUE, &mut [0u8; 8][..]).is_ok();
                    found = Some(fd);
                }
                Err(Errno::NOENT) if !opaque => return Ok(Seen::Absent),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Seen::Hidden),
                Err(errno) => return Err(errno),
            }
        }
        Ok(found.map_or(Seen::Absent, |fd| Seen::Directory(fd, opaque)))
    }
}

/// The path's ancestors from the root (the empty path) on, without itself.
fn above(path: &str) -> Vec<String> {
    if path.is_empty() {
        return Vec::new();
    }
    let slashes = path.match_indices('/').map(|(at, _)| path[..at].to_owned());
    std::iter::once(String::new()).chain(slashes).collect()
}

fn view(stack: &[LayerDir], path: &str) -> Result<Option<View>, ImageError> {
    let failed = |errno: Errno| ImageError::io("look at layer directory", path)(errno.into());
    let mut top = None;
    for layer in stack {
        match layer.look(path).map_err(failed)? {
            Seen::Absent => {}
            Seen::Hidden => break,
            Seen::Directory(fd, opaque) => {
                let attributes = Attributes::read(&fd).map_err(failed)?;
                let top = top.get_or_insert_with(|| attributes.clone());
                if !layer.implied.contains(path) {
                    return Ok(Some(View { top: top.clone(), described: attributes }));
                }
                if opaque {
                    break;
                }
            }
        }
    }
    Ok(top.map(|top| View { described: top.clone(), top }))
}

impl Attributes {
    fn read(fd: &OwnedFd) -> Result<Self, Errno> {
        let stat = rustix::fs::fstat(fd)?;
        let mut xattrs = BTreeMap::new();
        let mut names = vec![0u8; 64 << 10];
        let length = match rustix::fs::flistxattr(fd, names.as_mut_slice()) {
            Err(Errno::OPNOTSUPP) => 0,
            other => other?,
        };
        for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            if name.starts_with(OVERLAY) {
                continue;
            }
            let mut value = vec![0u8; 64 << 10];
            let length = rustix::fs::fgetxattr(fd, name, value.as_mut_slice())?;
            value.truncate(length);
            xattrs.insert(name.to_vec(), value);
        }
        Ok(Self {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: (stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0)),
            xattrs,
        })
    }

    fn differs(&self, other: &Self) -> bool {
        (self.mode, self.uid, self.gid) != (other.mode, other.uid, other.gid) || self.xattrs != other.xattrs
    }

    fn apply(&self, fd: &OwnedFd) -> Result<(), Errno> {
        rustix::fs::fchown(fd, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))?;
        rustix::fs::fchmod(fd, Mode::from_raw_mode(self.mode))?;
        for (name, value) in &self.xattrs {
            rustix::fs::fsetxattr(fd, name.as_slice(), value, XattrFlags::empty())?;
        }
        let time = Timespec { tv_sec: self.mtime.0, tv_nsec: self.mtime.1 };
        rustix::fs::futimens(fd, &Timestamps { last_access: time, last_modification: time })
    }
}

/// Makes the directories, parents before children, and then sets their attributes the other way round.
fn build(root: &Path, directories: &BTreeMap<String, Attributes>) -> Result<(), ImageError> {
    for path in directories.keys().filter(|path| !path.is_empty()) {
        let path = root.join(path);
        std::fs::create_dir(&path).map_err(ImageError::io("make directory", &path))?;
    }
    for (path, attributes) in directories.iter().rev() {
        let path = root.join(path);
        rustix::fs::open(&path, DIRECTORY, Mode::empty())
            .and_then(|fd| attributes.apply(&fd))
            .map_err(|errno| ImageError::io("set the attributes of", &path)(errno.into()))?;
    }
    Ok(())
}
