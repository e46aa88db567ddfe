//! The HTTP server in front: it takes a token, agrees on a protocol and upgrades the connection.

use crate::bounds::Bounds;
use crate::error::StreamError;
use crate::protocol::{Refusal, negotiate};
use crate::session::{self, Host};
use crate::settings::Settings;
use crate::socket::{Socket, Watch};
use crate::tls;
use crate::tokens::{Ticket, Tokens};
use engine::Engine;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// Connections at a time; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 8192;
/// Streams at a time; more are asked to come again.
const MAX_SESSIONS: usize = 4096;
/// The most bytes of a request's head, and of header lines in it.
const MAX_HEAD: usize = 16 << 10;
const MAX_HEADERS: usize = 64;
/// How long a client may take for TLS, and again for the head of its request.
const HEAD: Duration = Duration::from_secs(10);
/// How long no connection is taken when the process has no descriptor left.
const PAUSE: Duration = Duration::from_millis(200);

/// Gives out URLs.
#[derive(Debug)]
pub struct Urls {
    tokens: Tokens,
    /// Scheme, host and port.
    base: String,
}

impl Urls {
    /// The URL at which a ticket can be used, once and within a minute.
    ///
    /// # Errors
    /// When too many wait for their client.
    pub fn issue(&self, ticket: Ticket) -> Result<String, StreamError> {
        let verb = ticket.verb();
        let token = self.tokens.issue(ticket, Instant::now())?;
        Ok(format!("{}/{verb}/{token}", self.base))
    }
}

/// The server, already listening.
pub struct Server {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
}

/// What every connection needs.
struct Shared {
    engine: Arc<Engine>,
    urls: Arc<Urls>,
    sessions: Arc<Semaphore>,
    bounds: Bounds,
    idle: Duration,
}

impl Server {
    /// Listens, and reads the certificate where there is one.
    ///
    /// # Errors
    /// The address is taken or not of this host, or the certificate cannot be used.
    pub async fn open(settings: &Settings, engine: Arc<Engine>) -> Result<Self, StreamError> {
        let tls = tls::acceptor(settings)?;
        let refused = |source| StreamError::Listen { address: settings.address, source };
        let listener = TcpListener::bind(settings.address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let base = format!("{scheme}://{}", reachable(address));
        let urls = Arc::new(Urls { tokens: Tokens::default(), base });
        let sessions = Arc::new(Semaphore::new(MAX_SESSIONS));
        let (bounds, idle) = (Bounds::default(), settings.idle());
        let shared = Arc::new(Shared { engine, urls, sessions, bounds, idle });
        Ok(Self { listener, tls, shared })
    }

    /// What gives out its URLs.
    pub fn urls(&self) -> Arc<Urls> {
        self.shared.urls.clone()
    }

    /// Where it can be reached: scheme, host and port.
    pub fn base(&self) -> &str {
        &self.shared.urls.base
    }

    /// Serves until the task is ended.
    pub async fn serve(self) {
        let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            // It is never closed.
            let Ok(permit) = connections.clone().acquire_owned().await else { return };
            let (stream, _) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection for a stream is not taken");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            // Keys that are typed go out one by one; where it cannot be set they come later.
            let _ = stream.set_nodelay(true);
            let (tls, shared) = (self.tls.clone(), self.shared.clone());
            tokio::spawn(async move {
                let stream = Socket::new(stream);
                let watch = stream.watch();
                match tls {
                    None => serve_connection(stream, watch, shared).await,
                    Some(tls) => match timeout(HEAD, tls.accept(stream)).await {
                        Ok(Ok(stream)) => serve_connection(stream, watch, shared).await,
                        Ok(Err(error)) => tracing::debug!(%error, "no TLS for a stream"),
                        Err(_) => tracing::debug!("no TLS for a stream in time"),
                    },
                }
                drop(permit);
            });
        }
    }
}

/// An address that a client on this host can connect to.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, address.port()).into(),
        // It takes IPv4 as well, unless the host keeps the two apart.
        IpAddr::V6(ip) if ip.is_unspecified() => (std::net::Ipv6Addr::LOCALHOST, address.port()).into(),
        _ => address,
    }
}

async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    watch: Watch,
    shared: Arc<Shared>,
) {
    let (handed, session) = tokio::sync::oneshot::channel();
    let handed = std::sync::Mutex::new(Some(handed));
    let service = service_fn(|mut request: Request<Incoming>| {
        let (answer, started) = answer(&mut request, &shared);
        let slot = handed.lock().ok().and_then(|mut handed| handed.take());
        if let (Some(slot), Some(started)) = (slot, started) {
            // The other end is waited on below.
            let _ = slot.send(started);
        }
        async { Ok::<_, Infallible>(answer) }
    });
    let served = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a request for a stream cannot be read");
    }
    drop(handed);
    if let Ok(started) = session.await {
        started.run(&shared, watch).await;
    }
}

/// A session that begins when the connection is upgraded.
struct Started {
    ticket: Ticket,
    protocol: crate::protocol::Protocol,
    upgrade: hyper::upgrade::OnUpgrade,
    _permit: tokio::sync::OwnedSemaphorePermit,
}

impl Started {
    async fn run(self, shared: &Shared, watch: Watch) {
        match self.upgrade.await {
            Ok(stream) => {
                let stream = TokioIo::new(stream);
                let host = Host { engine: &shared.engine, bounds: &shared.bounds, idle: shared.idle };
                session::serve(&host, self.ticket, self.protocol, stream, watch).await;
            }
            Err(error) => tracing::debug!(%error, "a connection is not upgraded"),
        }
    }
}

type Answer = Response<Full<Bytes>>;

/// The answer to a request, and the session that follows it.
fn answer(request: &mut Request<Incoming>, shared: &Shared) -> (Answer, Option<Started>) {
    let method = request.method().clone();
    if method != Method::GET && method != Method::POST {
        let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "GET and POST are understood");
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST"));
        return (answer, None);
    }
    let Ok(permit) = shared.sessions.clone().try_acquire_owned() else {
        let mut answer = plain(StatusCode::TOO_MANY_REQUESTS, "too many streams at a time");
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
        return (answer, None);
    };
    let path = request.uri().path().strip_prefix('/').unwrap_or_default();
    let found =
        path.split_once('/').and_then(|(verb, token)| shared.urls.tokens.redeem(verb, token, Instant::now()));
    let Some(ticket) = found else {
        return (plain(StatusCode::NOT_FOUND, "no such stream: its URL is used, expired or wrong"), None);
    };
    match negotiate(&method, request.headers(), &ticket) {
        Ok(agreed) => {
            let mut answer = Response::new(Full::default());
            *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            *answer.headers_mut() = agreed.headers;
            let upgrade = hyper::upgrade::on(request);
            let started = Started { ticket, protocol: agreed.protocol, upgrade, _permit: permit };
            (answer, Some(started))
        }
        Err(Refusal { status, text, headers }) => {
            let mut answer = plain(status, text);
            for (name, value) in headers {
                answer.headers_mut().append(name, value);
            }
            (answer, None)
        }
    }
}

fn plain(status: StatusCode, text: impl Into<String>) -> Answer {
    let mut answer = Response::new(Full::from(text.into() + "\n"));
    *answer.status_mut() = status;
    // One request a connection; to turn keep-alive off would take the upgrade out of the other answers, too.
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}
