//! What mounts show that is not there yet.

use crate::error::{OciError, OciResult};
use model::Mount;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;

/// Makes a directory (0755) for each mount whose path of the host does not exist, as users of Docker and containerd
/// expect. For the time when everything else about the container is decided.
///
/// # Errors
/// [`OciError::Missing`] with the field where that is not possible: below a file, or at a link that leads nowhere.
pub fn make_sources(mounts: &[Mount]) -> OciResult<()> {
    for (index, mount) in mounts.iter().enumerate().filter(|(_, mount)| mount.image.is_none()) {
        if !matches!(std::fs::metadata(&mount.host_path), Err(error) if error.kind() == ErrorKind::NotFound) {
            continue;
        }
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(&mount.host_path).map_err(
            |source| OciError::Missing {
                field: format!("mounts[{index}].host_path"),
                path: mount.host_path.clone().into(),
                source,
            },
        )?;
    }
    Ok(())
}
