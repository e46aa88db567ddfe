//! Gzip (RFC 1952) as layers have it: any number of members, one behind the other.
//!
//! The checksum and the length behind each member are read and not compared: both digests of the layer are, and they say
//! more. Computing the checksum costs a tenth of the inflating.

use flate2::{Decompress, FlushDecompress, Status};
use std::io::{self, BufRead, Read};

const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
const HAS_HEADER_CHECKSUM: u8 = 1 << 1;
const HAS_EXTRA: u8 = 1 << 2;
const HAS_NAME: u8 = 1 << 3;
const HAS_COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0xe0;
/// Checksum and length behind a member.
const TRAILER: u64 = 8;

/// Inflates what the input has.
pub(super) struct Gzip<R> {
    input: R,
    inflate: Decompress,
    /// Inside of a member's compressed data.
    inside: bool,
    members: u64,
}

impl<R: BufRead> Gzip<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, inflate: Decompress::new(false), inside: false, members: 0 }
    }

    /// Begins the next member; `false` at the end of the input.
    fn begin(&mut self) -> io::Result<bool> {
        if self.members > 0 && self.input.fill_buf()?.is_empty() {
            return Ok(false);
        }
        let mut header = [0; 10];
        self.input.read_exact(&mut header)?;
        let flags = header[3];
        if header[..3] != MAGIC || flags & RESERVED != 0 {
            return Err(invalid("no gzip header where one is due"));
        }
        if flags & HAS_EXTRA != 0 {
            let mut length = [0; 2];
            self.input.read_exact(&mut length)?;
            self.skip(u16::from_le_bytes(length).into())?;
        }
        for text in [HAS_NAME, HAS_COMMENT] {
            if flags & text != 0 {
                self.input.skip_until(0)?;
            }
        }
        if flags & HAS_HEADER_CHECKSUM != 0 {
            self.skip(2)?;
        }
        self.inflate.reset(false);
        self.members += 1;
        Ok(true)
    }

    fn skip(&mut self, count: u64) -> io::Result<()> {
        let skipped = io::copy(&mut self.input.by_ref().take(count), &mut io::sink())?;
        if skipped == count { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.inside {
                if !self.begin()? {
                    return Ok(0);
                }
                self.inside = true;
            }
            let available = self.input.fill_buf()?;
            let ended = available.is_empty();
            let before = (self.inflate.total_in(), self.inflate.total_out());
            let status = self.inflate.decompress(available, buffer, FlushDecompress::None);
            let used = usize::try_from(self.inflate.total_in() - before.0).unwrap_or_default();
            let made = usize::try_from(self.inflate.total_out() - before.1).unwrap_or_default();
            self.input.consume(used);
            match status {
                Ok(Status::StreamEnd) => {
                    self.skip(TRAILER)?;
                    self.inside = false;
                }
                Ok(_) if ended && made == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) if used == 0 && made == 0 => return Err(invalid("corrupt deflate stream")),
                Ok(_) => {}
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            }
            if made > 0 {
                return Ok(made);
            }
        }
    }
}

fn invalid(problem: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use flate2::{Compression, GzBuilder};
    use std::io::{BufReader, Write as _};

    fn member(content: &[u8], builder: GzBuilder) -> Vec<u8> {
        let mut encoder = builder.write(Vec::new(), Compression::default());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    /// By pieces of so many bytes.
    fn inflate(bytes: &[u8], piece: usize) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        Gzip::new(BufReader::with_capacity(piece, bytes)).read_to_end(&mut content).map(|_| content)
    }

    #[test]
    fn members_with_every_header_however_they_come_in() {
        let noise: Vec<u8> =
            (0..300_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect();
        let full = GzBuilder::new().filename("layer.tar").comment("a comment").extra(vec![7; 300]);
        let bytes = [
            member(&noise, full),
            member(b"", GzBuilder::new()),
            member(&vec![0; 1 << 20], GzBuilder::new().filename("x")),
        ]
        .concat();
        let expected = [noise, vec![0; 1 << 20]].concat();
        for piece in [1, 2, 7, 4096, 1 << 20] {
            assert!(inflate(&bytes, piece).unwrap() == expected, "pieces of {piece}");
        }
    }

    #[test]
    fn a_header_s_checksum_is_passed_over() {
        let mut bytes = member(b"content", GzBuilder::new());
        bytes[3] |= HAS_HEADER_CHECKSUM;
        bytes.splice(10..10, [1, 2]);
        assert_eq!(inflate(&bytes, 64).unwrap(), b"content");
    }

    #[test]
    fn what_is_cut_or_no_gzip_is_an_error() {
        let bytes = member(&[5; 5000], GzBuilder::new().filename("name"));
        for end in 0..bytes.len() {
            let error = inflate(&bytes[..end], 16).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "cut at {end}");
        }
        for wrong in [
            b"no gzip at all".to_vec(),
            [&bytes[..], b"and something behind it"].concat(),
            [&MAGIC[..], &[0, 0, 0, 0, 0, 0, 0], &[0xff; 40]].concat(),
            [&MAGIC[..], &[RESERVED], &bytes[4..]].concat(),
        ] {
            assert_eq!(inflate(&wrong, 16).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }
}
