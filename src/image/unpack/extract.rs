//! Entries of an archive become files. Whiteouts become what overlayfs takes for them.

use super::attributes::{set_xattrs, times};
use super::error::{TarError, UnpackError};
use super::tar::{Archive, Entry, Kind};
use super::tree::{Tree, clean, failed, file_type, proc_path, shown, split};
use super::{Limits, Unpacked};
use crate::store::Growing;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid, XattrFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;

/// The prefix of an entry that deletes one of the layers below (image-spec, layer.md).
const WHITEOUT: &[u8] = b".wh.";
/// The entry that hides everything of the layers below in its directory.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// What overlayfs calls the same.
const OVERLAY_OPAQUE: &str = "trusted.overlay.opaque";
const BLOCK: u64 = 4096;

/// What a directory gets when everything in it is in place.
struct Last {
    mode: u32,
    mtime: (i64, u32),
}

/// Writes one layer below one directory.
pub(super) struct Extractor {
    tree: Tree,
    limits: Limits,
    directories: BTreeMap<Vec<u8>, Last>,
    bytes: u64,
    inodes: u64,
    replaced: bool,
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
        let tree = Tree::open(directory)?;
        Ok(Self {
            tree,
            limits,
            directories: BTreeMap::new(),
            bytes: 0,
            inodes: 1,
            replaced: false,
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

    /// Extracts every entry. Directories get their modes and times in [`Self::finish`].
    pub(super) fn run<R: BufRead>(&mut self, archive: &mut Archive<R>) -> Result<Unpacked, UnpackError> {
        let mut entries = 0;
        while let Some(entry) = archive.next()? {
            entries += 1;
            if entries > self.limits.entries {
                return Err(UnpackError::Limit { what: "entries", limit: self.limits.entries });
            }
            self.entry(&entry, archive)?;
            self.growing.tell(self.bytes, self.inodes);
        }
        for path in self.directories.keys() {
            self.tree.implied.remove(path);
        }
        let inodes = self.inodes + self.tree.implied.len() as u64;
        if !self.directories.contains_key(&b""[..]) {
            self.tree.implied.insert(Vec::new());
        }
        let implied = self.tree.implied.iter();
        Ok(Unpacked {
            bytes: self.bytes,
            inodes,
            replaced: self.replaced,
            implied: implied.filter_map(|path| String::from_utf8(path.clone()).ok()).collect(),
        })
    }

    /// Modes and times of directories, deepest first: nothing changes below them any more.
    pub(super) fn finish(self) -> Result<(), UnpackError> {
        for (path, last) in self.directories.iter().rev() {
            let Some(fd) = self.tree.existing(path)? else { continue };
            rustix::fs::fchmod(&fd, Mode::from_raw_mode(last.mode))
                .map_err(failed("set the mode of", path))?;
            rustix::fs::futimens(&fd, &times(last.mtime)).map_err(failed("set the times of", path))?;
        }
        Ok(())
    }

    fn entry<R: BufRead>(&mut self, entry: &Entry, archive: &mut Archive<R>) -> Result<(), UnpackError> {
        let path = clean(&entry.path)?;
        if path.is_empty() {
            return match entry.kind {
                Kind::Directory => self.root(entry),
                _ => Err(TarError::Path(shown(&entry.path)).into()),
            };
        }
        let (above, name) = split(&path);
        let parent = self.tree.directory(above)?;
        let parent_fd = parent.as_fd();
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            return self.whiteout(parent_fd, &path, hidden, name == OPAQUE);
        }
        match entry.kind {
            Kind::File => self.file(entry, archive, parent_fd, &path, name),
            Kind::Directory => self.directory(entry, parent_fd, &path, name),
            Kind::HardLink => self.hard_link(entry, parent_fd, &path, name),
            Kind::SymLink => {
                if entry.link.is_empty() || entry.link.len() > 4095 {
                    return Err(TarError::Path(shown(&path)).into());
                }
                self.create("make symbolic link", parent_fd, &path, name, || {
                    rustix::fs::symlinkat(&*entry.link, parent_fd, name)
                })?;
                self.settle(entry, parent_fd, &path, name)
            }
            Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => {
                let file_type = match entry.kind {
                    Kind::CharDevice => FileType::CharacterDevice,
                    Kind::BlockDevice => FileType::BlockDevice,
                    _ => FileType::Fifo,
                };
                let device = rustix::fs::makedev(entry.device.0, entry.device.1);
                self.create("make device", parent_fd, &path, name, || {
                    rustix::fs::mknodat(parent_fd, name, file_type, Mode::from_raw_mode(entry.mode), device)
                })?;
                self.settle(entry, parent_fd, &path, name)
            }
        }
    }

    fn root(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        let fd = self.tree.directory(b"")?;
        rustix::fs::fchown(&*fd, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))
            .map_err(failed("set the owner of", b"/"))?;
        set_xattrs(&entry.xattrs, b"/", |name, value| {
            rustix::fs::fsetxattr(&*fd, name, value, XattrFlags::empty())
        })?;
        self.directories.insert(Vec::new(), Last { mode: entry.mode, mtime: entry.mtime });
        Ok(())
    }

    fn file<R: BufRead>(
        &mut self,
        entry: &Entry,
        archive: &mut Archive<R>,
        parent: BorrowedFd<'_>,
        path: &[u8],
        name: &[u8],
    ) -> Result<(), UnpackError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(entry.mode & 0o777);
        let fd: OwnedFd =
            self.create("create", parent, path, name, || rustix::fs::openat(parent, name, flags, mode))?;
        let mut written = self.bytes;
        archive.content(|mut piece| {
            if self.hollow {
                return Ok(());
            }
            written += piece.len() as u64;
            self.growing.tell(written, self.inodes);
            while !piece.is_empty() {
                match rustix::io::write(&fd, piece) {
                    Ok(count) => piece = &piece[count..],
                    Err(Errno::INTR) => {}
                    Err(errno) => return Err(failed("write", path)(errno)),
                }
            }
            Ok(())
        })?;
        archive.is_in(path, entry.size);
        if self.hollow {
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
        set_xattrs(&entry.xattrs, path, |name, value| {
            rustix::fs::fsetxattr(&fd, name, value, XattrFlags::empty())
        })?;
        rustix::fs::futimens(&fd, &times(entry.mtime)).map_err(failed("set the times of", path))?;
        self.bytes += entry.size.div_ceil(BLOCK) * BLOCK;
        Ok(())
    }

    fn directory(
        &mut self,
        entry: &Entry,
        parent: BorrowedFd<'_>,
        path: &[u8],
        name: &[u8],
    ) -> Result<(), UnpackError> {
        let make = || rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700));
        match make() {
            Ok(()) => self.inodes += 1,
            Err(Errno::EXIST) => {
                let (there, device) = file_type(parent, name).map_err(failed("look at", path))?;
                if there != FileType::Directory {
                    self.remove(parent, path, name)?;
                    make().map_err(failed("make directory", path))?;
                    self.inodes += 1;
                    if there == FileType::CharacterDevice && device == 0 {
                        // Deleted below and made anew here: nothing of below may show through.
                        self.opaque(parent, path, name)?;
                    }
                }
            }
            Err(errno) => return Err(failed("make directory", path)(errno)),
        }
        rustix::fs::chownat(
            parent,
            name,
            Some(Uid::from_raw(entry.uid)),
            Some(Gid::from_raw(entry.gid)),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .map_err(failed("set the owner of", path))?;
        if !entry.xattrs.is_empty() {
            let target = proc_path(parent, name);
            set_xattrs(&entry.xattrs, path, |name, value| {
                rustix::fs::lsetxattr(&*target, name, value, XattrFlags::empty())
            })?;
        }
        self.directories.insert(path.to_owned(), Last { mode: entry.mode, mtime: entry.mtime });
        Ok(())
    }

    fn hard_link(
        &mut self,
        entry: &Entry,
        parent: BorrowedFd<'_>,
        path: &[u8],
        name: &[u8],
    ) -> Result<(), UnpackError> {
        let target = clean(&entry.link)?;
        let missing = || TarError::LinkTarget { path: shown(path), target: shown(&entry.link) };
        if target.is_empty() || target == path {
            return Err(missing().into());
        }
        let (above, target_name) = split(&target);
        let directory = match self.tree.lookup(above) {
            Ok(directory) => directory,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(missing().into()),
            Err(errno) => return Err(failed("open directory", above)(errno)),
        };
        match file_type(directory.as_fd(), target_name) {
            Ok((FileType::Directory, _)) | Err(Errno::NOENT) => return Err(missing().into()),
            Ok(_) => {}
            Err(errno) => return Err(failed("look at", &target)(errno)),
        }
        self.create("link", parent, path, name, || {
            rustix::fs::linkat(&directory, target_name, parent, name, AtFlags::empty())
        })?;
        self.inodes -= 1;
        Ok(())
    }

    /// `hidden` is the name that is deleted below; names of other union filesystems mean nothing here.
    fn whiteout(
        &mut self,
        parent: BorrowedFd<'_>,
        path: &[u8],
        hidden: &[u8],
        opaque: bool,
    ) -> Result<(), UnpackError> {
        if opaque {
            return rustix::fs::fsetxattr(parent, OVERLAY_OPAQUE, b"y", XattrFlags::empty())
                .map_err(failed("make opaque", path));
        }
        if hidden.starts_with(WHITEOUT) {
            return Ok(());
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(TarError::Path(shown(path)).into());
        }
        match rustix::fs::mknodat(parent, hidden, FileType::CharacterDevice, Mode::empty(), 0) {
            Ok(()) => {
                self.inodes += 1;
                Ok(())
            }
            // This layer has a successor of its own: a file hides what is below anyway.
            Err(Errno::EXIST) => match file_type(parent, hidden).map_err(failed("look at", path))? {
                (FileType::Directory, _) => self.opaque(parent, path, hidden),
                _ => Ok(()),
            },
            Err(errno) => Err(failed("make whiteout", path)(errno)),
        }
    }

    fn opaque(&self, parent: BorrowedFd<'_>, path: &[u8], name: &[u8]) -> Result<(), UnpackError> {
        rustix::fs::lsetxattr(&*proc_path(parent, name), OVERLAY_OPAQUE, b"y", XattrFlags::empty())
            .map_err(failed("make opaque", path))
    }

    /// Makes something where nothing is, or in the place of what an earlier entry made.
    fn create<T>(
        &mut self,
        operation: &'static str,
        parent: BorrowedFd<'_>,
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
    fn remove(&mut self, parent: BorrowedFd<'_>, path: &[u8], name: &[u8]) -> Result<(), UnpackError> {
        let (there, device) = file_type(parent, name).map_err(failed("look at", path))?;
        self.tree.forget();
        self.replaced |= there != FileType::CharacterDevice || device != 0;
        self.inodes = self.inodes.saturating_sub(1);
        if there == FileType::Directory {
            let below = [path, b"/"].concat();
            self.directories.retain(|known, _| known != path && !known.starts_with(&below));
            self.tree.implied.retain(|known| known != path && !known.starts_with(&below));
            return sys::tree::remove_at(parent, name).map_err(|error| UnpackError::Io {
                operation: "replace",
                path: shown(path),
                source: error.to_io(),
            });
        }
        rustix::fs::unlinkat(parent, name, AtFlags::empty()).map_err(failed("replace", path))
    }

    /// Owner, mode, xattrs and times of what is no file and no directory.
    fn settle(
        &self,
        entry: &Entry,
        parent: BorrowedFd<'_>,
        path: &[u8],
        name: &[u8],
    ) -> Result<(), UnpackError> {
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
        if !entry.xattrs.is_empty() {
            let target = proc_path(parent, name);
            set_xattrs(&entry.xattrs, path, |name, value| {
                rustix::fs::lsetxattr(&*target, name, value, XattrFlags::empty())
            })?;
        }
        rustix::fs::utimensat(parent, name, &times(entry.mtime), nofollow)
            .map_err(failed("set the times of", path))
    }
}
