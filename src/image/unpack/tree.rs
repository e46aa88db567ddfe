//! Paths below the directory of a layer. Every look-up goes through `openat2(RESOLVE_IN_ROOT)`: whatever
//! links the archive made, the kernel never leaves the layer.

use super::error::{TarError, UnpackError};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::collections::{BTreeSet, HashMap};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::rc::Rc;

/// Open parents that are kept: archives go through directories one after the other.
const KEPT: usize = 32;
/// Links that are followed to make a missing directory.
const MAX_LINKS: u32 = 16;
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The directory of a layer.
pub(super) struct Tree {
    root: Rc<OwnedFd>,
    kept: HashMap<Vec<u8>, Rc<OwnedFd>>,
    /// Directories that were made for what is in them.
    pub implied: BTreeSet<Vec<u8>>,
}

/// A checked path: no leading slash, no `.` or `..`, no empty component. Empty is the root itself.
pub(super) fn clean(path: &[u8]) -> Result<Vec<u8>, TarError> {
    let refused = || TarError::Path(shown(path));
    if path.len() > 4096 || path.contains(&0) {
        return Err(refused());
    }
    let mut clean = Vec::with_capacity(path.len());
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return Err(refused()),
            _ if component.len() > 255 => return Err(refused()),
            _ => {
                if !clean.is_empty() {
                    clean.push(b'/');
                }
                clean.extend_from_slice(component);
            }
        }
    }
    Ok(clean)
}

/// Parent and last component of a checked path that is not empty.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    }
}

pub(super) fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).chars().take(256).collect()
}

pub(super) fn failed(operation: &'static str, path: &[u8]) -> impl FnOnce(Errno) -> UnpackError {
    let path = shown(path);
    move |errno| UnpackError::Io { operation, path, source: errno.into() }
}

impl Tree {
    pub(super) fn open(directory: &Path) -> Result<Self, UnpackError> {
        let root = rustix::fs::open(directory, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
            .map_err(failed("open", directory.as_os_str().as_encoded_bytes()))?;
        Ok(Self { root: Rc::new(root), kept: HashMap::new(), implied: BTreeSet::new() })
    }

    /// The directory at the path, made with its parents where it is missing.
    pub(super) fn directory(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>, UnpackError> {
        if path.is_empty() {
            return Ok(Rc::clone(&self.root));
        }
        if let Some(fd) = self.kept.get(path) {
            return Ok(Rc::clone(fd));
        }
        let fd = match self.resolve(path, DIRECTORY) {
            Ok(fd) => Rc::new(fd),
            Err(Errno::NOENT) => Rc::new(self.make(path, 0)?),
            Err(errno) => return Err(failed("open directory", path)(errno)),
        };
        if self.kept.len() >= KEPT {
            self.kept.clear();
        }
        self.kept.insert(path.to_owned(), Rc::clone(&fd));
        Ok(fd)
    }

    /// An existing directory, its last component not followed. `None` when it is gone or no directory.
    pub(super) fn existing(&self, path: &[u8]) -> Result<Option<OwnedFd>, UnpackError> {
        if path.is_empty() {
            let flags = DIRECTORY;
            return rustix::fs::openat(&*self.root, ".", flags, Mode::empty())
                .map(Some)
                .map_err(failed("open", path));
        }
        match self.resolve(path, DIRECTORY | OFlags::NOFOLLOW) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(failed("open", path)(errno)),
        }
    }

    /// An existing directory without making one; parents of hard link targets.
    pub(super) fn lookup(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { &b"."[..] } else { path };
        self.resolve(path, DIRECTORY)
    }

    /// Forgets what paths meant: a directory or link on the way was replaced.
    pub(super) fn forget(&mut self) {
        self.kept.clear();
    }

    fn resolve(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        loop {
            match rustix::fs::openat2(&*self.root, path, flags, Mode::empty(), how) {
                // The kernel saw a rename elsewhere at the same time.
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
    }

    /// Makes the directory and its missing parents, through links that lead nowhere yet too.
    fn make(&mut self, path: &[u8], links: u32) -> Result<OwnedFd, UnpackError> {
        let mut end = 0;
        let mut parent: Option<OwnedFd> = None;
        while end < path.len() {
            let start = if end == 0 { 0 } else { end + 1 };
            end = path[start..].iter().position(|byte| *byte == b'/').map_or(path.len(), |at| start + at);
            let (prefix, name) = (&path[..end], &path[start..end]);
            let here = match self.resolve(prefix, DIRECTORY) {
                Ok(fd) => fd,
                Err(Errno::NOENT) => {
                    let above = parent.as_ref().map_or_else(|| self.root.as_fd(), AsFd::as_fd);
                    match rustix::fs::mkdirat(above, name, Mode::from_raw_mode(0o755)) {
                        Ok(()) => {
                            self.implied.insert(prefix.to_owned());
                            self.resolve(prefix, DIRECTORY).map_err(failed("open directory", prefix))?
                        }
                        Err(Errno::EXIST) => self.through_link(prefix, name, links)?,
                        Err(errno) => return Err(failed("make directory", prefix)(errno)),
                    }
                }
                Err(errno) => return Err(failed("open directory", prefix)(errno)),
            };
            parent = Some(here);
        }
        match parent {
            Some(fd) => Ok(fd),
            None => self.resolve(b".", DIRECTORY).map_err(failed("open directory", path)),
        }
    }

    /// Makes what a dangling link points to.
    fn through_link(&mut self, link: &[u8], name: &[u8], links: u32) -> Result<OwnedFd, UnpackError> {
        if links >= MAX_LINKS {
            return Err(failed("open directory", link)(Errno::LOOP));
        }
        let (above, _) = split(link);
        let directory = self.lookup(above).map_err(failed("open directory", link))?;
        let target =
            rustix::fs::readlinkat(&directory, name, Vec::new()).map_err(failed("read link", link))?;
        let target = target.as_bytes();
        let from = if target.starts_with(b"/") { &b""[..] } else { above };
        let joined = normalise(&[from, b"/", target].concat());
        self.make(&joined, links + 1)
    }
}

/// The path with `..` taken out, which at the root stays there.
fn normalise(path: &[u8]) -> Vec<u8> {
    let mut components: Vec<&[u8]> = Vec::new();
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => drop(components.pop()),
            _ => components.push(component),
        }
    }
    components.join(&b'/')
}

/// A path for the calls that know no descriptors of their own (xattrs of what is not opened).
pub(super) fn proc_path(directory: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    path
}

/// What stands at the name.
pub(super) fn file_type(directory: BorrowedFd<'_>, name: &[u8]) -> Result<(FileType, u64), Errno> {
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok((FileType::from_raw_mode(stat.st_mode), stat.st_rdev))
}
