//! Port forwarding: connections of a client's machine that end in a pod.

use crate::link::{Link, Reader, Writer};
use crate::spdy::{Incoming, headers::Headers};
use crate::ws::Slot;
use engine::Engine;
use std::collections::HashMap;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout};

const PIECE: usize = 32 << 10;
/// How long the two streams of a connection may be apart (kubelet, `DefaultStreamCreationTimeout`).
const PAIRING: Duration = Duration::from_secs(30);
/// How often is looked for streams that are left alone.
const TICK: Duration = Duration::from_secs(5);
/// How long a client may go on sending once the pod's side has closed the connection.
const FAREWELL: Duration = Duration::from_secs(5);

/// A connection: what it carries, and where a failure is told.
struct Pair {
    port: NonZeroU16,
    data: (Reader, Writer),
    error: Writer,
}

/// One of the two streams of a connection.
enum Half {
    Data(Reader, Writer),
    Error(Writer),
}

/// Streams whose other half has yet to come, by the number of their connection.
#[derive(Default)]
struct Lonely(HashMap<String, (Instant, NonZeroU16, Half)>);

impl Lonely {
    /// The connection that is complete with this stream.
    async fn join(&mut self, request: String, port: NonZeroU16, half: Half) -> Option<Pair> {
        match (self.0.remove(&request), half) {
            (Some((_, port, Half::Data(reader, writer))), Half::Error(error))
            | (Some((_, port, Half::Error(error))), Half::Data(reader, writer)) => {
                Some(Pair { port, data: (reader, writer), error })
            }
            (former, half) => {
                if let Some((_, _, former)) = former {
                    former.reset().await;
                }
                self.0.insert(request, (Instant::now(), port, half));
                None
            }
        }
    }

    async fn reset_old(&mut self) {
        let old: Vec<_> = self.0.extract_if(|_, (since, _, _)| since.elapsed() >= PAIRING).collect();
        for (_, (_, _, half)) in old {
            half.reset().await;
        }
    }
}

impl Half {
    async fn reset(self) {
        match self {
            Self::Data(_, writer) | Self::Error(writer) => writer.reset().await,
        }
    }
}

/// Serves every connection of a client that speaks SPDY, until it leaves.
pub(crate) async fn over_spdy(
    engine: &Arc<Engine>,
    pod: &str,
    (link, mut streams): (Link, mpsc::Receiver<Incoming>),
    idle: Duration,
) {
    let mut connections = JoinSet::new();
    let mut lonely = Lonely::default();
    let mut ticks = interval(TICK);
    let reason = loop {
        tokio::select! {
            incoming = streams.recv() => {
                let Some(incoming) = incoming else { break "the client has left" };
                if let Some(pair) = admit(incoming, &mut lonely).await {
                    let (engine, pod) = (engine.clone(), pod.to_owned());
                    connections.spawn(async move { forward(&engine, &pod, pair).await });
                }
            }
            Some(_) = connections.join_next() => {}
            _ = ticks.tick() => lonely.reset_old().await,
            reason = link.lost(idle) => break reason,
        }
    };
    tracing::debug!(pod, reason, "port forwarding ends");
    connections.shutdown().await;
    drop((lonely, streams));
    link.close().await;
}

/// Looks at a stream; one that makes no sense is reset.
async fn admit(incoming: Incoming, lonely: &mut Lonely) -> Option<Pair> {
    let Incoming { id, headers, reader, writer } = incoming;
    let port = headers.get("port").and_then(|port| port.parse().ok());
    let (Some(port), Some(kind)) = (port, headers.get("streamtype")) else {
        writer.reset().await;
        return None;
    };
    let request = request(&headers, id, kind);
    match kind {
        "data" => lonely.join(request, port, Half::Data(reader, writer)).await,
        "error" => lonely.join(request, port, Half::Error(writer)).await,
        _ => {
            writer.reset().await;
            None
        }
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

/// Serves the ports that were asked for, a connection each, for a client of the older WebSocket protocol: channel 2n
/// carries the nth port's data, channel 2n + 1 its errors; on each the port is sent first, in two bytes.
pub(crate) async fn over_channels(
    engine: &Arc<Engine>,
    (pod, ports): (&str, &[u16]),
    (link, slots): (Link, Vec<Slot>),
    idle: Duration,
) {
    let mut connections = JoinSet::new();
    let mut slots = slots.into_iter();
    for port in ports {
        let (Some(Slot { reader: Some(reader), writer }), Some(error)) = (slots.next(), slots.next()) else {
            break;
        };
        let Some(port) = NonZeroU16::new(*port) else { break };
        let (engine, pod) = (engine.clone(), pod.to_owned());
        connections.spawn(async move {
            let begin = port.get().to_le_bytes();
            if writer.write(&begin).await.is_ok() && error.writer.write(&begin).await.is_ok() {
                forward(&engine, &pod, Pair { port, data: (reader, writer), error: error.writer }).await;
            }
        });
    }
    drop(slots);
    let reason = tokio::select! {
        () = async { while connections.join_next().await.is_some() {} } => "every connection is closed",
        reason = link.lost(idle) => reason,
    };
    tracing::debug!(pod, reason, "port forwarding ends");
    connections.shutdown().await;
    link.close().await;
}

async fn forward(engine: &Arc<Engine>, pod: &str, pair: Pair) {
    let Pair { port, data: (reader, writer), error } = pair;
    match engine.dial(pod, port.get()).await {
        Ok(stream) => carry(stream, reader, &writer).await,
        Err(failure) => {
            let text = format!("error forwarding port {port} to pod {pod}: {}", engine::chain(&failure));
            // A client that is gone needs not to be told.
            let _ = error.write(text.as_bytes()).await;
        }
    }
    writer.finish().await;
    error.finish().await;
}

/// Copies both ways. Either side may close its half first; when the pod has closed its half, the client has a moment
/// to close its own.
async fn carry(stream: TcpStream, reader: Reader, writer: &Writer) {
    // Interactive protocols are forwarded, too; where it cannot be set they are slower.
    let _ = stream.set_nodelay(true);
    let (from_pod, to_pod) = stream.into_split();
    let up = upward(reader, to_pod, writer);
    let down = downward(from_pod, writer);
    tokio::pin!(up, down);
    tokio::select! {
        is_over = &mut down => {
            if is_over {
                writer.finish().await;
                let _ = timeout(FAREWELL, &mut up).await;
            }
        }
        goes_on = &mut up => {
            if goes_on {
                down.await;
            }
        }
    }
}

/// What the client sends; `false` when the connection is broken off.
async fn upward(mut from: Reader, mut to: OwnedWriteHalf, writer: &Writer) -> bool {
    while let Some(piece) = from.next().await {
        if to.write_all(&piece).await.is_err() {
            writer.reset().await;
            return false;
        }
    }
    // A client that has reset the stream wants no answer either.
    !writer.is_reset() && to.shutdown().await.is_ok()
}

/// What the pod sends; `false` when the connection is broken off.
async fn downward(mut from: OwnedReadHalf, to: &Writer) -> bool {
    let mut buffer = vec![0; PIECE];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) => return true,
            Ok(count) => {
                if to.write(buffer.get(..count).unwrap_or_default()).await.is_err() {
                    return false;
                }
            }
            Err(_) => {
                to.reset().await;
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_s_number_is_told_or_follows_from_the_order() {
        let told = Headers::of(&[("requestid", "7")]);
        assert_eq!(request(&told, 3, "data"), "7");
        let untold = Headers::default();
        assert_eq!(request(&untold, 5, "data"), request(&untold, 3, "error"));
    }
}
