//! What mounts show that is not there yet.

use crate::error::{OciError, OciResult};
use model::Mount;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Makes a directory (0755) for each mount whose path of the host does not exist, as users of Docker and containerd
/// expect. For the time when everything else about the container is decided. Whatever is made is put into `made`, outer
/// ones first, also when it fails.
///
/// # Errors
/// [`OciError::Missing`] with the field where that is not possible: below a file, or at a link that leads nowhere.
pub fn make_sources(mounts: &[Mount], made: &mut Vec<PathBuf>) -> OciResult<()> {
    let paths = mounts.iter().map(|mount| mount.host_path.as_ref()).enumerate();
    for (index, path) in paths.filter_map(|(index, path)| Some((index, path?.as_path()))) {
        make(path, made).map_err(|source| OciError::Missing {
            field: format!("mounts[{index}].host_path"),
            path: path.into(),
            source,
        })?;
    }
    Ok(())
}

fn make(path: &Path, made: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let is_absent =
        |path: &&Path| matches!(std::fs::metadata(path), Err(error) if error.kind() == ErrorKind::NotFound);
    let absent: Vec<&Path> =
        path.ancestors().filter(|part| !part.as_os_str().is_empty()).take_while(is_absent).collect();
    for part in absent.into_iter().rev() {
        match std::fs::DirBuilder::new().mode(0o755).create(part) {
            Ok(()) => made.push(part.to_path_buf()),
            // Somebody else has made it meanwhile; what is there and leads nowhere is a link.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && part.exists() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
