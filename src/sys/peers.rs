//! Peer groups: mounts among which what is mounted and unmounted spreads.

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::SysResult;
use crate::fd::check;

const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 0x04;
const MOVE_MOUNT_T_EMPTY_PATH: libc::c_uint = 0x40;
const MOVE_MOUNT_SET_GROUP: libc::c_uint = 0x100;

/// Lets `to`, a private mount of the same filesystem, join the peer group of `from`, or become its master's slave. Both
/// are open at their roots.
///
/// # Errors
/// The kernel's: `EINVAL` for a mount that is not private or whose example is, and before Linux 5.15.
pub fn join(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> SysResult<()> {
    // SAFETY: both paths are terminated empty strings.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            from.as_raw_fd(),
            c"".as_ptr(),
            to.as_raw_fd(),
            c"".as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH | MOVE_MOUNT_SET_GROUP,
        )
    };
    check("join the peers of a mount", b"", result)
}
