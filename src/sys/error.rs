use std::ffi::CStr;
use std::fmt;
use std::path::{Path, PathBuf};

/// A system call that failed: what was attempted, on what, and the kernel's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SysError {
    /// What was attempted, such as `open` or `mount overlay`.
    pub op: &'static str,
    /// The path, name or object it was attempted on; may be empty.
    pub path: PathBuf,
    /// The kernel's error number (`ENOENT`, …); 0 when the failure is not the kernel's.
    pub errno: i32,
}

/// The result of everything in this crate.
pub type SysResult<T> = Result<T, SysError>;

impl SysError {
    /// An error with an explicit number.
    pub fn new(op: &'static str, path: impl AsRef<Path>, errno: i32) -> Self {
        Self { op, path: path.as_ref().to_path_buf(), errno }
    }

    /// The error of the libc call that has just failed on this thread.
    pub fn last(op: &'static str, path: impl AsRef<Path>) -> Self {
        let errno = last_errno();
        Self::new(op, path, errno)
    }

    /// For `map_err` on nix's calls.
    pub fn nix(op: &'static str, path: impl AsRef<Path>) -> impl FnOnce(nix::Error) -> Self {
        move |errno| Self::new(op, path, errno as i32)
    }

    /// For `map_err` on the standard library's calls.
    pub fn io(op: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self::new(op, path, error.raw_os_error().unwrap_or(0))
    }

    /// Whether nothing of that name is there.
    pub fn is_absent(&self) -> bool {
        self.errno == libc::ENOENT
    }
}

impl From<failpoint::Injected> for SysError {
    fn from(injected: failpoint::Injected) -> Self {
        Self::new("failpoint", injected.name, injected.errno)
    }
}

/// The calling thread's `errno`.
pub fn last_errno() -> i32 {
    // SAFETY: the location is this thread's own and always readable.
    unsafe { *libc::__errno_location() }
}

/// The C library's sentence for an error number, such as `No such file or directory`.
pub fn errno_text(errno: i32) -> String {
    let mut buffer = [0 as libc::c_char; 128];
    // SAFETY: the buffer is writable for the length given; strerror_r terminates it with a NUL.
    let code = unsafe { libc::strerror_r(errno, buffer.as_mut_ptr(), buffer.len()) };
    if code != 0 {
        return "unknown error".to_owned();
    }
    // SAFETY: strerror_r succeeded, so the buffer holds a terminated string.
    unsafe { CStr::from_ptr(buffer.as_ptr()) }.to_string_lossy().into_owned()
}

impl fmt::Display for SysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.op)?;
        if !self.path.as_os_str().is_empty() {
            f.write_str(" ")?;
            f.write_str(&self.path.to_string_lossy())?;
        }
        f.write_str(": ")?;
        f.write_str(&errno_text(self.errno).to_lowercase())
    }
}

impl std::error::Error for SysError {}

/// For callers that speak std, and say themselves what was attempted on what.
impl From<SysError> for std::io::Error {
    fn from(error: SysError) -> Self {
        if error.errno == 0 { Self::other(error) } else { Self::from_raw_os_error(error.errno) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_on_what_and_why() {
        let error = SysError::new("open", "/nowhere", libc::ENOENT);
        assert_eq!(error.to_string(), "open /nowhere: no such file or directory");
        assert_eq!(SysError::new("fork", "", libc::EAGAIN).op, "fork");
    }
}
