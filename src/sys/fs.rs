//! Files that are whole or not there, and room for what must be written on a full disk.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::{SysError, SysResult};

/// Writes `path` so that a reader finds the old content or the new, never a part: a temporary file beside it,
/// then a rename. A directory in its place is set aside. Nothing is synced: for power-loss safety sync the file and its
/// directory yourself.
///
/// # Errors
/// The kernel's; the temporary file is removed.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> SysResult<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = Path::new(&name);
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(temporary)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(SysError::io("write", temporary))
        .and_then(|()| Ok(failpoint::reach!("sys.write.written")?))
        .and_then(|()| put(temporary, path));
    if written.is_err() {
        // The first error is the one to report; a temporary file that cannot be removed is found by its name.
        let _ = std::fs::remove_file(temporary);
    }
    written
}

fn put(temporary: &Path, path: &Path) -> SysResult<()> {
    let renamed = match std::fs::rename(temporary, path) {
        Err(error) if error.kind() == std::io::ErrorKind::IsADirectory => {
            crate::aside::set_aside(path)?;
            std::fs::rename(temporary, path)
        }
        renamed => renamed,
    };
    renamed.map_err(SysError::io("rename", path))
}

/// Removes the temporary files that writers have left in a directory which were killed in [`write_atomic`]. Nobody may be
/// writing there. What cannot be removed stays: it is in nobody's way.
pub fn sweep_temporaries(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if is_temporary(&entry.file_name()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Whether it is the name of a temporary file.
#[must_use]
pub fn is_temporary(name: &OsStr) -> bool {
    let number = name.to_str().and_then(|name| name.strip_suffix(".tmp")?.rsplit('.').next());
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()))
}

/// Room on a filesystem, taken up by a file: who has to write when everything is full gives it up first.
#[derive(Debug)]
pub struct Reserve {
    path: PathBuf,
    bytes: u64,
}

impl Reserve {
    /// A reserve of so many bytes, which the file at the path takes up once it is held.
    pub fn new(path: PathBuf, bytes: u64) -> Self {
        Self { path, bytes }
    }

    /// Takes up the room, as much of it as there is.
    ///
    /// # Errors
    /// The kernel's: most often that there is not all of it.
    pub fn hold(&self) -> SysResult<()> {
        let failed = || SysError::io("reserve room in", &self.path);
        let file = opened().create(true).truncate(false).mode(0o600).open(&self.path);
        let mut file = file.map_err(failed())?;
        let held = file.metadata().map_err(failed())?.blocks() * 512;
        if held >= self.bytes {
            return Ok(());
        }
        let bytes = i64::try_from(self.bytes).unwrap_or(i64::MAX);
        match nix::fcntl::fallocate(&file, nix::fcntl::FallocateFlags::empty(), 0, bytes) {
            Err(nix::Error::EOPNOTSUPP) => fill(&mut file, self.bytes).map_err(failed()),
            other => other.map_err(SysError::nix("reserve room in", &self.path)),
        }
    }

    /// Gives the room up; whether there was any.
    pub fn release(&self) -> bool {
        let Ok(file) = opened().open(&self.path) else { return false };
        let held = file.metadata().is_ok_and(|found| found.blocks() > 0);
        held && file.set_len(0).is_ok()
    }
}

/// For writing. A FIFO in its place, whose opening would wait for a reader, is refused, and so is a link to the file of
/// somebody else.
fn opened() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW);
    options
}

/// Writes what no filesystem makes smaller.
fn fill(file: &mut File, bytes: u64) -> std::io::Result<()> {
    let mut word = 1_u32;
    let mut left = bytes;
    while left > 0 {
        let mut piece = [0; 4096];
        for byte in &mut piece {
            word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = word.to_be_bytes()[0];
        }
        file.write_all(&piece)?;
        left = left.saturating_sub(piece.len() as u64);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_reserve_takes_room_and_gives_it_back() {
        let path = std::env::temp_dir().join(format!("corten-sys-reserve-{}", std::process::id()));
        let held = || std::fs::metadata(&path).unwrap().blocks() * 512;
        let reserve = Reserve::new(path.clone(), 1 << 20);
        assert!(!reserve.release());
        for _ in 0..2 {
            reserve.hold().unwrap();
            reserve.hold().unwrap();
            assert!((1 << 20..2 << 20).contains(&held()), "{}", held());
            assert!(reserve.release() && !reserve.release());
            assert_eq!(held(), 0);
        }
        std::fs::remove_file(&path).unwrap();
        let theirs = path.with_extension("theirs");
        std::fs::write(&theirs, "precious").unwrap();
        std::os::unix::fs::symlink(&theirs, &path).unwrap();
        assert!(reserve.hold().is_err() && !reserve.release());
        assert_eq!(std::fs::read(&theirs).unwrap(), b"precious");
        std::fs::remove_file(&theirs).unwrap();
        std::fs::remove_file(&path).unwrap();
        fill(&mut File::create(&path).unwrap(), 10_000).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 12288);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_file_is_replaced_whole_and_leaves_no_temporary() {
        let dir = std::env::temp_dir().join(format!("corten-sys-fs-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("record");
        write_atomic(&path, b"one", 0o600).unwrap();
        write_atomic(&path, b"two", 0o600).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
        assert!(write_atomic(&dir.join("no/where"), b"", 0o600).is_err());
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir_all(path.join("full")).unwrap();
        write_atomic(&path, b"three", 0o600).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"three");
        std::fs::remove_dir_all(dir.join("record.bad")).unwrap();
        std::fs::write(dir.join("record.71.tmp"), b"half").unwrap();
        std::fs::write(dir.join("record.tmp"), b"somebody's").unwrap();
        sweep_temporaries(&dir);
        let mut left: Vec<_> =
            std::fs::read_dir(&dir).unwrap().map(|file| file.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["record", "record.tmp"]);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
