//! The null device for standard streams, never as the host has it: what a container holds open it can also chmod, chown
//! and touch.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use sys::fd::{errno, flag, propagation};
use sys::{SysError, SysResult, fd, mount, resolve};

use crate::{Failure, mounts};

const PATH: &[u8] = b"/dev/null";
/// Devices can be opened for writing on such a mount all the same.
const SEALED: u64 = mount::READ_ONLY | mount::NO_SUID | mount::NO_EXEC;

/// The host's null device, open for reading and writing, on a mount of its own that nothing can be changed through.
///
/// The mount is kept as well: whoever closes the last descriptor of a mount that is attached nowhere waits for all CPUs
/// (`synchronize_rcu_expedited`), and no launch is to wait for that.
#[derive(Debug)]
pub struct Null {
    device: OwnedFd,
    _mount: Option<OwnedFd>,
}

impl Null {
    /// The host's, verified.
    ///
    /// # Errors
    /// The kernel's; `ENODEV` where `/dev/null` is something else.
    pub fn of_host() -> SysResult<Self> {
        let tree = mount::clone_tree(None, PATH, false)?;
        let null = match mount::set_attributes(tree.as_fd(), SEALED, propagation::PRIVATE, false) {
            // Before Linux 5.12.
            Err(error) if error.errno == errno::ENOSYS => {
                Self { device: resolve::open(PATH, flag::O_RDWR)?, _mount: None }
            }
            other => {
                other?;
                let own = format!("/proc/self/fd/{}", tree.as_raw_fd());
                Self { device: resolve::open(own.as_bytes(), flag::O_RDWR)?, _mount: Some(tree) }
            }
        };
        if fd::identity(&null.device)?.is_char_device(1, 3) {
            Ok(null)
        } else {
            Err(SysError::new("verify", fd::as_path(PATH), errno::ENODEV))
        }
    }
}

/// Standard streams on the host's null device: on the given one, or on one of their own, which is closed again here. A
/// descriptor that outlived [`fd::close_all_but`] would be closed a second time.
pub(super) fn set_standard(null: Option<&Null>, numbers: &[RawFd]) -> Result<(), Failure> {
    let own = if null.is_none() { Some(Null::of_host()?) } else { None };
    if let Some(null) = null.or(own.as_ref()) {
        for number in numbers {
            fd::set_standard(null.device.as_fd(), *number)?;
        }
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
