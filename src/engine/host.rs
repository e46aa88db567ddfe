//! What the engine does to the host itself, beside cgroups and the network: mounts and owners. It takes root; tests put
//! something else in its place.

use crate::error::EngineError;
use std::ffi::CStr;
use std::io::ErrorKind::{DirectoryNotEmpty, NotADirectory, NotFound};
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
        use rustix::mount::{UnmountFlags, unmount};
        // A link in its place must lead to no other mount.
        match unmount(dir, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) | Err(Errno::INVAL | Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(errno) => return Err(EngineError::io("unmount", dir)(errno.into())),
        }
        match std::fs::remove_dir(dir) {
            // Somebody has put something below it, or in its place.
            Err(error) if matches!(error.kind(), DirectoryNotEmpty | NotADirectory) => {
                crate::record::remove(dir)
            }
            Err(error) if error.kind() != NotFound => Err(EngineError::io("remove", dir)(error)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs;
    use std::io;
    use std::os::unix::fs::symlink;

    #[test]
    fn whatever_lies_in_the_place_of_a_mount_goes() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("files");
        fs::create_dir(root.path().join("theirs")).unwrap();
        fs::write(root.path().join("theirs/precious"), "").unwrap();
        type Make<'a> = &'a dyn Fn() -> io::Result<()>;
        let kinds: [(&str, Make<'_>); 5] = [
            ("nothing", &|| Ok(())),
            ("a directory", &|| fs::create_dir(&dir)),
            ("a full directory", &|| fs::create_dir_all(dir.join("a/b"))),
            ("a file", &|| fs::write(&dir, "")),
            ("a link", &|| symlink("theirs", &dir)),
        ];
        for (kind, make) in kinds {
            make().unwrap();
            RealHost.unmount(&dir).unwrap_or_else(|error| panic!("{kind}: {error}"));
            assert!(fs::symlink_metadata(&dir).is_err(), "{kind}");
        }
        assert!(root.path().join("theirs/precious").exists(), "no link is followed");
        fs::write(&dir, "").unwrap();
        RealHost.unmount(&dir.join("below-a-file")).unwrap();
    }
}
