//! Session keyrings.

use crate::SysResult;
use crate::fd::check;

const JOIN_SESSION_KEYRING: libc::c_long = 1;
const SET_PERMISSIONS: libc::c_long = 5;
const GET_NUMBER: libc::c_long = 0;
const DESCRIBE: libc::c_long = 6;
/// `KEY_SPEC_SESSION_KEYRING`.
const OWN_SESSION: libc::c_long = -3;
/// Everything to processes that have it as their session's, and to others of its user to view, read and search it:
/// what may search a keyring can join it by its name.
const SHARED: u32 = 0x3f0b_0000;

/// Joins the session keyring of this name, which is made where there is none, so that the keys of the caller's stay
/// behind. A kernel without keyrings, or a filter against them, is no error: there is nothing to leave behind.
///
/// With `share` other processes of the calling user can join it by its name.
///
/// # Errors
/// The kernel's other ones, such as `EDQUOT`.
pub fn join(name: &[u8], share: bool) -> SysResult<()> {
    let op = "join session keyring";
    let text = crate::fd::c_string(op, name)?;
    // SAFETY: the name is terminated.
    let serial = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, text.as_ptr()) };
    match check(op, name, serial) {
        Err(error) if matches!(error.errno, libc::ENOSYS | libc::EPERM) => return Ok(()),
        other => other?,
    }
    if !share {
        return Ok(());
    }
    // SAFETY: no pointers are passed.
    check("share session keyring", name, unsafe {
        libc::syscall(libc::SYS_keyctl, SET_PERMISSIONS, serial, SHARED)
    })
}

/// Number, owner and name of the session keyring, as keyctl(2) tells them; empty where there is none.
pub fn session() -> String {
    let mut text = [0_u8; 512];
    // SAFETY: no pointers are passed.
    let number = unsafe { libc::syscall(libc::SYS_keyctl, GET_NUMBER, OWN_SESSION, 0) };
    // SAFETY: the buffer is writable for the length given.
    let length = unsafe { libc::syscall(libc::SYS_keyctl, DESCRIBE, number, text.as_mut_ptr(), text.len()) };
    match usize::try_from(length).ok().and_then(|length| text.get(..length.saturating_sub(1))) {
        Some(text) if number >= 0 => format!("{number} {}", String::from_utf8_lossy(text)),
        _ => String::new(),
    }
}
