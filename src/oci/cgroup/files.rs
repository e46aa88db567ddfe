//! Control files, reached from a directory that stays open.

use crate::error::{OciError, OciResult};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// One mounted hierarchy.
#[derive(Debug)]
pub(super) struct Hierarchy {
    /// The controllers of v1 (with `name=…` for named ones); empty for v2.
    pub(super) controllers: Vec<String>,
    /// Where it is mounted.
    pub(super) root: PathBuf,
    /// The same, open.
    dir: OwnedFd,
    /// Where the daemon itself is in it.
    pub(super) own: String,
}

impl Hierarchy {
    pub(super) fn open(root: &Path, controllers: Vec<String>, own: String) -> OciResult<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(root, flags, Mode::empty()).map_err(OciError::io("open", root))?;
        Ok(Self { controllers, root: root.to_path_buf(), dir, own })
    }

    pub(super) fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| name == controller)
    }

    /// The path on the host.
    pub(super) fn path(&self, relative: &str) -> PathBuf {
        if relative.is_empty() { self.root.clone() } else { self.root.join(relative) }
    }

    pub(super) fn exists(&self, relative: &str) -> bool {
        relative.is_empty()
            || rustix::fs::accessat(&self.dir, relative, rustix::fs::Access::EXISTS, AtFlags::empty()).is_ok()
    }

    /// Makes one directory; false when it was there.
    pub(super) fn mkdir(&self, relative: &str) -> rustix::io::Result<bool> {
        match rustix::fs::mkdirat(&self.dir, relative, Mode::from_raw_mode(0o755)) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes one directory; absent is fine.
    pub(super) fn rmdir(&self, relative: &str) -> rustix::io::Result<()> {
        match rustix::fs::unlinkat(&self.dir, relative, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A control file open for one or more writes.
    pub(super) fn writer(&self, relative: &str, file: &str) -> OciResult<Writer> {
        let path = under(relative, file);
        let fd = rustix::fs::openat(&self.dir, &path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(OciError::io("open", self.root.join(&path)))?;
        Ok(Writer { fd, path: self.root.join(path) })
    }

    pub(super) fn write(&self, relative: &str, file: &str, value: impl AsRef<str>) -> OciResult<()> {
        self.writer(relative, file)?.write(value.as_ref())
    }

    /// As [`Self::write`], for a value of a request: one that the kernel does not take is the request's fault.
    pub(super) fn set(&self, relative: &str, file: &str, value: impl AsRef<str>) -> OciResult<()> {
        let value = value.as_ref();
        match self.write(relative, file, value) {
            Err(OciError::Io { source, .. }) if is_no_value(&source) => {
                let reason = format!("the kernel does not take {value:?} for {file}: {source}");
                Err(OciError::invalid("linux.resources", reason))
            }
            other => other,
        }
    }

    /// A control file open for reading; `None` when it is not there.
    pub(super) fn reader(&self, relative: &str, file: &str) -> OciResult<Option<OwnedFd>> {
        let path = under(relative, file);
        match rustix::fs::openat(&self.dir, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT | Errno::NODEV) => Ok(None),
            Err(error) => Err(OciError::io("open", self.root.join(path))(error)),
        }
    }

    /// Reads a control file; `None` when it is not there.
    pub(super) fn read(&self, relative: &str, file: &str) -> OciResult<Option<String>> {
        let Some(fd) = self.reader(relative, file)? else { return Ok(None) };
        // Not by way of std, which asks for size and place first, and these files have neither.
        let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            match rustix::io::read(&fd, &mut buffer) {
                Ok(0) => return Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
                Ok(count) => bytes.extend_from_slice(buffer.get(..count).unwrap_or_default()),
                Err(Errno::INTR) => {}
                // The cgroup went away between open and read.
                Err(Errno::NODEV) => return Ok(None),
                Err(error) => return Err(OciError::io("read", self.root.join(under(relative, file)))(error)),
            }
        }
    }

    /// The names of the cgroups directly below.
    pub(super) fn children(&self, relative: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path(relative)) else { return Vec::new() };
        entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| Some(under(relative, entry.file_name().to_str()?)))
            .collect()
    }

    /// The processes of a cgroup and of everything below it.
    pub(super) fn procs(&self, relative: &str) -> Vec<i32> {
        sys::cgroup::processes(&self.path(relative)).into_iter().collect()
    }
}

impl AsFd for Hierarchy {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

/// Whether a cgroup's directory holds neither processes nor other cgroups; one that is not there does not.
pub fn is_vacant(dir: &Path) -> bool {
    let empty = std::fs::read_to_string(dir.join("cgroup.procs")).is_ok_and(|procs| procs.trim().is_empty());
    let no_child = |mut entries: std::fs::ReadDir| {
        !entries.any(|entry| entry.is_ok_and(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())))
    };
    empty && std::fs::read_dir(dir).is_ok_and(no_child)
}

/// An open control file. The kernel takes one value a write.
pub(super) struct Writer {
    fd: OwnedFd,
    path: PathBuf,
}

impl Writer {
    pub(super) fn write(&self, value: &str) -> OciResult<()> {
        match rustix::io::write(&self.fd, value.as_bytes()) {
            Ok(_) => Ok(()),
            Err(error) => Err(OciError::io("write", format!("{value:?} to {}", self.path.display()))(error)),
        }
    }
}

/// Whether the kernel refuses a value for what it is.
pub(super) fn is_no_value(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(sys::fd::errno::EINVAL | sys::fd::errno::ERANGE))
}

pub(super) fn under(relative: &str, name: &str) -> String {
    if relative.is_empty() { name.to_owned() } else { format!("{relative}/{name}") }
}
