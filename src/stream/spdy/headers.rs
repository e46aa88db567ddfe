//! Header blocks: names and values, compressed over the whole connection with a common dictionary.

use super::dictionary::DICTIONARY;
use super::frame::{Reset, SpdyError};
use flate2::{Decompress, FlushDecompress, Status};

/// The most bytes of one block; more cost the stream.
const MAX_BLOCK: usize = 16 << 10;
/// The most bytes that a block is inflated to, to follow the compression when it is not kept; more cost the connection.
const MAX_INFLATED: usize = 1 << 20;
/// The most headers of a block.
const MAX_HEADERS: u32 = 64;
const SCRATCH: usize = 4 << 10;

/// What a stream says of itself; names are in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// The value of a header, by its name in lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Reads an inflated block; `None` when it is none.
    pub fn parse(block: &[u8]) -> Option<Self> {
        let (count, mut rest) = number(block)?;
        if count > MAX_HEADERS {
            return None;
        }
        let mut headers = Vec::new();
        for _ in 0..count {
            let (name, behind) = text(rest)?;
            let (value, behind) = text(behind)?;
            headers.push((name.to_lowercase(), value));
            rest = behind;
        }
        rest.is_empty().then_some(Self(headers))
    }

    #[cfg(test)]
    pub(crate) fn of(pairs: &[(&str, &str)]) -> Self {
        Self(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (head, rest) = bytes.split_first_chunk()?;
    Some((u32::from_be_bytes(*head), rest))
}

fn text(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (length, rest) = number(bytes)?;
    let (text, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    Some((String::from_utf8_lossy(text).into_owned(), rest))
}

/// Inflates the blocks of one connection, one after the other.
#[derive(Debug)]
pub(super) struct Inflater {
    zlib: Decompress,
    block: Vec<u8>,
    inflated: usize,
}

impl Inflater {
    pub(super) fn new() -> Self {
        Self { zlib: Decompress::new(true), block: Vec::new(), inflated: 0 }
    }

    /// At the beginning of a block.
    pub(super) fn begin(&mut self) {
        self.block.clear();
        self.inflated = 0;
    }

    /// Takes in a piece of it.
    pub(super) fn feed(&mut self, mut input: &[u8]) -> Result<(), SpdyError> {
        let mut scratch = [0; SCRATCH];
        loop {
            let (before_in, before_out) = (self.zlib.total_in(), self.zlib.total_out());
            let result = self.zlib.decompress(input, &mut scratch, FlushDecompress::Sync);
            let used = usize::try_from(self.zlib.total_in() - before_in).unwrap_or(usize::MAX);
            let made = usize::try_from(self.zlib.total_out() - before_out).unwrap_or(usize::MAX);
            input = input.get(used..).unwrap_or_default();
            match result {
                Ok(Status::Ok | Status::BufError) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    self.zlib.set_dictionary(&DICTIONARY).map_err(|_| SpdyError::Inflate)?;
                    continue;
                }
                Ok(Status::StreamEnd) | Err(_) => return Err(SpdyError::Inflate),
            }
            self.inflated += made;
            if self.inflated > MAX_INFLATED {
                return Err(SpdyError::Inflate);
            }
            if self.inflated <= MAX_BLOCK {
                self.block.extend_from_slice(scratch.get(..made).unwrap_or_default());
            }
            if made < SCRATCH && (input.is_empty() || used == 0) {
                return if input.is_empty() { Ok(()) } else { Err(SpdyError::Inflate) };
            }
        }
    }

    /// The block is complete.
    pub(super) fn finish(&mut self) -> Result<Headers, Reset> {
        let block = std::mem::take(&mut self.block);
        if self.inflated > MAX_BLOCK {
            return Err(Reset::TooLarge);
        }
        Headers::parse(&block).ok_or(Reset::Protocol)
    }
}

/// Header blocks without headers for one connection, stored and not compressed: that needs no state but whether the
/// stream has begun.
#[derive(Debug, Default)]
pub(super) struct EmptyBlocks {
    begun: bool,
}

impl EmptyBlocks {
    /// The next one.
    pub(super) fn next(&mut self) -> Vec<u8> {
        // zlib's own header (RFC 1950: deflate, 32 KiB window, no dictionary), once.
        let mut block = if std::mem::replace(&mut self.begun, true) { Vec::new() } else { vec![0x78, 0x01] };
        // RFC 1951: a stored piece of four bytes, the count of no headers, and an empty one that flushes.
        block.extend_from_slice(&[0, 4, 0, 0xfb, 0xff, 0, 0, 0, 0]);
        block.extend_from_slice(&[0, 0, 0, 0xff, 0xff]);
        block
    }
}

#[cfg(test)]
#[path = "headers_tests.rs"]
pub(crate) mod tests;
