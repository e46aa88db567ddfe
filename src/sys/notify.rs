//! System calls that a filter asks about, seen from the agent that answers for them: what the tests' agent is made of.

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::{SysError, SysResult};

/// `SECCOMP_USER_NOTIF_FLAG_CONTINUE`.
const CONTINUE: u32 = 1;

/// A call that waits for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    id: u64,
    /// Its number.
    pub number: i64,
}

/// Waits for a call.
///
/// # Errors
/// `ENOENT` when the caller was killed meanwhile, or (Linux 6.11) nobody is left who could call.
pub fn receive(listener: BorrowedFd<'_>) -> SysResult<Call> {
    // SAFETY: a structure of integers, for which zero is valid.
    let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live structure of the type that the request names.
    unsafe { request::receive(listener.as_raw_fd(), &raw mut call) }
        .map_err(SysError::nix("receive a system call", ""))?;
    Ok(Call { id: call.id, number: call.data.nr.into() })
}

/// Lets a call return this, or with `None` go on as if nobody had been asked.
///
/// # Errors
/// `ENOENT` when the caller does not wait any more.
pub fn answer(listener: BorrowedFd<'_>, call: Call, value: Option<i64>) -> SysResult<()> {
    let mut response = libc::seccomp_notif_resp {
        id: call.id,
        val: value.unwrap_or(0),
        error: 0,
        flags: if value.is_none() { CONTINUE } else { 0 },
    };
    // SAFETY: the pointer is to a live structure of the type that the request names.
    unsafe { request::answer(listener.as_raw_fd(), &raw mut response) }
        .map(drop)
        .map_err(SysError::nix("answer a system call", ""))
}

mod request {
    //! The requests of a listener.
    #![allow(missing_docs, reason = "made by macros")]
    nix::ioctl_readwrite!(receive, b'!', 0, libc::seccomp_notif);
    nix::ioctl_readwrite!(answer, b'!', 1, libc::seccomp_notif_resp);
}
