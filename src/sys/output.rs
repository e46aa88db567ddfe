//! What a user names as the place for an output.

use std::fs::{File, Metadata, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// The most links that lead to a file, as in the kernel.
const MAX_LINKS: usize = 40;

/// A file that is being written to a place that a user named.
///
/// A regular file, there or not, gets its content at once when it is whole, and keeps its mode and owner; links are
/// followed. Whatever else is there (a device, a pipe) is written into and stays: replaced by a file, the `/dev/null`
/// of a node would be gone for everybody.
#[derive(Debug)]
pub struct Output {
    file: File,
    place: Option<Place>,
}

/// Where a regular file is made, and where it belongs.
#[derive(Debug)]
struct Place {
    part: PathBuf,
    target: PathBuf,
}

impl Output {
    /// Opens the place. A pipe without a reader is waited for.
    ///
    /// # Errors
    /// The kernel's.
    pub fn create(path: &Path) -> io::Result<Self> {
        let there = match std::fs::metadata(path) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if there.as_ref().is_some_and(|found| !found.is_file()) {
            let file = File::options().write(true).custom_flags(libc::O_NOCTTY).open(path)?;
            return Ok(Self { file, place: None });
        }
        let target = followed(path)?;
        let part = beside(&target);
        let file = File::options().write(true).create_new(true).mode(0o644).open(&part)?;
        let output = Self { file, place: Some(Place { part, target }) };
        if let Some(there) = there {
            keep(&output.file, &there)?;
        }
        Ok(output)
    }

    /// Puts what was written into its place. Where this is not called, a regular file stays as it was.
    ///
    /// # Errors
    /// The kernel's.
    pub fn finish(mut self) -> io::Result<()> {
        self.file.flush()?;
        let Some(Place { part, target }) = self.place.take() else { return Ok(()) };
        let placed = std::fs::rename(&part, &target);
        if placed.is_err() {
            remove(&part);
        }
        placed
    }

    /// As [`Self::finish`], after a regular file's content is on the disk.
    ///
    /// # Errors
    /// The kernel's.
    pub fn finish_durable(self) -> io::Result<()> {
        if self.place.is_some() {
            self.file.sync_all()?;
        }
        self.finish()
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(place) = &self.place {
            remove(&place.part);
        }
    }
}

fn remove(part: &Path) {
    // One that cannot be removed is found by its name.
    let _ = std::fs::remove_file(part);
}

/// Where the links of a path lead, whether something is there or not.
fn followed(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match std::fs::read_link(&path) {
            // An absolute one takes the place of the whole path.
            Ok(to) => path = path.parent().unwrap_or(Path::new("")).join(to),
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}

/// A name for the file until it is whole.
fn beside(target: &Path) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    target.with_file_name(name)
}

/// Gives the new file what the old one has.
fn keep(file: &File, there: &Metadata) -> io::Result<()> {
    let made = file.metadata()?;
    if (made.uid(), made.gid()) != (there.uid(), there.gid()) {
        fchown(file, Some(there.uid()), Some(there.gid()))?;
    }
    file.set_permissions(Permissions::from_mode(there.permissions().mode() & 0o7777))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::{FileTypeExt, symlink};

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("corten-sys-output-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    fn put(path: &Path, text: &str) -> io::Result<()> {
        let mut output = Output::create(path)?;
        output.write_all(text.as_bytes())?;
        output.finish()
    }

    #[test]
    fn a_file_keeps_its_mode_and_owner_and_its_links() {
        let dir = directory("file");
        let (file, link) = (dir.join("file"), dir.join("link"));
        std::fs::write(&file, "old").unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::chown(&file, Some(1234), Some(4321)).unwrap();
        symlink("file", &link).unwrap();
        put(&link, "new").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "new");
        assert!(link.is_symlink());
        let kept = file.metadata().unwrap();
        assert_eq!((kept.mode() & 0o7777, kept.uid(), kept.gid()), (0o640, 1234, 4321));
        symlink("later", dir.join("dangling")).unwrap();
        put(&dir.join("dangling"), "made").unwrap();
        assert_eq!(std::fs::read_to_string(dir.join("later")).unwrap(), "made");
        symlink("round", dir.join("round")).unwrap();
        assert!(put(&dir.join("round"), "").is_err());
        // Given up, it leaves the file as it was.
        drop(Output::create(&file).unwrap());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 5);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_pipe_and_a_device_stay_what_they_are() {
        let dir = directory("special");
        let pipe = dir.join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || {
                let mut text = String::new();
                File::open(pipe).unwrap().read_to_string(&mut text).unwrap();
                text
            }
        });
        put(&pipe, "through").unwrap();
        assert_eq!(reader.join().unwrap(), "through");
        assert!(pipe.symlink_metadata().unwrap().file_type().is_fifo());
        // A node of its own, with the numbers of the null device.
        let node = dir.join("node");
        let (mode, kind) = (nix::sys::stat::Mode::from_bits_truncate(0o666), nix::sys::stat::SFlag::S_IFCHR);
        nix::sys::stat::mknod(&node, kind, mode, nix::sys::stat::makedev(1, 3)).unwrap();
        put(&node, "swallowed").unwrap();
        assert!(node.symlink_metadata().unwrap().file_type().is_char_device());
        assert!(put(&dir, "").is_err(), "a directory");
        std::fs::remove_dir_all(dir).unwrap();
    }
}
