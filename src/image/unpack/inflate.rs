//! The thread that inflates.

use super::error::UnpackError;
use super::gzip::Gzip;
use super::pieces::{Chunk, Compressed, GIVEN_UP};
use super::zstd::Zstd;
use crate::manifest::Compression;
use std::io::{self, Read};
use std::sync::mpsc;

/// Big enough that the hand-over costs nothing beside the inflating, small enough for the cache.
const BUFFER: usize = 256 << 10;
/// Buffers in flight.
pub(super) const BUFFERS: usize = 6;
/// So many bytes tell how the rest is compressed.
const MAGIC: usize = 4;

/// Inflates until the end, and lets the other side know that it is the end only when the compressed bytes had the right
/// digest.
pub(super) fn run(
    mut input: Compressed,
    output: &mpsc::SyncSender<Chunk>,
    buffers: &mpsc::Receiver<Vec<u8>>,
    limit: u64,
) -> Result<(), UnpackError> {
    // What a manifest says of it is often wrong, and the bytes never are.
    match Compression::of(input.peek(MAGIC).map_err(input_error)?) {
        Compression::None => plain(&mut input, output, limit)?,
        Compression::Gzip => pump(&mut Gzip::new(&mut input), output, buffers, limit)?,
        Compression::Zstd => {
            let mut decoder = Zstd::new(&mut input).map_err(UnpackError::Inflate)?;
            pump(&mut decoder, output, buffers, limit)?;
        }
    }
    // Whatever follows the compressed stream belongs to the blob and its digest.
    while input.next().map_err(|_| UnpackError::Aborted)?.is_some() {}
    output.send(Chunk::End).map_err(|_| UnpackError::Aborted)
}

fn plain(input: &mut Compressed, output: &mpsc::SyncSender<Chunk>, limit: u64) -> Result<(), UnpackError> {
    let mut total = 0;
    while let Some(bytes) = input.next().map_err(input_error)? {
        total += bytes.len() as u64;
        if total > limit {
            return Err(UnpackError::Limit { what: "bytes", limit });
        }
        output.send(Chunk::Plain(bytes)).map_err(|_| UnpackError::Aborted)?;
    }
    Ok(())
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

fn input_error(error: io::Error) -> UnpackError {
    if error.kind() == GIVEN_UP { UnpackError::Aborted } else { UnpackError::Inflate(error) }
}
