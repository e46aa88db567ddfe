//! A program that is started with one descriptor beside its standard streams.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::{fd, poll};

/// Where the program finds it.
const PLACE: i32 = 3;

/// Lets a program find a descriptor as its third, and no other beside its standard streams. What the library leaves as it
/// is, signals that are ignored here, is as at the start of any program.
///
/// # Errors
/// There is no descriptor left.
pub fn pass(command: &mut Command, passed: impl AsFd) -> io::Result<()> {
    // Where that place is free it is taken here: the library's own pipe, by which it learns of a failed exec, must not lie
    // there.
    // SAFETY: fcntl(F_DUPFD_CLOEXEC) takes no pointers.
    let copy = unsafe { libc::fcntl(passed.as_fd().as_raw_fd(), libc::F_DUPFD_CLOEXEC, PLACE) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it has just been made, and is nobody else's.
    let copy = unsafe { OwnedFd::from_raw_fd(copy) };
    let prepare = move || {
        poll::reset_signals().map_err(|error| io::Error::from_raw_os_error(error.errno))?;
        let from = copy.as_raw_fd();
        let result = if from == PLACE {
            // SAFETY: fcntl(F_SETFD) takes no pointers, and is a system call, allowed between fork and exec.
            unsafe { libc::fcntl(PLACE, libc::F_SETFD, 0) }
        } else {
            // SAFETY: as above; what lies there in this child is used by nobody after exec.
            unsafe { libc::dup2(from, PLACE) }
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        // Before Linux 5.11 each has been opened so that exec closes it.
        let _ = fd::close_on_exec_from(4);
        Ok(())
    };
    // SAFETY: the closure makes system calls and allocates nothing.
    unsafe { command.pre_exec(prepare) };
    Ok(())
}
