//! Files that are whole or not there.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::{SysError, SysResult};

/// Writes `path` so that a reader finds the old content or the new, never a part: a temporary file beside it,
/// then a rename. Nothing is synced: for power-loss safety sync the file and its directory yourself.
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
        .and_then(|()| std::fs::rename(temporary, path).map_err(SysError::io("rename", path)));
    if written.is_err() {
        // The first error is the one to report; a temporary file that cannot be removed is found by its name.
        let _ = std::fs::remove_file(temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

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
        std::fs::remove_dir_all(dir).unwrap();
    }
}
