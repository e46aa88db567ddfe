//! The trunk: several connections over one socket, in frames.
//!
//! A frame is the number of its connection and the length of what follows, both of 4 bytes with the highest first. There
//! is no greeting; who speaks of a connection that the other side does not have is not heard.

use crate::ttrpc;
use thiserror::Error;

/// The connection on which the plugin answers.
pub const PLUGIN: u32 = 1;
/// The connection on which the runtime answers.
pub const RUNTIME: u32 = 2;
/// Bytes before what a frame carries.
pub const HEADER: usize = 8;
/// What a frame carries at most: a whole message.
pub const LIMIT: usize = ttrpc::HEADER + ttrpc::LIMIT;

/// A frame that is too long to be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a frame of {length} bytes on connection {connection}, where {LIMIT} is the most")]
pub struct Oversized {
    /// The connection that it names.
    pub connection: u32,
    /// The length that it claims.
    pub length: usize,
}

/// Takes frames apart. It holds no payload: what it is fed it hands on.
#[derive(Debug, Default)]
pub struct Decoder {
    header: [u8; HEADER],
    have: usize,
    connection: u32,
    left: usize,
}

impl Decoder {
    /// The next piece of a frame's payload, with its connection; `None`: everything has been taken from `bytes`.
    ///
    /// # Errors
    /// The trunk is of no use any more.
    pub fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<(u32, &'a [u8])>, Oversized> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let (piece, rest) = bytes.split_at(self.left.min(bytes.len()));
                (*bytes, self.left) = (rest, self.left - piece.len());
                return Ok(Some((self.connection, piece)));
            }
            let (part, rest) = bytes.split_at((HEADER - self.have).min(bytes.len()));
            self.header[self.have..self.have + part.len()].copy_from_slice(part);
            (*bytes, self.have) = (rest, self.have + part.len());
            if self.have == HEADER {
                self.begin()?;
            }
        }
        Ok(None)
    }

    fn begin(&mut self) -> Result<(), Oversized> {
        let [a, b, c, d, length @ ..] = self.header;
        let (connection, length) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes(length) as usize);
        if length > LIMIT {
            return Err(Oversized { connection, length });
        }
        (self.have, self.connection, self.left) = (0, connection, length);
        Ok(())
    }
}

/// Appends a frame.
#[allow(clippy::cast_possible_truncation, reason = "no message is so long")]
pub fn put(connection: u32, payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&connection.to_be_bytes());
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    out.extend_from_slice(payload);
}

/// A message as the other side's library can read it: its header is one frame, and the rest one more, however long. That
/// library reads a frame whole into what it happens to have room for, and queues a few hundred.
pub fn message(connection: u32, stream: u32, kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 * HEADER + ttrpc::HEADER + payload.len());
    put(connection, &ttrpc::header(stream, kind, payload.len()), &mut out);
    if !payload.is_empty() {
        put(connection, payload, &mut out);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_apart_wherever_they_are_cut() {
        let mut bytes = Vec::new();
        put(1, b"one", &mut bytes);
        put(7, b"", &mut bytes);
        put(2, b"two, longer", &mut bytes);
        for cut in 0..bytes.len() {
            let (mut decoder, mut got) = (Decoder::default(), Vec::<(u32, Vec<u8>)>::new());
            let (head, tail) = bytes.split_at(cut);
            for mut part in [head, tail] {
                while let Ok(Some((connection, piece))) = decoder.next(&mut part) {
                    match got.last_mut() {
                        Some((last, all)) if *last == connection => all.extend_from_slice(piece),
                        _ => got.push((connection, piece.to_vec())),
                    }
                }
                assert!(part.is_empty());
            }
            assert_eq!(got, [(1, b"one".to_vec()), (2, b"two, longer".to_vec())], "cut at {cut}");
        }
    }

    #[test]
    fn a_frame_is_as_long_as_a_message_and_no_longer() {
        let frame = |length: u32| [3u32.to_be_bytes(), length.to_be_bytes()].concat();
        let next =
            |bytes: Vec<u8>| Decoder::default().next(&mut bytes.as_slice()).map(|piece| piece.is_none());
        let limit = u32::try_from(LIMIT).unwrap_or_default();
        assert_eq!(next(frame(limit)), Ok(true));
        assert_eq!(next(frame(limit + 1)), Err(Oversized { connection: 3, length: LIMIT + 1 }));
    }

    #[test]
    fn a_message_is_two_frames_however_long() {
        for length in [0, 1, 5000, ttrpc::LIMIT] {
            let bytes = message(PLUGIN, 3, ttrpc::REQUEST, &vec![7; length]);
            let (mut decoder, mut rest, mut pieces) = (Decoder::default(), bytes.as_slice(), Vec::new());
            while let Ok(Some((_, piece))) = decoder.next(&mut rest) {
                pieces.push(piece.len());
            }
            let expected: &[usize] = if length == 0 { &[ttrpc::HEADER] } else { &[ttrpc::HEADER, length] };
            assert_eq!(pieces, expected);
        }
    }
}
