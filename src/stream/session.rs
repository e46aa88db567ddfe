//! From an upgraded connection to the streams that a ticket is for.

use crate::bounds::Bounds;
use crate::forward::{self, Target};
use crate::inlet::Reader;
use crate::link::{Link, Side, Writer};
use crate::protocol::Protocol;
use crate::remote::{self, Client, Inputs, Join, Outputs, Run};
use crate::socket::Watch;
use crate::spdy::{self, Incoming, News};
use crate::status::Form;
use crate::tokens::Ticket;
use crate::ws::{self, Slot};
use engine::{Engine, SessionVerb, Streams};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

/// How long a client may take to open its streams (kubelet, `DefaultStreamCreationTimeout`).
const STREAMS: Duration = Duration::from_secs(30);
/// The places of stdin, stdout, stderr, errors and sizes among the channels of a WebSocket; what the client may send on.
const CHANNELS: [bool; 5] = [true, false, false, false, true];

/// What a session has of its server.
pub(crate) struct Host<'a> {
    /// Where commands and containers are.
    pub(crate) engine: &'a Arc<Engine>,
    /// What all clients share.
    pub(crate) bounds: &'a Bounds,
    /// How long both sides may be silent.
    pub(crate) idle: Duration,
}

/// What a client of SPDY is to open.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    streams: Streams,
    /// And one for the sizes of its terminal.
    resizes: bool,
    /// How the end is told.
    form: Form,
}

/// Serves a client to its end.
pub(crate) async fn serve(
    host: &Host<'_>,
    ticket: Ticket,
    protocol: Protocol,
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    watch: Watch,
) {
    let (wanted, tty) = match &ticket {
        Ticket::Exec { exec, .. } => (exec.streams, exec.tty),
        Ticket::Attach { streams, tty, .. } => (*streams, *tty),
        Ticket::PortForward { pod, ports } => {
            let session = forwards(host, Target { pod, ports }, protocol, stream, watch);
            return host.engine.session(SessionVerb::PortForward, pod, session).await;
        }
    };
    let side = Side { watch, terms: host.bounds.command() };
    let opened = match protocol {
        Protocol::Spdy { form, resizes } => {
            let wanted = Wanted { streams: wanted, resizes: resizes && tty, form };
            gather(spdy::serve(stream, side), wanted).await
        }
        Protocol::Channels { mode, form } => {
            let served = ws::serve(stream, side, mode, &CHANNELS);
            channels(served, wanted, form).await
        }
        // Agreed on for port forwarding alone.
        Protocol::Tunnel => None,
    };
    let Some((client, link)) = opened else { return };
    match ticket {
        Ticket::Exec { container, exec } => {
            remote::exec(host, Run { container: &container, exec }, client, link).await;
        }
        Ticket::Attach { container, streams, tty } => {
            let join = Join { container: &container, streams, tty };
            let session = remote::attach(host, join, client, link);
            host.engine.session(SessionVerb::Attach, &container, session).await;
        }
        Ticket::PortForward { .. } => {}
    }
}

async fn forwards(
    host: &Host<'_>,
    target: Target<'_>,
    protocol: Protocol,
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    watch: Watch,
) {
    let terms = host.bounds.forwarding();
    let pod = target.pod;
    match protocol {
        Protocol::Spdy { .. } => {
            forward::over_spdy(host, pod, spdy::serve(stream, Side { watch, terms })).await;
        }
        Protocol::Tunnel => {
            let (stream, watch) = ws::tunnel(stream, watch);
            forward::over_spdy(host, pod, spdy::serve(stream, Side { watch, terms })).await;
        }
        Protocol::Channels { mode, .. } => {
            let readable: Vec<bool> = target.ports.iter().flat_map(|_| [true, false]).collect();
            let served = ws::serve(stream, Side { watch, terms }, mode, &readable);
            forward::over_channels(host, target, served).await;
        }
    }
}

/// Waits until a client of SPDY has opened every stream that its ticket is for, and the one for the end.
async fn gather(
    spdy::Served { link, news: mut streams }: spdy::Served,
    Wanted { streams: wanted, resizes, form }: Wanted,
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
            let Incoming { headers, reader, writer, .. } = match streams.recv().await? {
                News::Opened(stream) => stream,
                // Whoever has it finds out.
                News::Reset(_) => continue,
            };
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
        (Ok(Some(())), Some(error)) => {
            let (inputs, outputs) = (Inputs { stdin, sizes }, Outputs { stdout, stderr });
            Some((Client { inputs, outputs, error, form }, link))
        }
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
    ws::Served { link, slots }: ws::Served,
    wanted: Streams,
    form: Form,
) -> Option<(Client, Link)> {
    let Ok([stdin, stdout, stderr, error, sizes]) = <[Slot; CHANNELS.len()]>::try_from(slots) else {
        return None;
    };
    let client = Client {
        inputs: Inputs { stdin: stdin.reader.filter(|_| wanted.stdin), sizes: sizes.reader },
        outputs: Outputs {
            stdout: wanted.stdout.then_some(stdout.writer),
            stderr: wanted.stderr.then_some(stderr.writer),
        },
        error: error.writer,
        form,
    };
    let first = client.outputs.any().unwrap_or(&client.error);
    if first.greet().await.is_err() {
        return None;
    }
    Some((client, link))
}
