//! The floor: HTTP read, sha256, inflate, sha256 and extraction of all layers in parallel, two threads a layer. No
//! store, no records, no sync, no care for hostile archives.

use super::fixture::Pushed;
use e2e::Error;
use e2e::error::Context;
use flate2::bufread::GzDecoder;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, futimens};
use nix::sys::time::TimeSpec;
use sha2::{Digest as _, Sha256};
use std::collections::HashSet;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

const BUFFER: usize = 256 << 10;

/// Pulls the layers into a directory each; nanoseconds.
///
/// # Errors
/// When a layer cannot be fetched, is another one, or cannot be written.
pub(super) fn pull(registry: SocketAddr, image: &Pushed, directory: &Path) -> Result<u128, Error> {
    let begin = Instant::now();
    let outcome: io::Result<()> = std::thread::scope(|scope| {
        let mut workers = Vec::new();
        for (number, (digest, diff_id)) in image.layers.iter().enumerate() {
            let (sender, receiver) = sync_channel(6);
            let place = directory.join(number.to_string());
            let url = format!("/v2/{}/blobs/{digest}", image.repository);
            workers.push(scope.spawn(move || fetch(registry, &url, digest, image.zstd, &sender)));
            workers.push(scope.spawn(move || extract(receiver, diff_id, &place)));
        }
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into())))
    });
    outcome.at("run", "the floor")?;
    Ok(begin.elapsed().as_nanos())
}

/// A reader that hashes what passes.
struct Hashing<R> {
    inner: R,
    hasher: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

fn fetch(
    registry: SocketAddr,
    url: &str,
    digest: &str,
    zstd: bool,
    sender: &SyncSender<Vec<u8>>,
) -> io::Result<()> {
    let mut stream = TcpStream::connect(registry)?;
    stream.write_all(
        format!("GET {url} HTTP/1.1\r\nHost: {registry}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut head = BufReader::with_capacity(BUFFER, stream);
    let mut line = String::new();
    while head.read_line(&mut line)? > 2 {
        line.clear();
    }
    let mut input = BufReader::with_capacity(BUFFER, Hashing { inner: head, hasher: Sha256::new() });
    if zstd {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(&mut input)?;
        pump(&mut decoder, sender)?;
    } else {
        pump(&mut GzDecoder::new(&mut input), sender)?;
    }
    io::copy(&mut input, &mut io::sink())?;
    verify(input.into_inner().hasher, digest)
}

fn pump(decoder: &mut impl Read, sender: &SyncSender<Vec<u8>>) -> io::Result<()> {
    loop {
        let mut buffer = vec![0; BUFFER];
        let mut filled = 0;
        while filled < BUFFER {
            match decoder.read(&mut buffer[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        buffer.truncate(filled);
        if filled == 0 || sender.send(buffer).is_err() {
            return Ok(());
        }
    }
}

fn verify(hasher: Sha256, expected: &str) -> io::Result<()> {
    let actual = format!("sha256:{}", hex::encode(hasher.finalize()));
    if actual == expected { Ok(()) } else { Err(io::Error::other(format!("{actual} instead of {expected}"))) }
}

/// The inflated buffers as a reader.
struct Buffers {
    receiver: Receiver<Vec<u8>>,
    current: Vec<u8>,
    at: usize,
    hasher: Sha256,
}

impl Read for Buffers {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.current.len() {
            let Ok(next) = self.receiver.recv() else { return Ok(0) };
            self.hasher.update(&next);
            (self.current, self.at) = (next, 0);
        }
        let rest = &self.current[self.at..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Ok(count)
    }
}

fn extract(receiver: Receiver<Vec<u8>>, diff_id: &str, place: &Path) -> io::Result<()> {
    let buffers = Buffers { receiver, current: Vec::new(), at: 0, hasher: Sha256::new() };
    let mut archive = tar::Archive::new(buffers);
    let mut made: HashSet<PathBuf> = HashSet::new();
    let mut piece = vec![0; BUFFER];
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = place.join(entry.path()?);
        if let Some(parent) = path.parent().filter(|parent| !made.contains(*parent)) {
            fs::create_dir_all(parent)?;
            made.insert(parent.to_owned());
        }
        let mode = Mode::from_bits_truncate(entry.header().mode()? & 0o777);
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let mut file = fs::File::from(open(&path, flags, mode)?);
        loop {
            let count = entry.read(&mut piece)?;
            if count == 0 {
                break;
            }
            file.write_all(&piece[..count])?;
        }
        let time = TimeSpec::new(i64::try_from(entry.header().mtime()?).unwrap_or_default(), 0);
        futimens(&file, &time, &time)?;
    }
    let mut buffers = archive.into_inner();
    io::copy(&mut buffers, &mut io::sink())?;
    verify(buffers.hasher, diff_id)
}
