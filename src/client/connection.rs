//! The connection to the daemon: the CRI's client over one connection of HTTP/2, without what tonic's own channel has for
//! several servers and for connecting anew.

use crate::error::Error;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use proto::runtime_service_client::RuntimeServiceClient;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::UnixStream;
use tonic::Status;
use tonic::body::Body;
use tower::Service;

/// How long the daemon has for what costs it little.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer, in bytes.
const LONGEST: usize = 64 << 20;

/// A client of the CRI on a connection.
pub(crate) type Runtime = RuntimeServiceClient<Link>;

/// The daemon.
#[derive(Clone)]
pub(crate) struct Daemon {
    pub(crate) runtime: Runtime,
    path: PathBuf,
}

impl Daemon {
    /// Connects to a socket.
    pub(crate) async fn connect(path: &Path) -> Result<Self, Error> {
        let stream = UnixStream::connect(path).await.map_err(|source| unreachable(path, source))?;
        let begun = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (sender, connection) = begun.map_err(|source| Error::Talk { path: path.to_owned(), source })?;
        // Its end shows in the requests that it carries.
        tokio::spawn(connection);
        let runtime = RuntimeServiceClient::with_origin(Link(sender), Uri::from_static("http://corten"));
        Ok(Self { runtime: runtime.max_decoding_message_size(LONGEST), path: path.to_owned() })
    }

    /// The same daemon, or the one that took its place, on a connection of its own.
    pub(crate) async fn again(&self) -> Result<Self, Error> {
        Self::connect(&self.path).await
    }

    /// The answer to a call. `doing` is what fails where it does.
    pub(crate) async fn answer<T>(
        &self,
        doing: impl Into<String>,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, Error> {
        let Ok(answer) = tokio::time::timeout(PATIENCE, call).await else {
            return Err(Error::Silent { path: self.path.clone(), seconds: PATIENCE.as_secs() });
        };
        answer.map(tonic::Response::into_inner).map_err(|status| refused(doing, &status))
    }
}

/// The failure of a call.
pub(crate) fn refused(doing: impl Into<String>, status: &Status) -> Error {
    if status.code() == tonic::Code::NotFound {
        return Error::Missing { doing: doing.into(), reason: status.message().to_owned() };
    }
    let reason = if status.message().is_empty() { status.code().description() } else { status.message() };
    Error::Refused { doing: doing.into(), reason: reason.to_owned() }
}

fn unreachable(path: &Path, source: io::Error) -> Error {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Error::Down { path },
        io::ErrorKind::PermissionDenied => Error::Forbidden { path },
        _ => Error::Connect { path, source },
    }
}

/// What sends requests.
#[derive(Clone)]
pub(crate) struct Link(SendRequest<Body>);

impl Service<Request<Body>> for Link {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
