//! One daemon a directory: an advisory lock that the kernel lets go of however the daemon ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Why a directory cannot be taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    /// Another daemon has it.
    #[error("{} is in use by {holder}", directory.display())]
    Held {
        /// The directory.
        directory: PathBuf,
        /// Who, as far as the lock file tells.
        holder: String,
    },
    /// The lock file cannot be used.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The right to a directory, for as long as the value lives.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Takes the directory at once, or says who has it. The file stays when the lock goes: removing it would let
    /// two daemons lock two files of the same name.
    ///
    /// # Errors
    /// Another process holds the lock, or the file cannot be opened or written.
    pub(crate) fn take(directory: &Path) -> Result<Self, LockError> {
        let path = directory.join("corten.lock");
        let failed = |operation| {
            let path = path.clone();
            move |source| LockError::Io { operation, path, source }
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed("open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held { directory: directory.to_owned(), holder: holder(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(failed("lock")(source)),
        }
        file.set_len(0).map_err(failed("empty"))?;
        file.rewind().map_err(failed("rewind"))?;
        writeln!(file, "{}", std::process::id()).map_err(failed("write"))?;
        Ok(Self { _file: file })
    }
}

/// Names the process whose id the lock file holds.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    // Whoever opened the file may have been stopped before writing: then there is nothing to tell.
    let read = file.take(32).read_to_string(&mut text);
    match (read, text.trim().parse::<u32>()) {
        (Ok(_), Ok(pid)) => match std::fs::read_to_string(format!("/proc/{pid}/comm")) {
            Ok(name) => format!("process {pid} ({})", name.trim_end()),
            Err(_) => format!("process {pid}"),
        },
        _ => "another process".to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_says_who_holds_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let first = DirectoryLock::take(directory.path()).unwrap();
        let error = DirectoryLock::take(directory.path()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
        assert!(text.contains(&directory.path().display().to_string()), "{text}");
        drop(first);
        DirectoryLock::take(directory.path()).unwrap();
    }

    #[test]
    fn a_lock_file_left_by_a_dead_daemon_is_taken_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("corten.lock");
        std::fs::write(&path, "4194304 and a longer text than the next process id").unwrap();
        let _lock = DirectoryLock::take(directory.path()).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
    }

    #[test]
    fn a_missing_directory_is_an_error_with_its_path() {
        let directory = tempfile::tempdir().unwrap();
        let error = DirectoryLock::take(&directory.path().join("gone")).unwrap_err();
        assert!(matches!(error, LockError::Io { operation: "open", .. }), "{error}");
    }
}
