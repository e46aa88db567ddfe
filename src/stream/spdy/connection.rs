//! The streams of one SPDY connection.

use super::frame::{self, Decoder, Event, Reset};
use super::headers::{EmptyBlocks, Headers};
use crate::link::{Farewell, Format, Link, Outgoing, Protocol, Reader, Writer};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

/// Streams that a client may have open: as many connections through a forwarded port as half of it.
const MAX_STREAMS: usize = 1024;
/// Streams that wait to be looked at.
const WAITING: usize = 16;

/// A stream that the client has opened.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// Its number.
    pub(crate) id: u32,
    /// What it is for.
    pub(crate) headers: Headers,
    /// What the client sends on it.
    pub(crate) reader: Reader,
    /// What it is sent.
    pub(crate) writer: Writer,
}

/// Serves a connection; its streams come through the channel, which ends with it.
pub(crate) fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
) -> (Link, mpsc::Receiver<Incoming>) {
    let (incoming, streams) = mpsc::channel(WAITING);
    let link = Link::start(stream, |out| Connection {
        decoder: Decoder::new(),
        blocks: EmptyBlocks::default(),
        slots: HashMap::new(),
        last: 0,
        out,
        incoming,
    });
    (link, streams)
}

/// What the reader of the connection knows of a stream.
struct Slot {
    /// Until the client has closed its side.
    pieces: Option<mpsc::Sender<Vec<u8>>>,
    /// Gone with the writer of the stream.
    is_reset: Weak<AtomicBool>,
}

impl Slot {
    fn is_over(&self) -> bool {
        self.is_reset.strong_count() == 0 && self.pieces.as_ref().is_none_or(mpsc::Sender::is_closed)
    }
}

struct Connection {
    decoder: Decoder,
    blocks: EmptyBlocks,
    slots: HashMap<u32, Slot>,
    /// The number of the newest stream.
    last: u32,
    out: Outgoing,
    incoming: mpsc::Sender<Incoming>,
}

impl Protocol for Connection {
    async fn take(&mut self, bytes: &mut [u8]) -> Result<(), Farewell> {
        let mut at = 0;
        loop {
            let event = self.decoder.next(bytes, &mut at).map_err(|error| Farewell {
                reason: error.to_string(),
                frame: Some(frame::go_away(self.last)),
            })?;
            match event {
                None => return Ok(()),
                Some(Event::Open { id, fin, headers }) => self.open(id, fin, headers).await?,
                Some(Event::Data { id, bytes: range }) => {
                    let piece = bytes.get(range).unwrap_or_default();
                    if let Some(pieces) = self.slots.get(&id).and_then(|slot| slot.pieces.as_ref()) {
                        // A stream that nobody reads any more swallows what still comes.
                        let _ = pieces.send(piece.to_vec()).await;
                    }
                }
                Some(Event::Finished(id)) => self.finished(id),
                Some(Event::Reset(id)) => self.reset(id),
                Some(Event::Ping(number)) => {
                    // Ours would be even; we send none.
                    if number % 2 == 1 {
                        self.out.send(frame::ping(number)).await?;
                    }
                }
                Some(Event::GoAway) => {
                    return Err(Farewell { reason: "the client says goodbye".to_owned(), frame: None });
                }
                Some(Event::Violation(id, why)) => {
                    self.reset(id);
                    self.out.send(frame::reset(id, why)).await?;
                }
            }
        }
    }

    fn farewell(&self) -> Vec<u8> {
        frame::go_away(self.last)
    }
}

impl Connection {
    async fn open(&mut self, id: u32, fin: bool, headers: Headers) -> Result<(), Farewell> {
        if id.is_multiple_of(2) || id <= self.last {
            self.reset(id);
            return Ok(self.out.send(frame::reset(id, Reset::Protocol)).await?);
        }
        self.last = id;
        if self.slots.len() >= MAX_STREAMS {
            self.slots.retain(|_, slot| !slot.is_over());
        }
        if self.slots.len() >= MAX_STREAMS {
            return Ok(self.out.send(frame::reset(id, Reset::Refused)).await?);
        }
        let is_reset = Arc::new(AtomicBool::new(false));
        let (pieces, reader) = Reader::new(Some((self.out.clone(), id)));
        let slot = Slot { pieces: (!fin).then_some(pieces), is_reset: Arc::downgrade(&is_reset) };
        let writer = Writer::new(self.out.clone(), Format::Spdy(id), is_reset);
        let reply = frame::reply(id, &self.blocks.next());
        self.out.send(reply).await?;
        self.slots.insert(id, slot);
        // Who is done with the connection takes no more streams.
        let _ = self.incoming.send(Incoming { id, headers, reader, writer }).await;
        Ok(())
    }

    fn finished(&mut self, id: u32) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.pieces = None;
            if slot.is_over() {
                self.slots.remove(&id);
            }
        }
    }

    fn reset(&mut self, id: u32) {
        if let Some(is_reset) = self.slots.remove(&id).and_then(|slot| slot.is_reset.upgrade()) {
            is_reset.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
