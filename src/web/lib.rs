//! The HTTP/1.1 server behind every listener but the CRI's: metrics and health, `corten image`, and streams until they
//! are upgraded. Connections, heads and times are bounded in one place ([`Limits`]), and so the same everywhere: a client
//! that is slow, or says nothing, holds nobody else up.
//!
//! Where there is no room for a newcomer, the oldest connection without work of ours is cut off ([`room`]). Work is a
//! request from its head to the last piece of its answer that is made; a connection that was upgraded is no longer this
//! server's.

mod answer;
mod connection;
mod limits;
mod listen;
mod room;
#[cfg(test)]
mod tests;

pub use answer::{Body, full, plain};
pub use limits::Limits;
pub use listen::{Listen, Opened, listen};

use crate::connection::serve_connection;
use crate::room::Room;
use http::{Request, Response};
use hyper::body::Incoming;
use std::sync::Arc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// What answers requests.
pub trait Site: Send + Sync + 'static {
    /// What is known of the connection that a request came on.
    type Peer: Send + Sync + 'static;

    /// Answers one. An upgrade is waited for in a task of its own.
    fn answer(
        &self,
        request: Request<Incoming>,
        peer: &Self::Peer,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// Serves a site until the token says stop; requests in flight go on.
pub async fn serve<L: Listen>(
    listener: L,
    site: Arc<impl Site<Peer = L::Peer>>,
    limits: Limits,
    stop: CancellationToken,
) {
    let room = Arc::new(Room::new(limits));
    while let Some(raw) = stop.run_until_cancelled(listener.accept()).await {
        let Some(place) = stop.run_until_cancelled(room.enter()).await else { return };
        let (site, opening) = (site.clone(), listener.open(raw));
        tokio::spawn(async move {
            let opened = tokio::select! {
                opened = timeout(limits.head, opening) => opened,
                () = place.is_wanted() => return,
            };
            match opened {
                Ok(Some(Opened { stream, peer })) => {
                    serve_connection(stream, &site, &peer, place, limits).await;
                }
                Ok(None) => {}
                Err(_) => tracing::debug!("a client does not come to its request"),
            }
        });
    }
}
