//! The daemon's directories and who may look into them.
//!
//! The data directory is closed (0700): layers hold setuid files of strangers, which no user of the host may reach.
//! The state directory lets through (0711), because a process in a user namespace must reach its own files below;
//! what lies there is closed one level further down.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Mode of the state directory.
pub(crate) const STATE_MODE: u32 = 0o711;
/// Mode of the data directory.
pub(crate) const DATA_MODE: u32 = 0o700;

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    /// The system refuses.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The path is taken by something else.
    #[error("{} is no directory", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// Its owner could replace what lies in it.
    #[error("{} belongs to user {owner}, not to {expected}", path.display())]
    Owner {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Whose it has to be.
        expected: u32,
    },
}

/// Makes a directory with its parents, or repairs the mode of an existing one.
///
/// # Errors
/// It cannot be made, is no directory, or belongs to another user.
pub(crate) fn prepare(path: &Path, mode: u32) -> Result<(), StateError> {
    let failed =
        |operation| move |source: io::Error| StateError::Io { operation, path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(parent).map_err(failed("make"))?;
    }
    match fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(source) => return Err(failed("make")(source)),
    }
    let metadata = fs::metadata(path).map_err(failed("look at"))?;
    check(path, &metadata)?;
    if metadata.mode() & 0o7777 != mode {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed("set the mode of"))?;
    }
    Ok(())
}

/// Whether what is there can be a directory of the daemon's.
///
/// # Errors
/// It is no directory, or belongs to another user than this process.
pub(crate) fn check(path: &Path, found: &fs::Metadata) -> Result<(), StateError> {
    if !found.is_dir() {
        return Err(StateError::NotADirectory { path: path.to_owned() });
    }
    let expected = rustix::process::geteuid().as_raw();
    if found.uid() != expected {
        return Err(StateError::Owner { path: path.to_owned(), owner: found.uid(), expected });
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn directories_are_made_with_their_modes() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        prepare(&path, DATA_MODE).unwrap();
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&root.path().join("a")), 0o755);
    }

    #[test]
    fn a_mode_from_before_is_repaired() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("data");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        prepare(&path, STATE_MODE).unwrap();
        assert_eq!(mode(&path), 0o711);
    }

    #[test]
    fn a_file_or_a_stranger_s_directory_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(prepare(&file, DATA_MODE), Err(StateError::NotADirectory { .. })));
        if !need::root("it takes root to give a directory away") {
            return;
        }
        let theirs = root.path().join("theirs");
        fs::create_dir(&theirs).unwrap();
        std::os::unix::fs::chown(&theirs, Some(65534), None).unwrap();
        assert!(matches!(prepare(&theirs, DATA_MODE), Err(StateError::Owner { owner: 65534, .. })));
    }
}
