//! From an upgraded connection to the streams that a ticket is for.

use crate::forward;
use crate::link::{Link, Reader, Writer};
use crate::protocol::Protocol;
use crate::remote::{self, Client};
use crate::spdy::{self, Incoming};
use crate::status::Form;
use crate::tokens::Ticket;
use crate::ws::{self, Mode, Slot};
use engine::{Engine, Streams};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How long a client may take to open its streams (kubelet, `DefaultStreamCreationTimeout`).
const STREAMS: Duration = Duration::from_secs(30);
/// The places of stdin, stdout, stderr, errors and sizes among the channels of a WebSocket; what the client may send on.
const CHANNELS: [bool; 5] = [true, false, false, false, true];

/// Serves a client to its end.
pub(crate) async fn serve(
    engine: &Arc<Engine>,
    ticket: Ticket,
    protocol: Protocol,
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    idle: Duration,
) {
    let (wanted, tty) = match &ticket {
        Ticket::Exec { exec, .. } => (exec.streams, exec.tty),
        Ticket::Attach { streams, tty, .. } => (*streams, *tty),
        Ticket::PortForward { pod, ports } => {
            match protocol {
                Protocol::Spdy { .. } => forward::over_spdy(engine, pod, spdy::serve(stream), idle).await,
                Protocol::Tunnel => {
                    forward::over_spdy(engine, pod, spdy::serve(ws::tunnel(stream)), idle).await;
                }
                Protocol::Channels { mode, .. } => {
                    let readable: Vec<bool> = ports.iter().flat_map(|_| [true, false]).collect();
                    let served = ws::serve(stream, mode, &readable);
                    forward::over_channels(engine, (pod, ports), served, idle).await;
                }
            }
            return;
        }
    };
    let opened = match protocol {
        Protocol::Spdy { form, resizes } => {
            let (link, streams) = spdy::serve(stream);
            let resizes = resizes && tty;
            gather(link, streams, wanted, (form, resizes)).await
        }
        Protocol::Channels { mode, form } => channels(stream, mode, wanted, form).await,
        // Agreed on for port forwarding alone.
        Protocol::Tunnel => None,
    };
    let Some((client, link)) = opened else { return };
    match ticket {
        Ticket::Exec { container, exec } => {
            remote::exec(engine, (&container, exec), client, (link, idle)).await;
        }
        Ticket::Attach { container, streams, .. } => {
            remote::attach(engine, (&container, streams), client, (link, idle)).await;
        }
        Ticket::PortForward { .. } => {}
    }
}

/// Waits until a client of SPDY has opened every stream that its ticket is for, and the one for the end.
async fn gather(
    link: Link,
    mut streams: mpsc::Receiver<Incoming>,
    wanted: Streams,
    (form, resizes): (Form, bool),
) -> Option<(Client, Link)> {
    let mut stdin: Option<Reader> = None;
    let (mut stdout, mut stderr, mut error): (Option<Writer>, Option<Writer>, Option<Writer>) =
        (None, None, None);
    let mut sizes: Option<Reader> = None;
    let collect = async {
        while error.is_none()
            || stdin.is_some() != wanted.stdin
            || stdout.is_some() != wanted.stdout
            || stderr.is_some() != wanted.stderr
            || sizes.is_some() != resizes
        {
            let Incoming { headers, reader, writer, .. } = streams.recv().await?;
            match headers.get("streamtype") {
                Some("stdin") if wanted.stdin => stdin = Some(reader),
                Some("stdout") if wanted.stdout => stdout = Some(writer),
                Some("stderr") if wanted.stderr => stderr = Some(writer),
                Some("error") => error = Some(writer),
                Some("resize") if resizes => sizes = Some(reader),
                _ => writer.reset().await,
            }
        }
        Some(())
    };
    let complete = timeout(STREAMS, collect).await;
    // Streams that come later find nobody.
    drop(streams);
    match (complete, error) {
        (Ok(Some(())), Some(error)) => Some((Client { stdin, stdout, stderr, error, sizes, form }, link)),
        (_, error) => {
            tracing::debug!("a client does not open its streams");
            drop((stdin, stdout, stderr, error, sizes));
            link.close().await;
            None
        }
    }
}

/// The streams of a client of WebSockets are there from the beginning; an empty message tells it so.
async fn channels(
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    mode: Mode,
    wanted: Streams,
    form: Form,
) -> Option<(Client, Link)> {
    let (link, slots) = ws::serve(stream, mode, &CHANNELS);
    let Ok([stdin, stdout, stderr, error, sizes]) = <[Slot; CHANNELS.len()]>::try_from(slots) else {
        return None;
    };
    let client = Client {
        stdin: stdin.reader.filter(|_| wanted.stdin),
        stdout: wanted.stdout.then_some(stdout.writer),
        stderr: wanted.stderr.then_some(stderr.writer),
        error: error.writer,
        sizes: sizes.reader,
        form,
    };
    let first = client.stdout.as_ref().or(client.stderr.as_ref()).unwrap_or(&client.error);
    if first.greet().await.is_err() {
        return None;
    }
    Some((client, link))
}
