//! Landlock: which files a thread reaches.

use crate::fd::check;
use crate::{SysError, SysResult};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `LANDLOCK_CREATE_RULESET_VERSION`, `LANDLOCK_RULE_PATH_BENEATH`.
const ASK_VERSION: libc::c_uint = 1;
const BENEATH: libc::c_uint = 1;

/// `LANDLOCK_ACCESS_FS_READ_FILE` and `READ_DIR`.
const READ: u64 = 1 << 2 | 1 << 3;
/// Executing.
const EXECUTE: u64 = 1;
/// All of the first version: up to `LANDLOCK_ACCESS_FS_MAKE_SYM`.
const FIRST: u64 = (1 << 13) - 1;
/// `REFER` since version 2, `TRUNCATE` since 3, `IOCTL_DEV` since 5.
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
const IOCTL: u64 = 1 << 15;
/// `LANDLOCK_ACCESS_NET_BIND_TCP` and `CONNECT_TCP`, since version 4.
const NETWORK: u64 = 3;
/// `LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET` and `SIGNAL`, since version 6.
const SCOPES: u64 = 3;

/// `struct landlock_ruleset_attr`; an older kernel takes what it knows of it.
#[repr(C)]
struct Ruleset {
    files: u64,
    network: u64,
    scopes: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct Beneath {
    access: u64,
    directory: i32,
}

/// From here on the calling thread opens, makes, changes and removes files in `directory` alone, and reads also those in
/// `source`. Whether there is Landlock for it: the first version does not allow hard links between directories and counts
/// as none.
pub(super) fn restrict(directory: Option<BorrowedFd<'_>>, source: Option<BorrowedFd<'_>>) -> SysResult<bool> {
    let Some(version) = version() else { return Ok(false) };
    let files =
        FIRST | REFER | if version >= 3 { TRUNCATE } else { 0 } | if version >= 5 { IOCTL } else { 0 };
    let rules = Ruleset {
        files,
        network: if version >= 4 { NETWORK } else { 0 },
        scopes: if version >= 6 { SCOPES } else { 0 },
    };
    let size: usize = match version {
        ..4 => 8,
        4..6 => 16,
        _ => size_of::<Ruleset>(),
    };
    // SAFETY: the attribute is live for the call, which reads `size` bytes of it.
    let made = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const rules, size, 0) };
    check("make landlock rules", b"", made)?;
    let made = i32::try_from(made).map_err(|_| SysError::new("make landlock rules", "", libc::EBADF))?;
    // SAFETY: the kernel has just made this descriptor (close-on-exec) and nobody else owns it.
    let set = unsafe { OwnedFd::from_raw_fd(made) };
    for (below, access) in [(directory, files & !EXECUTE & !IOCTL), (source, READ)] {
        let Some(below) = below else { continue };
        let rule = Beneath { access, directory: below.as_raw_fd() };
        // SAFETY: the rule is live for the call, which only reads it.
        let added = unsafe {
            libc::syscall(libc::SYS_landlock_add_rule, set.as_raw_fd(), BENEATH, &raw const rule, 0)
        };
        check("add landlock rule", b"", added)?;
    }
    // SAFETY: takes plain numbers.
    let done = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, set.as_raw_fd(), 0) };
    check("restrict by landlock rules", b"", done)?;
    Ok(true)
}

/// The kernel's version of it, from the second on; `None` also where it is turned off.
pub(super) fn version() -> Option<i64> {
    let nothing = std::ptr::null::<Ruleset>();
    // SAFETY: asked for its version, the call reads no attribute.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0_usize, ASK_VERSION) };
    (version >= 2).then_some(version)
}
