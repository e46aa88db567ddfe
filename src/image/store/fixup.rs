//! Attributes of directories that a layer holds but does not describe.
//!
//! A layer may have `tmp/x` without an entry for `tmp`. Unpacked by itself it gets a `tmp` made up for it,
//! which in the overlay would hide the mode and owner that a layer below gives `tmp`. As layers are shared
//! by images with different layers below, they stay as they are: an image that needs it gets one more layer
//! on top, with nothing but those directories, as the layers below describe them.

use super::cursor::{Cursor, DIRECTORY, Seen};
use super::layout::IngestDir;
use super::merged::Merged;
use super::rows::ImageRecord;
use super::{Layout, Store};
use crate::digest::Digest;
use crate::error::ImageError;
use crate::unpack::{Outline, Paths};
use rustix::fd::OwnedFd;
use rustix::fs::{Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::File;

const OVERLAY: &[u8] = b"trusted.overlay.";
/// The most bytes that the paths of all these directories of an image take, each without what it shares with the one
/// before it: a million directories with usual names.
const MOST_PATHS: usize = 32 << 20;

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
        let (mut lists, mut left) = (Vec::with_capacity(record.layers.len()), MOST_PATHS);
        for id in record.layers.iter().rev() {
            let paths = self.implied(id, left)?;
            left = left.saturating_sub(paths.encoded().len());
            lists.push(paths);
        }
        if lists.iter().all(Paths::is_empty) {
            return Ok(None);
        }
        let mut place = Place::open(&self.layout, record)?;
        let mut merged = Merged::new(&lists);
        while let Some((path, layers)) = merged.next() {
            place.go_to(&path, layers)?;
        }
        place.finish()
    }

    /// The directories that the layer does not describe.
    fn implied(&self, id: &Digest, most: usize) -> Result<Paths, ImageError> {
        let Some(layer) = self.layer(id) else { return Ok(Paths::default()) };
        if !layer.outlined {
            return Ok(Paths::of(&layer.implied));
        }
        let path = self.layout.outline(id);
        let read = File::open(&path).and_then(Outline::open).and_then(|outline| outline.paths(most));
        read.map_err(|error| match error.kind() {
            std::io::ErrorKind::OutOfMemory => ImageError::Undescribed { limit: MOST_PATHS },
            _ => ImageError::io("read", path)(error),
        })
    }
}

/// A place in the merged tree, and the directory of the fix-up layer there.
struct Place<'a> {
    layout: &'a Layout,
    /// Top first.
    layers: Vec<Cursor>,
    path: Vec<u8>,
    /// Where the names of the path end, and which layers do not describe the directory there; the root comes first.
    levels: Vec<(usize, Vec<usize>)>,
    target: Option<Target>,
}

/// The fix-up layer in the making.
struct Target {
    directory: IngestDir,
    /// The deepest directory on the way to the place that is made.
    fd: OwnedFd,
    depth: usize,
    inodes: u64,
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

impl<'a> Place<'a> {
    fn open(layout: &'a Layout, record: &ImageRecord) -> Result<Self, ImageError> {
        let layers = record.layers.iter().rev().map(|id| Cursor::open(&layout.layer(id)));
        let layers = layers.collect::<Result<_, _>>()?;
        Ok(Self { layout, layers, path: Vec::new(), levels: vec![(0, Vec::new())], target: None })
    }

    fn depth(&self) -> usize {
        self.levels.len() - 1
    }

    fn failed(&self, operation: &'static str) -> impl Fn(Errno) -> ImageError + use<> {
        let path = String::from_utf8_lossy(&self.path).into_owned();
        move |errno| ImageError::io(operation, &path)(errno.into())
    }

    /// Goes to the directory, which those layers do not describe, and makes it where it has to look otherwise.
    fn go_to(&mut self, path: &[u8], layers: Vec<usize>) -> Result<(), ImageError> {
        let shared = self.path.iter().zip(path).take_while(|(one, other)| one == other).count();
        while let Some((end, _)) = self.levels.last()
            && self.depth() > 0
            && (*end > shared || path.get(*end).is_some_and(|byte| *byte != b'/'))
        {
            self.up()?;
        }
        loop {
            if self.is_alone() {
                // As the one layer has it, so it is seen, and everything below.
                return Ok(());
            }
            let rest = path.get(self.path.len()..).unwrap_or_default();
            let rest = rest.strip_prefix(b"/").unwrap_or(rest);
            let Some(name) = rest.split(|byte| *byte == b'/').next().filter(|name| !name.is_empty()) else {
                break;
            };
            self.down(name)?;
        }
        if let Some((_, without)) = self.levels.last_mut() {
            *without = layers;
        }
        match self.view()? {
            Some(view) if view.described.differs(&view.top) => self.make(),
            _ => Ok(()),
        }
    }

    /// Whether no more than one layer shows the directory.
    fn is_alone(&self) -> bool {
        let depth = self.depth();
        let seen = self.layers.iter().map(|layer| layer.seen(depth));
        let seen = seen.take_while(|seen| !matches!(seen, Seen::Hidden));
        seen.filter(|seen| matches!(seen, Seen::Directory(..))).take(2).count() < 2
    }

    fn down(&mut self, name: &[u8]) -> Result<(), ImageError> {
        let (depth, failed) = (self.depth(), self.failed("look at layer directory"));
        self.layers.iter_mut().try_for_each(|layer| layer.down(depth, name)).map_err(failed)?;
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
        self.levels.push((self.path.len(), Vec::new()));
        Ok(())
    }

    fn up(&mut self) -> Result<(), ImageError> {
        self.settle()?;
        self.levels.pop();
        let (depth, failed) = (self.depth(), self.failed("look at layer directory"));
        self.path.truncate(self.levels.last().map_or(0, |(end, _)| *end));
        self.layers.iter_mut().try_for_each(|layer| layer.up(depth)).map_err(failed)
    }

    fn view(&self) -> Result<Option<View>, ImageError> {
        let failed = self.failed("look at layer directory");
        let (depth, without) = (self.depth(), self.levels.last().map(|(_, layers)| layers));
        let mut top = None;
        for (number, layer) in self.layers.iter().enumerate() {
            match layer.seen(depth) {
                Seen::Absent => {}
                Seen::Hidden => break,
                Seen::Directory(fd, opaque) => {
                    let attributes = Attributes::read(fd).map_err(&failed)?;
                    let top = top.get_or_insert_with(|| attributes.clone());
                    if without.is_none_or(|without| !without.contains(&number)) {
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

    /// Makes the directory, and the way to it.
    fn make(&mut self) -> Result<(), ImageError> {
        let failed = self.failed("make directory");
        let target = match &mut self.target {
            Some(target) => target,
            none => {
                let directory = self.layout.ingest_dir()?;
                let fd = rustix::fs::open(directory.path(), DIRECTORY, Mode::empty()).map_err(&failed)?;
                none.insert(Target { directory, fd, depth: 0, inodes: 1 })
            }
        };
        for level in self.levels.windows(2).skip(target.depth) {
            let [(start, _), (end, _)] = level else { continue };
            let name = self.path.get(*start..*end).unwrap_or_default();
            let name = name.strip_prefix(b"/").unwrap_or(name);
            rustix::fs::mkdirat(&target.fd, name, Mode::from_raw_mode(0o700)).map_err(&failed)?;
            target.fd = rustix::fs::openat(&target.fd, name, DIRECTORY, Mode::empty()).map_err(&failed)?;
            target.depth += 1;
            target.inodes += 1;
        }
        Ok(())
    }

    /// The directory is about to be left: nothing changes below it any more. Where it was made, it gets to look as it
    /// would without this layer.
    fn settle(&mut self) -> Result<(), ImageError> {
        let depth = self.depth();
        if self.target.as_ref().is_none_or(|target| target.depth != depth) {
            return Ok(());
        }
        let view = self.view()?;
        let failed = self.failed("set the attributes of");
        if let Some(target) = &mut self.target {
            if let Some(view) = view {
                view.described.apply(&target.fd).map_err(&failed)?;
            }
            if depth > 0 {
                target.fd =
                    rustix::fs::openat(&target.fd, "..", DIRECTORY, Mode::empty()).map_err(&failed)?;
                target.depth -= 1;
            }
        }
        Ok(())
    }

    /// The directory with everything that had to be made, and its inodes.
    fn finish(mut self) -> Result<Option<(IngestDir, u64)>, ImageError> {
        while self.depth() > 0 {
            self.up()?;
        }
        self.settle()?;
        Ok(self.target.map(|target| (target.directory, target.inodes)))
    }
}

impl Attributes {
    fn read(fd: &OwnedFd) -> Result<Self, Errno> {
        let stat = rustix::fs::fstat(fd)?;
        let mut xattrs = BTreeMap::new();
        let mut none = [0u8; 0];
        let length = match rustix::fs::flistxattr(fd, &mut none[..]) {
            Err(Errno::OPNOTSUPP) => 0,
            other => other?,
        };
        let mut names = vec![0u8; length];
        let length = if length > 0 { rustix::fs::flistxattr(fd, names.as_mut_slice())? } else { 0 };
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
