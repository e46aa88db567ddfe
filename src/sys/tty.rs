//! Pseudo terminals, allocated inside a container's own devpts.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use crate::fd::{check, filesystem_magic, owned};
use crate::resolve::open_in_root;
use crate::{SysError, SysResult};

const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;

/// A terminal: (master, slave). The master comes from the `/dev/pts/ptmx` below `root`, which is verified to
/// be devpts; the slave is opened from the master and not by any path.
///
/// # Errors
/// The kernel's; `EXDEV` when `/dev/pts` is no devpts.
pub fn open_pair(root: BorrowedFd<'_>) -> SysResult<(OwnedFd, OwnedFd)> {
    let path = b"/dev/pts/ptmx";
    let flags = libc::O_RDWR | libc::O_NOCTTY;
    let master = open_in_root(root, path, flags)?;
    if filesystem_magic(&master)? != DEVPTS_SUPER_MAGIC {
        return Err(SysError::new("open terminal", crate::fd::as_path(path), libc::EXDEV));
    }
    let unlock: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads one int.
    let result = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlock) };
    check("unlock terminal", path, result.into())?;
    let flags = flags | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes open flags by value and returns a new descriptor.
    let slave = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) };
    Ok((master, owned("open terminal", path, slave.into())?))
}

/// Makes a terminal the controlling one of the calling session leader.
///
/// # Errors
/// `EPERM` for a process that leads no session.
pub fn set_controlling(slave: BorrowedFd<'_>) -> SysResult<()> {
    // SAFETY: TIOCSCTTY takes its argument by value.
    check(
        "set controlling terminal",
        b"",
        unsafe { libc::ioctl(slave.as_raw_fd(), libc::TIOCSCTTY, 0) }.into(),
    )
}
