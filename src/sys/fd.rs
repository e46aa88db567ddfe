//! File descriptors: closing, duplicating, pipes, identity.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use crate::{SysError, SysResult};

/// Flags of open(2), for callers that do not link libc themselves.
pub mod flag {
    pub use libc::{
        O_APPEND, O_CREAT, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, O_PATH, O_RDONLY, O_RDWR, O_WRONLY,
    };
}

/// Error numbers that callers decide on.
pub mod errno {
    pub use libc::{
        EACCES, EAGAIN, EBUSY, EEXIST, EINTR, EINVAL, EIO, ELOOP, EMFILE, EMLINK, ENAMETOOLONG, ENFILE,
        ENODEV, ENOENT, ENOMEM, ENOSYS, ENOTDIR, ENOTEMPTY, ENXIO, EPERM, ERANGE, EROFS, ESRCH, ETIMEDOUT,
        EXDEV,
    };
}

/// Namespace types of clone(2), setns(2) and unshare(2).
pub mod namespace {
    pub use libc::{
        CLONE_NEWCGROUP as CGROUP, CLONE_NEWIPC as IPC, CLONE_NEWNET as NET, CLONE_NEWNS as MOUNT,
        CLONE_NEWPID as PID, CLONE_NEWUSER as USER, CLONE_NEWUTS as UTS,
    };
}

/// Propagation types of mounts.
pub mod propagation {
    pub use libc::{
        MS_PRIVATE as PRIVATE, MS_REC as RECURSIVE, MS_SHARED as SHARED, MS_SLAVE as SLAVE,
        MS_UNBINDABLE as UNBINDABLE,
    };
}

/// File types within a mode.
pub mod file_type {
    pub use libc::{S_IFBLK as BLOCK, S_IFCHR as CHARACTER, S_IFIFO as FIFO};
}

/// The file type within a mode (`S_IFMT`).
pub const FILE_TYPE: u32 = libc::S_IFMT;

/// How many bytes can be read at once; 0 from what cannot tell.
pub fn waiting(fd: impl AsFd) -> usize {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int.
    let code = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::FIONREAD, &raw mut count) };
    if code == 0 { usize::try_from(count).unwrap_or(0) } else { 0 }
}

/// The descriptor with this number, taken over from the program before where it is a namespace of this type
/// (ioctl_nsfs(2)).
pub fn inherited_namespace(number: RawFd, kind: i32) -> Option<OwnedFd> {
    const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
    // SAFETY: the request takes no argument; whatever else the number stands for refuses it.
    let found = unsafe { libc::ioctl(number, NS_GET_NSTYPE as _) };
    if found == kind { inherited(number).ok() } else { None }
}

/// What a path or descriptor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// `S_IFMT` bits and permissions.
    pub mode: u32,
    /// The device that a device node stands for.
    pub rdev: u64,
    /// The filesystem it lies on.
    pub dev: u64,
    /// Its number there.
    pub inode: u64,
    /// Its length in bytes.
    pub size: i64,
}

impl Identity {
    /// A directory.
    pub fn is_dir(self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFDIR
    }

    /// The character device with these numbers.
    pub fn is_char_device(self, major: u32, minor: u32) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFCHR && self.is_device(major, minor)
    }

    /// A device with these numbers, character or block.
    pub fn is_device(self, major: u32, minor: u32) -> bool {
        self.has_numbers() && self.rdev == libc::makedev(major, minor)
    }

    /// A character or block device.
    pub fn has_numbers(self) -> bool {
        matches!(self.mode & libc::S_IFMT, libc::S_IFCHR | libc::S_IFBLK)
    }
}

/// A kernel string from bytes.
///
/// # Errors
/// `EINVAL` when the bytes hold a NUL.
pub fn c_string(op: &'static str, bytes: &[u8]) -> SysResult<CString> {
    CString::new(bytes).map_err(|_| SysError::new(op, String::from_utf8_lossy(bytes).as_ref(), libc::EINVAL))
}

/// The bytes as a path, for messages and std.
pub fn as_path(bytes: &[u8]) -> &Path {
    Path::new(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(bytes))
}

/// Takes ownership of what a system call has just returned.
///
/// # Errors
/// The call's own, when it returned a negative number.
pub(crate) fn owned(op: &'static str, path: &[u8], result: libc::c_long) -> SysResult<OwnedFd> {
    match RawFd::try_from(result) {
        // SAFETY: the kernel has just handed out this descriptor, and nobody else knows it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(SysError::last(op, as_path(path))),
    }
}

/// Turns a system call's status into a result.
pub(crate) fn check(op: &'static str, path: &[u8], result: libc::c_long) -> SysResult<()> {
    if result < 0 { Err(SysError::last(op, as_path(path))) } else { Ok(()) }
}

/// fstat(2).
///
/// # Errors
/// The kernel's.
pub fn identity(fd: impl AsFd) -> SysResult<Identity> {
    let stat = nix::sys::stat::fstat(fd).map_err(SysError::nix("stat", ""))?;
    Ok(Identity {
        mode: stat.st_mode,
        rdev: stat.st_rdev,
        dev: stat.st_dev,
        inode: stat.st_ino,
        size: stat.st_size,
    })
}

/// The size of an open file in bytes; 0 of what is none.
///
/// # Errors
/// The kernel's.
pub fn size(fd: impl AsFd) -> SysResult<u64> {
    let stat = nix::sys::stat::fstat(fd).map_err(SysError::nix("fstat", ""))?;
    Ok(u64::try_from(stat.st_size).unwrap_or(0))
}

/// The magic number of the filesystem that a descriptor lies on, such as `PROC_SUPER_MAGIC`.
///
/// # Errors
/// The kernel's.
pub fn filesystem_magic(fd: impl AsFd) -> SysResult<i64> {
    let stat = nix::sys::statfs::fstatfs(fd).map_err(SysError::nix("statfs", ""))?;
    Ok(stat.filesystem_type().0 as i64)
}

/// Makes sure that a descriptor is on procfs, before anything is written through it.
///
/// # Errors
/// `EXDEV` when it is on something else (CVE-2019-16884, CVE-2025-52881).
pub fn expect_procfs(fd: impl AsFd) -> SysResult<()> {
    if filesystem_magic(fd)? == libc::PROC_SUPER_MAGIC {
        Ok(())
    } else {
        Err(SysError::new("verify procfs", "", libc::EXDEV))
    }
}

/// A close-on-exec pipe: (reading end, writing end).
///
/// # Errors
/// Too many open files.
pub fn pipe() -> SysResult<(OwnedFd, OwnedFd)> {
    nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(SysError::nix("pipe", ""))
}

/// Waits until every writing end of a pipe is closed.
pub fn wait_for_end(reader: impl AsFd) {
    let mut byte = [0; 1];
    while !matches!(
        nix::unistd::read(&reader, &mut byte),
        Ok(0) | Err(nix::Error::EBADF | nix::Error::EINVAL)
    ) {}
}

/// Makes reads and writes return `EAGAIN` where they would wait.
///
/// # Errors
/// The kernel's.
pub fn set_nonblocking(fd: impl AsFd) -> SysResult<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = fcntl(&fd, FcntlArg::F_GETFL).map_err(SysError::nix("fcntl", ""))?;
    let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
    fcntl(&fd, FcntlArg::F_SETFL(flags)).map_err(SysError::nix("fcntl", ""))?;
    Ok(())
}

/// How much a pipe holds before its writer waits, in bytes; more than the host lets it hold is no error.
pub fn enlarge_pipe(pipe: impl AsFd, bytes: i32) {
    // A pipe of the usual size does the same with more wake-ups.
    let _ = nix::fcntl::fcntl(pipe, nix::fcntl::FcntlArg::F_SETPIPE_SZ(bytes));
}

/// Writes as much as a non-blocking descriptor takes: fewer bytes than given, or none, when it is full.
///
/// # Errors
/// `EPIPE` when nobody reads any more, or another one of the kernel's.
pub fn write_some(fd: BorrowedFd<'_>, bytes: &[u8]) -> SysResult<usize> {
    let mut count = 0;
    while let Some(rest) = bytes.get(count..).filter(|rest| !rest.is_empty()) {
        match nix::unistd::write(fd, rest) {
            Ok(more) => count += more,
            Err(nix::Error::EINTR) => {}
            Err(nix::Error::EAGAIN) => break,
            Err(error) => return Err(SysError::nix("write", "")(error)),
        }
    }
    Ok(count)
}

/// A second descriptor for the same open file, close-on-exec.
///
/// # Errors
/// Too many open files.
pub fn duplicate(fd: BorrowedFd<'_>) -> SysResult<OwnedFd> {
    fd.try_clone_to_owned().map_err(SysError::io("duplicate", ""))
}

/// Gives a pipe or terminal to a user, so that `/dev/stdout` can be opened by it.
///
/// # Errors
/// The kernel's.
pub fn set_owner(fd: impl AsFd, uid: u32, gid: u32) -> SysResult<()> {
    // SAFETY: fchown takes no pointers.
    let result = unsafe { libc::fchown(fd.as_fd().as_raw_fd(), uid, gid) };
    check("chown", b"", result.into())
}

/// Makes `fd` the process's standard input (0), output (1) or error (2).
///
/// # Errors
/// The kernel's.
pub fn set_standard(fd: BorrowedFd<'_>, number: RawFd) -> SysResult<()> {
    if !(0..=2).contains(&number) {
        return Err(SysError::new("dup2", "", libc::EINVAL));
    }
    let result = if fd.as_raw_fd() == number {
        // SAFETY: fcntl(F_SETFD) takes no pointers; 0 lets the descriptor survive exec.
        unsafe { libc::fcntl(number, libc::F_SETFD, 0) }
    } else {
        // SAFETY: 0 to 2 are never owned by a Rust value in this workspace, so replacing them closes nobody's.
        unsafe { libc::dup2(fd.as_raw_fd(), number) }
    };
    check("dup2", b"", result.into())
}

/// Closes every descriptor above 2 but those kept. For a child that is about to exec: values that own the
/// closed ones must not be used or dropped afterwards, which is why only a process that ends by exec or
/// [`crate::process::exit`] may call it.
///
/// # Errors
/// The kernel's; before Linux 5.9 `ENOSYS`.
pub fn close_all_but(kept: &[RawFd]) -> SysResult<()> {
    let mut kept: Vec<u32> =
        kept.iter().filter_map(|fd| u32::try_from(*fd).ok()).filter(|fd| *fd > 2).collect();
    kept.sort_unstable();
    let mut from: u32 = 3;
    for fd in kept.into_iter().chain(std::iter::once(u32::MAX)) {
        if fd > from {
            close_range(from, if fd == u32::MAX { fd } else { fd - 1 }, 0)?;
        }
        from = fd.saturating_add(1);
    }
    Ok(())
}

/// Lets exec close every descriptor above 2.
///
/// # Errors
/// The kernel's; before Linux 5.11 `EINVAL`.
pub fn close_all_on_exec() -> SysResult<()> {
    close_on_exec_from(3)
}

/// Lets exec close every descriptor from `first` on; the standard streams always stay.
///
/// # Errors
/// The kernel's; before Linux 5.11 `EINVAL`.
pub fn close_on_exec_from(first: u32) -> SysResult<()> {
    close_range(first.max(3), u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

fn close_range(first: u32, last: u32, flags: libc::c_uint) -> SysResult<()> {
    // SAFETY: close_range takes no pointers; that owners lose their descriptors is the documented contract of
    // the two callers.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    check("close_range", b"", result)
}

/// The descriptor with this number, which the process inherited at its start.
///
/// # Errors
/// `EBADF` when there is none, `EINVAL` for the standard streams.
pub fn inherited(number: RawFd) -> SysResult<OwnedFd> {
    if number <= 2 {
        return Err(SysError::new("inherit", "", libc::EINVAL));
    }
    // SAFETY: fcntl(F_SETFD) takes no pointers; it fails when the number is not open.
    let result = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    check("inherit", b"", result.into())?;
    // SAFETY: the descriptor is open, and was given to this process by its parent: no other value owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn identities_tell_devices_and_directories_apart() {
        let null = identity(std::fs::File::open("/dev/null").unwrap()).unwrap();
        assert!(null.is_char_device(1, 3) && !null.is_char_device(1, 5) && !null.is_dir());
        assert!(identity(std::fs::File::open("/").unwrap()).unwrap().is_dir());
    }

    #[test]
    fn procfs_is_known_by_its_magic() {
        let proc = std::fs::File::open("/proc/self/status").unwrap();
        assert_eq!(filesystem_magic(proc).unwrap(), libc::PROC_SUPER_MAGIC);
    }

    #[test]
    fn a_string_with_a_nul_is_refused() {
        assert_eq!(c_string("open", b"a\0b").unwrap_err().errno, libc::EINVAL);
    }
}
