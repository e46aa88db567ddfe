//! The root directory of a container.

use crate::error::EngineError;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

/// Gives the writable layer's directory, which is what everybody in the container meets at `/`, the owner and the mode
/// that the image's topmost layer shows there.
pub(super) fn look_like(upper: &Path, top: Option<&Path>) -> Result<(), EngineError> {
    let Some(top) = top else { return Ok(()) };
    let found = fs::symlink_metadata(top).map_err(EngineError::io("look at the layer", top))?;
    if (found.uid(), found.gid()) != (0, 0) {
        chown(upper, Some(found.uid()), Some(found.gid()))
            .map_err(EngineError::io("set the owner of", upper))?;
    }
    fs::set_permissions(upper, Permissions::from_mode(found.mode() & 0o7777))
        .map_err(EngineError::io("set the mode of", upper))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_root_looks_as_the_image_says() {
        let directory = tempfile::tempdir().unwrap();
        let (upper, top) = (directory.path().join("upper"), directory.path().join("top"));
        fs::create_dir(&upper).unwrap();
        fs::create_dir(&top).unwrap();
        let owner = match top.metadata().unwrap().uid() {
            0 => 7,
            own => own,
        };
        chown(&top, Some(owner), None).unwrap();
        fs::set_permissions(&top, Permissions::from_mode(0o1711)).unwrap();
        look_like(&upper, Some(&top)).unwrap();
        look_like(&upper, None).unwrap();
        let found = upper.metadata().unwrap();
        assert_eq!((found.uid(), found.mode() & 0o7777), (owner, 0o1711));
    }
}
