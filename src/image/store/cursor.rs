//! A place in the merged tree of an image's layers: the same directory of every layer that has it, one open directory a
//! layer, moved a name at a time.

use crate::error::ImageError;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::path::Path;

pub(super) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const OPAQUE: &str = "trusted.overlay.opaque";

/// What a layer has at a place.
pub(super) enum Seen<'a> {
    Absent,
    /// Something that is no directory, or an opaque directory without it: nothing below shows through.
    Hidden,
    /// The directory, and whether nothing of the layers below shows through in it.
    Directory(&'a OwnedFd, bool),
}

/// The place in one layer; where the layer does not have it, the last one on the way that it has.
pub(super) struct Cursor {
    fd: OwnedFd,
    depth: usize,
    /// Why it goes no deeper: whether what is below is hidden.
    stopped: Option<bool>,
    /// The first directory on the way that is opaque.
    opaque: Option<usize>,
}

impl Cursor {
    pub(super) fn open(path: &Path) -> Result<Self, ImageError> {
        let fd = rustix::fs::open(path, DIRECTORY, Mode::empty())
            .map_err(|errno| ImageError::io("open", path)(errno.into()))?;
        let opaque = is_opaque(&fd).then_some(0);
        Ok(Self { fd, depth: 0, stopped: None, opaque })
    }

    /// Goes to the directory with this name, from the place that is so deep.
    pub(super) fn down(&mut self, depth: usize, name: &[u8]) -> Result<(), Errno> {
        if self.stopped.is_some() || self.depth != depth {
            return Ok(());
        }
        match rustix::fs::openat(&self.fd, name, DIRECTORY, Mode::empty()) {
            Ok(fd) => {
                self.fd = fd;
                self.depth += 1;
                if self.opaque.is_none() && is_opaque(&self.fd) {
                    self.opaque = Some(self.depth);
                }
            }
            Err(Errno::NOENT) => self.stopped = Some(self.opaque.is_some()),
            Err(Errno::NOTDIR | Errno::LOOP) => self.stopped = Some(true),
            Err(errno) => return Err(errno),
        }
        Ok(())
    }

    /// Goes back up to the place that is so deep.
    pub(super) fn up(&mut self, depth: usize) -> Result<(), Errno> {
        while self.depth > depth {
            self.fd = rustix::fs::openat(&self.fd, "..", DIRECTORY, Mode::empty())?;
            if self.opaque == Some(self.depth) {
                self.opaque = None;
            }
            self.depth -= 1;
        }
        if self.depth == depth {
            self.stopped = None;
        }
        Ok(())
    }

    /// What the layer has at the place that is so deep.
    pub(super) fn seen(&self, depth: usize) -> Seen<'_> {
        match self.stopped {
            _ if self.depth == depth => Seen::Directory(&self.fd, self.opaque.is_some()),
            Some(true) => Seen::Hidden,
            _ => Seen::Absent,
        }
    }
}

fn is_opaque(fd: &OwnedFd) -> bool {
    rustix::fs::fgetxattr(fd, OPAQUE, &mut [0u8; 8][..]).is_ok()
}
