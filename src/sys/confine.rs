//! A thread gives up, for good, what its work does not need: a flaw in code that reads what strangers send then buys
//! little. Files through landlock(7), calls through seccomp(2), the rest through capabilities(7).
//!
//! All of it is the calling thread's alone, and that of threads and processes which it starts. What this kernel does not
//! have is left out: each part stands by itself.

mod calls;
mod files;

use crate::SysResult;
use crate::privilege::{self, Capabilities};
use std::os::fd::BorrowedFd;

/// What a thread keeps.
#[derive(Debug, Clone, Copy)]
pub enum Work<'a> {
    /// Reading and writing descriptors that it has, memory, and waiting for other threads: no file is opened, and no
    /// capability left.
    Computing,
    /// Beside that, making and removing files in one directory, with any owner and attribute.
    Filling {
        /// In which everything may be made, changed and removed.
        directory: BorrowedFd<'a>,
        /// In which files may be read.
        source: Option<BorrowedFd<'a>>,
    },
}

/// What of it this kernel gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Given {
    /// No file is reached but those that the work names.
    pub files: bool,
    /// No call is made but those that the work needs.
    pub calls: bool,
}

/// Whether this kernel can confine files, by a Landlock that allows links between directories (Linux 5.19).
#[must_use]
pub fn has_landlock() -> bool {
    files::version().is_some()
}

/// `CAP_CHOWN`, `DAC_OVERRIDE`, `DAC_READ_SEARCH`, `FOWNER`, `FSETID`, `SYS_ADMIN` (for the attributes by which an overlay
/// hides what is below), `MKNOD`, `SETFCAP`.
const OF_FILES: u64 = 1 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 21 | 1 << 27 | 1 << 31;

/// Confines the calling thread to its work.
///
/// # Errors
/// What a kernel says that has what is asked for; one that has it not is told in the result.
pub fn thread(work: Work<'_>) -> SysResult<Given> {
    privilege::set_no_new_privileges()?;
    let (files, kept) = match work {
        Work::Computing => (files::restrict(None, None)?, 0),
        Work::Filling { directory, source } => (files::restrict(Some(directory), source)?, OF_FILES),
    };
    // Before the calls: the filter refuses capset.
    let held = privilege::capabilities()?;
    privilege::set_capabilities(Capabilities {
        effective: held.effective & kept,
        permitted: held.permitted & kept,
        inheritable: 0,
    })?;
    let calls = match work {
        Work::Computing => calls::computing(),
        Work::Filling { .. } => calls::filling(),
    };
    Ok(Given { files, calls: calls.load()? })
}

#[cfg(test)]
mod tests;
