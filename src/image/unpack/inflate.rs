//! The thread that takes the compressed bytes.

use super::error::UnpackError;
use super::pieces::{Chunk, Compressed, GIVEN_UP};
use crate::digest::Digest;
use crate::manifest::Compression;
use flate2::bufread::MultiGzDecoder;
use std::io::{self, Read};
use std::sync::mpsc;

/// Big enough that the hand-over costs nothing beside the inflating, small enough for the cache.
const BUFFER: usize = 256 << 10;
/// Buffers in flight.
pub(super) const BUFFERS: usize = 6;
/// The largest zstd window, and so the memory that a hostile frame can demand: 128 MiB would be the
/// decoder's own limit, 8 MiB is what the format asks every decoder to have.
const ZSTD_WINDOW_LOG: u32 = 26;

/// What the compressed bytes must be.
pub(super) struct Expected {
    pub digest: Digest,
    pub size: u64,
    pub compression: Compression,
    pub limit: u64,
}

/// Inflates until the end, checks the digest, and only then lets the other side know that it is the end.
pub(super) fn run(
    input: Compressed,
    output: &mpsc::SyncSender<Chunk>,
    buffers: &mpsc::Receiver<Vec<u8>>,
    expected: &Expected,
) -> Result<Compressed, UnpackError> {
    let mut input = match expected.compression {
        Compression::None => plain(input, output, expected.limit)?,
        Compression::Gzip => {
            let mut decoder = MultiGzDecoder::new(input);
            pump(&mut decoder, output, buffers, expected.limit)?;
            decoder.into_inner()
        }
        Compression::Zstd => {
            let mut decoder =
                zstd::stream::read::Decoder::with_buffer(input).map_err(UnpackError::Inflate)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(UnpackError::Inflate)?;
            pump(&mut decoder, output, buffers, expected.limit)?;
            decoder.finish()
        }
    };
    // Whatever follows the compressed stream belongs to the blob and its digest.
    while input.next().map_err(|_| UnpackError::Aborted)?.is_some() {}
    if input.count != expected.size {
        return Err(UnpackError::Size { expected: expected.size, actual: input.count });
    }
    let actual = std::mem::take(&mut input.hasher).finish();
    if actual != expected.digest {
        return Err(UnpackError::Digest { actual });
    }
    output.send(Chunk::End).map_err(|_| UnpackError::Aborted)?;
    Ok(input)
}

fn plain(
    mut input: Compressed,
    output: &mpsc::SyncSender<Chunk>,
    limit: u64,
) -> Result<Compressed, UnpackError> {
    while let Some(bytes) = input.next().map_err(input_error)? {
        if input.count > limit {
            return Err(UnpackError::Limit { what: "bytes", limit });
        }
        output.send(Chunk::Plain(bytes)).map_err(|_| UnpackError::Aborted)?;
    }
    Ok(input)
}

fn pump(
    decoder: &mut impl Read,
    output: &mpsc::SyncSender<Chunk>,
    buffers: &mpsc::Receiver<Vec<u8>>,
    limit: u64,
) -> Result<(), UnpackError> {
    let (mut total, mut made) = (0u64, 0);
    loop {
        let mut buffer = match buffers.try_recv() {
            Ok(buffer) => buffer,
            Err(_) if made < BUFFERS => {
                made += 1;
                vec![0; BUFFER]
            }
            Err(_) => buffers.recv().map_err(|_| UnpackError::Aborted)?,
        };
        let mut filled = 0;
        while filled < buffer.len() {
            match decoder.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(input_error(error)),
            }
        }
        if filled == 0 {
            return Ok(());
        }
        total += filled as u64;
        if total > limit {
            return Err(UnpackError::Limit { what: "bytes", limit });
        }
        output.send(Chunk::Buffer(buffer, filled)).map_err(|_| UnpackError::Aborted)?;
    }
}

/// Errors of the system (the kept blob's file) are not the stream's fault.
fn input_error(error: io::Error) -> UnpackError {
    if error.raw_os_error().is_some() {
        return UnpackError::Io { operation: "write", path: "blob".to_owned(), source: error };
    }
    if error.kind() == GIVEN_UP { UnpackError::Aborted } else { UnpackError::Inflate(error) }
}
