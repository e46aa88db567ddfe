//! The channel protocols of Kubernetes: many streams over one WebSocket, each message beginning with its channel.

use super::frame::{self, Decoder, Event, WsError};
use crate::inlet::{Inlet, Life, Reader, Stalled};
use crate::link::{Farewell, Format, Link, Outgoing, Protocol, Side, Writer};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// The channel by which a client of version 5 closes its side of another.
const CLOSE: u8 = 255;
/// How long a full channel whose reader reads nothing holds up the others. Then it is given up.
const PATIENCE: Duration = Duration::from_secs(1);

/// How bytes are written into messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    /// As they are, behind the channel's number.
    Binary,
    /// In base64, behind the channel's digit.
    Base64,
}

/// What a client may do beside sending bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mode {
    /// How bytes are written.
    pub(crate) codec: Codec,
    /// It may close channels.
    pub(crate) closes: bool,
}

/// A channel, by its place in the list.
#[derive(Debug)]
pub(crate) struct Slot {
    /// What the client sends on it, where that is of interest.
    pub(crate) reader: Option<Reader>,
    /// What it is sent.
    pub(crate) writer: Writer,
}

/// A connection with all of its channels.
#[derive(Debug)]
pub(crate) struct Served {
    /// The connection.
    pub(crate) link: Link,
    /// The channels, by their numbers.
    pub(crate) slots: Vec<Slot>,
}

/// Serves a connection with a channel for each entry of `readable`, which tells where the client is listened to.
pub(crate) fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    Side { watch, terms }: Side,
    mode: Mode,
    readable: &[bool],
) -> Served {
    let (mut ends, mut lives, mut readers) = (Vec::new(), Vec::new(), Vec::new());
    for is_readable in readable {
        let life = Arc::new(Life::default());
        let new = || Inlet::new(terms.share(), None, life.clone());
        let (inlet, reader) = is_readable.then(new).unzip();
        ends.push(inlet.map(|inlet| (inlet, life.clone())));
        lives.push(life);
        readers.push(reader);
    }
    let is_patient = terms.is_patient;
    let link = Link::start(stream, watch, |out| Connection {
        decoder: Decoder::new(),
        mode,
        ends,
        message: Message::default(),
        out,
        is_patient,
    });
    let slots = (0..).zip(readers.into_iter().zip(lives)).map(|(channel, (reader, life))| {
        let format = match mode.codec {
            Codec::Binary => Format::Binary(channel),
            Codec::Base64 => Format::Text(channel),
        };
        Slot { reader, writer: Writer::new(link.out(), format, life) }
    });
    let slots = slots.collect();
    Served { link, slots }
}

/// The message under way.
#[derive(Default)]
struct Message {
    channel: Option<u8>,
    /// Characters of base64 whose group is not complete, or the channel that is to be closed.
    rest: Vec<u8>,
}

struct Connection {
    decoder: Decoder,
    mode: Mode,
    /// Where what comes is put, until the client has closed its side.
    ends: Vec<Option<(Inlet, Arc<Life>)>>,
    message: Message,
    out: Outgoing,
    is_patient: bool,
}

impl Protocol for Connection {
    async fn take(&mut self, bytes: &mut [u8]) -> Result<(), Farewell> {
        let mut at = 0;
        loop {
            match self.decoder.next(bytes, &mut at).map_err(farewell)? {
                None => return Ok(()),
                Some(Event::Payload(range)) => {
                    self.payload(bytes.get(range).unwrap_or_default()).await?;
                }
                Some(Event::End) => self.end()?,
                Some(Event::Ping(payload)) => self.out.send(frame::pong(&payload)).await?,
                Some(Event::Close) => {
                    let frame = Some(frame::close(1000));
                    return Err(Farewell { reason: "the client says goodbye".to_owned(), frame });
                }
            }
        }
    }

    fn farewell(&self) -> Vec<u8> {
        frame::close(1000)
    }
}

/// The end that a broken rule brings about.
pub(super) fn farewell(error: WsError) -> Farewell {
    Farewell { reason: error.to_string(), frame: Some(frame::close(error.status())) }
}

impl Connection {
    async fn payload(&mut self, piece: &[u8]) -> Result<(), Farewell> {
        let mut piece = piece;
        let channel = match (self.message.channel, piece) {
            (Some(channel), _) => channel,
            (None, [first, rest @ ..]) => {
                piece = rest;
                let first = *first;
                let channel = match self.mode.codec {
                    Codec::Binary => first,
                    Codec::Base64 => first.wrapping_sub(b'0'),
                };
                self.message.channel = Some(channel);
                channel
            }
            (None, []) => return Ok(()),
        };
        if self.mode.closes && channel == CLOSE {
            self.message.rest.extend(piece.iter().take(2));
            return Ok(());
        }
        let bytes = match self.mode.codec {
            Codec::Binary => piece.to_vec(),
            Codec::Base64 => self.decode(piece)?,
        };
        let Some(end) = self.ends.get_mut(usize::from(channel)).filter(|_| !bytes.is_empty()) else {
            return Ok(());
        };
        if let Some((inlet, life)) = end
            && let Err(Stalled) = inlet.push(&bytes, (!self.is_patient).then_some(PATIENCE)).await
        {
            tracing::info!(channel, "nobody reads what a client sends: its channel is given up");
            life.reset();
            *end = None;
        }
        Ok(())
    }

    /// The whole groups of base64 that are there.
    fn decode(&mut self, piece: &[u8]) -> Result<Vec<u8>, Farewell> {
        let rest = &mut self.message.rest;
        rest.extend_from_slice(piece);
        let whole: Vec<u8> = rest.drain(..rest.len() / 4 * 4).collect();
        STANDARD.decode(whole).map_err(|_| farewell(WsError::Protocol("a text that is no base64")))
    }

    fn end(&mut self) -> Result<(), Farewell> {
        let Message { channel, rest } = std::mem::take(&mut self.message);
        match (channel, rest.as_slice()) {
            (Some(CLOSE), [closed]) if self.mode.closes => {
                let end = self.ends.get_mut(usize::from(*closed));
                *end.ok_or_else(|| farewell(WsError::Protocol("the end of no channel")))? = None;
                Ok(())
            }
            (Some(CLOSE), _) if self.mode.closes => {
                Err(farewell(WsError::Protocol("the end of no channel, or of several")))
            }
            (_, []) => Ok(()),
            _ => Err(farewell(WsError::Protocol("a text that is no base64"))),
        }
    }
}

#[cfg(test)]
#[path = "channels_tests.rs"]
mod tests;
