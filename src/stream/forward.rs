//! Port forwarding: connections of a client's machine that end in a pod.

use crate::carry::carry;
use crate::link::Writer;
use crate::pairing::{Admission, Lonely, Pair};
use crate::session::Host;
use crate::spdy::{self, News};
use crate::ws::{self, Slot};
use engine::Engine;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::interval;

/// How often is looked for streams that are left alone.
const TICK: Duration = Duration::from_secs(5);

/// Where connections go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    /// The pod.
    pub(crate) pod: &'a str,
    /// Its ports, for clients that cannot name them themselves.
    pub(crate) ports: &'a [u16],
}

/// Serves every connection of a client that speaks SPDY, until it or the pod is gone. Nothing here waits for the client
/// but the connections themselves.
pub(crate) async fn over_spdy(
    Host { engine, idle, .. }: &Host<'_>,
    pod: &str,
    spdy::Served { link, news: mut streams }: spdy::Served,
) {
    let mut connections = JoinSet::new();
    let mut lonely = Lonely::default();
    let mut ticks = interval(TICK);
    let pod_left = engine.pods().pod_left(pod);
    tokio::pin!(pod_left);
    let reason = loop {
        tokio::select! {
            news = streams.recv() => match news {
                None => break "the client has left",
                Some(News::Reset(stream)) => lonely.forget(stream),
                Some(News::Opened(stream)) => match lonely.admit(stream) {
                    Admission::Complete(pair) => {
                        let (engine, pod) = (Arc::clone(engine), pod.to_owned());
                        connections.spawn(async move { forward(&engine, &pod, pair).await });
                    }
                    Admission::Refused(writer) => give_up(&mut connections, writer),
                    Admission::Waits => {}
                },
            },
            Some(_) = connections.join_next() => {}
            _ = ticks.tick() => lonely.expire().into_iter().for_each(|writer| give_up(&mut connections, writer)),
            () = &mut pod_left => break "the pod is gone",
            reason = link.lost(*idle) => break reason,
        }
    };
    tracing::debug!(pod, reason, "port forwarding ends");
    connections.shutdown().await;
    drop((lonely, streams));
    link.close().await;
}

fn give_up(connections: &mut JoinSet<()>, writer: Writer) {
    connections.spawn(async move { writer.reset().await });
}

/// Serves the ports that were asked for, a connection each, for a client of the older WebSocket protocol: channel 2n
/// carries the nth port's data, channel 2n + 1 its errors; on each the port is sent first, in two bytes.
pub(crate) async fn over_channels(
    Host { engine, idle, .. }: &Host<'_>,
    Target { pod, ports }: Target<'_>,
    ws::Served { link, slots }: ws::Served,
) {
    let mut connections = JoinSet::new();
    let mut slots = slots.into_iter();
    for port in ports {
        let (Some(Slot { reader: Some(reader), writer }), Some(error)) = (slots.next(), slots.next()) else {
            break;
        };
        let Some(port) = NonZeroU16::new(*port) else { break };
        let (engine, pod) = (Arc::clone(engine), pod.to_owned());
        connections.spawn(async move {
            let begin = port.get().to_le_bytes();
            if writer.write(&begin).await.is_ok() && error.writer.write(&begin).await.is_ok() {
                forward(&engine, &pod, Pair { port, reader, writer, error: error.writer }).await;
            }
        });
    }
    drop(slots);
    let reason = tokio::select! {
        () = async { while connections.join_next().await.is_some() {} } => "every connection is closed",
        () = engine.pods().pod_left(pod) => "the pod is gone",
        reason = link.lost(*idle) => reason,
    };
    tracing::debug!(pod, reason, "port forwarding ends");
    connections.shutdown().await;
    link.close().await;
}

async fn forward(engine: &Arc<Engine>, pod: &str, pair: Pair) {
    let Pair { port, reader, writer, error } = pair;
    let work = async {
        match engine.pods().dial(pod, port.get()).await {
            Ok(stream) => carry(stream, reader, &writer).await,
            Err(failure) => {
                let text = format!("error forwarding port {port} to pod {pod}: {}", engine::chain(&failure));
                // A client that is gone needs not to be told.
                let _ = error.write(text.as_bytes()).await;
            }
        }
        writer.finish().await;
    };
    tokio::select! {
        () = work => {}
        // Nobody wants the rest: the pod's side is closed, whatever it is waiting for.
        () = writer.was_reset() => {}
    }
    error.finish().await;
}
