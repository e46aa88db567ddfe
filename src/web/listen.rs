//! Where connections come from.

use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// How long no connection is taken when the process has no descriptor or memory left: trying at once would only burn the
/// processor.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection that is ready for HTTP.
pub struct Opened<S, P> {
    /// Its bytes.
    pub stream: S,
    /// What is known of it.
    pub peer: P,
}

/// A socket that listens.
pub trait Listen: Send + Sync + 'static {
    /// A connection as the kernel gives it.
    type Raw: Send + 'static;
    /// As HTTP is spoken on it.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// What is known of it.
    type Peer: Send + Sync + 'static;

    /// The next connection.
    fn accept(&self) -> impl Future<Output = Self::Raw> + Send;

    /// Makes it ready, in its own task and time; `None` ends it.
    fn open(
        &self,
        raw: Self::Raw,
    ) -> impl Future<Output = Option<Opened<Self::Stream, Self::Peer>>> + Send + 'static;
}

impl Listen for TcpListener {
    type Raw = TcpStream;
    type Stream = TcpStream;
    type Peer = ();

    async fn accept(&self) -> TcpStream {
        loop {
            match Self::accept(self).await {
                Ok((stream, _)) => return stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn open(&self, raw: TcpStream) -> impl Future<Output = Option<Opened<TcpStream, ()>>> + Send + 'static {
        std::future::ready(Some(Opened { stream: raw, peer: () }))
    }
}
