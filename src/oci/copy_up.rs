//! A directory of an image, copied: what a volume that the image declares holds at first.
//!
//! The layers are read as the overlay would show them, without mounting anything ([`crate::rootfs`]); everything is
//! reached by descriptor, so that no link of the image leads anywhere.

use crate::error::{OciError, OciResult};
use crate::rootfs::{RootView, is_opaque};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use sys::tree::Trail;

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
    let failed = |error: sys::SysError| OciError::io("open", target)(error);
    let layers = dirs.into_iter().map(Trail::of).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let links = Links::new(target).map_err(OciError::io("open", target))?;
    let target = Trail::open(target).map_err(failed)?;
    let mut copy = Copy { layers, target, listed: vec![0], links };
    match copy.run() {
        Err(Errno::NAMETOOLONG) => {
            Err(OciError::ImageFile { path: place.into(), reason: "too many directories deep" })
        }
        other => other.map_err(OciError::io("copy the image's content of the volume", place)),
    }
}

/// A copy under way. Those layers take part in a directory that are as deep as the target.
struct Copy {
    /// Top first.
    layers: Vec<Trail>,
    target: Trail,
    /// Which layer is listed, in each directory on the way.
    listed: Vec<usize>,
    links: Links,
}

impl Copy {
    fn run(&mut self) -> rustix::io::Result<()> {
        loop {
            let depth = self.target.depth();
            let Some(listed) = self.listed.last().copied() else { return Ok(()) };
            if listed >= self.layers.len() {
                self.finish(depth)?;
                continue;
            }
            let layer = self.layers.get_mut(listed).filter(|layer| layer.depth() == depth);
            match layer.map_or(Ok(None), Trail::read).map_err(|error| errno(&error))? {
                Some(name) if !self.is_known(listed, depth, name.as_c_str())? => {
                    self.entry(listed, depth, name.as_c_str())?;
                }
                Some(_) => {}
                None => self.listed.iter_mut().last().into_iter().for_each(|listed| *listed += 1),
            }
        }
    }

    /// Everything in the directory is there: its own attributes, and back up.
    fn finish(&mut self, depth: usize) -> rustix::io::Result<()> {
        if depth == 0 {
            self.links.clear()?;
        }
        if let Some(top) = self.layers.iter().find(|layer| layer.depth() == depth) {
            let stat = rustix::fs::fstat(top.here())?;
            attributes(top.here(), self.target.here(), &stat)?;
        }
        self.listed.pop();
        if depth > 0 {
            for layer in self.layers.iter_mut().filter(|layer| layer.depth() == depth) {
                layer.leave().map_err(|error| errno(&error))?;
            }
            self.target.leave().map_err(|error| errno(&error))?;
        }
        Ok(())
    }

    /// Whether a higher layer has the name, which then decides.
    fn is_known(&self, layer: usize, depth: usize, name: &CStr) -> rustix::io::Result<bool> {
        for above in self.layers.iter().take(layer).filter(|above| above.depth() == depth) {
            match rustix::fs::statat(above.here(), name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => {}
                found => return found.map(|_| true),
            }
        }
        Ok(false)
    }

    fn entry(&mut self, layer: usize, depth: usize, name: &CStr) -> rustix::io::Result<()> {
        let Some(source) = self.layers.get(layer).map(Trail::here) else { return Ok(()) };
        let stat = rustix::fs::statat(source, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let target = self.target.here();
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                rustix::fs::mkdirat(target, name, Mode::RWXU)?;
                self.enter(layer, depth, name)
            }
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = rustix::fs::openat(source, name, flags, Mode::empty())?;
                self.links.file(file, target, name)
            }
            FileType::Symlink => {
                let to = rustix::fs::readlinkat(source, name, Vec::new())?;
                rustix::fs::symlinkat(to, target, name)?;
                owner(target, name, &stat)
            }
            kind => special(&stat, kind, target, name),
        }
    }

    /// Goes down, with those layers whose directories of that name join in.
    fn enter(&mut self, layer: usize, depth: usize, name: &CStr) -> rustix::io::Result<()> {
        for joining in self.layers.iter_mut().skip(layer).filter(|joining| joining.depth() == depth) {
            match rustix::fs::statat(joining.here(), name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                stat if FileType::from_raw_mode(stat?.st_mode) != FileType::Directory => break,
                _ => {}
            }
            joining.enter(name).map_err(|error| errno(&error))?;
            if is_opaque(joining.here()) {
                break;
            }
        }
        self.target.enter(name).map_err(|error| errno(&error))?;
        self.listed.push(layer);
        Ok(())
    }
}

fn errno(error: &sys::SysError) -> Errno {
    Errno::from_raw_os_error(error.errno)
}

/// Files, of which some have several names: the first copy of each gets one more in a directory beside, by which the
/// others find it.
struct Links {
    root: OwnedFd,
    name: String,
    beside: Option<OwnedFd>,
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Links {
    fn new(target: &Path) -> rustix::io::Result<Self> {
        let root = rustix::fs::open(target, DIRECTORY, Mode::empty())?;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let name = format!(".corten-links-{}", now.map_or(0, |time| time.as_nanos()));
        Ok(Self { root, name, beside: None })
    }

    fn file(&mut self, source: OwnedFd, target: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<()> {
        let stat = rustix::fs::fstat(&source)?;
        if stat.st_nlink < 2 {
            return copy(source, target, name, &stat);
        }
        if self.beside.is_none() {
            rustix::fs::mkdirat(&self.root, self.name.as_str(), Mode::RWXU)?;
            self.beside = Some(rustix::fs::openat(&self.root, self.name.as_str(), DIRECTORY, Mode::empty())?);
        }
        let beside = self.beside.as_ref().unwrap_or(&self.root);
        let key = format!("{}-{}", stat.st_dev, stat.st_ino);
        match rustix::fs::linkat(beside, key.as_str(), target, name, AtFlags::empty()) {
            Err(Errno::NOENT) => {}
            linked => return linked,
        }
        copy(source, target, name, &stat)?;
        rustix::fs::linkat(target, name, beside, key.as_str(), AtFlags::empty())
    }

    fn clear(&mut self) -> rustix::io::Result<()> {
        match self.beside.take() {
            Some(_) => {
                sys::tree::remove_at(self.root.as_fd(), self.name.as_bytes()).map_err(|error| errno(&error))
            }
            None => Ok(()),
        }
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        // Of a copy that has failed, which goes as a whole.
        let _ = self.clear();
    }
}

fn copy(source: OwnedFd, target: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> rustix::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = rustix::fs::openat(target, name, flags, Mode::RUSR | Mode::WUSR)?;
    let (mut from, mut to) = (File::from(source), File::from(made));
    std::io::copy(&mut from, &mut to).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    attributes(from.as_fd(), to.as_fd(), stat)
}

/// Devices and FIFOs; a whiteout is nothing, and a socket in an image is of use to nobody.
fn special(stat: &Stat, kind: FileType, target: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<()> {
    if kind == FileType::Socket || (kind == FileType::CharacterDevice && stat.st_rdev == 0) {
        return Ok(());
    }
    rustix::fs::mknodat(target, name, kind, Mode::from_raw_mode(stat.st_mode), stat.st_rdev)?;
    owner(target, name, stat)?;
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
        if !need::root("owners and device nodes need root") {
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
    fn a_directory_is_copied_however_deep_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let make = |top: &str, levels: usize| {
            std::fs::create_dir_all(dir.path().join(top).join("v")).unwrap();
            let mut trail = Trail::open(&dir.path().join(top).join("v")).unwrap();
            for _ in 0..levels {
                rustix::fs::mkdirat(trail.here(), "d", Mode::RWXU).unwrap();
                trail.enter(c"d").unwrap();
            }
            let flags = OFlags::WRONLY | OFlags::CREATE;
            drop(rustix::fs::openat(trail.here(), top, flags, Mode::RUSR).unwrap());
        };
        make("low", 3000);
        make("top", 20);
        let out = dir.path().join("out");
        std::fs::create_dir(&out).unwrap();
        let view = RootView::new([dir.path().join("top"), dir.path().join("low")]);
        copy_up(&view, Path::new("/v"), &out).unwrap();
        assert!(out.join("d/".repeat(20)).join("top").exists());
        assert_eq!(sys::tree::usage(&out, u64::MAX).unwrap().unwrap().inodes, 1 + 3000 + 2);
        sys::tree::remove(dir.path()).unwrap();
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
