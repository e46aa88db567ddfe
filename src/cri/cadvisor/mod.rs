//! What cAdvisor asks of containerd, answered in its place. The kubelet's cAdvisor knows two runtimes by name and dials the
//! one's socket once, when the kubelet starts; whom it finds there it asks what the cgroups that it sees are called.
//! Three methods are answered, from what the engine has in memory; all others say what this socket is.

mod bounded;
mod containers;
mod namespace;
mod router;
mod tasks;
mod version;

#[cfg(test)]
mod tests;

use crate::layers::CatchPanics;
use crate::server::ServeError;
use bounded::Bounded;
use engine::{Engine, Inhabitant};
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, TryStreamExt};
use proto::containerd::containers::containers_server::ContainersServer;
use proto::containerd::tasks::tasks_server::TasksServer;
use proto::containerd::version::version_server::VersionServer;
use router::Router;
use std::future::Future;
use std::io;
use std::sync::Arc;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tonic::transport::Server;

/// Connections that are served at a time; the kubelet has one. Further ones wait.
const CONNECTIONS: usize = 16;
/// Requests that one connection may have under way.
const STREAMS: u32 = 64;
/// The longest request; a real one names an id.
const REQUEST: usize = 4096;

/// Who knows the inhabitants of cgroups.
trait Register: Send + Sync + 'static {
    /// See [`Engine::inhabitant`].
    fn find<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Option<Inhabitant>>;

    /// The OCI runtime spec of a container, where it is written.
    fn spec<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Option<Vec<u8>>>;

    /// See [`Engine::name_pod`].
    fn name_pod(&self, id: &str);
}

impl Register for Engine {
    fn find<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Option<Inhabitant>> {
        self.inhabitant(id).boxed()
    }

    fn spec<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Option<Vec<u8>>> {
        let read = async move {
            self.written_spec(id).await.unwrap_or_else(|error| {
                tracing::debug!(container_id = id, error = engine::chain(&error), "a spec is not shown");
                None
            })
        };
        read.boxed()
    }

    fn name_pod(&self, id: &str) {
        Engine::name_pod(self, id);
    }
}

/// Answers cAdvisor on connections of clients that may talk to the daemon, until `shutdown` is done.
///
/// # Errors
/// When `incoming` fails.
pub async fn serve_cadvisor(
    incoming: impl Stream<Item = io::Result<UnixStream>> + Send + 'static,
    engine: Arc<Engine>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    // Whom an earlier daemon was asked about is not asked about again.
    engine.name_pods();
    serve(incoming, engine, shutdown).await
}

async fn serve<R: Register>(
    incoming: impl Stream<Item = io::Result<UnixStream>> + Send + 'static,
    register: Arc<R>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let router = Router {
        version: VersionServer::new(version::Answers).max_decoding_message_size(REQUEST),
        containers: ContainersServer::new(containers::Answers(register.clone()))
            .max_decoding_message_size(REQUEST),
        tasks: TasksServer::new(tasks::Answers(register)).max_decoding_message_size(REQUEST),
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let admitted = incoming.and_then(move |stream| {
        let places = places.clone();
        async move {
            let place = places.acquire_owned().await.map_err(io::Error::other)?;
            Ok(Bounded::new(stream, place))
        }
    });
    Server::builder()
        .max_concurrent_streams(STREAMS)
        .layer(CatchPanics)
        .serve_with_incoming_shutdown(router, admitted, shutdown)
        .await?;
    Ok(())
}

/// Seconds and the nanoseconds within.
fn split(nanoseconds: i64) -> (i64, i32) {
    const SECOND: i64 = 1_000_000_000;
    (nanoseconds.div_euclid(SECOND), i32::try_from(nanoseconds.rem_euclid(SECOND)).unwrap_or_default())
}
