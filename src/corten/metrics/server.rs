//! The HTTP endpoint: `GET /metrics`, `GET /healthz` (it serves) and `GET /readyz` (the node can have pods).

use super::Node;
use super::guard::{TlsListener, Token};
use crate::config::{Metrics, MetricsAddress};
use crate::error::Error;
use crate::socket::Socket;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use prometheus::{Registry, TextEncoder};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use web::{Body, Limits, Site, full, plain};

/// So many scrapes wait for the one that reads /proc: each keeps its connection, and the rest are for `/healthz`.
const WAITING: usize = 8;
/// How long disks may take to say what room they have.
const PATIENCE: Duration = Duration::from_secs(5);
/// What is said before and after it serves.
const NOT_SERVING: &str = "not serving";
/// Seconds after which one that found too many waiting may come again.
const AGAIN: HeaderValue = HeaderValue::from_static("5");

/// What the daemon says about itself at `/healthz` and `/readyz`.
#[derive(Default)]
pub(crate) struct Health {
    serving: AtomicBool,
    node: OnceLock<Node>,
}

impl Health {
    /// Whether the CRI is being served.
    pub(crate) fn set_serving(&self, serving: bool) {
        self.serving.store(serving, Ordering::Relaxed);
    }

    /// What is asked whether there can be pods.
    pub(crate) fn watch(&self, node: Node) {
        // There is one.
        let _ = self.node.set(node);
    }

    /// Why there can be no pods; nothing where there can.
    async fn problems(&self) -> Vec<String> {
        if !self.serving.load(Ordering::Relaxed) {
            return vec![NOT_SERVING.to_owned()];
        }
        let Some(node) = self.node.get().cloned() else { return Vec::new() };
        let look = tokio::task::spawn_blocking(move || node.problems());
        match tokio::time::timeout(PATIENCE, look).await {
            Ok(found) => found.unwrap_or_else(|_| vec!["looking failed: the log says why".to_owned()]),
            Err(_) => vec!["a disk does not answer".to_owned()],
        }
    }
}

/// The endpoint, already listening.
pub(crate) struct Endpoint {
    door: Door,
    token: Option<Token>,
}

enum Door {
    /// On an address.
    Tcp(TcpListener),
    /// On an address, over TLS.
    Tls(TlsListener),
    /// On a Unix socket.
    Unix(Socket),
}

impl Endpoint {
    /// Opens the endpoint; `None` when it is turned off.
    ///
    /// # Errors
    /// The address is taken or not of this host, the socket cannot be opened, or the certificate cannot be used.
    pub(crate) async fn open(settings: &Metrics) -> Result<Option<Self>, Error> {
        let door = match &settings.address {
            MetricsAddress::Off => return Ok(None),
            MetricsAddress::Unix(path) => Door::Unix(Socket::open(path)?),
            MetricsAddress::Tcp(address) => {
                let tls = stream::acceptor(&settings.tls_cert_file, &settings.tls_key_file)?;
                let listener = web::listen(*address).await;
                let listener = listener.map_err(|source| Error::MetricsTcp { address: *address, source })?;
                match tls {
                    Some(tls) => Door::Tls(TlsListener { listener, tls }),
                    None => Door::Tcp(listener),
                }
            }
        };
        Ok(Some(Self { door, token: Token::new(settings.token_file.clone()) }))
    }

    /// Where it is reached: a port of 0 in the settings lets the kernel choose.
    pub(crate) fn place(&self) -> String {
        match &self.door {
            Door::Tcp(listener) | Door::Tls(TlsListener { listener, .. }) => {
                listener.local_addr().map(|address| address.to_string()).unwrap_or_default()
            }
            Door::Unix(socket) => socket.path().display().to_string(),
        }
    }

    /// Serves without an end.
    pub(crate) async fn serve(self, registry: Registry, health: Arc<Health>, limits: Limits) {
        let site = Arc::new(Figures {
            registry,
            health,
            token: self.token,
            gathering: Semaphore::new(1),
            waiting: Semaphore::new(WAITING),
        });
        let stop = CancellationToken::new();
        match self.door {
            Door::Unix(socket) => web::serve(socket, site, limits, stop).await,
            Door::Tcp(listener) => web::serve(listener, site, limits, stop).await,
            Door::Tls(listener) => web::serve(listener, site, limits, stop).await,
        }
    }
}

/// What is served.
struct Figures {
    registry: Registry,
    health: Arc<Health>,
    token: Option<Token>,
    /// One scrape at a time reads /proc.
    gathering: Semaphore,
    waiting: Semaphore,
}

impl Site for Figures {
    type Peer = ();

    async fn answer(&self, request: Request<Incoming>, (): &()) -> Response<Body> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match request.uri().path() {
            "/metrics" => match self.permit(request.headers()).await {
                Ok(()) => self.metrics().await,
                Err(refusal) => *refusal,
            },
            "/healthz" if self.health.serving.load(Ordering::Relaxed) => plain(StatusCode::OK, "ok"),
            "/healthz" => plain(StatusCode::SERVICE_UNAVAILABLE, NOT_SERVING),
            "/readyz" => match self.health.problems().await.as_slice() {
                [] => plain(StatusCode::OK, "ok"),
                problems => plain(StatusCode::SERVICE_UNAVAILABLE, problems.join("\n")),
            },
            _ => plain(StatusCode::NOT_FOUND, "here are /metrics, /healthz and /readyz"),
        }
    }
}

impl Figures {
    async fn permit(&self, headers: &HeaderMap) -> Result<(), Box<Response<Body>>> {
        match &self.token {
            Some(token) => token.check(headers).await,
            None => Ok(()),
        }
    }

    async fn metrics(&self) -> Response<Body> {
        let Ok(_waits) = self.waiting.try_acquire() else {
            let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, "too many scrapes at a time");
            response.headers_mut().insert(RETRY_AFTER, AGAIN);
            return response;
        };
        let gathered = {
            // Never closed.
            let _one_at_a_time = self.gathering.acquire().await;
            let registry = self.registry.clone();
            tokio::task::spawn_blocking(move || TextEncoder::new().encode_to_string(&registry.gather())).await
        };
        let encoded = gathered.map_err(io::Error::other).and_then(|text| text.map_err(io::Error::other));
        match encoded {
            Ok(text) => {
                let mut response = Response::new(full(text));
                let format = HeaderValue::from_static(prometheus::TEXT_FORMAT);
                response.headers_mut().insert(CONTENT_TYPE, format);
                response
            }
            Err(error) => {
                tracing::error!(%error, "cannot gather metrics");
                plain(StatusCode::INTERNAL_SERVER_ERROR, "cannot gather metrics")
            }
        }
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
