//! User namespaces: made by a child that does nothing else, mapped from outside, kept by a descriptor.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
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
    /// Its directory of procfs, where its number can be another than this process knows.
    proc: PathBuf,
}

impl Holder {
    /// Makes a user namespace with these ids and, owned by it, the other namespaces asked for (`CLONE_NEW*`).
    ///
    /// # Errors
    /// The kernel's: `EINVAL` for ranges that overlap, `ENOSPC` when the host allows no more namespaces.
    pub fn new(single: &SingleThread, namespaces: i32, uids: &[Range], gids: &[Range]) -> SysResult<Self> {
        let own = nix::unistd::getpid();
        let child = match process::fork(single, fd::namespace::USER | namespaces, None)
            .map_err(|error| SysError::new("make user namespace", "", error.errno))?
        {
            Forked::Child => hold(own),
            Forked::Parent(child) => child,
        };
        let holder = Self::of(child)?;
        holder.map("uid_map", uids)?;
        holder.map("gid_map", gids)?;
        Ok(holder)
    }

    /// Makes namespaces (`CLONE_NEW*`) that a user namespace owns which is there already.
    ///
    /// # Errors
    /// The kernel's: `EINVAL` for a descriptor of something else, or of the caller's own user namespace.
    pub fn within(single: &SingleThread, userns: BorrowedFd<'_>, namespaces: i32) -> SysResult<Self> {
        let own = nix::unistd::getpid();
        let (told, tell) = fd::pipe()?;
        let child = match process::fork(single, 0, None)? {
            Forked::Child => {
                drop(told);
                let entered = process::enter(userns, fd::namespace::USER)
                    .and_then(|()| if namespaces == 0 { Ok(()) } else { process::unshare(namespaces) });
                let errno = entered.err().map_or(0, |error| error.errno);
                // A maker that is gone hears nothing.
                let _ = fd::write_some(tell.as_fd(), &errno.to_ne_bytes());
                drop(tell);
                hold(own)
            }
            Forked::Parent(child) => child,
        };
        drop(tell);
        let holder = Self::of(child)?;
        let mut errno = [0; 4];
        let failed = |errno| SysError::new("enter user namespace", "", errno);
        std::fs::File::from(told).read_exact(&mut errno).map_err(|_| failed(libc::ESRCH))?;
        match i32::from_ne_bytes(errno) {
            0 => Ok(holder),
            errno => Err(failed(errno)),
        }
    }

    fn of(child: Child) -> SysResult<Self> {
        let info = format!("/proc/self/fdinfo/{}", child.pidfd.as_raw_fd());
        let text = std::fs::read_to_string(&info);
        let mut holder = Self { child, proc: PathBuf::new() };
        let text = text.map_err(SysError::io("read", &info))?;
        let pid = text.lines().find_map(|line| line.strip_prefix("Pid:")).map_or("", str::trim);
        holder.proc = Path::new("/proc").join(pid);
        Ok(holder)
    }

    fn map(&self, name: &str, ranges: &[Range]) -> SysResult<()> {
        let path = self.proc.join(name);
        let text: String =
            ranges.iter().map(|(inside, outside, count)| format!("{inside} {outside} {count}\n")).collect();
        OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(SysError::io("map ids of user namespace", &path))
    }

    /// The ids that its user namespace maps, as `uid_map` or `gid_map` tells them.
    fn mapped(&self, name: &str) -> SysResult<Vec<Range>> {
        let path = self.proc.join(name);
        let text = std::fs::read_to_string(&path).map_err(SysError::io("read", &path))?;
        let range = |line: &str| {
            let mut numbers = line.split_whitespace().map(str::parse);
            let mut next = || numbers.next().and_then(Result::ok);
            Some((next()?, next()?, next()?))
        };
        Ok(text.lines().filter_map(range).collect())
    }

    /// One of its namespaces by its name below `/proc/<pid>/ns`; keeps it alive.
    ///
    /// # Errors
    /// The kernel's.
    pub fn namespace(&self, name: &str) -> SysResult<OwnedFd> {
        let path = self.proc.join("ns").join(name);
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
        let source = self.proc.join("ns").join(name);
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

fn hold(maker: nix::unistd::Pid) -> ! {
    // A holder whose maker was killed must not stay; that may have happened already.
    let _ = crate::privilege::set_parent_death_signal(libc::SIGKILL);
    if nix::unistd::getppid() != maker {
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

/// The users and groups that a user namespace maps, seen from the calling process's.
///
/// # Errors
/// As [`Holder::within`].
pub fn ranges_of(single: &SingleThread, userns: BorrowedFd<'_>) -> SysResult<(Vec<Range>, Vec<Range>)> {
    let holder = Holder::within(single, userns, 0)?;
    Ok((holder.mapped("uid_map")?, holder.mapped("gid_map")?))
}
