//! An open directory and what it holds, a buffer at a time.

use crate::{SysError, SysResult, fd::as_path};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

/// What the kernel is asked for at once: some 400 entries with usual names.
const BUFFER: usize = 16 << 10;
/// Where the fields of a `linux_dirent64` lie.
const OFFSET: usize = 8;
const LENGTH: usize = 16;
const KIND: usize = 18;
const NAME: usize = 19;

/// A directory that is being read.
#[derive(Debug)]
pub(super) struct Listing {
    fd: OwnedFd,
    buffer: Box<[u8]>,
    at: usize,
    end: usize,
    place: i64,
}

/// A name in a directory.
#[derive(Debug, Clone)]
pub struct Name {
    pub(super) name: CString,
    kind: u8,
}

impl Name {
    /// The name itself.
    pub fn as_c_str(&self) -> &CStr {
        &self.name
    }

    /// Whether it may be a directory: not every filesystem tells.
    pub fn may_be_directory(&self) -> bool {
        matches!(self.kind, libc::DT_DIR | libc::DT_UNKNOWN)
    }
}

impl Listing {
    /// Opens the directory `name` of `parent`, which is not reached through a link, nor where something is mounted on it.
    ///
    /// # Errors
    /// The kernel's: `ENOTDIR` or `ELOOP` where it is none, `EXDEV` where something is mounted.
    pub(super) fn open(parent: BorrowedFd<'_>, name: &CStr) -> SysResult<Self> {
        open(parent, name, ResolveFlag::RESOLVE_NO_XDEV).map(Self::of)
    }

    /// The directory that the path leads to, whose last name is no link; mounts are followed.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn open_path(parent: BorrowedFd<'_>, path: &CStr) -> SysResult<Self> {
        open(parent, path, ResolveFlag::empty()).map(Self::of)
    }

    /// Of a directory that is open for reading.
    pub(super) fn of(fd: OwnedFd) -> Self {
        Self { fd, buffer: Box::default(), at: 0, end: 0, place: 0 }
    }

    /// How far it was read: where [`Listing::seek`] goes on.
    pub(super) fn place(&self) -> i64 {
        self.place
    }

    /// Goes on where another listing of the same directory was.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn seek(&mut self, place: i64) -> SysResult<()> {
        (self.at, self.end, self.place) = (0, 0, place);
        let sought = nix::unistd::lseek(&self.fd, place, nix::unistd::Whence::SeekSet);
        sought.map(drop).map_err(SysError::nix("seek in", ""))
    }

    /// The next name but `.` and `..`; those that appear or vanish meanwhile may be told or not.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn next(&mut self) -> SysResult<Option<Name>> {
        loop {
            if self.at >= self.end {
                if self.buffer.is_empty() {
                    self.buffer = vec![0; BUFFER].into_boxed_slice();
                }
                self.end = fill(self.fd.as_fd(), &mut self.buffer)?;
                self.at = 0;
                if self.end == 0 {
                    return Ok(None);
                }
            }
            let malformed = || SysError::new("list", "", libc::EIO);
            let rest = self.buffer.get(self.at..self.end).ok_or_else(malformed)?;
            let length = usize::from(u16::from_ne_bytes(field(rest, LENGTH).ok_or_else(malformed)?));
            let record = rest.get(..length).filter(|record| record.len() > NAME).ok_or_else(malformed)?;
            let name = record.get(NAME..).and_then(|name| CStr::from_bytes_until_nul(name).ok());
            let name = name.ok_or_else(malformed)?;
            let kind = record.get(KIND).copied().unwrap_or(libc::DT_UNKNOWN);
            self.place = i64::from_ne_bytes(field(record, OFFSET).ok_or_else(malformed)?);
            self.at += length;
            if !matches!(name.to_bytes(), b"." | b"..") {
                return Ok(Some(Name { name: name.to_owned(), kind }));
            }
        }
    }
}

impl AsFd for Listing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn open(parent: BorrowedFd<'_>, name: &CStr, resolve: ResolveFlag) -> SysResult<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let how = OpenHow::new().flags(flags).resolve(resolve);
    openat2(parent, name, how).map_err(SysError::nix("open", as_path(name.to_bytes())))
}

fn field<const N: usize>(record: &[u8], at: usize) -> Option<[u8; N]> {
    record.get(at..at + N)?.try_into().ok()
}

fn fill(dir: BorrowedFd<'_>, buffer: &mut [u8]) -> SysResult<usize> {
    // SAFETY: the buffer is writable for the length given.
    let count =
        unsafe { libc::syscall(libc::SYS_getdents64, dir.as_raw_fd(), buffer.as_mut_ptr(), buffer.len()) };
    usize::try_from(count).map_err(|_| SysError::last("list", ""))
}
