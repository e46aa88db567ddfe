//! The content of a file goes to the disk, with the holes that it has.

use super::error::UnpackError;
use super::sparse::Segment;
use super::tree::failed;
use rustix::fd::OwnedFd;
use rustix::io::Errno;

/// Writes the segments of a file one after the other.
pub(super) struct Content<'a> {
    file: &'a OwnedFd,
    path: &'a [u8],
    segments: std::slice::Iter<'a, Segment>,
    current: Segment,
}

impl<'a> Content<'a> {
    pub(super) fn new(file: &'a OwnedFd, path: &'a [u8], segments: &'a [Segment]) -> Self {
        Self { file, path, segments: segments.iter(), current: Segment::default() }
    }

    pub(super) fn write(&mut self, mut piece: &[u8]) -> Result<(), UnpackError> {
        while !piece.is_empty() {
            if self.current.length == 0 {
                match self.segments.next() {
                    Some(next) => self.current = *next,
                    // The segments are as long as the content.
                    None => return Ok(()),
                }
                continue;
            }
            let most = usize::try_from(self.current.length).unwrap_or(usize::MAX).min(piece.len());
            match rustix::io::pwrite(self.file, &piece[..most], self.current.offset) {
                Ok(count) => {
                    piece = &piece[count..];
                    self.current.offset += count as u64;
                    self.current.length -= count as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(failed("write", self.path)(errno)),
            }
        }
        Ok(())
    }
}
