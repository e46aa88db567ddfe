//! Files that an operator keeps, whatever lies in their place.

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result};
use std::path::Path;

/// Opens a regular file for reading. Nothing is waited for: a FIFO in its place, whose opening would wait for a writer, is
/// refused as everything else is.
///
/// # Errors
/// The kernel's; of kind `InvalidInput` for what is no regular file.
pub fn open_regular(path: &Path) -> Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    let file = File::from(open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(file)
}

/// Reads a regular file of at most so many bytes, as [`open_regular`] opens it.
///
/// # Errors
/// As there; of kind `FileTooLarge` for one that is longer.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let file = open_regular(path)?;
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > limit) {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("it is longer than {limit} bytes")));
    }
    Ok(bytes)
}

/// The same as text.
///
/// # Errors
/// As [`read`]; of kind `InvalidData` for what is no UTF-8.
pub fn read_text(path: &Path, limit: u64) -> Result<String> {
    String::from_utf8(read(path, limit)?)
        .map_err(|error| Error::new(ErrorKind::InvalidData, error.utf8_error()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_a_regular_file_of_the_size_is_read_and_nothing_is_waited_for() {
        let dir = std::env::temp_dir().join(format!("corten-regular-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let (fifo, file) = (dir.join("fifo"), dir.join("file"));
        nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        std::fs::write(&file, "abc").unwrap();
        for other in [fifo.as_path(), &dir, Path::new("/dev/zero")] {
            assert_eq!(read(other, 10).unwrap_err().kind(), ErrorKind::InvalidInput, "{other:?}");
        }
        assert_eq!(read_text(&file, 3).unwrap(), "abc");
        assert_eq!(read(&file, 2).unwrap_err().kind(), ErrorKind::FileTooLarge);
        std::fs::write(&file, [0xff]).unwrap();
        assert_eq!(read_text(&file, 3).unwrap_err().kind(), ErrorKind::InvalidData);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
