//! The standard streams of this process, which the container's first process or an exec takes over.

use std::os::fd::{AsFd, OwnedFd};

use crate::error::{Error, Result};

/// Duplicates of the three; one that is the null device or closed is left out: the container's own takes its place.
pub(crate) fn own() -> Result<[Option<OwnedFd>; 3]> {
    let stdin = std::io::stdin();
    let stdout = std::io::stdout();
    let stderr = std::io::stderr();
    Ok([useful(stdin.as_fd())?, useful(stdout.as_fd())?, useful(stderr.as_fd())?])
}

fn useful(stream: std::os::fd::BorrowedFd<'_>) -> Result<Option<OwnedFd>> {
    match sys::fd::identity(stream) {
        Ok(identity) if identity.is_char_device(1, 3) => Ok(None),
        Ok(_) => stream.try_clone_to_owned().map(Some).map_err(Error::io("duplicate", "a standard stream")),
        // Closed.
        Err(_) => Ok(None),
    }
}

/// Checks that the descriptors that are to be left to the program are there.
pub(crate) fn check_preserved(count: u32) -> Result<()> {
    for number in 3..3 + count {
        if !std::path::Path::new(&format!("/proc/self/fd/{number}")).exists() {
            return Err(Error::invalid("--preserve-fds", format!("descriptor {number} is not open")));
        }
    }
    Ok(())
}
