//! A client's connection, which can be asked whether the client is gone while what it sent lies unread.

use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How often a connection that nobody reads is looked at.
const TICK: Duration = Duration::from_millis(250);
/// What a client that is gone has sent is handed on for so long.
const GRACE: Duration = Duration::from_millis(400);

/// A connection.
#[derive(Debug)]
pub(crate) struct Socket(Arc<TcpStream>);

impl Socket {
    /// Of a client.
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self(Arc::new(stream))
    }

    /// What tells that the client is gone.
    pub(crate) fn watch(&self) -> Watch {
        Watch::Socket(self.0.clone())
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(context))?;
            match self.0.try_read(buffer.initialize_unfilled()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => {
                    buffer.advance(result?);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(context))?;
            match self.0.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(sys::hangup::shutdown(self.0.as_fd()).map_err(std::io::Error::from))
    }
}

/// What tells that a client is gone.
#[derive(Debug, Clone)]
pub(crate) enum Watch {
    /// Its connection.
    Socket(Arc<TcpStream>),
    /// The connection around it.
    Around(CancellationToken),
}

impl Watch {
    /// Returns a moment after the client has gone. It costs nothing while nobody waits for it.
    pub(crate) async fn hung_up(&self) {
        match self {
            Self::Socket(stream) => {
                while !has_left(stream) {
                    sleep(TICK).await;
                }
                sleep(GRACE).await;
            }
            Self::Around(gone) => gone.cancelled().await,
        }
    }
}

fn has_left(stream: &TcpStream) -> bool {
    match (stream.local_addr(), stream.peer_addr()) {
        (Ok(own), Ok(peer)) => sys::hangup::has_left(stream.as_fd(), own, peer),
        // It is not connected any more.
        _ => true,
    }
}
