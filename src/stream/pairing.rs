//! The two streams of a forwarded connection find each other.

use crate::inlet::Reader;
use crate::link::Writer;
use crate::spdy::{Incoming, headers::Headers};
use std::collections::HashMap;
use std::num::NonZeroU16;
use std::time::Duration;
use tokio::time::Instant;

/// How long the two streams of a connection may be apart (kubelet, `DefaultStreamCreationTimeout`).
const PAIRING: Duration = Duration::from_secs(30);
/// The most bytes of a connection's number; clients count in decimal.
const MAX_REQUEST: usize = 256;

/// A connection: what it carries, and where a failure is told.
#[derive(Debug)]
pub(crate) struct Pair {
    /// Of the pod.
    pub(crate) port: NonZeroU16,
    /// What the client sends.
    pub(crate) reader: Reader,
    /// What it is sent.
    pub(crate) writer: Writer,
    /// Where a failure is told.
    pub(crate) error: Writer,
}

/// One of the two streams of a connection.
#[derive(Debug)]
enum Half {
    Data(Reader, Writer),
    Error(Writer),
}

impl Half {
    fn into_writer(self) -> Writer {
        match self {
            Self::Data(_, writer) | Self::Error(writer) => writer,
        }
    }
}

/// A stream whose other half has yet to come.
#[derive(Debug)]
struct Single {
    since: Instant,
    stream: u32,
    port: NonZeroU16,
    half: Half,
}

/// Streams whose other half has yet to come, by the number of their connection. They count among the streams of the
/// client's connection, and so there are never more.
#[derive(Debug, Default)]
pub(crate) struct Lonely(HashMap<String, Single>);

/// What comes of a stream.
#[derive(Debug)]
pub(crate) enum Admission {
    /// A connection is complete.
    Complete(Pair),
    /// It waits for its other half.
    Waits,
    /// This one is to be given up: it makes no sense, or another has taken its place.
    Refused(Writer),
}

impl Lonely {
    /// Takes in a stream.
    pub(crate) fn admit(&mut self, incoming: Incoming) -> Admission {
        let Incoming { id, headers, reader, writer } = incoming;
        let port: Option<NonZeroU16> = headers.get("port").and_then(|port| port.parse().ok());
        let (Some(port), Some(kind)) = (port, headers.get("streamtype")) else {
            return Admission::Refused(writer);
        };
        let request = request(&headers, id, kind);
        let half = match kind {
            _ if request.len() > MAX_REQUEST => return Admission::Refused(writer),
            "data" => Half::Data(reader, writer),
            "error" => Half::Error(writer),
            _ => return Admission::Refused(writer),
        };
        match (self.0.remove(&request), half) {
            (Some(Single { port, half: Half::Data(reader, writer), .. }), Half::Error(error))
            | (Some(Single { port, half: Half::Error(error), .. }), Half::Data(reader, writer)) => {
                Admission::Complete(Pair { port, reader, writer, error })
            }
            (former, half) => {
                self.0.insert(request, Single { since: Instant::now(), stream: id, port, half });
                former.map_or(Admission::Waits, |former| Admission::Refused(former.half.into_writer()))
            }
        }
    }

    /// The client has given a stream up.
    pub(crate) fn forget(&mut self, stream: u32) {
        self.0.retain(|_, single| single.stream != stream);
    }

    /// Streams that have waited for too long, to be given up.
    pub(crate) fn expire(&mut self) -> Vec<Writer> {
        let old = self.0.extract_if(|_, single| single.since.elapsed() >= PAIRING);
        old.map(|(_, single)| single.half.into_writer()).collect()
    }
}

/// The number of a stream's connection. Old clients tell none: they open the data stream right behind the error stream.
fn request(headers: &Headers, id: u32, kind: &str) -> String {
    match headers.get("requestid") {
        Some(request) => request.to_owned(),
        None if kind == "data" => format!("stream {}", id.saturating_sub(2)),
        None => format!("stream {id}"),
    }
}

#[cfg(test)]
#[path = "pairing_tests.rs"]
mod tests;
