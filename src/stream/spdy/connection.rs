//! The streams of one SPDY connection.

use super::frame::{self, Decoder, Event, Reset};
use super::headers::{EmptyBlocks, Headers};
use crate::bounds::Terms;
use crate::inlet::{Inlet, Life, Reader, Stalled};
use crate::link::{Farewell, Format, Link, Outgoing, Protocol, Side, Writer};
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Streams that a client may have open: as many connections through a forwarded port as half of it. One that was reset
/// counts until whoever serves it has let go of it.
const MAX_STREAMS: usize = 1024;
/// Streams that wait to be looked at.
const WAITING: usize = 16;
/// How long a full stream whose reader reads nothing holds up the others, and those that the client opens meanwhile, which
/// nobody can see behind what it has sent. Then it is reset.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long one may pause that has read much and is the only one: a large upload is not lost to a slow disk.
const PAUSE: Duration = Duration::from_secs(10);
/// As many streams are one forwarded connection.
const PAIR: usize = 2;

/// What becomes known of a client's streams.
#[derive(Debug)]
pub(crate) enum News {
    /// It has opened one.
    Opened(Incoming),
    /// It has given this one up.
    Reset(u32),
}

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

/// A connection whose client opens streams.
#[derive(Debug)]
pub(crate) struct Served {
    /// The connection.
    pub(crate) link: Link,
    /// What becomes known of its streams; it ends with the connection.
    pub(crate) news: mpsc::Receiver<News>,
}

/// Serves a connection.
pub(crate) fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    Side { watch, terms }: Side,
) -> Served {
    let (news, heard) = mpsc::channel(WAITING);
    let link = Link::start(stream, watch, |out| Connection {
        decoder: Decoder::new(),
        blocks: EmptyBlocks::default(),
        slots: HashMap::new(),
        last: 0,
        out,
        news,
        places: Arc::new(Semaphore::new(MAX_STREAMS)),
        terms,
    });
    Served { link, news: heard }
}

/// What the reader of the connection knows of a stream.
struct Slot {
    /// Until the client has closed its side.
    inlet: Option<Inlet>,
    /// Gone with both sides of the stream.
    life: Weak<Life>,
}

impl Slot {
    fn is_over(&self) -> bool {
        self.life.strong_count() == 0
    }
}

struct Connection {
    decoder: Decoder,
    blocks: EmptyBlocks,
    slots: HashMap<u32, Slot>,
    /// The number of the newest stream.
    last: u32,
    out: Outgoing,
    news: mpsc::Sender<News>,
    /// For streams that are open, and for those that somebody still has.
    places: Arc<Semaphore>,
    terms: Terms,
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
                    self.data(id, bytes.get(range).unwrap_or_default()).await?;
                }
                Some(Event::Finished(id)) => self.finished(id),
                Some(Event::Reset(id)) => self.reset(id).await,
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
                    self.reset(id).await;
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
            self.reset(id).await;
            return Ok(self.out.send(frame::reset(id, Reset::Protocol)).await?);
        }
        self.last = id;
        if self.slots.len() >= MAX_STREAMS {
            self.slots.retain(|_, slot| !slot.is_over());
        }
        let Some(places) = self.places() else {
            return Ok(self.out.send(frame::reset(id, Reset::Refused)).await?);
        };
        let life = Arc::new(Life::new(places));
        let window = Some((self.out.clone(), id));
        let (inlet, reader) = Inlet::new(self.terms.share(), window, life.clone());
        let slot = Slot { inlet: (!fin).then_some(inlet), life: Arc::downgrade(&life) };
        let writer = Writer::new(self.out.clone(), Format::Spdy(id), life);
        let reply = frame::reply(id, &self.blocks.next());
        self.out.send(reply).await?;
        self.slots.insert(id, slot);
        // Who is done with the connection takes no more streams.
        let _ = self.news.send(News::Opened(Incoming { id, headers, reader, writer })).await;
        Ok(())
    }

    /// A place among the streams of this connection, and one among those of all.
    fn places(&self) -> Option<Vec<OwnedSemaphorePermit>> {
        let place = |places: &Arc<Semaphore>| places.clone().try_acquire_owned().ok();
        Some(vec![place(&self.places)?, place(&self.terms.streams)?])
    }

    async fn data(&mut self, id: u32, piece: &[u8]) -> Result<(), Farewell> {
        let Some(inlet) = self.slots.get(&id).and_then(|slot| slot.inlet.as_ref()) else { return Ok(()) };
        let open = MAX_STREAMS - self.places.available_permits();
        let patience = if open <= PAIR && inlet.was_read() { PAUSE } else { PATIENCE };
        let pushed = inlet.push(piece, (!self.terms.is_patient).then_some(patience)).await;
        if let Err(Stalled) = pushed {
            tracing::info!(stream = id, "nobody reads what a client sends: its stream is reset");
            self.reset(id).await;
            self.out.send(frame::reset(id, Reset::Cancel)).await?;
        }
        Ok(())
    }

    fn finished(&mut self, id: u32) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.inlet = None;
            if slot.is_over() {
                self.slots.remove(&id);
            }
        }
    }

    async fn reset(&mut self, id: u32) {
        let Some(slot) = self.slots.remove(&id) else { return };
        if let Some(life) = slot.life.upgrade() {
            life.reset();
            drop((slot, life));
            let _ = self.news.send(News::Reset(id)).await;
        }
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
