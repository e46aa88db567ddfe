//! Trees of files, compared and digested: types, modes, owners, sizes, times, links, devices and the attributes that
//! layers may have.

use crate::digest::{Digest, Hasher};
use crate::error::ImageError;
use rustix::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// The largest list of names and the largest value that the kernel has (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const MOST_XATTR: usize = 64 << 10;
const PIECE: usize = 256 << 10;

/// Names and values.
type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// What is known of a file without reading it.
#[derive(Debug, PartialEq, Eq)]
struct Node {
    kind: FileType,
    mode: u32,
    owner: (u32, u32),
    /// Of files; directories have what their filesystem likes.
    size: u64,
    /// Of all but directories.
    links: i128,
    device: u64,
    mtime: (i64, i64),
    target: Vec<u8>,
    xattrs: Xattrs,
}

/// A tree that is looked at, whatever is in it: no link is followed.
pub(super) struct Tree<'a> {
    path: &'a Path,
    root: OwnedFd,
}

impl<'a> Tree<'a> {
    pub(super) fn open(path: &'a Path) -> Result<Self, ImageError> {
        let root = rustix::fs::open(path, DIRECTORY, Mode::empty())
            .map_err(|errno| ImageError::io("open", path)(errno.into()))?;
        Ok(Self { path, root })
    }

    /// How `self` differs from what it should be, at most `most` differences. `timeless` are directories whose times
    /// nothing has set.
    pub(super) fn differences(
        &self,
        should: &Self,
        timeless: &BTreeSet<String>,
        most: usize,
    ) -> Result<Vec<String>, ImageError> {
        let mut found = Vec::new();
        let mut waiting = vec![Vec::new()];
        compare(b"", &should.node(b"")?, &self.node(b"")?, timeless, &mut found);
        while let Some(path) = waiting.pop() {
            let (have, want) = (self.names(&path)?, should.names(&path)?);
            for name in have.union(&want) {
                if found.len() >= most {
                    return Ok(found);
                }
                let below = join(&path, name);
                match (have.contains(name), want.contains(name)) {
                    (true, true) => {
                        let (is, should) = (self.node(&below)?, should.node(&below)?);
                        compare(&below, &should, &is, timeless, &mut found);
                        if is.kind == FileType::Directory && should.kind == FileType::Directory {
                            waiting.push(below);
                        }
                    }
                    (true, false) => found.push(format!("{} does not belong there", shown(&below))),
                    (false, _) => found.push(format!("{} is missing", shown(&below))),
                }
            }
        }
        Ok(found)
    }

    /// A digest of everything, contents included.
    pub(super) fn digest(&self) -> Result<Digest, ImageError> {
        let mut hasher = Hasher::default();
        let mut waiting = vec![Vec::new()];
        while let Some(path) = waiting.pop() {
            for name in self.names(&path)? {
                let below = join(&path, &name);
                let node = self.node(&below)?;
                hasher.update(&(below.len() as u64).to_le_bytes());
                hasher.update(&below);
                hasher.update(format!("{node:?}").as_bytes());
                match node.kind {
                    FileType::Directory => waiting.push(below),
                    FileType::RegularFile => self.content(&below, &mut hasher)?,
                    _ => {}
                }
            }
        }
        Ok(hasher.finish())
    }

    fn content(&self, path: &[u8], hasher: &mut Hasher) -> Result<(), ImageError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut file = std::fs::File::from(self.open_below(path, flags)?);
        let mut piece = vec![0; PIECE];
        loop {
            let count = file.read(&mut piece).map_err(ImageError::io("read", self.path.join(shown(path))))?;
            if count == 0 {
                return Ok(());
            }
            hasher.update(piece.get(..count).unwrap_or_default());
        }
    }

    fn names(&self, path: &[u8]) -> Result<BTreeSet<Vec<u8>>, ImageError> {
        let failed = |errno: Errno| ImageError::io("list", self.path.join(shown(path)))(errno.into());
        let directory = self.open_below(path, DIRECTORY)?;
        let mut names = BTreeSet::new();
        for entry in Dir::read_from(&directory).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.insert(name);
            }
        }
        Ok(names)
    }

    fn node(&self, path: &[u8]) -> Result<Node, ImageError> {
        let failed = |errno: Errno| ImageError::io("look at", self.path.join(shown(path)))(errno.into());
        let (above, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (path.get(..at).unwrap_or_default(), path.get(at + 1..).unwrap_or_default()),
            None => (&b""[..], if path.is_empty() { &b"."[..] } else { path }),
        };
        let parent = self.open_below(above, DIRECTORY)?;
        let stat = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let target = match kind {
            FileType::Symlink => {
                rustix::fs::readlinkat(&parent, name, Vec::new()).map_err(failed)?.into_bytes()
            }
            _ => Vec::new(),
        };
        let mut at = format!("/proc/self/fd/{}/", parent.as_raw_fd()).into_bytes();
        at.extend_from_slice(name);
        Ok(Node {
            kind,
            mode: stat.st_mode & 0o7777,
            owner: (stat.st_uid, stat.st_gid),
            size: if kind == FileType::RegularFile { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 },
            links: if kind == FileType::Directory { 0 } else { i128::from(stat.st_nlink) },
            device: stat.st_rdev,
            mtime: (stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0)),
            target,
            xattrs: xattrs(&at).map_err(failed)?,
        })
    }

    fn open_below(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, ImageError> {
        let name = if path.is_empty() { &b"."[..] } else { path };
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        rustix::fs::openat2(self.root.as_fd(), name, flags, Mode::empty(), how)
            .map_err(|errno| ImageError::io("open", self.path.join(shown(path)))(errno.into()))
    }
}

/// Adds how a file differs from what it should be.
fn compare(path: &[u8], should: &Node, is: &Node, timeless: &BTreeSet<String>, found: &mut Vec<String>) {
    let whiteout = should.kind == FileType::CharacterDevice && should.device == 0;
    let no_entry = should.kind == FileType::Directory
        && std::str::from_utf8(path).map_or(true, |path| timeless.contains(path));
    let what = if should.kind != is.kind {
        "is of another type"
    } else if should.size != is.size {
        "has another size"
    } else if should.mode != is.mode {
        "has another mode"
    } else if should.owner != is.owner {
        "has another owner"
    } else if should.target != is.target || should.device != is.device {
        "leads elsewhere"
    } else if should.links != is.links {
        "has another number of hard links"
    } else if should.xattrs != is.xattrs {
        "has other extended attributes"
    } else if should.mtime != is.mtime && !whiteout && !no_entry {
        "was changed later"
    } else {
        return;
    };
    found.push(format!("{} {what}", shown(path)));
}

/// The attributes that layers may have; those of the host's security modules are the host's.
fn xattrs(path: &[u8]) -> Result<Xattrs, Errno> {
    let mut names = vec![0u8; MOST_XATTR];
    let length = match rustix::fs::llistxattr(path, names.as_mut_slice()) {
        Err(Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    let mut found = Vec::new();
    for name in names.get(..length).unwrap_or_default().split(|byte| *byte == 0) {
        let counts = name == b"security.capability"
            || [&b"user."[..], b"trusted.overlay.", b"system.posix_acl_"]
                .iter()
                .any(|start| name.starts_with(start));
        if counts {
            let mut value = vec![0u8; MOST_XATTR];
            let length = rustix::fs::lgetxattr(path, name, value.as_mut_slice())?;
            value.truncate(length);
            found.push((name.to_vec(), value));
        }
    }
    found.sort();
    Ok(found)
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}

/// A path as it is shown; the root is `/`.
fn shown(path: &[u8]) -> String {
    if path.is_empty() {
        return "/".to_owned();
    }
    std::ffi::OsStr::from_bytes(path).to_string_lossy().chars().take(256).collect()
}
