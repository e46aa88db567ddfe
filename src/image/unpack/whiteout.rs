//! Whiteouts become what overlayfs takes for them.

use super::error::{TarError, UnpackError};
use super::place::Place;
use super::tree::{failed, file_type, proc_path, shown};
use rustix::fd::{AsFd as _, BorrowedFd};
use rustix::fs::{FileType, Mode, XattrFlags};
use rustix::io::Errno;

/// The prefix of an entry that deletes one of the layers below (image-spec, layer.md).
pub(super) const WHITEOUT: &[u8] = b".wh.";
/// The entry that hides everything of the layers below in its directory.
const OPAQUE: &[u8] = b".opq";
/// The prefix of what another union filesystem kept for itself at the root of its layers.
const METADATA: &[u8] = b".wh..wh.";
/// What overlayfs calls an opaque directory.
const OVERLAY_OPAQUE: &str = "trusted.overlay.opaque";

/// Whether the path is one of another union filesystem's, which means nothing here.
pub(super) fn is_metadata(path: &[u8]) -> bool {
    path.strip_prefix(METADATA).is_some_and(|rest| rest != OPAQUE)
}

/// Makes the whiteout of a name; whether there is one more inode.
pub(super) fn make(parent: &Place, path: &[u8], hidden: &[u8]) -> Result<bool, UnpackError> {
    if let Some(other) = hidden.strip_prefix(WHITEOUT) {
        // Names of other union filesystems, but for the one that all of them have.
        return if other == OPAQUE { make_opaque(parent.as_fd(), path).map(|()| false) } else { Ok(false) };
    }
    if matches!(hidden, b"" | b"." | b"..") {
        return Err(TarError::Path(shown(path)).into());
    }
    match rustix::fs::mknodat(parent, hidden, FileType::CharacterDevice, Mode::empty(), 0) {
        Ok(()) => Ok(true),
        // This layer has a successor of its own: a file hides what is below anyway.
        Err(Errno::EXIST) => match file_type(parent.as_fd(), hidden).map_err(failed("look at", path))? {
            (FileType::Directory, _) => hide_below(parent.as_fd(), hidden, path).map(|()| false),
            _ => Ok(false),
        },
        Err(errno) => Err(failed("make whiteout", path)(errno)),
    }
}

/// Nothing of below shows through in the open directory.
pub(super) fn make_opaque(directory: BorrowedFd<'_>, path: &[u8]) -> Result<(), UnpackError> {
    rustix::fs::fsetxattr(directory, OVERLAY_OPAQUE, b"y", XattrFlags::empty())
        .map_err(failed("make opaque", path))
}

/// Nothing of below shows through in the directory with this name.
pub(super) fn hide_below(parent: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<(), UnpackError> {
    rustix::fs::lsetxattr(&*proc_path(parent, name), OVERLAY_OPAQUE, b"y", XattrFlags::empty())
        .map_err(failed("make opaque", path))
}
