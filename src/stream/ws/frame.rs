//! Frames of WebSocket: cut out of a stream of bytes, and made.
//!
//! The decoder does no I/O and keeps nothing but headers and control frames: the payload of messages is unmasked and
//! pointed at where it lies. It is our own, as fastwebsockets 0.10 (2,251 lines, nine more crates) and tungstenite 0.30
//! (5,519 lines, three more) reserve the whole length of a frame when its header has come: 32 MiB for 14 bytes of a client.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::ops::Range;

/// The longest frame, in bytes, as other runtimes take them; a longer one ends the connection with status 1009.
pub const MAX_FRAME: u64 = 32 << 20;
/// The longest payload of a control frame.
const MAX_CONTROL: u64 = 125;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const FIN: u8 = 0x80;

/// What the other side says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A piece of the message that is under way; a range is a position in the bytes that were given.
    Payload(Range<usize>),
    /// The message is complete.
    End,
    /// It wants these bytes back.
    Ping(Vec<u8>),
    /// It ends the connection.
    Close,
}

/// Why a connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WsError {
    /// Something that the protocol does not allow.
    #[error("a frame that the protocol does not allow: {0}")]
    Protocol(&'static str),
    /// A frame beyond what is taken.
    #[error("frame of {0} bytes, more than {MAX_FRAME}")]
    TooLarge(u64),
}

impl WsError {
    /// The status of the close frame that tells it.
    pub fn status(self) -> u16 {
        match self {
            Self::Protocol(_) => 1002,
            Self::TooLarge(_) => 1009,
        }
    }
}

#[derive(Debug)]
enum State {
    Header,
    Payload { left: u64, fin: bool },
    Control { opcode: u8, left: u64 },
}

/// Cuts a stream of bytes into events.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    small: Vec<u8>,
    mask: [u8; 4],
    /// Bytes of the frame that are unmasked already.
    unmasked: usize,
    in_message: bool,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// At the beginning of a connection.
    pub fn new() -> Self {
        Self { state: State::Header, small: Vec::new(), mask: [0; 4], unmasked: 0, in_message: false }
    }

    /// The next event in `input` from `at` on, which is moved; `None` when all of it is used up.
    ///
    /// # Errors
    /// The connection cannot go on.
    pub fn next(&mut self, input: &mut [u8], at: &mut usize) -> Result<Option<Event>, WsError> {
        loop {
            let available = input.len().saturating_sub(*at);
            match self.state {
                State::Header => {
                    let want = header_length(&self.small);
                    if self.small.len() < want {
                        let Some(byte) = input.get(*at) else { return Ok(None) };
                        self.small.push(*byte);
                        *at += 1;
                    } else {
                        self.begin()?;
                    }
                }
                State::Payload { left: 0, fin } => {
                    self.state = State::Header;
                    self.in_message = !fin;
                    if fin {
                        return Ok(Some(Event::End));
                    }
                }
                State::Control { opcode, left: 0 } => {
                    self.state = State::Header;
                    let payload = std::mem::take(&mut self.small);
                    match opcode {
                        PING => return Ok(Some(Event::Ping(payload))),
                        CLOSE => return Ok(Some(Event::Close)),
                        _ => {}
                    }
                }
                State::Payload { left, .. } | State::Control { left, .. } if available > 0 && left > 0 => {
                    let count = usize::try_from(left).unwrap_or(usize::MAX).min(available);
                    let range = *at..*at + count;
                    *at = range.end;
                    let bytes = input.get_mut(range.clone()).unwrap_or_default();
                    self.unmask(bytes);
                    match &mut self.state {
                        State::Payload { left, .. } => {
                            *left -= count as u64;
                            return Ok(Some(Event::Payload(range)));
                        }
                        State::Control { left, .. } => {
                            *left -= count as u64;
                            self.small.extend_from_slice(bytes);
                        }
                        State::Header => {}
                    }
                }
                State::Payload { .. } | State::Control { .. } => return Ok(None),
            }
        }
    }

    fn unmask(&mut self, bytes: &mut [u8]) {
        let mask = self.mask.iter().cycle().skip(self.unmasked % 4);
        for (byte, mask) in bytes.iter_mut().zip(mask) {
            *byte ^= mask;
        }
        self.unmasked = (self.unmasked + bytes.len()) % 4;
    }

    fn begin(&mut self) -> Result<(), WsError> {
        let header = std::mem::take(&mut self.small);
        let (first, second) = match header.as_slice() {
            [first, second, ..] => (*first, *second),
            _ => return Err(WsError::Protocol("no header")),
        };
        let (fin, opcode) = (first & FIN != 0, first & 0x0f);
        if first & 0x70 != 0 {
            return Err(WsError::Protocol("reserved bits"));
        }
        if second & 0x80 == 0 {
            return Err(WsError::Protocol("no mask"));
        }
        let between = header.get(2..header.len().saturating_sub(4)).unwrap_or_default();
        let length = match between {
            [] => u64::from(second & 0x7f),
            bytes => bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        };
        self.mask = header.last_chunk().copied().unwrap_or_default();
        self.unmasked = 0;
        match opcode {
            CLOSE | PING | PONG if !fin || length > MAX_CONTROL => {
                Err(WsError::Protocol("a control frame in pieces, or a long one"))
            }
            CLOSE | PING | PONG => {
                self.state = State::Control { opcode, left: length };
                Ok(())
            }
            CONTINUATION if !self.in_message => Err(WsError::Protocol("the middle of no message")),
            TEXT | BINARY if self.in_message => Err(WsError::Protocol("a message within a message")),
            CONTINUATION | TEXT | BINARY if length > MAX_FRAME => Err(WsError::TooLarge(length)),
            CONTINUATION | TEXT | BINARY => {
                self.in_message = true;
                self.state = State::Payload { left: length, fin };
                Ok(())
            }
            _ => Err(WsError::Protocol("an opcode that does not exist")),
        }
    }
}

/// How long a header is, as far as its beginning tells.
fn header_length(begun: &[u8]) -> usize {
    let Some(second) = begun.get(1) else { return 2 };
    let length = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    2 + length + mask
}

fn frame(opcode: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut frame = Vec::with_capacity(10 + length);
    frame.push(FIN | opcode);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..=125), _) => frame.push(short),
        (_, Ok(middle)) => {
            frame.push(126);
            frame.extend_from_slice(&middle.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    parts.iter().for_each(|part| frame.extend_from_slice(part));
    frame
}

/// A binary message for a channel.
pub(crate) fn binary(channel: u8, bytes: &[u8]) -> Vec<u8> {
    frame(BINARY, &[&[channel], bytes])
}

/// A binary message as it is.
pub(crate) fn raw(bytes: &[u8]) -> Vec<u8> {
    frame(BINARY, &[bytes])
}

/// A text message for a channel: its digit, then base64.
pub(crate) fn text(channel: u8, bytes: &[u8]) -> Vec<u8> {
    frame(TEXT, &[&[b'0'.saturating_add(channel)], STANDARD.encode(bytes).as_bytes()])
}

/// The answer to a ping.
pub(crate) fn pong(payload: &[u8]) -> Vec<u8> {
    frame(PONG, &[payload])
}

/// The end of the connection.
pub(crate) fn close(status: u16) -> Vec<u8> {
    frame(CLOSE, &[&status.to_be_bytes()])
}

#[cfg(test)]
#[path = "frame_tests.rs"]
pub(crate) mod tests;
