//! Where connections come from.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// How long no connection is taken when the process has no descriptor or memory left: trying at once would only burn the
/// processor.
const PAUSE: Duration = Duration::from_millis(100);

/// For so long, and so often, an address is tried that is taken.
const INHERITED: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_millis(5);

/// Listens on an address. One that is taken is tried again for a moment: a daemon that was killed while it started a program
/// has left a child that listens, too, until it executes that program.
///
/// # Errors
/// The address is taken, or not of this host.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let patience = Instant::now() + INHERITED;
    loop {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < patience => {
                tokio::time::sleep(AGAIN).await;
            }
            done => return done,
        }
    }
}

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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_is_taken_for_a_moment_is_waited_for_and_another_one_is_not() {
        let held = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = held.local_addr().unwrap();
        let refused = listen(address).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            drop(held);
        });
        assert_eq!(listen(address).await.unwrap().local_addr().unwrap(), address);
    }
}
