//! One blob from one host, in order, whatever breaks off meanwhile.

use super::Sink;
use super::ahead::{Ahead, Part};
use super::answer::Answer;
use super::client::Client;
use super::progress::{ENOUGH, Meter, Stop};
use super::range::Given;
use crate::manifest::Descriptor;
use bytes::Bytes;
use reqwest::{Response, StatusCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often a body may end or stall without bringing [`ENOUGH`] before a host is given up.
const FRUITLESS_TRIES: u32 = 3;

/// Where the next bytes come from.
enum Body {
    /// A request of their own.
    Asked(Box<Response>, Meter),
    /// One that was made before.
    Early(Part),
}

/// Bytes on their way.
struct Stretch {
    body: Body,
    /// Bytes at its start that are there already.
    skip: u64,
    /// The byte behind its last one.
    until: u64,
}

/// Streams the blob from the byte on that comes next, which it counts, into the sink.
pub(super) async fn fetch(
    client: &Arc<Client>,
    descriptor: &Descriptor,
    received: &mut u64,
    sink: &mut impl Sink,
) -> Result<(), Answer> {
    let mut fruitless = 0;
    let (host, size) = (client.label(), descriptor.size);
    let mut ahead = Ahead::new(client, descriptor, *received);
    loop {
        let (before, mut begin) = (*received, Instant::now());
        let mut stretch = Stretch::begin(client, descriptor, before, &mut ahead).await?;
        let problem = loop {
            let piece = match stretch.next(*received, size).await {
                Err(answer @ Answer::Range) => return Err(answer),
                Err(answer) => break answer,
                Ok(None) => break Answer::Truncated { received: *received, expected: size },
                Ok(Some(piece)) => piece,
            };
            let waited = begin.elapsed();
            client.transport.metrics.bytes.with_label_values(&[&host]).inc_by(piece.len() as u64);
            let Some(piece) = after(piece, &mut stretch.skip) else { continue };
            *received += piece.len() as u64;
            if *received > size {
                return Err(Answer::Oversize { expected: size });
            }
            if *received > stretch.until {
                return Err(Answer::Range);
            }
            if !sink.take(piece).await {
                return Ok(());
            }
            ahead.passed(waited, begin.elapsed().saturating_sub(waited));
            begin = Instant::now();
        };
        if *received == size {
            return Ok(());
        }
        if *received == stretch.until {
            continue;
        }
        fruitless = if *received - before >= ENOUGH { 0 } else { fruitless + 1 };
        if fruitless >= FRUITLESS_TRIES {
            return Err(problem);
        }
        ahead.slow_down();
        client.transport.metrics.retries.with_label_values(&[&host]).inc();
        tracing::debug!(host, received = *received, %problem, "resuming a download");
        tokio::time::sleep(Duration::from_millis(100 << fruitless)).await;
    }
}

impl Stretch {
    async fn begin(
        client: &Client,
        descriptor: &Descriptor,
        from: u64,
        ahead: &mut Ahead<'_>,
    ) -> Result<Self, Answer> {
        let size = descriptor.size;
        if let Some(part) = ahead.part(from) {
            let until = part.span.until.unwrap_or(size);
            return Ok(Self { body: Body::Early(part), skip: 0, until });
        }
        let asked = ahead.gap(from);
        let response = client.blob(&descriptor.digest, asked).await?;
        let meter = Meter::new(client.transport.progress_timeout);
        let body = |response| Body::Asked(Box::new(response), meter);
        if response.status() != StatusCode::PARTIAL_CONTENT {
            // A server that knows no ranges sends it all again.
            ahead.give_up();
            is_whole(response.content_length(), size)?;
            return Ok(Self { body: body(response), skip: from, until: size });
        }
        let given = Given::of(&response).filter(|given| given.span.from == from).ok_or(Answer::Range)?;
        is_whole(given.total, size)?;
        let until = match asked.until {
            Some(until) if given.is_exactly(asked, size) => {
                ahead.begin(until);
                until
            }
            _ => {
                ahead.give_up();
                size
            }
        };
        Ok(Self { body: body(response), skip: 0, until })
    }

    /// The next piece; `None` at the end, be it early.
    async fn next(&mut self, received: u64, expected: u64) -> Result<Option<Bytes>, Answer> {
        match &mut self.body {
            Body::Early(part) => part.next().await,
            Body::Asked(response, meter) => meter.next(response).await.map_err(|stop| match stop {
                Stop::Stalled => Answer::Stalled { received, expected },
                Stop::Broken(error) => Answer::broken(&error, received, expected),
            }),
        }
    }
}

/// Holds the length that a blob is announced with against what it must be: a page with another content shows before its
/// first byte.
fn is_whole(announced: Option<u64>, expected: u64) -> Result<(), Answer> {
    match announced {
        Some(received) if received < expected => Err(Answer::Truncated { received, expected }),
        Some(length) if length > expected => Err(Answer::Oversize { expected }),
        _ => Ok(()),
    }
}

/// The piece without what was received before.
fn after(mut piece: Bytes, skip: &mut u64) -> Option<Bytes> {
    let cut = usize::try_from(*skip).unwrap_or(usize::MAX).min(piece.len());
    *skip -= cut as u64;
    let rest = piece.split_off(cut);
    (!rest.is_empty()).then_some(rest)
}
