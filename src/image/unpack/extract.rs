//! Entries of an archive become files.

use super::attributes::{set_xattrs, times};
use super::content::Content;
use super::error::{TarError, UnpackError};
use super::place::Place;
use super::sparse::Segment;
use super::tar::{Archive, Entry, Kind};
use super::tree::{Tree, Way, clean, failed, file_type, join, proc_path, shown, split};
use super::whiteout::{self, WHITEOUT};
use super::{Limits, Unpacked};
use crate::store::Growing;
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid, XattrFlags};
use rustix::io::Errno;
use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;

const BLOCK: u64 = 4096;
/// Of a mode, what making a directory sets.
const MADE: u32 = 0o1777;

/// Writes one layer below one directory.
pub(super) struct Extractor {
    tree: Tree,
    limits: Limits,
    bytes: u64,
    inodes: u64,
    xattrs: u64,
    /// The files are not all that the archive held.
    lossy: bool,
    hollow: bool,
    growing: Arc<Growing>,
}

impl Extractor {
    /// Takes over the calling thread's umask: modes are the archive's business.
    pub(super) fn new(directory: &Path, limits: Limits) -> Result<Self, UnpackError> {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).map_err(|errno| UnpackError::Io {
            operation: "unshare the umask for",
            path: directory.display().to_string(),
            source: errno.into(),
        })?;
        rustix::process::umask(Mode::empty());
        let tree = Tree::open(directory, limits)?;
        Ok(Self {
            tree,
            limits,
            bytes: 0,
            inodes: 1,
            xattrs: 0,
            lossy: false,
            hollow: false,
            growing: Arc::default(),
        })
    }

    /// Tells how much there is so far.
    pub(super) fn growing(self, growing: Arc<Growing>) -> Self {
        Self { growing, ..self }
    }

    /// Leaves the contents of files out; they get their sizes.
    pub(super) fn hollow(self) -> Self {
        Self { hollow: true, ..self }
    }

    /// Extracts every entry. Directories that are open get their modes and times in [`Self::finish`].
    pub(super) fn run<R: BufRead>(&mut self, archive: &mut Archive<R>) -> Result<Unpacked, UnpackError> {
        while let Some(entry) = archive.next()? {
            self.tree.count()?;
            self.xattrs += entry.xattrs.len() as u64;
            if self.xattrs > self.limits.xattrs {
                return Err(UnpackError::Limit { what: "extended attributes", limit: self.limits.xattrs });
            }
            self.entry(&entry, archive)?;
            self.growing.tell(self.bytes, self.inodes + self.tree.implied.len());
        }
        Ok(Unpacked {
            bytes: self.bytes,
            inodes: self.inodes + self.tree.implied.len(),
            lossy: self.lossy,
            implied: self.tree.implied.paths(),
        })
    }

    /// Modes and times of directories: nothing changes below them any more.
    pub(super) fn finish(mut self) -> Result<(), UnpackError> {
        self.tree.leave()
    }

    fn entry<R: BufRead>(&mut self, entry: &Entry, archive: &mut Archive<R>) -> Result<(), UnpackError> {
        let path = clean(&entry.path)?;
        if path.is_empty() {
            return match entry.kind {
                Kind::Directory => self.root(entry),
                _ => Err(TarError::Path(shown(&entry.path)).into()),
            };
        }
        if whiteout::is_metadata(&path) {
            return Ok(());
        }
        let (above, name) = split(&path);
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            if let Some(parent) = self.tree.directory(above, Way::Hide)? {
                self.inodes += u64::from(whiteout::make(&parent, &path, hidden)?);
            }
            return Ok(());
        }
        let Some(parent) = self.tree.directory(above, Way::Make)? else {
            return Err(failed("open directory", above)(Errno::NOTDIR));
        };
        let parent = &*parent;
        match entry.kind {
            Kind::File => self.file(entry, archive, parent, &path, name),
            Kind::Directory => self.directory(entry, parent, &path, name),
            Kind::HardLink => self.hard_link(entry, parent, &path, name),
            Kind::SymLink => {
                if entry.link.is_empty() || entry.link.len() > 4095 {
                    return Err(TarError::Path(shown(&path)).into());
                }
                self.create("make symbolic link", parent, &path, name, || {
                    rustix::fs::symlinkat(&*entry.link, parent, name)
                })?;
                settle(entry, parent, &path, name)
            }
            Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => {
                let file_type = match entry.kind {
                    Kind::CharDevice => FileType::CharacterDevice,
                    Kind::BlockDevice => FileType::BlockDevice,
                    _ => FileType::Fifo,
                };
                let device = rustix::fs::makedev(entry.device.0, entry.device.1);
                self.create("make device", parent, &path, name, || {
                    rustix::fs::mknodat(parent, name, file_type, Mode::from_raw_mode(entry.mode), device)
                })?;
                settle(entry, parent, &path, name)
            }
        }
    }

    fn root(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        let root = &self.tree.root;
        rustix::fs::fchown(&**root, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))
            .map_err(failed("set the owner of", b"/"))?;
        set_xattrs(&entry.xattrs, b"/", root.as_fd(), |name, value| {
            rustix::fs::fsetxattr(&**root, name, value, XattrFlags::empty())
        })?;
        root.describe(entry.mode, entry.mtime)?;
        self.tree.implied.root = false;
        Ok(())
    }

    fn file<R: BufRead>(
        &mut self,
        entry: &Entry,
        archive: &mut Archive<R>,
        parent: &Place,
        path: &[u8],
        name: &[u8],
    ) -> Result<(), UnpackError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(entry.mode & 0o777);
        let fd: OwnedFd =
            self.create("create", parent, path, name, || rustix::fs::openat(parent, name, flags, mode))?;
        let whole = [Segment { offset: 0, length: entry.size }];
        let segments = entry.sparse.as_deref().unwrap_or(&whole);
        let mut content = Content::new(&fd, path, segments);
        let mut written = self.bytes;
        archive.content(|piece| {
            if self.hollow {
                return Ok(());
            }
            written += piece.len() as u64;
            self.growing.tell(written, self.inodes);
            content.write(piece)
        })?;
        archive.is_in(path, entry.size);
        // The archive cannot be made again of a file without its map.
        self.lossy |= entry.sparse.is_some();
        if self.hollow || entry.sparse.is_some() {
            rustix::fs::ftruncate(&fd, entry.size).map_err(failed("set the size of", path))?;
        }
        // A new file is root's already; setting an owner takes the set-id bits and capabilities away,
        // so that it comes first.
        if entry.uid != 0 || entry.gid != 0 {
            rustix::fs::fchown(&fd, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))
                .map_err(failed("set the owner of", path))?;
        }
        if entry.mode & 0o7000 != 0 {
            rustix::fs::fchmod(&fd, Mode::from_raw_mode(entry.mode))
                .map_err(failed("set the mode of", path))?;
        }
        set_xattrs(&entry.xattrs, path, parent.as_fd(), |name, value| {
            rustix::fs::fsetxattr(&fd, name, value, XattrFlags::empty())
        })?;
        rustix::fs::futimens(&fd, &times(entry.mtime)).map_err(failed("set the times of", path))?;
        self.bytes += segments.iter().map(|segment| segment.length.div_ceil(BLOCK) * BLOCK).sum::<u64>();
        Ok(())
    }

    fn directory(
        &mut self,
        entry: &Entry,
        parent: &Place,
        path: &[u8],
        name: &[u8],
    ) -> Result<(), UnpackError> {
        let make = || rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(entry.mode & MADE));
        let new = match make() {
            Ok(()) => true,
            Err(Errno::EXIST) => {
                let (there, device) = file_type(parent.as_fd(), name).map_err(failed("look at", path))?;
                if there != FileType::Directory {
                    self.remove(parent, path, name)?;
                    make().map_err(failed("make directory", path))?;
                    if there == FileType::CharacterDevice && device == 0 {
                        // Deleted below and made anew here: nothing of below may show through.
                        whiteout::hide_below(parent.as_fd(), name, path)?;
                    }
                }
                there != FileType::Directory
            }
            Err(errno) => return Err(failed("make directory", path)(errno)),
        };
        // A new one is root's already.
        if !new || entry.uid != 0 || entry.gid != 0 {
            let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
            rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(failed("set the owner of", path))?;
        }
        if new {
            self.inodes += 1;
        } else if let Some(number) = self.tree.number(parent)? {
            let before = self.tree.implied.len();
            self.tree.implied.described(number, name);
            self.inodes += before - self.tree.implied.len();
        }
        let open = if new { None } else { self.tree.is_open(&join(&parent.path, name)) };
        if open.is_none() && (!new || entry.mode & !MADE != 0) {
            rustix::fs::chmodat(parent, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())
                .map_err(failed("set the mode of", path))?;
        }
        set_xattrs(&entry.xattrs, path, parent.as_fd(), |attribute, value| {
            rustix::fs::lsetxattr(&*proc_path(parent.as_fd(), name), attribute, value, XattrFlags::empty())
        })?;
        match open {
            Some(open) => open.describe(entry.mode, entry.mtime),
            None => rustix::fs::utimensat(parent, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(failed("set the times of", path)),
        }
    }

    fn hard_link(
        &mut self,
        entry: &Entry,
        parent: &Place,
        path: &[u8],
        name: &[u8],
    ) -> Result<(), UnpackError> {
        let target = clean(&entry.link)?;
        let missing = || TarError::LinkTarget { path: shown(path), target: shown(&entry.link) };
        if target.is_empty() || target == path {
            return Err(missing().into());
        }
        let (above, target_name) = split(&target);
        let Some(directory) = self.tree.directory(above, Way::Find)? else { return Err(missing().into()) };
        match file_type(directory.as_fd(), target_name) {
            Ok((FileType::Directory, _)) | Err(Errno::NOENT) => return Err(missing().into()),
            Ok(_) => {}
            Err(errno) => return Err(failed("look at", &target)(errno)),
        }
        self.create("link", parent, path, name, || {
            rustix::fs::linkat(&*directory, target_name, parent, name, AtFlags::empty())
        })?;
        self.inodes -= 1;
        Ok(())
    }

    /// Makes something where nothing is, or in the place of what an earlier entry made.
    fn create<T>(
        &mut self,
        operation: &'static str,
        parent: &Place,
        path: &[u8],
        name: &[u8],
        make: impl Fn() -> Result<T, Errno>,
    ) -> Result<T, UnpackError> {
        let made = match make() {
            Err(Errno::EXIST) => {
                self.remove(parent, path, name)?;
                make()
            }
            other => other,
        };
        self.inodes += 1;
        made.map_err(failed(operation, path))
    }

    /// Removes what an earlier entry of this layer made.
    fn remove(&mut self, parent: &Place, path: &[u8], name: &[u8]) -> Result<(), UnpackError> {
        let (there, device) = file_type(parent.as_fd(), name).map_err(failed("look at", path))?;
        self.lossy |= there != FileType::CharacterDevice || device != 0;
        match there {
            FileType::Directory => {
                let before = self.tree.implied.len();
                self.tree.forget(parent, name)?;
                if before == self.tree.implied.len() {
                    self.inodes = self.inodes.saturating_sub(1);
                }
                sys::tree::remove_at(parent.as_fd(), name).map_err(|error| UnpackError::Io {
                    operation: "replace",
                    path: shown(path),
                    source: error.into(),
                })
            }
            _ => {
                if there == FileType::Symlink {
                    self.tree.forget(parent, name)?;
                }
                self.inodes = self.inodes.saturating_sub(1);
                rustix::fs::unlinkat(parent, name, AtFlags::empty()).map_err(failed("replace", path))
            }
        }
    }
}

/// Owner, mode, xattrs and times of what is no file and no directory.
fn settle(entry: &Entry, parent: &Place, path: &[u8], name: &[u8]) -> Result<(), UnpackError> {
    let nofollow = AtFlags::SYMLINK_NOFOLLOW;
    if entry.uid != 0 || entry.gid != 0 {
        let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        rustix::fs::chownat(parent, name, Some(uid), Some(gid), nofollow)
            .map_err(failed("set the owner of", path))?;
    }
    // What was just made is no link, and nobody else is here to make it one.
    if entry.kind != Kind::SymLink && entry.mode & 0o7000 != 0 {
        rustix::fs::chmodat(parent, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())
            .map_err(failed("set the mode of", path))?;
    }
    set_xattrs(&entry.xattrs, path, parent.as_fd(), |attribute, value| {
        rustix::fs::lsetxattr(&*proc_path(parent.as_fd(), name), attribute, value, XattrFlags::empty())
    })?;
    rustix::fs::utimensat(parent, name, &times(entry.mtime), nofollow)
        .map_err(failed("set the times of", path))
}
