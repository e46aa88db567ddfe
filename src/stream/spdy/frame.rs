//! Frames of SPDY/3.1: cut out of a stream of bytes, and made.
//!
//! The decoder does no I/O and keeps nothing but unfinished small frames: the bytes of data frames are pointed at where
//! they lie, and header blocks are inflated as they come, into a bounded space.

use super::headers::{Headers, Inflater};
use std::ops::Range;

/// The longest data frame, in bytes: a longer one costs its stream. Clients write 32 KiB at a time.
pub const MAX_DATA: u32 = 4 << 20;
/// The longest control frame, in bytes: a longer one costs the connection.
pub const MAX_CONTROL: u32 = 256 << 10;
/// As much of a control frame is kept as any known one has before its header block.
const FIXED: usize = 10;
const HEADER: usize = 8;
const VERSION: u16 = 3;
const FIN: u8 = 1;
const ID: u32 = 0x7fff_ffff;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const WINDOW_UPDATE: u16 = 9;

/// Why a stream is reset, as RST_STREAM says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// Something that the protocol does not allow.
    Protocol,
    /// The stream is refused before anything was done.
    Refused,
    /// It is not wanted any more.
    Cancel,
    /// A frame beyond what is taken.
    TooLarge,
}

impl Reset {
    fn code(self) -> u32 {
        match self {
            Self::Protocol => 1,
            Self::Refused => 3,
            Self::Cancel => 5,
            Self::TooLarge => 11,
        }
    }
}

/// What the other side says. Ranges are positions in the bytes that were given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It opens a stream.
    Open {
        /// The stream.
        id: u32,
        /// It will send nothing on it.
        fin: bool,
        /// What the stream is for.
        headers: Headers,
    },
    /// A piece of a data frame.
    Data {
        /// The stream.
        id: u32,
        /// Where it lies.
        bytes: Range<usize>,
    },
    /// It will send nothing more on a stream.
    Finished(u32),
    /// It gives a stream up.
    Reset(u32),
    /// It wants the same number back.
    Ping(u32),
    /// It will open no more streams.
    GoAway,
    /// It broke a rule that costs the stream and nothing else.
    Violation(u32, Reset),
}

/// Why a connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpdyError {
    /// Not version 3 of the protocol.
    #[error("version {0} of SPDY")]
    Version(u16),
    /// A control frame beyond what is taken.
    #[error("control frame of {0} bytes, more than {MAX_CONTROL}")]
    Control(u32),
    /// A control frame shorter than its kind.
    #[error("control frame of kind {0} that ends too early")]
    Short(u16),
    /// A header block that cannot be inflated, or grows beyond all measure.
    #[error("header block that cannot be inflated")]
    Inflate,
}

#[derive(Debug)]
enum State {
    /// Between frames.
    Header,
    /// In a data frame.
    Data { id: u32, fin: bool, left: u32, skip: bool },
    /// In the fixed part of a control frame.
    Fixed { kind: u16, flags: u8, left: u32, want: usize },
    /// In a header block.
    Block { kind: u16, flags: u8, id: u32, left: u32 },
    /// In what is of no interest.
    Skip { left: u32 },
}

/// Cuts a stream of bytes into events.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    small: Vec<u8>,
    inflater: Inflater,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// At the beginning of a connection.
    pub fn new() -> Self {
        Self { state: State::Header, small: Vec::with_capacity(FIXED), inflater: Inflater::new() }
    }

    /// The next event in `input` from `at` on, which is moved; `None` when all of it is used up.
    ///
    /// # Errors
    /// The connection cannot go on.
    pub fn next(&mut self, input: &[u8], at: &mut usize) -> Result<Option<Event>, SpdyError> {
        loop {
            let rest = input.get(*at..).unwrap_or_default();
            let event = match self.state {
                State::Header => {
                    if !self.gather(HEADER, rest, at) {
                        return Ok(None);
                    }
                    self.begin()?
                }
                State::Data { id, fin, left: 0, skip } => {
                    self.state = State::Header;
                    (fin && !skip).then_some(Event::Finished(id))
                }
                State::Data { id, fin, left, skip } => {
                    let Some(bytes) = take(rest.len(), left, at) else { return Ok(None) };
                    self.state = State::Data { id, fin, left: left - length(&bytes), skip };
                    (!skip).then_some(Event::Data { id, bytes })
                }
                State::Skip { left: 0 } => {
                    self.state = State::Header;
                    None
                }
                State::Skip { left } => {
                    let Some(bytes) = take(rest.len(), left, at) else { return Ok(None) };
                    self.state = State::Skip { left: left - length(&bytes) };
                    None
                }
                State::Fixed { kind, flags, left, want } => {
                    if !self.gather(want, rest, at) {
                        return Ok(None);
                    }
                    self.fixed(kind, flags, left)
                }
                State::Block { kind, flags, id, left: 0 } => {
                    self.state = State::Header;
                    self.block(kind, flags, id)
                }
                State::Block { kind, flags, id, left } => {
                    let Some(bytes) = take(rest.len(), left, at) else { return Ok(None) };
                    self.state = State::Block { kind, flags, id, left: left - length(&bytes) };
                    self.inflater.feed(input.get(bytes).unwrap_or_default())?;
                    None
                }
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    /// Puts bytes together until there are so many.
    fn gather(&mut self, want: usize, rest: &[u8], at: &mut usize) -> bool {
        let missing = want.saturating_sub(self.small.len()).min(rest.len());
        self.small.extend_from_slice(rest.get(..missing).unwrap_or_default());
        *at += missing;
        self.small.len() >= want
    }

    fn begin(&mut self) -> Result<Option<Event>, SpdyError> {
        let (first, second) = (word(&self.small, 0), word(&self.small, 4));
        self.small.clear();
        let [flags, ..] = second.to_be_bytes();
        let length = second & 0x00ff_ffff;
        if first >> 31 == 0 {
            let skip = length > MAX_DATA;
            self.state = State::Data { id: first & ID, fin: flags & FIN != 0, left: length, skip };
            return Ok(skip.then_some(Event::Violation(first & ID, Reset::TooLarge)));
        }
        let [_, _, high, low] = first.to_be_bytes();
        let kind = u16::from_be_bytes([high, low]);
        let [high, low, ..] = (first & ID).to_be_bytes();
        let version = u16::from_be_bytes([high, low]);
        if version != VERSION {
            return Err(SpdyError::Version(version));
        }
        if length > MAX_CONTROL {
            return Err(SpdyError::Control(length));
        }
        let want: u32 = match kind {
            SYN_STREAM => 10,
            SYN_REPLY | HEADERS | PING => 4,
            RST_STREAM | GOAWAY | WINDOW_UPDATE => 8,
            _ => 0,
        };
        if length < want {
            return Err(SpdyError::Short(kind));
        }
        self.state = State::Fixed { kind, flags, left: length - want, want: want as usize };
        Ok(None)
    }

    fn fixed(&mut self, kind: u16, flags: u8, left: u32) -> Option<Event> {
        let first = word(&self.small, 0);
        self.small.clear();
        self.state = State::Skip { left };
        match kind {
            SYN_STREAM | SYN_REPLY | HEADERS => {
                self.inflater.begin();
                self.state = State::Block { kind, flags, id: first & ID, left };
                None
            }
            RST_STREAM => Some(Event::Reset(first & ID)),
            PING => Some(Event::Ping(first)),
            GOAWAY => Some(Event::GoAway),
            // Settings and the windows of a flow control that no known client has.
            _ => None,
        }
    }

    fn block(&mut self, kind: u16, flags: u8, id: u32) -> Option<Event> {
        let fin = flags & FIN != 0;
        match (kind, self.inflater.finish()) {
            (SYN_STREAM, Ok(headers)) => Some(Event::Open { id, fin, headers }),
            (SYN_STREAM, Err(reset)) => Some(Event::Violation(id, reset)),
            _ => fin.then_some(Event::Finished(id)),
        }
    }
}

/// The next bytes of a part that has so many left; `None` when there are none.
fn take(available: usize, left: u32, at: &mut usize) -> Option<Range<usize>> {
    let count = available.min(left as usize);
    let range = *at..*at + count;
    *at = range.end;
    (count > 0).then_some(range)
}

/// At most what was left of a part, which is a `u32`.
fn length(range: &Range<usize>) -> u32 {
    u32::try_from(range.len()).unwrap_or(u32::MAX)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).copied().map_or(0, u32::from_be_bytes)
}

fn control(kind: u16, flags: u8, payload: &[&[u8]]) -> Vec<u8> {
    let length: usize = payload.iter().map(|part| part.len()).sum();
    let mut frame = Vec::with_capacity(HEADER + length);
    frame.extend_from_slice(&(0x8000 | VERSION).to_be_bytes());
    frame.extend_from_slice(&kind.to_be_bytes());
    frame.extend_from_slice(&head(flags, length));
    payload.iter().for_each(|part| frame.extend_from_slice(part));
    frame
}

fn head(flags: u8, length: usize) -> [u8; 4] {
    let [_, a, b, c] = u32::try_from(length).unwrap_or_default().to_be_bytes();
    [flags, a, b, c]
}

/// A data frame; `fin` says that it is the stream's last.
pub(crate) fn data(id: u32, fin: bool, bytes: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER + bytes.len());
    frame.extend_from_slice(&(id & ID).to_be_bytes());
    frame.extend_from_slice(&head(u8::from(fin), bytes.len()));
    frame.extend_from_slice(bytes);
    frame
}

/// Accepts a stream. `block` is an empty header block.
pub(crate) fn reply(id: u32, block: &[u8]) -> Vec<u8> {
    control(SYN_REPLY, 0, &[&(id & ID).to_be_bytes(), block])
}

/// Gives a stream up.
pub(crate) fn reset(id: u32, why: Reset) -> Vec<u8> {
    control(RST_STREAM, 0, &[&(id & ID).to_be_bytes(), &why.code().to_be_bytes()])
}

/// Gives a ping back.
pub(crate) fn ping(number: u32) -> Vec<u8> {
    control(PING, 0, &[&number.to_be_bytes()])
}

/// Ends the connection; `last` is the last stream that was accepted.
pub(crate) fn go_away(last: u32) -> Vec<u8> {
    control(GOAWAY, 0, &[&(last & ID).to_be_bytes(), &[0; 4]])
}

/// Lets the other side send so many bytes more on a stream, for clients that count.
pub(crate) fn window(id: u32, bytes: u32) -> Vec<u8> {
    control(WINDOW_UPDATE, 0, &[&(id & ID).to_be_bytes(), &(bytes & ID).to_be_bytes()])
}

#[cfg(test)]
#[path = "frame_tests.rs"]
pub(crate) mod tests;
