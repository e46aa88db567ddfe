//! One daemon a directory: an advisory lock that the kernel lets go of however the daemon ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The file of the lock, in each directory.
pub(crate) const FILE: &str = "corten.lock";
/// How long the children of a daemon that was killed may take to let go of what it had open, and how often to look.
pub(crate) const INHERITED: Duration = Duration::from_secs(5);
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(5);

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
    /// A daemon that is killed while it starts a program leaves a child that shares the lock until it executes that
    /// program (flock(2): locks belong to the open file description), so a dead holder's lock is waited for.
    ///
    /// # Errors
    /// Another process holds the lock, or the file cannot be opened or written.
    pub(crate) fn take(directory: &Path) -> Result<Self, LockError> {
        let path = directory.join(FILE);
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
            // A FIFO keeps nobody waiting.
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
            .open(&path)
            .map_err(failed("open"))?;
        if !file.metadata().map_err(failed("look at"))?.is_file() {
            return Err(failed("lock")(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")));
        }
        let patience = Instant::now() + INHERITED;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {
                    let holder = holder(&mut file);
                    if !holder.as_ref().is_some_and(Holder::is_gone) || Instant::now() >= patience {
                        let holder =
                            holder.map_or_else(|| "another process".to_owned(), |holder| holder.to_string());
                        return Err(LockError::Held { directory: directory.to_owned(), holder });
                    }
                    std::thread::sleep(LOOK_AGAIN);
                }
                Err(TryLockError::Error(source)) => return Err(failed("lock")(source)),
            }
        }
        file.set_len(0).map_err(failed("empty"))?;
        file.rewind().map_err(failed("rewind"))?;
        writeln!(file, "{}", std::process::id()).map_err(failed("write"))?;
        Ok(Self { _file: file })
    }
}

/// Who holds a lock just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holding {
    /// The process.
    pub(crate) pid: u32,
    name: Option<String>,
}

impl std::fmt::Display for Holding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {}", self.pid)?;
        self.name.as_ref().map_or(Ok(()), |name| write!(f, " ({name})"))
    }
}

/// Who has the directory, without touching its lock: that would keep a daemon that starts just then from having it.
pub(crate) fn holding(directory: &Path) -> Option<Holding> {
    let file = std::fs::metadata(directory.join(FILE)).ok()?;
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let pid = locks.lines().find_map(|line| holder_of(line, &file))?;
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok();
    Some(Holding { pid, name: name.map(|name| name.trim_end().to_owned()) })
}

/// The process of a line of `/proc/locks` about this file: number, kind, mode, access, process, device and inode.
fn holder_of(line: &str, file: &std::fs::Metadata) -> Option<u32> {
    let mut fields = line.split_whitespace();
    let is_flock = fields.nth(1)? == "FLOCK";
    let (pid, place) = (fields.nth(2)?, fields.next()?);
    let mut parts = place.split(':');
    let hexadecimal = |text: &str| u32::from_str_radix(text, 16).ok();
    let (major, minor) = (hexadecimal(parts.next()?)?, hexadecimal(parts.next()?)?);
    let inode: u64 = parts.next()?.parse().ok()?;
    let device = (rustix::fs::major(file.dev()), rustix::fs::minor(file.dev()));
    (is_flock && inode == file.ino() && device == (major, minor)).then(|| pid.parse().ok())?
}

/// The process whose id the lock file holds.
struct Holder {
    pid: u32,
    /// Its name, while there is such a process.
    name: Option<String>,
}

impl Holder {
    fn is_gone(&self) -> bool {
        self.name.is_none() || has_ended(self.pid)
    }
}

/// Whether there is no such process any more. One without memory of its own has left all but its exit status, which its
/// parent may yet collect.
pub(crate) fn has_ended(pid: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/statm")) {
        Ok(sizes) => sizes.starts_with("0 "),
        // The latter where it goes between opening and reading.
        Err(error) => [rustix::io::Errno::NOENT, rustix::io::Errno::SRCH]
            .iter()
            .any(|gone| error.raw_os_error() == Some(gone.raw_os_error())),
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {}", self.pid)?;
        self.name.as_ref().map_or(Ok(()), |name| write!(f, " ({name})"))
    }
}

/// Whose id the lock file holds; whoever opened it may have been stopped before writing, then nobody's.
fn holder(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    let pid = text.trim().parse().ok()?;
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok();
    Some(Holder { pid, name: name.map(|name| name.trim_end().to_owned()) })
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
        let holding = holding(directory.path()).unwrap();
        assert_eq!(holding.pid, std::process::id());
        drop(first);
        assert_eq!(super::holding(directory.path()), None);
        DirectoryLock::take(directory.path()).unwrap();
    }

    #[test]
    fn a_lock_file_left_by_a_dead_daemon_is_taken_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        std::fs::write(&path, "4194304 and a longer text than the next process id").unwrap();
        let _lock = DirectoryLock::take(directory.path()).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
    }

    #[test]
    fn what_is_no_file_is_refused_and_not_waited_for() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        use std::error::Error as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        type Make<'a> = &'a dyn Fn() -> io::Result<()>;
        let kinds: [(&str, Make<'_>); 4] = [
            ("a fifo", &|| Ok(mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0)?)),
            ("a link to a device", &|| std::os::unix::fs::symlink("/dev/zero", &path)),
            ("a link to itself", &|| std::os::unix::fs::symlink(&path, &path)),
            ("a directory", &|| std::fs::create_dir(&path)),
        ];
        for (kind, make) in kinds {
            let _ = std::fs::remove_file(&path);
            make().unwrap();
            let error = DirectoryLock::take(directory.path()).unwrap_err();
            assert!(error.to_string().contains("corten.lock") && error.source().is_some(), "{kind}: {error}");
        }
    }

    #[test]
    fn a_missing_directory_is_an_error_with_its_path() {
        let directory = tempfile::tempdir().unwrap();
        let error = DirectoryLock::take(&directory.path().join("gone")).unwrap_err();
        assert!(matches!(error, LockError::Io { operation: "open", .. }), "{error}");
    }
}
