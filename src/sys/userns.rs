//! User namespaces: made by a child that does nothing else, mapped from outside, kept by a descriptor.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::process::{self, Child, Forked, SingleThread};
use crate::{SysError, SysResult, fd, mount, resolve};

/// A range of ids: the first inside, the first outside, how many.
pub type Range = (u32, u32, u32);

/// A process that holds new namespaces until it is dropped.
#[derive(Debug)]
pub struct Holder {
    child: Child,
}

impl Holder {
    /// Makes a user namespace with these ids and, owned by it, the other namespaces asked for (`CLONE_NEW*`).
    ///
    /// # Errors
    /// The kernel's: `EINVAL` for ranges that overlap, `ENOSPC` when the host allows no more namespaces.
    pub fn new(single: &SingleThread, namespaces: i32, uids: &[Range], gids: &[Range]) -> SysResult<Self> {
        let child = match process::fork(single, fd::namespace::USER | namespaces, None)
            .map_err(|error| SysError::new("make user namespace", "", error.errno))?
        {
            Forked::Child => hold(),
            Forked::Parent(child) => child,
        };
        let holder = Self { child };
        holder.map("uid_map", uids)?;
        holder.map("gid_map", gids)?;
        Ok(holder)
    }

    fn map(&self, name: &str, ranges: &[Range]) -> SysResult<()> {
        let path = self.path(name);
        let text: String =
            ranges.iter().map(|(inside, outside, count)| format!("{inside} {outside} {count}\n")).collect();
        OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(SysError::io("map ids of user namespace", &path))
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new("/proc").join(self.child.pid.to_string()).join(name)
    }

    /// One of its namespaces by its name below `/proc/<pid>/ns`; keeps it alive.
    ///
    /// # Errors
    /// The kernel's.
    pub fn namespace(&self, name: &str) -> SysResult<OwnedFd> {
        let path = self.path("ns").join(name);
        resolve::open(path.as_os_str().as_encoded_bytes(), libc::O_RDONLY)
    }

    /// Keeps one of its namespaces alive by a bind mount on a new file.
    ///
    /// # Errors
    /// The kernel's; `EEXIST` when the file exists.
    pub fn pin(&self, name: &str, at: &Path) -> SysResult<()> {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o444)
            .open(at)
            .map_err(SysError::io("create namespace file", at))?;
        let source = self.path("ns").join(name);
        let bytes = |path: &Path| path.as_os_str().as_encoded_bytes().to_vec();
        mount::classic(&bytes(&source), &bytes(at), b"", libc::MS_BIND, b"")
    }

    /// Moves the calling process into some of its namespaces (`CLONE_NEW*`).
    ///
    /// # Errors
    /// The kernel's.
    pub fn enter(&self, namespaces: i32) -> SysResult<()> {
        process::enter(self.child.pidfd.as_fd(), namespaces)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It cannot have ended by itself, and is reaped either way.
        let _ = process::signal(self.child.pidfd.as_fd(), libc::SIGKILL);
        process::wait(&self.child);
    }
}

fn hold() -> ! {
    // A holder whose maker was killed must not stay. It has no parent in sight when that has happened already.
    let _ = crate::privilege::set_parent_death_signal(libc::SIGKILL);
    if nix::unistd::getppid().as_raw() == 1 {
        process::exit(1);
    }
    loop {
        // SAFETY: pause takes no pointers.
        unsafe { libc::pause() };
    }
}

/// The user namespace alone, for idmapped mounts.
///
/// # Errors
/// As [`Holder::new`].
pub fn create(single: &SingleThread, uids: &[Range], gids: &[Range]) -> SysResult<OwnedFd> {
    Holder::new(single, 0, uids, gids)?.namespace("user")
}
