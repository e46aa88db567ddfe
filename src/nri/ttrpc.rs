//! ttrpc: requests and responses over a stream of bytes, each behind a header of 10.
//!
//! The header is the length of the message and the number of its stream, both of 4 bytes with the highest first, its kind
//! and its flags. The side that calls takes odd numbers, each greater than the last.

use prost::Message as _;
use thiserror::Error;

/// Bytes before a message.
pub const HEADER: usize = 10;
/// What a message has at most.
pub const LIMIT: usize = 4 << 20;
/// What is left of a message beside what a call is about.
pub const ENVELOPE: usize = 1 << 10;
/// The kind of a call.
pub const REQUEST: u8 = 1;
/// The kind of its answer.
pub const RESPONSE: u8 = 2;

/// Codes of a status, which are gRPC's.
pub mod code {
    /// Nothing went wrong.
    pub const OK: i32 = 0;
    /// What was asked makes no sense.
    pub const INVALID_ARGUMENT: i32 = 3;
    /// Somebody else has that name.
    pub const ALREADY_EXISTS: i32 = 6;
    /// Too much at once.
    pub const RESOURCE_EXHAUSTED: i32 = 8;
    /// Not now.
    pub const FAILED_PRECONDITION: i32 = 9;
    /// There is no such method.
    pub const UNIMPLEMENTED: i32 = 12;
}

/// A call.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Request {
    /// The whole name of the service.
    #[prost(string, tag = "1")]
    pub service: String,
    /// The method's.
    #[prost(string, tag = "2")]
    pub method: String,
    /// Its argument.
    #[prost(bytes = "vec", tag = "3")]
    pub payload: Vec<u8>,
    /// For how long somebody waits for the answer.
    #[prost(int64, tag = "4")]
    pub timeout_nano: i64,
}

/// The answer to a call.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Response {
    /// What went wrong.
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    /// What came of it.
    #[prost(bytes = "vec", tag = "2")]
    pub payload: Vec<u8>,
}

/// What goes wrong on the other side.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Status {
    /// One of [`code`].
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// For people.
    #[prost(string, tag = "2")]
    pub message: String,
}

/// Bytes that are no message.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum Malformed {
    /// Longer than may be.
    #[error("a message of {length} bytes, where {limit} is the most")]
    Oversized {
        /// The length that it claims.
        length: usize,
        /// The most that it may be.
        limit: usize,
    },
    /// It is not what is to come here.
    #[error("a message of kind {kind}, where {expected} is to come")]
    Kind {
        /// What it claims to be.
        kind: u8,
        /// What is to come.
        expected: u8,
    },
    /// It cannot be read.
    #[error("a message that cannot be read: {0}")]
    Content(#[from] prost::DecodeError),
}

/// A message of which the content has not been looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The number of its stream.
    pub stream: u32,
    /// What it is.
    pub kind: u8,
    /// What it says.
    pub payload: Vec<u8>,
}

impl Message {
    /// As a call.
    ///
    /// # Errors
    /// It is none.
    pub fn request(&self) -> Result<Request, Malformed> {
        self.is(REQUEST)?;
        Ok(Request::decode(self.payload.as_slice())?)
    }

    /// As an answer.
    ///
    /// # Errors
    /// It is none.
    pub fn response(&self) -> Result<Response, Malformed> {
        self.is(RESPONSE)?;
        Ok(Response::decode(self.payload.as_slice())?)
    }

    fn is(&self, expected: u8) -> Result<(), Malformed> {
        if self.kind == expected { Ok(()) } else { Err(Malformed::Kind { kind: self.kind, expected }) }
    }
}

/// Puts messages together from pieces.
#[derive(Debug, Default)]
pub struct Decoder {
    header: [u8; HEADER],
    have: usize,
    body: Vec<u8>,
}

impl Decoder {
    /// The next message of at most `limit` bytes; `None`: everything has been taken from `bytes`, and more is to come.
    ///
    /// # Errors
    /// The connection is of no use any more.
    pub fn next(&mut self, bytes: &mut &[u8], limit: usize) -> Result<Option<Message>, Malformed> {
        let (part, rest) = bytes.split_at((HEADER - self.have).min(bytes.len()));
        self.header[self.have..self.have + part.len()].copy_from_slice(part);
        (*bytes, self.have) = (rest, self.have + part.len());
        if self.have < HEADER {
            return Ok(None);
        }
        let [a, b, c, d, e, f, g, h, kind, _] = self.header;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > limit {
            return Err(Malformed::Oversized { length, limit });
        }
        // It grows with what comes, not by what is claimed.
        let (part, rest) = bytes.split_at((length - self.body.len()).min(bytes.len()));
        self.body.extend_from_slice(part);
        *bytes = rest;
        if self.body.len() < length {
            return Ok(None);
        }
        self.have = 0;
        let payload = std::mem::take(&mut self.body);
        Ok(Some(Message { stream: u32::from_be_bytes([e, f, g, h]), kind, payload }))
    }
}

/// What goes before a message.
#[allow(clippy::cast_possible_truncation, reason = "no message is so long")]
pub fn header(stream: u32, kind: u8, length: usize) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(&(length as u32).to_be_bytes());
    header[4..8].copy_from_slice(&stream.to_be_bytes());
    header[8] = kind;
    header
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_together_wherever_they_are_cut() {
        let bytes = [&header(1, REQUEST, 3)[..], b"abc", &header(3, RESPONSE, 0)].concat();
        let message = |stream, kind, payload: &[u8]| Message { stream, kind, payload: payload.to_vec() };
        for cut in 0..bytes.len() {
            let (mut decoder, mut got) = (Decoder::default(), Vec::new());
            let (head, tail) = bytes.split_at(cut);
            for mut part in [head, tail] {
                while let Some(message) = decoder.next(&mut part, LIMIT).unwrap() {
                    got.push(message);
                }
                assert!(part.is_empty());
            }
            assert_eq!(got, [message(1, REQUEST, b"abc"), message(3, RESPONSE, b"")], "cut at {cut}");
        }
    }

    #[test]
    fn what_is_claimed_takes_no_memory() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.next(&mut &header(1, REQUEST, LIMIT)[..], LIMIT), Ok(None));
        assert_eq!(decoder.body.capacity(), 0);
        let oversized = Malformed::Oversized { length: LIMIT, limit: LIMIT - 1 };
        let next = Decoder::default().next(&mut &header(1, REQUEST, LIMIT)[..], LIMIT - 1);
        assert_eq!(next, Err(oversized));
    }

    #[test]
    fn a_request_is_no_response() {
        let message = Message { stream: 1, kind: REQUEST, payload: vec![0xff] };
        assert_eq!(message.response(), Err(Malformed::Kind { kind: REQUEST, expected: RESPONSE }));
        assert!(matches!(message.request(), Err(Malformed::Content(_))));
    }
}
