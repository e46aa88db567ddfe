//! The archive of a layer, made again from its outline and its files.

use crate::digest::{Digest, Hasher};
use crate::unpack::{Outline, Part};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Most files that are named as damaged.
const NAMED: usize = 8;

/// The archive as a reader, hashed as it is read. A file that is missing, or has another size, reads as zeros, so that
/// the digest is wrong and everything else can still be looked at.
pub(crate) struct Assembled {
    outline: Outline,
    root: OwnedFd,
    current: Current,
    hasher: Hasher,
    /// Files that are missing or have another size; not all where there are many.
    pub damaged: Vec<String>,
    /// The outline itself cannot be read.
    pub unreadable: bool,
}

enum Current {
    Raw { bytes: Vec<u8>, at: usize },
    File { file: Option<File>, path: Vec<u8>, left: u64 },
    End,
}

impl Assembled {
    /// The archive of the layer in the directory.
    pub(crate) fn open(outline: &Path, directory: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self {
            outline: Outline::open(File::open(outline)?)?,
            root: rustix::fs::open(directory, flags, Mode::empty())?,
            current: Current::Raw { bytes: Vec::new(), at: 0 },
            hasher: Hasher::default(),
            damaged: Vec::new(),
            unreadable: false,
        })
    }

    /// The digest of what was read: the layer's diff id, where all is well.
    pub(crate) fn digest(self) -> Digest {
        self.hasher.finish()
    }

    fn advance(&mut self) -> io::Result<()> {
        let part = self.outline.next().inspect_err(|_| self.unreadable = true)?;
        self.current = match part {
            None => Current::End,
            Some(Part::Raw(bytes)) => Current::Raw { bytes, at: 0 },
            Some(Part::File { path, size }) => {
                let file = self.file(&path, size);
                if file.is_none() {
                    self.note(&path);
                }
                Current::File { file, path, left: size }
            }
        };
        Ok(())
    }

    /// The file, if it is one of this size. Its path may lead through links of the layer, as when it was unpacked.
    fn file(&self, path: &[u8], size: u64) -> Option<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let file = File::from(rustix::fs::openat2(&self.root, path, flags, Mode::empty(), how).ok()?);
        let found = file.metadata().ok()?;
        (found.is_file() && found.len() == size).then_some(file)
    }

    fn note(&mut self, path: &[u8]) {
        if self.damaged.len() < NAMED {
            let path: String = String::from_utf8_lossy(path).chars().take(256).collect();
            self.damaged.push(format!("{path} is missing or has another size"));
        }
    }
}

impl Read for Assembled {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let count = match &mut self.current {
                Current::End => return Ok(0),
                Current::Raw { bytes, at } => {
                    let rest = bytes.get(*at..).unwrap_or_default();
                    let count = rest.len().min(buffer.len());
                    buffer[..count].copy_from_slice(&rest[..count]);
                    *at += count;
                    count
                }
                Current::File { left: 0, .. } => 0,
                Current::File { file, path, left } => {
                    let most = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                    let part = &mut buffer[..most];
                    let count = file.as_mut().map_or(Ok(0), |file| file.read(part));
                    let count = match count {
                        Ok(count @ 1..) => count,
                        // Shorter than it was a moment ago, or the disk cannot read it.
                        Ok(0) | Err(_) => {
                            let path = file.take().map(|_| path.clone());
                            part.fill(0);
                            *left -= most as u64;
                            self.hasher.update(&buffer[..most]);
                            path.iter().for_each(|path| self.note(path));
                            return Ok(most);
                        }
                    };
                    *left -= count as u64;
                    count
                }
            };
            if count > 0 {
                self.hasher.update(&buffer[..count]);
                return Ok(count);
            }
            self.advance()?;
        }
    }
}
