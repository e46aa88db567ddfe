//! How many processes a cgroup has, asked again and again: its directory and its list of processes stay open.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::Path;

/// The kernel fills at least a page with ids: where it gives less than this, there are no more. To be told so costs more
/// than the reading.
const LAST: usize = 2 << 10;

#[derive(Debug)]
pub(super) struct Members {
    dir: OwnedFd,
    list: OwnedFd,
}

impl Members {
    /// How many descriptors they hold.
    pub(super) const DESCRIPTORS: usize = 2;

    /// `None` where they cannot be opened.
    pub(super) fn open(dir: &Path) -> Option<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(dir, flags, Mode::empty()).ok()?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let list = rustix::fs::openat(&dir, "cgroup.procs", flags, Mode::empty()).ok()?;
        Some(Self { dir, list })
    }

    /// How many there are in a cgroup without others below it; `None` where there are some, whose processes count too.
    pub(super) fn count(&self) -> Option<u64> {
        // A directory without others in it, on the filesystems that count them: its name and its own dot.
        if rustix::fs::fstat(&self.dir).ok()?.st_nlink != 2 {
            return None;
        }
        let (mut lines, mut buffer) = (Lines::default(), [0; 4096]);
        loop {
            match rustix::io::pread(&self.list, &mut buffer, lines.read) {
                Ok(count) => {
                    lines.add(buffer.get(..count)?);
                    if count < LAST {
                        return Some(lines.processes);
                    }
                }
                Err(Errno::INTR) => {}
                // The cgroup went away.
                Err(Errno::NODEV) => return Some(0),
                Err(_) => return None,
            }
        }
    }
}

/// Process ids, one a line, as they come piece by piece. One outside of our PID namespace shows as 0, and is not counted.
#[derive(Default)]
struct Lines {
    read: u64,
    processes: u64,
    /// The line so far is of an id that is not 0.
    known: bool,
}

impl Lines {
    fn add(&mut self, text: &[u8]) {
        self.read += text.len() as u64;
        for byte in text {
            match byte {
                b'\n' => self.processes += u64::from(std::mem::take(&mut self.known)),
                b'1'..=b'9' => self.known = true,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_counted_however_they_are_cut() {
        let mut lines = Lines::default();
        for piece in ["1", "0\n2", "\n", "0\n", "300", "00\n"] {
            lines.add(piece.as_bytes());
        }
        assert_eq!((lines.processes, lines.read), (3, 13));
    }
}
