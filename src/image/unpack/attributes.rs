//! Extended attributes and times of what is unpacked.

use super::error::UnpackError;
use super::tree::{failed, shown};
use rustix::fd::BorrowedFd;
use rustix::fs::{Timespec, Timestamps};
use rustix::io::Errno;

/// Sets the attributes that an image may bring. Those of overlayfs would change what the layer means, and
/// those of the host's security modules are the host's to set. `near` is a directory on the same filesystem.
pub(super) fn set_xattrs(
    xattrs: &[(Vec<u8>, Vec<u8>)],
    path: &[u8],
    near: BorrowedFd<'_>,
    set: impl Fn(&[u8], &[u8]) -> Result<(), Errno>,
) -> Result<(), UnpackError> {
    for (name, value) in xattrs {
        let taken = name == b"security.capability"
            || name.starts_with(b"user.")
            || name.starts_with(b"system.posix_acl_");
        if !taken || name.starts_with(b"user.overlay.") {
            continue;
        }
        match set(name, value) {
            // The filesystem has no such attributes, or not on this type of file.
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(Errno::PERM) if name.starts_with(b"user.") => {}
            // What is full is the room for attributes of one file: a block on ext4.
            Err(Errno::NOSPC | Errno::TOOBIG) if has_room(near) => {
                return Err(UnpackError::XattrRoom {
                    path: shown(path),
                    name: shown(name),
                    length: value.len(),
                });
            }
            Err(errno) => return Err(failed("set an extended attribute of", path)(errno)),
        }
    }
    Ok(())
}

/// Whether the filesystem has blocks that are free.
fn has_room(near: BorrowedFd<'_>) -> bool {
    rustix::fs::fstatvfs(near).is_ok_and(|found| found.f_bavail > 0)
}

pub(super) fn times(mtime: (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: mtime.0, tv_nsec: i64::from(mtime.1) };
    Timestamps { last_access: time, last_modification: time }
}
