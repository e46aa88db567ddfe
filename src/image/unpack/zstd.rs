//! Zstandard (RFC 8878) as layers have it: any number of frames, one behind the other, with windows of up to 128 MiB.
//!
//! A window is memory that whoever made the archive demands. Small ones are everybody's; of large ones there are
//! [`LARGE`] at a time in the whole process, for which the others wait: together they take at most 256 MiB.

use std::io::{self, BufRead, Read};
use std::sync::{Condvar, Mutex};
use sys::sync::{lock, wait_while};
use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, get_error_name};

/// What the format asks every decoder to have.
const SMALL_WINDOW: u64 = 8 << 20;
/// What `zstd --long` and `--ultra` make at the most without being told more.
const WINDOW_LOG: u32 = 27;
/// Layers with larger windows at the same time.
const LARGE: usize = 2;
/// The most bytes of a frame's header.
const HEADER: usize = 18;
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

static TURNS: (Mutex<usize>, Condvar) = (Mutex::new(LARGE), Condvar::new());

/// The right to have a large window.
struct Turn;

impl Turn {
    fn wait() -> Self {
        let left = lock(&TURNS.0);
        let mut left = wait_while(&TURNS.1, left, |left| *left == 0);
        *left -= 1;
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *lock(&TURNS.0) += 1;
        TURNS.1.notify_one();
    }
}

/// Inflates what the input has.
pub(super) struct Zstd<R> {
    input: R,
    context: DCtx<'static>,
    turn: Option<Turn>,
    /// Of the current frame's header, what the decoder was not given yet.
    header: Vec<u8>,
    inside: bool,
    frames: u64,
}

impl<R: BufRead> Zstd<R> {
    pub(super) fn new(input: R) -> io::Result<Self> {
        let mut context = DCtx::try_create().ok_or(io::ErrorKind::OutOfMemory)?;
        context.set_parameter(DParameter::WindowLogMax(WINDOW_LOG)).map_err(invalid)?;
        Ok(Self { input, context, turn: None, header: Vec::new(), inside: false, frames: 0 })
    }

    /// Begins the next frame; `false` at the end of the input.
    fn begin(&mut self) -> io::Result<bool> {
        if self.input.fill_buf()?.is_empty() {
            return if self.frames > 0 { Ok(false) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        let window = loop {
            match window(&self.header) {
                Ok(window) => break window,
                Err(needed) => {
                    let missing = needed.min(HEADER) - self.header.len();
                    let mut more = [0; HEADER];
                    self.input.read_exact(&mut more[..missing])?;
                    self.header.extend_from_slice(&more[..missing]);
                }
            }
        };
        if window > SMALL_WINDOW && self.turn.is_none() {
            self.turn = Some(Turn::wait());
        }
        self.inside = true;
        self.frames += 1;
        Ok(true)
    }
}

/// The window that the frame with this header demands, or how much of the header has to be there to tell.
fn window(header: &[u8]) -> Result<u64, usize> {
    let [a, b, c, d, flags, rest @ ..] = header else { return Err(5) };
    if [*a, *b, *c, *d] != MAGIC {
        // A frame to be skipped, or nothing that the decoder takes.
        return Ok(0);
    }
    if flags & 0x20 == 0 {
        let descriptor = *rest.first().ok_or(6usize)?;
        let base = 1u64 << (10 + (descriptor >> 3));
        return Ok(base + base / 8 * u64::from(descriptor & 7));
    }
    // The window is the content: its size comes behind the number of a dictionary.
    let dictionary = [0, 1, 2, 4][usize::from(flags & 3)];
    let length = [1, 2, 4, 8][usize::from(flags >> 6)];
    let size = rest.get(dictionary..dictionary + length).ok_or(5 + dictionary + length)?;
    let mut bytes = [0; 8];
    bytes[..length].copy_from_slice(size);
    Ok(u64::from_le_bytes(bytes).saturating_add(if length == 2 { 256 } else { 0 }))
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.inside && !self.begin()? {
                return Ok(0);
            }
            let from_header = !self.header.is_empty();
            let available = if from_header { &self.header[..] } else { self.input.fill_buf()? };
            let ended = available.is_empty();
            let mut input = InBuffer::around(available);
            let mut output = OutBuffer::around(&mut *buffer);
            let left = self.context.decompress_stream(&mut output, &mut input).map_err(invalid)?;
            let (used, made) = (input.pos(), output.pos());
            if from_header {
                self.header.drain(..used);
            } else {
                self.input.consume(used);
            }
            if left == 0 {
                self.inside = false;
            } else if ended && made == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if made > 0 {
                return Ok(made);
            }
        }
    }
}

fn invalid(code: usize) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, get_error_name(code))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::{BufReader, Write as _};
    use zstd::stream::write::Encoder;

    fn frame(content: &[u8], window_log: u32, sized: bool) -> Vec<u8> {
        let mut encoder = Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(window_log).unwrap();
        if sized {
            encoder.set_pledged_src_size(Some(content.len() as u64)).unwrap();
        }
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn inflate(bytes: &[u8], piece: usize) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        Zstd::new(BufReader::with_capacity(piece, bytes))?.read_to_end(&mut content).map(|_| content)
    }

    #[test]
    fn frames_of_every_window_however_they_come_in() {
        let noise: Vec<u8> =
            (0..70_000_u32).flat_map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let skipped = [&[0x51, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        let bytes = [
            skipped.clone(),
            frame(&noise, 20, false),
            frame(b"", 20, false),
            frame(&noise, 27, false),
            frame(b"some", 20, true),
            skipped,
        ]
        .concat();
        let expected = [&noise[..], &noise, b"some"].concat();
        for piece in [1, 2, 7, 4096, 1 << 20] {
            assert!(inflate(&bytes, piece).unwrap() == expected, "pieces of {piece}");
        }
        assert!(inflate(&frame(&noise, 28, false), 4096).is_err(), "a larger window");
    }

    #[test]
    fn damaged_streams_are_errors() {
        let bytes = frame(b"content content content", 20, true);
        for end in 0..bytes.len() {
            assert_eq!(inflate(&bytes[..end], 16).unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "{end}");
        }
        let behind = [&bytes[..], b"and something behind it"].concat();
        assert_eq!(inflate(&behind, 16).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn windows_as_headers_tell_them() {
        for (log, sized) in [(20, false), (23, false), (27, false), (10, true)] {
            let bytes = frame(&[7; 700], log, sized);
            let expected = if sized { 700 } else { 1 << log };
            assert_eq!(window(&bytes), Ok(expected), "{log} {sized}");
        }
        assert_eq!(window(b"\x28\xb5\x2f"), Err(5));
    }
}
