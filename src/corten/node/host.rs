//! The files of a host, below the directory where its root is mounted.

use super::NodeError;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

/// As many as the kernel follows.
const LINKS: usize = 40;

/// A host.
#[derive(Debug)]
pub(super) struct Host {
    root: PathBuf,
}

/// Who may do what with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Access {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Access {
    /// Root's, as everything that is installed.
    pub(super) fn of_root(mode: u32) -> Self {
        Self { mode, uid: 0, gid: 0 }
    }
}

impl Host {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_path_buf() }
    }

    /// Where a file of the host is seen from here. Links on the way there are followed as the host would: an absolute one
    /// begins at its root. A link at the end is not.
    ///
    /// # Errors
    /// Links lead round.
    pub(super) fn path(&self, path: &Path) -> Result<PathBuf, NodeError> {
        let mut left: VecDeque<OsString> = names(path).collect();
        let (mut here, mut links) = (PathBuf::new(), 0);
        while let Some(name) = left.pop_front() {
            if name == ".." {
                here.pop();
                continue;
            }
            let next = self.root.join(&here).join(&name);
            match fs::read_link(&next) {
                Ok(target) if !left.is_empty() => {
                    links += 1;
                    if links > LINKS {
                        return Err(NodeError::Links(path.to_path_buf()));
                    }
                    if target.is_absolute() {
                        here = PathBuf::new();
                    }
                    for name in names(&target).collect::<Vec<_>>().into_iter().rev() {
                        left.push_front(name);
                    }
                }
                _ => here.push(name),
            }
        }
        Ok(self.root.join(here))
    }

    /// Whether there is one.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn look_at_root(&self) -> Result<(), NodeError> {
        match self.root.join("usr").is_dir() {
            true => Ok(()),
            false => Err(NodeError::NoHost(self.root.clone())),
        }
    }

    /// Who may do what with a directory in which nothing is, but for what a new filesystem has.
    ///
    /// # Errors
    /// Links lead round.
    pub(super) fn empty_directory(&self, path: &Path) -> Result<Option<Access>, NodeError> {
        let seen = self.path(path)?;
        let Ok(entries) = fs::read_dir(&seen) else { return Ok(None) };
        let is_empty = entries.flatten().all(|entry| entry.file_name() == "lost+found");
        let found = fs::metadata(&seen).map_err(NodeError::io("look at", &seen))?;
        let access = Access { mode: found.mode() & 0o7777, uid: found.uid(), gid: found.gid() };
        Ok(is_empty.then_some(access))
    }

    /// Makes a directory where there is none any more.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn make_directory(&self, path: &Path, access: Access) -> Result<(), NodeError> {
        let seen = self.path(path)?;
        if seen.is_dir() {
            return Ok(());
        }
        let made = fs::create_dir(&seen)
            .and_then(|()| std::os::unix::fs::chown(&seen, Some(access.uid), Some(access.gid)))
            .and_then(|()| {
                fs::set_permissions(&seen, std::os::unix::fs::PermissionsExt::from_mode(access.mode))
            });
        made.map_err(NodeError::io("make", &seen))
    }

    /// What is in a place.
    ///
    /// # Errors
    /// Something other than a regular file.
    pub(super) fn look(&self, path: &Path) -> Result<Option<Access>, NodeError> {
        let seen = self.path(path)?;
        match fs::symlink_metadata(&seen) {
            Ok(found) if found.is_file() => {
                Ok(Some(Access { mode: found.mode() & 0o7777, uid: found.uid(), gid: found.gid() }))
            }
            Ok(_) => Err(NodeError::Irregular(path.to_path_buf())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(NodeError::io("look at", &seen)(error)),
        }
    }

    /// The bytes of a file; `None` where there is none.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, NodeError> {
        let seen = self.path(path)?;
        match fs::read(&seen) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(NodeError::io("read", &seen)(error)),
        }
    }

    /// Whether something is in a place.
    pub(super) fn exists(&self, path: &Path) -> bool {
        self.path(path).is_ok_and(|seen| fs::symlink_metadata(seen).is_ok())
    }

    /// Writes a file: nobody finds half of it, and it is on disk.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn write(&self, path: &Path, bytes: &[u8], access: Access) -> Result<(), NodeError> {
        let seen = self.path(path)?;
        let new = with_suffix(&seen, ".corten-new");
        let written = whole(&new, bytes, access).and_then(|()| fs::rename(&new, &seen));
        if written.is_err() {
            // The first error is the one to report.
            let _ = fs::remove_file(&new);
        }
        written.map_err(NodeError::io("write", &seen))
    }

    /// Removes a file that may be gone.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn remove(&self, path: &Path) -> Result<(), NodeError> {
        let seen = self.path(path)?;
        match fs::remove_file(&seen) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(NodeError::io("remove", &seen)(error))
            }
            _ => Ok(()),
        }
    }

    /// The arguments of every process of a name.
    pub(super) fn processes(&self, name: &str) -> Vec<Vec<String>> {
        let entries = fs::read_dir(self.root.join("proc")).into_iter().flatten().flatten();
        let place = |path: &Path| fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
        let own = place(&self.root);
        let of_name = entries.filter(|entry| {
            fs::read_to_string(entry.path().join("comm")).is_ok_and(|comm| comm.trim() == name)
                && place(&entry.path().join("root")) == own
        });
        let line = |entry: fs::DirEntry| fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words = |bytes: Vec<u8>| {
            let words = bytes.split(|byte| *byte == 0).filter(|word| !word.is_empty());
            words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
        };
        of_name.map(line).map(words).collect()
    }
}

/// A path with more at its end.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn names(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}

fn whole(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let _ = fs::remove_file(path);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    std::os::unix::fs::fchown(&file, Some(access.uid), Some(access.gid))?;
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(access.mode))?;
    file.sync_all()
}
