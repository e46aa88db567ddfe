//! A directory of an image, copied: what a volume that the image declares holds at first.
//!
//! The layers are read as the overlay would show them, without mounting anything ([`crate::rootfs`]); everything is
//! reached by descriptor, so that no link of the image leads anywhere.

use crate::error::{OciError, OciResult};
use crate::rootfs::{Entry, Merged, RootView, lookup};
use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::collections::{BTreeSet, HashMap};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Deeper trees are not copied: every level holds descriptors.
const DEPTH_LIMIT: usize = 200;

/// The longest value of an extended attribute on Linux.
const XATTR_LIMIT: usize = 65536;

/// Copies the image's directory at `place` into the directory `target`: contents, owners, modes, times, extended
/// attributes, links. Nothing happens where the image has no such directory.
///
/// # Errors
/// [`OciError::ImageFile`] for a tree that is too deep, [`OciError::Io`] when the kernel refuses.
pub fn copy_up(view: &RootView, place: &Path, target: &Path) -> OciResult<()> {
    let text = place.to_string_lossy();
    let Some(dirs) = view.merged(&text)? else { return Ok(()) };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = rustix::fs::open(target, flags, Mode::empty()).map_err(OciError::io("open", target))?;
    let mut copy = Copy { root: root.as_fd(), linked: HashMap::new() };
    match copy.directory(&dirs, root.as_fd(), b"", 0) {
        Err(Errno::LOOP) => {
            Err(OciError::ImageFile { path: place.into(), reason: "too many directories deep" })
        }
        other => other.map_err(OciError::io("copy the image's content of the volume", place)),
    }
}

struct Copy<'a> {
    root: BorrowedFd<'a>,
    /// Where the first name of a file with several was copied to, by device and inode.
    linked: HashMap<(u64, u64), CString>,
}

impl Copy<'_> {
    /// Everything in the directory, then its own attributes. `path` is the target's below the root.
    fn directory(
        &mut self,
        dirs: &Merged,
        target: BorrowedFd<'_>,
        path: &[u8],
        depth: usize,
    ) -> rustix::io::Result<()> {
        if depth > DEPTH_LIMIT {
            return Err(Errno::LOOP);
        }
        for name in names(dirs)? {
            let Some(entry) = lookup(dirs, name.as_bytes())? else { continue };
            let path = [path, name.as_bytes()].join(&b'/');
            self.entry((dirs, entry), target, (&name, &path), depth)?;
        }
        let Some(top) = dirs.first() else { return Ok(()) };
        let stat = rustix::fs::fstat(top)?;
        attributes(top.as_fd(), target, &stat)
    }

    fn entry(
        &mut self,
        (dirs, entry): (&Merged, Entry),
        target: BorrowedFd<'_>,
        (name, path): (&CStr, &[u8]),
        depth: usize,
    ) -> rustix::io::Result<()> {
        match entry {
            Entry::Directory(inner) => {
                rustix::fs::mkdirat(target, name, Mode::RWXU)?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let made = rustix::fs::openat(target, name, flags, Mode::empty())?;
                self.directory(&inner, made.as_fd(), path, depth + 1)
            }
            Entry::File(source) => self.file(source, target, name, path),
            Entry::Link(to) => {
                let stat = top(dirs, name)?;
                rustix::fs::symlinkat(to, target, name)?;
                owner(target, name, &stat)
            }
            Entry::Special => special(dirs, target, name),
        }
    }

    fn file(
        &mut self,
        source: OwnedFd,
        target: BorrowedFd<'_>,
        name: &CStr,
        path: &[u8],
    ) -> rustix::io::Result<()> {
        let stat = rustix::fs::fstat(&source)?;
        let key = (stat.st_dev, stat.st_ino);
        if let Some(first) = self.linked.get(&key) {
            return rustix::fs::linkat(self.root, first.as_c_str(), target, name, AtFlags::empty());
        }
        if stat.st_nlink > 1 {
            let path = path.strip_prefix(b"/").unwrap_or(path).to_vec();
            self.linked.insert(key, CString::new(path).map_err(|_| Errno::INVAL)?);
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(target, name, flags, Mode::RUSR | Mode::WUSR)?;
        let (mut from, mut to) = (File::from(source), File::from(made));
        std::io::copy(&mut from, &mut to)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        attributes(from.as_fd(), to.as_fd(), &stat)
    }
}

/// Every name in any of the directories; whiteouts and what they hide are for the look-up to tell.
fn names(dirs: &Merged) -> rustix::io::Result<BTreeSet<CString>> {
    let mut names = BTreeSet::new();
    for dir in dirs {
        for entry in Dir::read_from(dir)? {
            let name = entry?.file_name().to_owned();
            if !matches!(name.as_bytes(), b"." | b"..") {
                names.insert(name);
            }
        }
    }
    Ok(names)
}

/// What the topmost directory that has the name has there.
fn top(dirs: &Merged, name: &CStr) -> rustix::io::Result<Stat> {
    for dir in dirs {
        match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {}
            found => return found,
        }
    }
    Err(Errno::NOENT)
}

/// Devices and FIFOs; a socket in an image is of use to nobody.
fn special(dirs: &Merged, target: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<()> {
    let stat = top(dirs, name)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind == FileType::Socket {
        return Ok(());
    }
    rustix::fs::mknodat(target, name, kind, Mode::from_raw_mode(stat.st_mode), stat.st_rdev)?;
    owner(target, name, &stat)?;
    rustix::fs::chmodat(target, name, Mode::from_raw_mode(stat.st_mode), AtFlags::empty())
}

fn owner(target: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> rustix::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(target, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}

/// Owner, then mode (a change of owner takes set-id bits away), then extended attributes, then times.
fn attributes(source: BorrowedFd<'_>, target: BorrowedFd<'_>, stat: &Stat) -> rustix::io::Result<()> {
    rustix::fs::fchown(target, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    rustix::fs::fchmod(target, Mode::from_raw_mode(stat.st_mode))?;
    extended(source, target)?;
    let time = |seconds: i64, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    rustix::fs::futimens(target, &times)
}

/// All but the overlay's own and SELinux' labels, which the policy gives.
fn extended(source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let mut list = vec![0u8; XATTR_LIMIT];
    let length = match rustix::fs::flistxattr(source, &mut list[..]) {
        Err(Errno::OPNOTSUPP) => return Ok(()),
        length => length?,
    };
    let mut value = Vec::new();
    for name in list.get(..length).unwrap_or_default().split(|byte| *byte == 0) {
        let overlay = name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.");
        if name.is_empty() || overlay || name == b"security.selinux" {
            continue;
        }
        value.resize(XATTR_LIMIT, 0);
        let length = rustix::fs::fgetxattr(source, name, &mut value[..])?;
        value.truncate(length);
        match rustix::fs::fsetxattr(target, name, &value, XattrFlags::empty()) {
            // Another filesystem, which does not know the attribute.
            Err(Errno::OPNOTSUPP) => {}
            set => set?,
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use nix::sys::stat::{Mode as NixMode, SFlag, makedev, mknod};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

    #[test]
    fn a_directory_is_copied_as_the_overlay_shows_it() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: owners and device nodes need root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (top, low, out) = (dir.path().join("top"), dir.path().join("low"), dir.path().join("out"));
        for path in [&top.join("data/sub"), &low.join("data/sub"), &low.join("data/gone"), &out] {
            std::fs::create_dir_all(path).unwrap();
        }
        std::fs::write(low.join("data/file"), "lower").unwrap();
        std::fs::write(top.join("data/file"), "upper").unwrap();
        std::fs::hard_link(top.join("data/file"), top.join("data/sub/same")).unwrap();
        std::fs::write(low.join("data/sub/kept"), "kept").unwrap();
        chown(low.join("data/sub/kept"), Some(1234), Some(4321)).unwrap();
        std::fs::set_permissions(low.join("data/sub/kept"), PermissionsExt::from_mode(0o4750)).unwrap();
        mknod(&top.join("data/gone"), SFlag::S_IFCHR, NixMode::empty(), makedev(0, 0)).unwrap();
        mknod(&top.join("data/fifo"), SFlag::S_IFIFO, NixMode::S_IRWXU, 0).unwrap();
        symlink("/etc/passwd", top.join("data/out")).unwrap();
        std::fs::set_permissions(top.join("data"), PermissionsExt::from_mode(0o1777)).unwrap();
        chown(top.join("data"), Some(70), Some(71)).unwrap();
        symlink("data", top.join("alias")).unwrap();
        copy_up(&RootView::new([&top, &low]), Path::new("/alias"), &out).unwrap();
        assert_eq!(std::fs::read(out.join("file")).unwrap(), b"upper");
        let (file, same) = (out.join("file").metadata().unwrap(), out.join("sub/same").metadata().unwrap());
        assert_eq!(file.ino(), same.ino());
        let kept = out.join("sub/kept").metadata().unwrap();
        assert_eq!((kept.uid(), kept.gid(), kept.mode() & 0o7777), (1234, 4321, 0o4750));
        assert_eq!(kept.mtime(), low.join("data/sub/kept").metadata().unwrap().mtime());
        assert!(!out.join("gone").exists());
        assert_eq!(std::fs::read_link(out.join("out")).unwrap(), Path::new("/etc/passwd"));
        assert_eq!(out.join("fifo").symlink_metadata().unwrap().mode() & 0o170_000, 0o010_000);
        let root = out.metadata().unwrap();
        assert_eq!((root.uid(), root.gid(), root.mode() & 0o7777), (70, 71, 0o1777));
    }

    #[test]
    fn a_place_that_the_image_does_not_have_stays_empty() {
        let dir = tempfile::tempdir().unwrap();
        copy_up(&RootView::new([dir.path()]), Path::new("/absent"), dir.path()).unwrap();
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn a_bottomless_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut deep = dir.path().join("image/v");
        for _ in 0..=DEPTH_LIMIT {
            deep.push("d");
        }
        std::fs::create_dir_all(&deep).unwrap();
        let out = dir.path().join("out");
        std::fs::create_dir(&out).unwrap();
        let error = copy_up(&RootView::new([dir.path().join("image")]), Path::new("/v"), &out).unwrap_err();
        assert!(error.to_string().contains("deep"), "{error}");
    }

    #[test]
    fn the_layers_of_a_directory_are_named_top_first_and_without_links() {
        let dir = tempfile::tempdir().unwrap();
        let (top, low) = (dir.path().join("top"), dir.path().join("low"));
        std::fs::create_dir_all(top.join("a/b")).unwrap();
        std::fs::create_dir_all(low.join("a/b")).unwrap();
        symlink("../a", low.join("a/again")).unwrap();
        let view = RootView::new([&top, &low]);
        let expected = Some(vec![top.join("a/b"), low.join("a/b")]);
        assert_eq!(view.directory("a/again/b").unwrap(), expected);
        assert_eq!(view.directory("").unwrap(), Some(vec![top.clone(), low.clone()]));
        assert_eq!(view.directory("absent").unwrap(), None);
    }
}
