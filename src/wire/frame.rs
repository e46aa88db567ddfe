//! Frames: how messages lie on the stream.

use crate::codec::{Codec, DecodeError, Reader};
use crate::msg::{Event, Reply, Request};

/// The longest frame that a [`FrameDecoder`] accepts unless told otherwise, in bytes.
pub const DEFAULT_LIMIT: usize = 48 << 20;

const LENGTH: usize = 4;
const HEADER: usize = 9;
const REQUEST: u8 = 0;
const REPLY: u8 = 1;
const EVENT: u8 = 2;

/// One message as it came off the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Pairs a reply with its request; 0 in events.
    pub id: u64,
    /// The message.
    pub body: Body,
}

/// The three kinds of message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "frames are handled one at a time and kept nowhere")]
pub enum Body {
    /// From the daemon.
    Request(Request),
    /// From the shim, to one request.
    Reply(Reply),
    /// From the shim, unasked.
    Event(Event),
}

/// A request as a shim finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// For the reply.
    pub id: u64,
    /// What is asked, or what of it only a newer version knows.
    pub request: Result<Request, DecodeError>,
}

/// A request as a frame, ready to be written.
pub fn request(id: u64, message: &Request) -> Vec<u8> {
    encode(REQUEST, id, message)
}

/// A reply as a frame, ready to be written.
pub fn reply(id: u64, message: &Reply) -> Vec<u8> {
    encode(REPLY, id, message)
}

/// An event as a frame, ready to be written.
pub fn event(message: &Event) -> Vec<u8> {
    encode(EVENT, 0, message)
}

fn encode(kind: u8, id: u64, message: &impl Codec) -> Vec<u8> {
    let mut out = vec![0; LENGTH];
    out.push(kind);
    id.put(&mut out);
    message.put(&mut out);
    let length = u32::try_from(out.len() - LENGTH).unwrap_or(u32::MAX);
    if let Some(slot) = out.first_chunk_mut() {
        *slot = length.to_le_bytes();
    }
    out
}

/// Cuts a stream of bytes into frames; does no I/O of its own.
#[derive(Debug)]
pub struct FrameDecoder {
    buffer: Vec<u8>,
    start: usize,
    limit: usize,
}

impl Default for FrameDecoder {
    fn default() -> Self {
        Self::with_limit(DEFAULT_LIMIT)
    }
}

impl FrameDecoder {
    /// A decoder that accepts frames of [`DEFAULT_LIMIT`] bytes.
    pub fn new() -> Self {
        Self::default()
    }

    /// A decoder that accepts frames of `limit` bytes.
    pub fn with_limit(limit: usize) -> Self {
        Self { buffer: Vec::new(), start: 0, limit }
    }

    /// Takes in bytes as they were read from the socket.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame; `None` until more bytes are pushed.
    ///
    /// # Errors
    /// The stream is not this protocol's, or a frame exceeds the limit. There is no way to go on: close the
    /// connection.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, DecodeError> {
        self.next_with(decode)
    }

    /// The same for a shim, to which requests alone are sent, with `bytes` as they were read from the socket: taken in where
    /// they end inside a frame, and else read where they are. One with a variant of a newer version in it can be refused by
    /// its number, and what comes behind it be read.
    ///
    /// # Errors
    /// As for [`next_frame`](Self::next_frame); also for what is no request.
    pub fn next_request(&mut self, bytes: &mut &[u8]) -> Result<Option<Asked>, DecodeError> {
        if self.buffer.is_empty()
            && let Some((frame, rest)) = cut(bytes, self.limit)?
        {
            *bytes = rest;
            return decode_request(frame).map(Some);
        }
        self.push(std::mem::take(bytes));
        self.next_with(decode_request)
    }

    fn next_with<T>(
        &mut self,
        decode: impl FnOnce(&[u8]) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        let pending = self.buffer.get(self.start..).unwrap_or_default();
        let Some((frame, _)) = cut(pending, self.limit)? else {
            self.compact();
            return Ok(None);
        };
        let (read, length) = (decode(frame)?, frame.len());
        self.start += LENGTH + length;
        if self.start == self.buffer.len() {
            self.compact();
        }
        Ok(Some(read))
    }

    /// Gives the bytes of finished frames back; a buffer that one large frame has grown is let go.
    fn compact(&mut self) {
        self.buffer.drain(..self.start);
        self.start = 0;
        if self.buffer.is_empty() {
            self.buffer = Vec::new();
        }
    }
}

/// A frame without its length, and what follows it.
type Cut<'a> = (&'a [u8], &'a [u8]);

/// The first frame; `None` where it is not whole.
fn cut(bytes: &[u8], limit: usize) -> Result<Option<Cut<'_>>, DecodeError> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<LENGTH>() else { return Ok(None) };
    let length = u32::from_le_bytes(*prefix) as usize;
    if length > limit {
        return Err(DecodeError::TooLong { length, limit });
    }
    Ok(rest.split_at_checked(length))
}

/// What stands in front of a message, and the rest.
fn header(bytes: &[u8]) -> Result<(u8, u64, Reader<'_>), DecodeError> {
    if bytes.len() < HEADER {
        return Err(DecodeError::Truncated { what: "frame header" });
    }
    let mut reader = Reader::new(bytes);
    let kind = reader.tag("frame kind")?;
    let id = u64::get(&mut reader)?;
    Ok((kind, id, reader))
}

fn decode_request(bytes: &[u8]) -> Result<Asked, DecodeError> {
    let (REQUEST, id, mut reader) = header(bytes)? else {
        return Err(DecodeError::Malformed { what: "frame kind" });
    };
    match Request::get(&mut reader) {
        Ok(request) => Ok(Asked { id, request: Ok(request) }),
        Err(error @ DecodeError::Unknown { .. }) => Ok(Asked { id, request: Err(error) }),
        Err(error) => Err(error),
    }
}

/// Decodes what lies behind a frame's length.
fn decode(bytes: &[u8]) -> Result<Frame, DecodeError> {
    let (kind, id, mut reader) = header(bytes)?;
    let body = match kind {
        REQUEST => Body::Request(Request::get(&mut reader)?),
        REPLY => Body::Reply(Reply::get(&mut reader)?),
        EVENT => Body::Event(Event::get(&mut reader)?),
        _ => return Err(DecodeError::Malformed { what: "frame kind" }),
    };
    Ok(Frame { id, body })
}

#[cfg(test)]
mod tests;
