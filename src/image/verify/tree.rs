//! Trees of files, compared and digested: types, modes, owners, sizes, times, links, devices and the attributes that
//! layers may have.

use crate::digest::Digest;
use crate::error::ImageError;
use crate::unpack::Paths;
use rustix::fd::{AsRawFd as _, BorrowedFd};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use sys::SysError;
use sys::tree::{Entry, FileStat, Trail, Walk};

/// The longest path that a layer's record may name.
const LONGEST_PATH: usize = 4096;
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

/// Paths of directories whose times nothing has set, known by their digests: the paths themselves may be long.
#[derive(Default)]
pub(super) struct Timeless(HashSet<[u8; 16]>);

impl Timeless {
    pub(super) fn of(paths: &Paths) -> Self {
        let (mut known, mut reading) = (HashSet::new(), paths.read());
        while let Some(path) = reading.next() {
            known.insert(short(path));
        }
        Self(known)
    }

    fn contains(&self, path: &[u8]) -> bool {
        !self.0.is_empty() && self.0.contains(&short(path))
    }
}

fn short(path: &[u8]) -> [u8; 16] {
    let mut short = [0; 16];
    short.iter_mut().zip(Sha256::digest(path)).for_each(|(short, byte)| *short = byte);
    short
}

/// A tree that is looked at, whatever is in it: no link is followed, and no path becomes too long.
pub(super) struct Tree<'a> {
    path: &'a Path,
}

impl<'a> Tree<'a> {
    pub(super) fn open(path: &'a Path) -> Result<Self, ImageError> {
        let tree = Self { path };
        tree.top().map(|_| tree)
    }

    fn top(&self) -> Result<Trail, ImageError> {
        Trail::open(self.path).map_err(self.failed("open", b""))
    }

    fn failed(&self, operation: &'static str, path: &[u8]) -> impl FnOnce(SysError) -> ImageError {
        let path = self.path.join(shown(path));
        move |error| ImageError::io(operation, path)(error.into())
    }

    /// How `self` differs from what it should be, at most `most` differences. `timeless` are directories whose times
    /// nothing has set.
    pub(super) fn differences(
        &self,
        should: &Self,
        timeless: &Timeless,
        most: usize,
    ) -> Result<Vec<String>, ImageError> {
        let mut found = Vec::new();
        let (is, wanted) = (self.root()?, should.root()?);
        compare(b"", &wanted, &is, timeless, &mut found);
        self.beside(should, |path, entry, twin| {
            if let Some(twin) = twin {
                let failed =
                    |error: Errno| ImageError::io("look at", self.path.join(shown(path)))(error.into());
                let is = node(entry.dir, entry.name, entry.stat).map_err(failed)?;
                let (dir, stat) = twin;
                let wanted = node(dir, entry.name, &stat).map_err(failed)?;
                compare(path, &wanted, &is, timeless, &mut found);
            } else {
                found.push(format!("{} does not belong there", shown(path)));
            }
            Ok(found.len() < most)
        })?;
        should.beside(self, |path, _, twin| {
            if twin.is_none() {
                found.push(format!("{} is missing", shown(path)));
            }
            Ok(found.len() < most)
        })?;
        found.truncate(most);
        Ok(found)
    }

    /// Walks through the tree, with what the other one has under the same name, until `each` has seen enough. Below what
    /// is no directory in both it does not go.
    fn beside(
        &self,
        other: &Self,
        mut each: impl FnMut(&[u8], Entry<'_>, Option<(BorrowedFd<'_>, FileStat)>) -> Result<bool, ImageError>,
    ) -> Result<(), ImageError> {
        let (mut walk, mut twin, mut way) = (Walk::new(self.top()?), other.top()?, Way::default());
        let mut entered: Option<CString> = None;
        while let Some(entry) = walk.advance().map_err(self.failed("list", &way.bytes))? {
            twin.back_to(entry.depth);
            if let Some(name) = entered.take().filter(|_| twin.depth() < entry.depth) {
                twin.enter(&name).map_err(other.failed("open", &way.bytes))?;
            }
            way.back_to(entry.depth);
            let path = way.to(entry.depth, entry.name.to_bytes());
            let there = match sys::tree::look(twin.here(), entry.name) {
                Err(error) if error.is_absent() => None,
                stat => Some(stat.map_err(other.failed("look at", &path))?),
            };
            let both = entry.is_dir() && there.is_some_and(|stat| is_dir(&stat));
            let goes_on = each(&path, entry, there.map(|stat| (twin.here(), stat)))?;
            if both {
                way.enter(entry.depth, entry.name.to_bytes());
                entered = Some(entry.name.to_owned());
            } else {
                walk.skip();
            }
            if !goes_on {
                return Ok(());
            }
        }
        whole(&walk)
    }

    /// A digest of everything, contents included: the sum of a digest of each entry, in whatever order they come.
    pub(super) fn digest(&self) -> Result<Digest, ImageError> {
        let mut walk = Walk::new(self.top()?);
        let mut way = Way::default();
        // Of the path of each directory on the way.
        let mut prefixes = vec![[0; 32]];
        let mut sum = [0; 32];
        while let Some(entry) = walk.advance().map_err(self.failed("list", &way.bytes))? {
            let name = entry.name.to_bytes();
            way.back_to(entry.depth);
            let path = way.to(entry.depth, name);
            let failed = |error: Errno| ImageError::io("look at", self.path.join(shown(&path)))(error.into());
            prefixes.truncate(entry.depth + 1);
            let above = prefixes.last().copied().unwrap_or_default();
            let own: [u8; 32] = Sha256::new().chain_update(above).chain_update(name).finalize().into();
            let node = node(entry.dir, entry.name, entry.stat).map_err(failed)?;
            let mut hasher = Sha256::new().chain_update(own).chain_update(format!("{node:?}"));
            if node.kind == FileType::RegularFile {
                content(&entry, &mut hasher).map_err(ImageError::io("read", self.path.join(shown(&path))))?;
            }
            add(&mut sum, &hasher.finalize().into());
            if entry.is_dir() {
                prefixes.push(own);
                way.enter(entry.depth, name);
            }
        }
        whole(&walk)?;
        Ok(Digest::of(&sum))
    }

    fn root(&self) -> Result<Node, ImageError> {
        let top = self.top()?;
        let failed = |error: Errno| ImageError::io("look at", self.path)(error.into());
        let stat = sys::tree::look(top.here(), c".").map_err(self.failed("look at", b""))?;
        node(top.here(), c".", &stat).map_err(failed)
    }
}

/// Nobody moves anything in a tree that is checked.
fn whole(walk: &Walk) -> Result<(), ImageError> {
    if walk.is_torn() {
        Err(ImageError::Interrupted { operation: "walking through a layer" })
    } else {
        Ok(())
    }
}

/// The path to a directory on the way, as far as paths go; behind that it is told without what is between.
#[derive(Default)]
struct Way {
    bytes: Vec<u8>,
    /// How long the path to the directory at each depth below the top is.
    ends: Vec<usize>,
}

impl Way {
    fn back_to(&mut self, depth: usize) {
        self.ends.truncate(depth);
        self.bytes.truncate(self.ends.last().copied().unwrap_or(0));
    }

    fn to(&self, depth: usize, name: &[u8]) -> Vec<u8> {
        if self.ends.len() < depth {
            return [&self.bytes, &b"/.../"[..], name].concat();
        }
        join(&self.bytes, name)
    }

    fn enter(&mut self, depth: usize, name: &[u8]) {
        if self.ends.len() == depth && self.bytes.len() + name.len() < LONGEST_PATH {
            self.bytes = join(&self.bytes, name);
            self.ends.push(self.bytes.len());
        }
    }
}

fn add(sum: &mut [u8; 32], more: &[u8; 32]) {
    let mut carry = 0_u16;
    for (byte, more) in sum.iter_mut().zip(more) {
        let total = u16::from(*byte) + u16::from(*more) + carry;
        let [high, low] = total.to_be_bytes();
        (*byte, carry) = (low, u16::from(high));
    }
}

fn is_dir(stat: &FileStat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

fn content(entry: &Entry<'_>, hasher: &mut Sha256) -> std::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = std::fs::File::from(rustix::fs::openat(entry.dir, entry.name, flags, Mode::empty())?);
    let mut piece = vec![0; PIECE];
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 {
            return Ok(());
        }
        hasher.update(piece.get(..count).unwrap_or_default());
    }
}

fn node(dir: BorrowedFd<'_>, name: &CStr, stat: &FileStat) -> Result<Node, Errno> {
    let kind = FileType::from_raw_mode(stat.st_mode);
    let target = match kind {
        FileType::Symlink => rustix::fs::readlinkat(dir, name, Vec::new())?.into_bytes(),
        _ => Vec::new(),
    };
    let mut at = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    at.extend_from_slice(name.to_bytes());
    Ok(Node {
        kind,
        mode: stat.st_mode & 0o7777,
        owner: (stat.st_uid, stat.st_gid),
        size: if kind == FileType::RegularFile { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 },
        links: if kind == FileType::Directory { 0 } else { i128::from(stat.st_nlink) },
        device: stat.st_rdev,
        mtime: (stat.st_mtime, stat.st_mtime_nsec),
        target,
        xattrs: xattrs(&at)?,
    })
}

/// Adds how a file differs from what it should be.
fn compare(path: &[u8], should: &Node, is: &Node, timeless: &Timeless, found: &mut Vec<String>) {
    let whiteout = should.kind == FileType::CharacterDevice && should.device == 0;
    let no_entry =
        || should.kind == FileType::Directory && should.mtime != is.mtime && timeless.contains(path);
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
    } else if should.mtime != is.mtime && !whiteout && !no_entry() {
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
