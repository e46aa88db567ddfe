//! A stream of bytes in the binary messages of a WebSocket: how port forwarding carries SPDY over it.

use super::channels::farewell;
use super::frame::{self, Decoder, Event};
use crate::link::{Farewell, Link, Outgoing, PIECE, Protocol};
use crate::socket::Watch;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, WriteHalf};

/// Serves a connection as a tunnel; the stream is what lies within, with what tells that the client is gone. The tunnel
/// ends with either side.
pub(crate) fn tunnel(
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    watch: Watch,
) -> (DuplexStream, Watch) {
    let (near, far) = tokio::io::duplex(PIECE);
    let (mut outward, inward) = tokio::io::split(far);
    let link = Link::start(stream, watch, |out| Tunnel { decoder: Decoder::new(), inward, out });
    let watch = link.watch();
    tokio::spawn(async move {
        let out = link.out();
        let mut buffer = vec![0; PIECE];
        loop {
            let read = tokio::select! {
                read = outward.read(&mut buffer) => read,
                () = link.left() => break,
            };
            let Ok(count @ 1..) = read else { break };
            let sent = tokio::select! {
                sent = out.send(frame::raw(buffer.get(..count).unwrap_or_default())) => sent,
                () = link.left() => break,
            };
            if sent.is_err() {
                break;
            }
        }
        drop((out, outward));
        link.close().await;
    });
    (near, watch)
}

struct Tunnel {
    decoder: Decoder,
    inward: WriteHalf<DuplexStream>,
    out: Outgoing,
}

impl Protocol for Tunnel {
    async fn take(&mut self, bytes: &mut [u8]) -> Result<(), Farewell> {
        let mut at = 0;
        loop {
            match self.decoder.next(bytes, &mut at).map_err(farewell)? {
                None => return Ok(()),
                Some(Event::Payload(range)) => {
                    let written = self.inward.write_all(bytes.get(range).unwrap_or_default()).await;
                    let over =
                        |_| Farewell { reason: "the inner connection is closed".to_owned(), frame: None };
                    written.map_err(over)?;
                }
                Some(Event::End) => {}
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
