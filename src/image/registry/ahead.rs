//! Parts of a blob that are fetched before it is their turn, each over a connection of its own: the rate of one connection
//! is not that of the blob.
//!
//! ```text
//! connection ──▶ part ─┐ first in the queue: passed on as it comes in
//! connection ──▶ part ─┼─▶ blob ──▶ sink
//! connection ──▶ part ─┘ kept in memory, at most [`ROOM`] over all pulls
//! ```
//! None of it is needed: where a part fails, or there is no room, whoever passes the blob on asks for the bytes itself.

use super::answer::Answer;
use super::client::Client;
use super::progress::{Meter, Stop};
use super::range::{Given, Span};
use crate::digest::Digest;
use crate::manifest::Descriptor;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;
use tracing::Instrument as _;

/// Most connections of one blob.
const CONNECTIONS: u32 = 8;
/// Bytes of a part: an eighth of the blob within these limits. A request costs a round trip or two, so that smaller ones
/// would be slower, and larger ones are more memory.
const PART: std::ops::RangeInclusive<u64> = 1 << 20..=4 << 20;
/// Most KiB of parts that came in or may come in before their turn, over all pulls.
const ROOM: usize = 32 << 10;
/// For so long the host has to be waited for before there is one more part ahead, and four times so long the sink before there
/// is one less.
const PATIENCE: Duration = Duration::from_millis(10);

/// The memory for what comes in before its turn.
pub(crate) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ROOM)))
    }
}

impl Room {
    /// Room for so many bytes, if there is any now. Nobody waits for it, so that nobody can wait for ever.
    pub(super) fn take(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let kib = u32::try_from(bytes.div_ceil(1 << 10)).ok()?;
        Arc::clone(&self.0).try_acquire_many_owned(kib).ok()
    }
}

/// A part on its way; dropping it ends that.
pub(super) struct Part {
    pub span: Span,
    pieces: mpsc::UnboundedReceiver<Result<Bytes, Answer>>,
    _task: Aborting,
    _room: OwnedSemaphorePermit,
}

/// A task that ends when this is dropped.
pub(super) struct Aborting(pub AbortHandle);

impl Drop for Aborting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Part {
    /// The next piece; `None` at the end, be it early.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Answer> {
        self.pieces.recv().await.transpose()
    }
}

/// The parts of one blob.
pub(super) struct Ahead<'a> {
    client: &'a Arc<Client>,
    descriptor: &'a Descriptor,
    /// Bytes of a part; `None` where there are no parts.
    step: Option<u64>,
    /// In order, without gaps between them.
    parts: VecDeque<Part>,
    /// Where the next one begins.
    next: u64,
    /// Most connections.
    most: u32,
    /// For how long the host was waited for, less a quarter of that for the sink.
    lag: Duration,
}

impl<'a> Ahead<'a> {
    pub(super) fn new(client: &'a Arc<Client>, descriptor: &'a Descriptor, from: u64) -> Self {
        let rest = descriptor.size.saturating_sub(from);
        let is_large = client.transport.split_from.is_some_and(|least| rest >= least);
        Self {
            client,
            descriptor,
            step: is_large.then(|| (rest / 8).clamp(*PART.start(), *PART.end())),
            parts: VecDeque::new(),
            // Nothing is ahead of what nobody has said that it can be had in parts.
            next: descriptor.size,
            most: CONNECTIONS,
            lag: Duration::ZERO,
        }
    }

    /// The part that begins with this byte.
    pub(super) fn part(&mut self, from: u64) -> Option<Part> {
        self.parts.pop_front_if(|part| part.span.from == from)
    }

    /// What is to be asked for where no part begins.
    pub(super) fn gap(&self, from: u64) -> Span {
        let Some(step) = self.step else { return Span { from, until: None } };
        let end = from.saturating_add(step).min(self.descriptor.size);
        Span { from, until: Some(self.parts.front().map_or(end, |part| part.span.from)) }
    }

    /// The host gives parts, of which this one is under way.
    pub(super) fn begin(&mut self, until: u64) {
        if self.parts.is_empty() {
            self.next = until;
        }
    }

    /// The host gives no parts.
    pub(super) fn give_up(&mut self) {
        self.step = None;
        self.parts.clear();
    }

    /// A part failed: perhaps there are too many for the host.
    pub(super) fn slow_down(&mut self) {
        self.most = (self.most / 2).max(2);
    }

    /// Counts for how long a piece was waited for, and then the sink, and starts parts while the host is what the blob waits
    /// for: where unpacking is slower, more connections would but fill memory.
    pub(super) fn passed(&mut self, host: Duration, sink: Duration) {
        // One is the connection of what is passed on now.
        self.lag = (self.lag + host).saturating_sub(sink / 4).min(PATIENCE * (self.most - 1));
        let wanted = self.lag.as_millis() / PATIENCE.as_millis();
        while (self.parts.len() as u128) < wanted && self.start() {}
    }

    /// Starts the next part; `false` where there is none, or no room for it.
    fn start(&mut self) -> bool {
        let Some(step) = self.step.filter(|_| self.next < self.descriptor.size) else { return false };
        let until = self.next.saturating_add(step).min(self.descriptor.size);
        let Some(room) = self.client.transport.room.take(until - self.next) else { return false };
        let span = Span { from: self.next, until: Some(until) };
        let (sender, pieces) = mpsc::unbounded_channel();
        let work =
            run(Arc::clone(self.client), self.descriptor.digest.clone(), self.descriptor.size, span, sender);
        let task = Aborting(tokio::spawn(work.in_current_span()).abort_handle());
        self.parts.push_back(Part { span, pieces, _task: task, _room: room });
        self.next = until;
        true
    }
}

async fn run(
    client: Arc<Client>,
    digest: Digest,
    size: u64,
    span: Span,
    pieces: mpsc::UnboundedSender<Result<Bytes, Answer>>,
) {
    if let Err(answer) = fetch(&client, &digest, size, span, &pieces).await {
        // Whoever wanted it may have ended.
        let _ = pieces.send(Err(answer));
    }
}

async fn fetch(
    client: &Client,
    digest: &Digest,
    size: u64,
    span: Span,
    pieces: &mpsc::UnboundedSender<Result<Bytes, Answer>>,
) -> Result<(), Answer> {
    let mut response = client.blob(digest, span).await?;
    match Given::of(&response) {
        Some(given) if given.is_exactly(span, size) => {}
        // All of it, from a host that gave parts before: whoever needs these bytes asks once more.
        None if response.status() == reqwest::StatusCode::OK => return Ok(()),
        _ => return Err(Answer::Range),
    }
    let mut meter = Meter::new(client.transport.progress_timeout);
    let mut received = span.from;
    loop {
        let piece = match meter.next(&mut response).await {
            Err(Stop::Stalled) => return Err(Answer::Stalled { received, expected: size }),
            Err(Stop::Broken(error)) => return Err(Answer::broken(&error, received, size)),
            Ok(None) => return Ok(()),
            Ok(Some(piece)) => piece,
        };
        received += piece.len() as u64;
        if span.until.is_some_and(|until| received > until) {
            return Err(Answer::Range);
        }
        if pieces.send(Ok(piece)).is_err() {
            return Ok(());
        }
    }
}
