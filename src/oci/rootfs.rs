//! The root filesystem of an image as the overlay would show it, without mounting anything.
//!
//! Files of an image are hostile input: a link may point anywhere, `/etc/passwd` may be a FIFO, a device or ten
//! gigabytes of holes. Every component is opened by itself and never followed; links are resolved inside the
//! root; only regular files of a bounded size are read.

use crate::error::{OciError, OciResult};
use model::Rootfs;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// No file of an image that the daemon reads is larger.
pub const READ_LIMIT: u64 = 10 << 20;

/// As many links as the kernel follows in one path.
const LINK_LIMIT: usize = 40;

/// A directory of the merged tree: the directories that make it up, top first.
pub(crate) type Merged = Vec<OwnedFd>;

/// What a name in a merged directory is.
enum Entry {
    Directory(Merged),
    Link(Vec<u8>),
    File(OwnedFd),
    Special,
}

/// Layer directories, seen as one tree.
#[derive(Debug, Clone)]
pub struct RootView {
    layers: Vec<PathBuf>,
}

impl RootView {
    /// A view of the files of an image.
    pub fn of(rootfs: &Rootfs) -> Self {
        match rootfs {
            Rootfs::Layers(layers) => Self::new(layers),
        }
    }

    /// A view of unpacked layers, the topmost first, with whiteouts in the overlay's form (character device 0:0,
    /// `trusted.overlay.opaque`).
    pub fn new(layers: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        Self { layers: layers.into_iter().map(Into::into).collect() }
    }

    /// The contents of a regular file, or `None` where there is none of that path.
    ///
    /// # Errors
    /// [`OciError::ImageFile`] when it is larger than [`READ_LIMIT`], no regular file, or behind too many links;
    /// [`OciError::Io`] when the kernel refuses.
    pub fn read(&self, path: &str) -> OciResult<Option<Vec<u8>>> {
        let refuse = |reason| OciError::ImageFile { path: path.into(), reason };
        let fd = match self.resolve(path)? {
            None => return Ok(None),
            Some(Entry::File(fd)) => fd,
            Some(_) => return Err(refuse("not a regular file")),
        };
        let stat = rustix::fs::fstat(&fd).map_err(OciError::io("stat in image", path))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(refuse("not a regular file"));
        }
        let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        if size > READ_LIMIT {
            return Err(refuse("larger than 10 MiB"));
        }
        let mut contents = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        File::from(fd)
            .take(READ_LIMIT + 1)
            .read_to_end(&mut contents)
            .map_err(OciError::io("read in image", path))?;
        if contents.len() as u64 > READ_LIMIT {
            return Err(refuse("larger than 10 MiB"));
        }
        Ok(Some(contents))
    }

    /// Whether the path is a directory of the image.
    ///
    /// # Errors
    /// As [`RootView::read`].
    pub fn is_dir(&self, path: &str) -> OciResult<bool> {
        Ok(matches!(self.resolve(path)?, Some(Entry::Directory(_))))
    }

    /// The directories of the layers that together are this directory of the image, top first; `None` where there is
    /// none of that path.
    ///
    /// # Errors
    /// As [`RootView::read`].
    pub fn directory(&self, path: &str) -> OciResult<Option<Vec<PathBuf>>> {
        let Some(dirs) = self.merged(path)? else { return Ok(None) };
        let name = |dir: &OwnedFd| {
            let link = format!("/proc/self/fd/{}", dir.as_raw_fd());
            std::fs::read_link(&link).map_err(OciError::io("find the path of", link))
        };
        dirs.iter().map(name).collect::<OciResult<_>>().map(Some)
    }

    /// The same, opened.
    pub(crate) fn merged(&self, path: &str) -> OciResult<Option<Merged>> {
        Ok(match self.resolve(path)? {
            Some(Entry::Directory(dirs)) => Some(dirs),
            _ => None,
        })
    }

    fn resolve(&self, path: &str) -> OciResult<Option<Entry>> {
        let mut todo: VecDeque<Vec<u8>> = components(path.as_bytes()).collect();
        let mut parents: Vec<Merged> = Vec::new();
        let mut here = self.root()?;
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            if name == b".." {
                here = parents.pop().unwrap_or(here);
                continue;
            }
            match lookup(&here, &name).map_err(OciError::io("look up in image", path))? {
                None => return Ok(None),
                Some(Entry::Directory(next)) => parents.push(std::mem::replace(&mut here, next)),
                Some(Entry::Link(target)) => {
                    links += 1;
                    if links > LINK_LIMIT {
                        return Err(OciError::ImageFile {
                            path: path.into(),
                            reason: "too many symbolic links",
                        });
                    }
                    if target.first() == Some(&b'/') {
                        parents.clear();
                        here = self.root()?;
                    }
                    for component in components(&target).collect::<Vec<_>>().into_iter().rev() {
                        todo.push_front(component);
                    }
                }
                Some(entry) if todo.is_empty() => return Ok(Some(entry)),
                Some(_) => return Ok(None),
            }
        }
        Ok(Some(Entry::Directory(here)))
    }

    fn root(&self) -> OciResult<Merged> {
        let mut merged = Merged::new();
        for layer in &self.layers {
            let dir = rustix::fs::open(layer, DIRECTORY, Mode::empty())
                .map_err(OciError::io("open layer", layer))?;
            let opaque = is_opaque(&dir);
            merged.push(dir);
            if opaque {
                break;
            }
        }
        Ok(merged)
    }
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// A FIFO without a writer opens at once and a device has no effect; either is refused by its type afterwards.
const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

fn components(path: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").map(<[u8]>::to_vec)
}

/// The overlay's rule for one name: the topmost layer that has it decides; directories of lower layers join in
/// until a whiteout, something that is no directory, or an opaque directory hides the rest.
fn lookup(dirs: &Merged, name: &[u8]) -> rustix::io::Result<Option<Entry>> {
    let mut merged = Merged::new();
    for dir in dirs {
        let stat = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(error),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            let fd = rustix::fs::openat(dir, name, DIRECTORY, Mode::empty())?;
            let opaque = is_opaque(&fd);
            merged.push(fd);
            if opaque {
                break;
            }
            continue;
        }
        if !merged.is_empty() || (kind == FileType::CharacterDevice && stat.st_rdev == 0) {
            break;
        }
        return Ok(Some(match kind {
            FileType::Symlink => Entry::Link(rustix::fs::readlinkat(dir, name, Vec::new())?.into_bytes()),
            FileType::RegularFile => Entry::File(rustix::fs::openat(dir, name, FILE, Mode::empty())?),
            _ => Entry::Special,
        }));
    }
    Ok(if merged.is_empty() { None } else { Some(Entry::Directory(merged)) })
}

pub(crate) fn is_opaque(dir: impl AsFd) -> bool {
    let mut value = [0u8; 8];
    ["trusted.overlay.opaque", "user.overlay.opaque"].iter().any(|name| {
        matches!(rustix::fs::fgetxattr(&dir, *name, &mut value), Ok(length) if value[..length] == *b"y")
    })
}

/// A path made absolute and free of `.`, `..`, doubled and trailing slashes, by its text alone.
pub fn clean(path: &str) -> PathBuf {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    Path::new("/").join(parts.join("/"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use nix::sys::stat::{Mode as NixMode, SFlag, makedev, mknod};
    use std::os::unix::fs::symlink;
    use std::time::{Duration, Instant};
    use tempfile::TempDir;

    fn layers(count: usize) -> (TempDir, Vec<PathBuf>) {
        let dir = tempfile::tempdir().unwrap();
        let layers: Vec<PathBuf> = (0..count).map(|n| dir.path().join(format!("l{n}"))).collect();
        for layer in &layers {
            std::fs::create_dir_all(layer.join("etc")).unwrap();
        }
        (dir, layers)
    }

    fn whiteout(path: &Path) {
        mknod(path, SFlag::S_IFCHR, NixMode::empty(), makedev(0, 0)).unwrap();
    }

    #[test]
    fn the_top_layer_wins_and_lower_ones_show_through() {
        let (_dir, l) = layers(2);
        std::fs::write(l[1].join("etc/passwd"), "lower").unwrap();
        std::fs::write(l[1].join("etc/group"), "group").unwrap();
        std::fs::write(l[0].join("etc/passwd"), "upper").unwrap();
        let view = RootView::new(&l);
        assert_eq!(view.read("/etc/passwd").unwrap().unwrap(), b"upper");
        assert_eq!(view.read("/etc//./group").unwrap().unwrap(), b"group");
        assert_eq!(view.read("/etc/shadow").unwrap(), None);
        assert!(view.is_dir("/etc").unwrap() && !view.is_dir("/etc/passwd").unwrap());
    }

    #[test]
    fn whiteouts_and_opaque_directories_hide() {
        if !need::root("making device nodes and trusted attributes needs root") {
            return;
        }
        let (_dir, l) = layers(3);
        std::fs::write(l[2].join("etc/passwd"), "hidden").unwrap();
        std::fs::write(l[2].join("etc/group"), "hidden too").unwrap();
        whiteout(&l[1].join("etc/passwd"));
        let view = RootView::new(&l);
        assert_eq!(view.read("/etc/passwd").unwrap(), None);
        assert!(view.read("/etc/group").unwrap().is_some());
        for name in ["trusted.overlay.opaque", "user.overlay.opaque"] {
            let top = l[0].join("etc");
            if rustix::fs::setxattr(&top, name, b"y", rustix::fs::XattrFlags::empty()).is_err() {
                need::skip(need::Need::Kernel, &format!("this filesystem has no {name}"));
                continue;
            }
            assert_eq!(view.read("/etc/group").unwrap(), None, "{name}");
            rustix::fs::removexattr(&top, name).unwrap();
        }
        whiteout(&l[0].join("gone"));
        std::fs::create_dir(l[1].join("gone")).unwrap();
        std::fs::write(l[1].join("gone/file"), "x").unwrap();
        assert_eq!(view.read("/gone/file").unwrap(), None);
    }

    #[test]
    fn links_stay_inside_the_root() {
        let (dir, l) = layers(2);
        std::fs::write(dir.path().join("canary"), "host").unwrap();
        let canary = dir.path().join("canary");
        symlink(&canary, l[0].join("etc/absolute")).unwrap();
        symlink("../../../../../../../../etc/real", l[0].join("etc/climbs")).unwrap();
        symlink("/etc/loop", l[0].join("etc/loop")).unwrap();
        symlink("usr/etc", l[0].join("moved")).unwrap();
        std::fs::create_dir_all(l[1].join("usr/etc")).unwrap();
        std::fs::write(l[1].join("usr/etc/passwd"), "moved").unwrap();
        std::fs::write(l[1].join("etc/real"), "inside").unwrap();
        let view = RootView::new(&l);
        assert_eq!(view.read("/etc/absolute").unwrap(), None);
        assert_eq!(view.read("/etc/climbs").unwrap().unwrap(), b"inside");
        assert_eq!(view.read("/moved/passwd").unwrap().unwrap(), b"moved");
        assert!(view.read("/etc/loop").unwrap_err().to_string().contains("links"));
    }

    #[test]
    fn hostile_files_are_refused_at_once() {
        if !need::root("making device nodes needs root") {
            return;
        }
        let (_dir, l) = layers(1);
        let etc = l[0].join("etc");
        let sparse = File::create(etc.join("sparse")).unwrap();
        sparse.set_len(10 << 30).unwrap();
        mknod(&etc.join("fifo"), SFlag::S_IFIFO, NixMode::S_IRWXU, 0).unwrap();
        mknod(&etc.join("zero"), SFlag::S_IFCHR, NixMode::S_IRWXU, makedev(1, 5)).unwrap();
        std::fs::create_dir(etc.join("dir")).unwrap();
        let view = RootView::new(&l);
        let start = Instant::now();
        for name in ["sparse", "fifo", "zero", "dir"] {
            let error = view.read(&format!("/etc/{name}")).unwrap_err();
            assert_eq!(error.kind(), model::ErrorKind::InvalidArgument, "{name}: {error}");
        }
        assert!(start.elapsed() < Duration::from_secs(1));
    }

    #[test]
    fn cleaning_is_lexical() {
        for (path, cleaned) in [("/a//b/", "/a/b"), ("a/./b", "/a/b"), ("/../a/../b", "/b"), ("", "/")] {
            assert_eq!(clean(path), Path::new(cleaned));
        }
    }
}
