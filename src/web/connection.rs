//! One connection.

use crate::Site;
use crate::answer::InWork;
use crate::limits::{Limits, MAX_BUFFER, MAX_HEADERS};
use crate::room::Place;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep;

/// Serves a connection to its end, or until others want its place.
pub(crate) async fn serve_connection<S: Site>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    site: &Arc<S>,
    peer: &S::Peer,
    place: Place,
    limits: Limits,
) {
    let service = service_fn(|request| {
        let (work, answer) = (place.work(), site.answer(request, peer));
        async move { Ok::<_, Infallible>(answer.await.map(|body| InWork::new(body, work))) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(MAX_BUFFER)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut served = pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => Some(ended),
        () = place.is_wanted() => return tracing::debug!("a connection makes room for others"),
        () = sleep(limits.whole) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            served.as_mut().graceful_shutdown();
            tokio::select! {
                ended = served.as_mut() => ended,
                () = place.is_wanted() => return tracing::debug!("a connection makes room for others"),
                () = place.is_idle(limits.head) => return tracing::debug!("a connection takes too long"),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection fails");
    }
}
