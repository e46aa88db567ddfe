//! What lies in the place of a file or a directory of the state, and is none: it goes out of the way under another name, and
//! stays there for whoever looks after it.

use crate::{SysError, SysResult, tree};
use std::fs;
use std::io::Error;
use std::io::ErrorKind::{DirectoryNotEmpty, IsADirectory, NotADirectory};
use std::path::{Path, PathBuf};

/// What should lie in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A regular file, or a link to one.
    File,
    /// A directory, or a link to one.
    Directory,
}

impl Wanted {
    /// Whether something else lies there. Where nothing lies there, nothing else does.
    #[must_use]
    pub fn is_missed_at(self, path: &Path) -> bool {
        match fs::metadata(path) {
            Ok(found) => match self {
                Self::File => !found.is_file(),
                Self::Directory => !found.is_dir(),
            },
            // A link that leads nowhere.
            Err(_) => path.is_symlink(),
        }
    }

    /// Sets aside what lies there and is something else; returns its new name then.
    ///
    /// # Errors
    /// As [`set_aside`].
    pub fn clear(self, path: &Path) -> SysResult<Option<PathBuf>> {
        if self.is_missed_at(path) { set_aside(path).map(Some) } else { Ok(None) }
    }
}

/// The name that something has once it is set aside.
#[must_use]
pub fn name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".bad");
    PathBuf::from(name)
}

/// Whether anything lies there, also what cannot be opened or followed.
#[must_use]
pub fn is_there(path: &Path) -> bool {
    match fs::symlink_metadata(path) {
        Ok(_) => true,
        Err(error) => !is_absent(&error),
    }
}

/// Whether an error says that nothing is there, nor can be: what should be its directory is none.
#[must_use]
pub fn is_absent(error: &Error) -> bool {
    [libc::ENOENT, libc::ENOTDIR, libc::ELOOP].map(Some).contains(&error.raw_os_error())
}

/// Removes a file that may be gone already, or what somebody has put in its place.
///
/// # Errors
/// The kernel's.
pub fn remove(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == IsADirectory => Ok(tree::remove(path)?),
        Err(error) if is_absent(&error) => Ok(()),
        removed => removed,
    }
}

/// Gives what lies there the ending `.bad`, and returns that name. What had the name before goes.
///
/// # Errors
/// The kernel's; what is there stays.
pub fn set_aside(path: &Path) -> SysResult<PathBuf> {
    let aside = name(path);
    let renamed = match fs::rename(path, &aside) {
        // One of another kind had the name.
        Err(error) if matches!(error.kind(), DirectoryNotEmpty | NotADirectory | IsADirectory) => {
            tree::remove(&aside)?;
            fs::rename(path, &aside)
        }
        renamed => renamed,
    };
    renamed.map(|()| aside).map_err(SysError::io("set aside", path))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_is_of_another_kind_goes_aside_over_whatever_is_there_already() {
        let root = std::env::temp_dir().join(format!("corten-aside-{}", std::process::id()));
        fs::create_dir(&root).unwrap();
        let path = root.join("place");
        type Make<'a> = &'a dyn Fn() -> std::io::Result<()>;
        let file: Make<'_> = &|| fs::write(&path, "");
        let directory: Make<'_> = &|| fs::create_dir_all(path.join("full"));
        let fifo: Make<'_> = &|| Ok(nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU)?);
        let lost: Make<'_> = &|| symlink("/nowhere/at/all", &path);
        let circle: Make<'_> = &|| symlink(&path, &path);
        let zero: Make<'_> = &|| symlink("/dev/zero", &path);
        for (wanted, right, wrong) in [
            (Wanted::File, file, [directory, fifo, lost, circle, zero]),
            (Wanted::Directory, directory, [file, fifo, lost, circle, zero]),
        ] {
            assert!(!wanted.is_missed_at(&path) && wanted.clear(&path).unwrap().is_none());
            right().unwrap();
            assert!(!wanted.is_missed_at(&path) && wanted.clear(&path).unwrap().is_none());
            tree::remove(&path).unwrap();
            // Each takes the name of the one before.
            for make in wrong {
                make().unwrap();
                assert_eq!(wanted.clear(&path).unwrap(), Some(name(&path)), "{wanted:?}");
                assert!(!is_there(&path) && is_there(&name(&path)), "{wanted:?}");
            }
        }
        fs::remove_dir_all(&root).unwrap();
    }
}
