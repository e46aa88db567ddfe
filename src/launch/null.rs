//! The null device for standard streams, never as the host has it: what a container holds open it can also chmod, chown
//! and touch.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use sys::fd::{errno, flag, propagation};
use sys::{SysError, SysResult, fd, mount, resolve};

use crate::{Failure, mounts};

const PATH: &[u8] = b"/dev/null";
/// Devices can be opened for writing on such a mount all the same.
const SEALED: u64 = mount::READ_ONLY | mount::NO_SUID | mount::NO_EXEC;

/// Standard streams on the host's null device, on a mount of their own that nothing can be changed through. It is closed
/// again here: a descriptor that outlived [`fd::close_all_but`] would be closed a second time.
pub(super) fn set_standard(numbers: &[RawFd]) -> Result<(), Failure> {
    let null = of_host()?;
    for number in numbers {
        fd::set_standard(null.as_fd(), *number)?;
    }
    Ok(())
}

/// The container's own takes the place of the host's, so that no descriptor leads to a mount of the host. A container
/// without one keeps the host's.
pub(super) fn take_own(root: BorrowedFd<'_>, numbers: &[RawFd]) -> Result<(), Failure> {
    if numbers.is_empty() {
        return Ok(());
    }
    let null = match resolve::open_in_root(root, PATH, flag::O_RDWR) {
        Ok(null) => null,
        Err(error) if matches!(error.errno, errno::ENOENT | errno::ENXIO | errno::ENOTDIR) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if !fd::identity(&null)?.is_char_device(1, 3) {
        return Err(Failure::setup(errno::ENODEV, "verify /dev/null: not the null device".to_owned()));
    }
    for number in numbers {
        fd::set_standard(null.as_fd(), *number)?;
    }
    Ok(())
}

/// The host's, verified, for reading and writing.
pub(super) fn of_host() -> Result<OwnedFd, Failure> {
    let tree = mount::clone_tree(None, PATH, false)?;
    let null = match mount::set_attributes(tree.as_fd(), SEALED, propagation::PRIVATE, false) {
        // Before Linux 5.12.
        Err(error) if error.errno == errno::ENOSYS => resolve::open(PATH, flag::O_RDWR)?,
        other => {
            other?;
            let own = format!("/proc/self/fd/{}", tree.as_raw_fd());
            resolve::open(own.as_bytes(), flag::O_RDWR)?
        }
    };
    if fd::identity(&null)?.is_char_device(1, 3) {
        Ok(null)
    } else {
        Err(SysError::new("verify", fd::as_path(PATH), errno::ENODEV).into())
    }
}

/// Attaches a detached mount of a device so that the device can be used through it and not changed, by whomever: its
/// mode, its owner and its times stay.
pub(super) fn attach_sealed(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> SysResult<()> {
    match mount::set_attributes(tree, SEALED, propagation::PRIVATE, false) {
        Err(error) if error.errno == errno::ENOSYS => {
            mount::attach(tree, target)?;
            mounts::configure(tree, SEALED, propagation::PRIVATE, false)
        }
        other => {
            other?;
            mount::attach(tree, target)
        }
    }
}
