//! A disk that loses power: a file of a FUSE filesystem of the test's own, with a loop device and ext4 on it. What has been
//! written and not flushed is lost at the cut, all of it or any part, as on a disk with a cache of its own.

use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SIZE: usize = 192 << 20;
const BLOCK: usize = 4096;
/// What one write may carry.
const MOST: u32 = 1 << 20;

/// What is on the disk: what was flushed, and above it what was not yet.
#[derive(Default)]
struct State {
    flushed: Vec<u8>,
    cached: BTreeMap<usize, Vec<u8>>,
    /// After the cut nothing more is kept.
    dead: bool,
}

impl State {
    fn read(&self, from: usize, length: usize) -> Vec<u8> {
        let end = self.flushed.len().min(from.saturating_add(length));
        let mut bytes = self.flushed[from.min(end)..end].to_vec();
        for (number, block) in self.cached.range(from / BLOCK..=end / BLOCK) {
            let start = number * BLOCK;
            let (first, last) = (start.max(from), (start + BLOCK).min(end));
            if first < last {
                bytes[first - from..last - from].copy_from_slice(&block[first - start..last - start]);
            }
        }
        bytes
    }

    fn write(&mut self, from: usize, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            let (number, offset) = ((from + at) / BLOCK, (from + at) % BLOCK);
            let length = (BLOCK - offset).min(bytes.len() - at);
            let start = number * BLOCK;
            let flushed = &self.flushed[start..start + BLOCK];
            let block = self.cached.entry(number).or_insert_with(|| flushed.to_vec());
            block[offset..offset + length].copy_from_slice(&bytes[at..at + length]);
            at += length;
        }
    }

    fn flush(&mut self) {
        for (number, block) in std::mem::take(&mut self.cached) {
            self.flushed[number * BLOCK..(number + 1) * BLOCK].copy_from_slice(&block);
        }
    }
}

/// The disk, mounted.
pub(super) struct Disk {
    state: Arc<Mutex<State>>,
    fuse: PathBuf,
    at: PathBuf,
}

impl Disk {
    /// A new one with an empty filesystem; `fuse` and `at` are made.
    pub(super) fn new(fuse: &Path, at: &Path) -> Self {
        let disk = Self::serve(vec![0; SIZE], fuse, at);
        tool("mkfs.ext4", &["-q", "-F", "-b", "4096", "-E", "nodiscard"], &[&disk.fuse.join("disk")]);
        disk.mounted()
    }

    /// Cuts the power: of what was not flushed every block stays or goes by the toss of a coin, and nothing is written
    /// any more.
    pub(super) fn cut(&self, mut keeps: impl FnMut() -> bool) {
        let mut state = self.state.lock().unwrap();
        state.dead = true;
        state.cached.retain(|_, _| keeps());
        state.flush();
    }

    /// The disk of the machine that has come back: its journal is replayed.
    pub(super) fn back(self) -> Self {
        let flushed = std::mem::take(&mut self.state.lock().unwrap().flushed);
        let (fuse, at) = (self.fuse.clone(), self.at.clone());
        drop(self);
        Self::serve(flushed, &fuse, &at).mounted()
    }

    /// Whether these bytes, which begin a file, would be there after a cut.
    pub(super) fn keeps(&self, begin: &[u8; BLOCK]) -> bool {
        let state = self.state.lock().unwrap();
        state.flushed.chunks_exact(BLOCK).any(|block| block == begin)
    }

    /// Whether nothing waits for a flush.
    pub(super) fn is_calm(&self) -> bool {
        self.state.lock().unwrap().cached.is_empty()
    }

    fn serve(flushed: Vec<u8>, fuse: &Path, at: &Path) -> Self {
        for directory in [fuse, at] {
            std::fs::create_dir_all(directory).unwrap();
        }
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse").unwrap();
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        mount(Some("disk"), fuse, Some("fuse"), MsFlags::empty(), Some(options.as_str())).unwrap();
        let state = Arc::new(Mutex::new(State { flushed, ..State::default() }));
        let served = state.clone();
        // It ends when the filesystem is gone, which somebody may still have open.
        std::thread::spawn(move || serve(device, &served));
        Self { state, fuse: fuse.to_owned(), at: at.to_owned() }
    }

    fn mounted(self) -> Self {
        // The loop device goes with the mount.
        tool("mount", &["-t", "ext4", "-o", "loop"], &[&self.fuse.join("disk"), &self.at]);
        self
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The namespace ends soon in any case.
        let _ = umount2(&self.at, MntFlags::MNT_DETACH);
        let _ = umount2(&self.fuse, MntFlags::MNT_DETACH);
    }
}

fn tool(name: &str, options: &[&str], paths: &[&Path]) {
    let mut command = Command::new(e2e::tools::system(name).unwrap());
    e2e::command::run(command.args(options).args(paths), Duration::from_secs(60)).unwrap();
}

/// Numbers of requests, as `linux/fuse.h` has them.
mod request {
    pub(super) const LOOKUP: u32 = 1;
    pub(super) const FORGET: u32 = 2;
    pub(super) const GETATTR: u32 = 3;
    pub(super) const SETATTR: u32 = 4;
    pub(super) const OPEN: u32 = 14;
    pub(super) const READ: u32 = 15;
    pub(super) const WRITE: u32 = 16;
    pub(super) const RELEASE: u32 = 18;
    pub(super) const FSYNC: u32 = 20;
    pub(super) const FLUSH: u32 = 25;
    pub(super) const INIT: u32 = 26;
    pub(super) const INTERRUPT: u32 = 36;
    pub(super) const BATCH_FORGET: u32 = 42;
}

/// The attributes of the root (1) and of its only file (2), as words of 32 bits.
fn attributes(node: u32) -> [u32; 22] {
    let mut words = [0; 22];
    (words[0], words[16]) = (node, 1);
    words[15] = if node == 1 { 0o040_755 } else { 0o100_600 };
    if node == 2 {
        words[2] = u32::try_from(SIZE).unwrap();
    }
    words
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Answers until the filesystem is gone.
fn serve(mut device: File, state: &Mutex<State>) {
    use request::{
        BATCH_FORGET, FLUSH, FORGET, FSYNC, GETATTR, INIT, INTERRUPT, LOOKUP, OPEN, READ, RELEASE, SETATTR,
        WRITE,
    };
    // The header of a write is 80 bytes.
    let mut buffer = vec![0; MOST as usize + BLOCK];
    while let Ok(count) = device.read(&mut buffer) {
        let word = |at: usize| u32::from_le_bytes(buffer[at * 4..at * 4 + 4].try_into().unwrap());
        let (node, offset, size) = (word(4), || word(12) as usize, || word(14) as usize);
        let answer = match word(1) {
            FORGET | INTERRUPT | BATCH_FORGET => continue,
            // Version 7.31; large writes; a flush is a request of its own.
            INIT => Ok(bytes(&[7, 31, 1 << 20, 0x20 | 1 << 22, 0, MOST, 1, 256, 0, 0, 0, 0, 0, 0, 0, 0])),
            LOOKUP if buffer[40..count].starts_with(b"disk\0") => {
                Ok(bytes(&[&[2, 0, 0, 0, 3600, 0, 3600, 0, 0, 0][..], &attributes(2)].concat()))
            }
            LOOKUP => Err(libc::ENOENT),
            GETATTR | SETATTR => Ok(bytes(&[&[3600, 0, 0, 0][..], &attributes(node)].concat())),
            OPEN => Ok(bytes(&[0; 4])),
            READ => Ok(state.lock().unwrap().read(offset(), size())),
            WRITE => {
                let mut state = state.lock().unwrap();
                if !state.dead {
                    state.write(offset(), &buffer[80..80 + size()]);
                }
                Ok(bytes(&[word(14), 0]))
            }
            FSYNC => {
                let mut state = state.lock().unwrap();
                if !state.dead {
                    state.flush();
                }
                Ok(Vec::new())
            }
            FLUSH | RELEASE => Ok(Vec::new()),
            _ => Err(libc::ENOSYS),
        };
        let (error, body) = match answer {
            Ok(body) => (0, body),
            Err(error) => (-error, Vec::new()),
        };
        let length = u32::try_from(16 + body.len()).unwrap();
        let head = bytes(&[length, error.cast_unsigned(), word(2), word(3)]);
        // Whoever asked may have gone.
        let _ = device.write(&[head, body].concat());
    }
}
