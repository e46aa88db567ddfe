//! The CRI log file: `<RFC 3339 nanoseconds> stdout|stderr P|F <text>`, a line each. `P` marks a piece that its
//! line goes on behind: lines longer than 16 KiB are cut, and an output's last line may lack its end.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sys::fd::{as_path, errno, flag};
use sys::{SysError, SysResult};

use crate::time;

/// Where a line is cut.
const PIECE: usize = 16 << 10;
/// Formatted lines are written when this much has come together, and at the end of every read.
const BATCH: usize = 16 << 10;
const MODE: u32 = 0o640;
/// How often somebody may put another link where a log is to be.
const RELINKED: u32 = 8;

/// Which output a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output, or a terminal.
    Out,
    /// Standard error.
    Err,
}

impl Stream {
    fn name(self) -> &'static [u8] {
        match self {
            Self::Out => b" stdout ",
            Self::Err => b" stderr ",
        }
    }
}

/// The log of one container.
#[derive(Debug, Default)]
pub(crate) struct Log {
    path: Vec<u8>,
    file: Option<File>,
    /// The beginnings of lines whose end has not been read yet.
    pending: [Vec<u8>; 2],
    lost: u64,
    /// There was no file at the path before.
    is_new: bool,
}

impl Log {
    /// Opens the file for appending; an empty path throws the output away.
    pub(crate) fn open(path: &[u8]) -> SysResult<Self> {
        let path = path.to_vec();
        if path.is_empty() {
            return Ok(Self::default());
        }
        match open(&path, true) {
            Ok(file) => Ok(Self { path, file: Some(file), is_new: true, ..Self::default() }),
            Err(error) if error.errno == errno::EEXIST => {
                let file = open_own(&path)?;
                Ok(Self { path, file: Some(file), ..Self::default() })
            }
            Err(error) => Err(error),
        }
    }

    /// For a container that never came to be: removes the file if it was made for it and is still empty.
    pub(crate) fn discard(self) {
        let Some(file) = self.file.filter(|_| self.is_new) else { return };
        let Ok((_dir, path)) = place(&self.path) else { return };
        let is_ours = |ours: Metadata, there: Metadata| {
            ours.len() == 0 && (ours.dev(), ours.ino()) == (there.dev(), there.ino())
        };
        if let (Ok(ours), Ok(there)) = (file.metadata(), path.symlink_metadata())
            && is_ours(ours, there)
        {
            // A log that stays is empty and in nobody's way.
            let _ = std::fs::remove_file(&path);
        }
    }

    /// Goes on in the file that now lies at the path. On failure the old file stays in use, and no new one is
    /// left behind.
    pub(crate) fn reopen(&mut self) -> SysResult<()> {
        if !self.path.is_empty() {
            self.file = Some(open_own(&self.path)?);
            self.is_new = false;
        }
        Ok(())
    }

    /// Bytes of output that could not be written.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// Takes in what was read. Never fails: what cannot be written is counted and dropped, for a container must
    /// not stand still because a disk is full.
    pub(crate) fn write(&mut self, stream: Stream, bytes: &[u8]) {
        if self.file.is_none() {
            return;
        }
        let stamp = time::stamp(time::wall_ns());
        let mut batch = Batch { log: self, stream, stamp, text: Vec::new(), carried: 0 };
        batch.split(bytes);
        batch.flush();
    }

    /// The output has ended: what is pending is a last line without its end.
    pub(crate) fn finish(&mut self, stream: Stream) {
        let pending = std::mem::take(self.pending_of(stream));
        if !pending.is_empty() {
            let stamp = time::stamp(time::wall_ns());
            let mut batch = Batch { log: self, stream, stamp, text: Vec::new(), carried: 0 };
            batch.line(b'P', &[], &pending);
            batch.flush();
        }
    }

    fn pending_of(&mut self, stream: Stream) -> &mut Vec<u8> {
        let [out, err] = &mut self.pending;
        match stream {
            Stream::Out => out,
            Stream::Err => err,
        }
    }

    /// Appends whole lines. A part that was written before the disk was full is taken back, so that no torn
    /// line stays. `carried` is how many bytes of the container's output the lines hold.
    fn append(&mut self, text: &[u8], carried: usize) {
        let Some(file) = &mut self.file else { return };
        let mut written = 0;
        while let Some(rest) = text.get(written..).filter(|rest| !rest.is_empty()) {
            match file.write(rest) {
                Ok(0) => break,
                Ok(count) => written += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        if written < text.len() {
            self.lost += carried as u64;
            if let Ok(meta) = file.metadata() {
                // When even this fails the torn line stays: nothing better is left to do.
                let _ = file.set_len(meta.len().saturating_sub(written as u64));
            }
        }
    }
}

/// Opens what lies at the path, or a new file. Who may write into the directory can have put a file of the host's there
/// under a second name: that one stays as it is, and the log is another file.
fn open_own(path: &[u8]) -> SysResult<File> {
    let failed = || SysError::io("open log", as_path(path));
    let mut file = open(path, false)?;
    for _ in 0..RELINKED {
        if file.metadata().map_err(failed())?.nlink() <= 1 {
            return Ok(file);
        }
        let (_dir, name) = place(path)?;
        match std::fs::remove_file(name) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed()(error)),
            _ => file = open(path, false)?,
        }
    }
    Err(SysError::new("open log", as_path(path), errno::EMLINK))
}

fn open(path: &[u8], new: bool) -> SysResult<File> {
    let (_dir, name) = place(path)?;
    // Not through a link, and not waiting for a FIFO's reader: the directory may be the kubelet's, the
    // file has to be one.
    let flags = flag::O_NOFOLLOW | flag::O_NONBLOCK;
    OpenOptions::new()
        .append(true)
        .create(true)
        .create_new(new)
        .mode(MODE)
        .custom_flags(flags)
        .open(name)
        .map_err(SysError::io("open log", as_path(path)))
}

/// The directory of a log, and the file's path by way of the directory, which is made where it is missing. Behind a `/./`
/// no link is followed: up to there the path is what the kubelet says is a directory of logs, from there on it is what
/// somebody may have put into that.
fn place(path: &[u8]) -> SysResult<(File, PathBuf)> {
    let name = as_path(path);
    let failed = || SysError::io("open log", name);
    let marked = path.windows(3).position(|part| part == b"/./");
    let (base, rest) = match marked.and_then(|at| path.split_at_checked(at)) {
        Some((base, rest)) => (as_path(base), as_path(rest.get(3..).unwrap_or_default())),
        None => (name.parent().unwrap_or(name), Path::new(name.file_name().unwrap_or_default())),
    };
    DirBuilder::new().recursive(true).mode(0o755).create(base).map_err(failed())?;
    let mut dir =
        OpenOptions::new().read(true).custom_flags(flag::O_DIRECTORY).open(base).map_err(failed())?;
    let below = |dir: &File, part: &Path| Path::new(&format!("/proc/self/fd/{}", dir.as_raw_fd())).join(part);
    for part in rest.parent().into_iter().flat_map(Path::components) {
        let part = below(&dir, part.as_ref());
        match DirBuilder::new().mode(0o755).create(&part) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed()(error)),
            _ => {}
        }
        let flags = flag::O_DIRECTORY | flag::O_NOFOLLOW;
        dir = OpenOptions::new().read(true).custom_flags(flags).open(part).map_err(failed())?;
    }
    let file = below(&dir, Path::new(rest.file_name().unwrap_or_default()));
    Ok((dir, file))
}

/// Lines on their way to the file.
struct Batch<'a> {
    log: &'a mut Log,
    stream: Stream,
    stamp: [u8; time::STAMP],
    text: Vec<u8>,
    carried: usize,
}

impl Batch<'_> {
    fn split(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = PIECE.saturating_sub(self.log.pending_of(self.stream).len());
            let window = rest.get(..room.min(rest.len())).unwrap_or(rest);
            let end = window.iter().position(|byte| *byte == b'\n');
            let Some((piece, behind)) = rest.split_at_checked(end.unwrap_or(window.len())) else { return };
            rest = behind;
            match end {
                Some(_) => {
                    rest = rest.get(1..).unwrap_or_default();
                    self.whole(b'F', piece);
                }
                None if window.len() == room && rest.first() == Some(&b'\n') => {
                    rest = rest.get(1..).unwrap_or_default();
                    self.whole(b'F', piece);
                }
                None if window.len() == room && !rest.is_empty() => self.whole(b'P', piece),
                None => self.log.pending_of(self.stream).extend_from_slice(piece),
            }
        }
    }

    /// A line, or a full piece of one, behind what is pending of it.
    fn whole(&mut self, tag: u8, piece: &[u8]) {
        let pending = std::mem::take(self.log.pending_of(self.stream));
        self.line(tag, &pending, piece);
    }

    fn line(&mut self, tag: u8, head: &[u8], tail: &[u8]) {
        self.text.extend_from_slice(&self.stamp);
        self.text.extend_from_slice(self.stream.name());
        self.text.extend_from_slice(&[tag, b' ']);
        self.text.extend_from_slice(head);
        self.text.extend_from_slice(tail);
        self.text.push(b'\n');
        self.carried += head.len() + tail.len() + usize::from(tag == b'F');
        if self.text.len() >= BATCH {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if !self.text.is_empty() {
            self.log.append(&self.text, self.carried);
            self.text.clear();
            self.carried = 0;
        }
    }
}

#[cfg(test)]
mod tests;
