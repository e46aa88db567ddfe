//! What the engine does to the host itself, beside cgroups and the network: mounts and owners. It takes root; tests put
//! something else in its place.

use crate::error::EngineError;
use std::ffi::CStr;
use std::io;
use std::os::unix::fs::chown;
use std::path::Path;

/// The host, as far as root is needed for it. All of this blocks.
pub(crate) trait Host: Send + Sync {
    /// Gives a directory to a group.
    fn give(&self, dir: &Path, group: u32) -> Result<(), EngineError>;
    /// Mounts a tmpfs on a directory.
    fn mount(&self, dir: &Path, options: &CStr) -> Result<(), EngineError>;
    /// Detaches a mount that may be gone, and removes its directory.
    fn unmount(&self, dir: &Path) -> Result<(), EngineError>;
}

/// The real one.
pub(crate) struct RealHost;

impl Host for RealHost {
    fn give(&self, dir: &Path, group: u32) -> Result<(), EngineError> {
        chown(dir, None, Some(group)).map_err(EngineError::io("chown", dir))
    }

    fn mount(&self, dir: &Path, options: &CStr) -> Result<(), EngineError> {
        use rustix::mount::{MountFlags, mount};
        // Nothing that one of its mounts in a container lacks: a user namespace could not take it off.
        mount("shm", dir, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options)
            .map_err(|errno| EngineError::io("mount a tmpfs on", dir)(errno.into()))
    }

    fn unmount(&self, dir: &Path) -> Result<(), EngineError> {
        use rustix::io::Errno;
        match rustix::mount::unmount(dir, rustix::mount::UnmountFlags::DETACH) {
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            Err(errno) => return Err(EngineError::io("unmount", dir)(errno.into())),
        }
        match std::fs::remove_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(EngineError::io("remove", dir)(error))
            }
            _ => Ok(()),
        }
    }
}
