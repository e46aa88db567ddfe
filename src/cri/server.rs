//! The server: both services behind the layers, on connections that somebody else accepts.

use crate::layers::{CatchPanics, Deadline, Metrics, Observe, SizeLimit};
use crate::lenient::Lenient;
use crate::proto::image_service_server::ImageServiceServer;
use crate::proto::runtime_service_server::RuntimeServiceServer;
use crate::services::Services;
use crate::{images, runtime};
use engine::Engine;
use futures::{Stream, TryStreamExt};
use http::{Request, Response};
use model::ErrorKind;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use tokio::net::UnixStream;
use tonic::body::Body;
use tonic::codegen::BoxFuture;
use tonic::transport::Server;
use tower::{Service, ServiceBuilder};

/// Bytes that a client may send ahead on one stream: most requests fit without a window update.
const STREAM_WINDOW: u32 = 1 << 20;
/// Bytes that a client may send ahead on one connection.
const CONNECTION_WINDOW: u32 = 4 << 20;
/// RPCs that one connection may have under way.
const MAX_STREAMS: u32 = 4096;

/// What can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The most bytes of one request; a bigger one is answered with ResourceExhausted.
    pub max_request_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_request_bytes: 16 << 20 }
    }
}

/// Why the server could not begin, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The metrics could not be registered.
    #[error("register the metrics of the CRI")]
    Metrics(#[from] prometheus::Error),
    /// The transport failed.
    #[error("serve the CRI")]
    Transport(#[from] tonic::transport::Error),
}

impl ServeError {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Metrics(_) | Self::Transport(_) => ErrorKind::Internal,
        }
    }
}

/// Serves the CRI on connections of clients that are allowed to talk to the daemon, until `shutdown` is done and
/// the RPCs under way have been answered. The metrics are registered by the call, before the first poll: whoever says after
/// it that the daemon serves has all of its series.
///
/// There are no keepalive pings: on a Unix socket the kernel tells at once when the other side is gone.
///
/// # Errors
/// At once when the metrics are registered already; in the end when `incoming` fails.
pub fn serve(
    incoming: impl Stream<Item = io::Result<UnixStream>> + Send + 'static,
    (engine, urls): (Arc<Engine>, Arc<stream::Urls>),
    settings: Settings,
    metrics: &prometheus::Registry,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<impl Future<Output = Result<(), ServeError>>, ServeError> {
    let limit = settings.max_request_bytes;
    let runtime = runtime::Runtime { engine: engine.clone(), urls };
    let images = images::Images { engine };
    let services = Services {
        runtime: RuntimeServiceServer::new(runtime).max_decoding_message_size(limit),
        images: ImageServiceServer::new(images).max_decoding_message_size(limit),
    };
    run(services, incoming, &settings, metrics, shutdown)
}

/// Serves any services behind the layers.
fn run<S, I, F>(
    services: S,
    incoming: I,
    settings: &Settings,
    metrics: &prometheus::Registry,
    shutdown: F,
) -> Result<impl Future<Output = Result<(), ServeError>> + use<S, I, F>, ServeError>
where
    S: Service<
            Request<Body>,
            Response = Response<Body>,
            Error = Infallible,
            Future = BoxFuture<Response<Body>, Infallible>,
        > + Clone
        + Send
        + 'static,
    I: Stream<Item = io::Result<UnixStream>> + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let layers = ServiceBuilder::new()
        .layer(Observe { metrics: Arc::new(Metrics::register(metrics)?) })
        .layer(Deadline)
        .layer(CatchPanics)
        .layer(SizeLimit { bytes: settings.max_request_bytes })
        .into_inner();
    let served = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .layer(layers)
        .serve_with_incoming_shutdown(services, incoming.map_ok(Lenient::new), shutdown);
    Ok(async move { Ok(served.await?) })
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
