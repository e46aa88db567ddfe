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
use http::header::{ALLOW, CONNECTION, HeaderValue, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use web::{Body, Limits, Listen, Opened, Site, full, plain};

/// Streams at a time; more are asked to come again.
const MAX_SESSIONS: usize = 4096;

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
    /// Seconds for which both sides may be silent.
    idle: Arc<AtomicU64>,
}

/// Settings of the server that can change.
#[derive(Debug, Clone)]
pub struct Tuning {
    idle: Arc<AtomicU64>,
}

impl Tuning {
    /// Takes over other settings, for sessions to come: how long both sides may be silent. The rest stays.
    pub fn reconfigure(&self, settings: &Settings) {
        self.idle.store(settings.idle_timeout_seconds, Ordering::Relaxed);
    }
}

impl Server {
    /// Listens, and reads the certificate where there is one.
    ///
    /// # Errors
    /// The address is taken or not of this host, or the certificate cannot be used.
    pub async fn open(settings: &Settings, engine: Arc<Engine>) -> Result<Self, StreamError> {
        let tls = tls::acceptor(&settings.tls_cert_file, &settings.tls_key_file)?;
        let refused = |source| StreamError::Listen { address: settings.address, source };
        let listener = web::listen(settings.address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let base = format!("{scheme}://{}", reachable(address));
        let urls = Arc::new(Urls { tokens: Tokens::default(), base });
        let sessions = Arc::new(Semaphore::new(MAX_SESSIONS));
        let (bounds, idle) = (Bounds::default(), Arc::new(settings.idle_timeout_seconds.into()));
        let shared = Arc::new(Shared { engine, urls, sessions, bounds, idle });
        Ok(Self { listener, tls, shared })
    }

    /// What gives out its URLs.
    pub fn urls(&self) -> Arc<Urls> {
        self.shared.urls.clone()
    }

    /// For changing its settings while it serves.
    pub fn tuning(&self) -> Tuning {
        Tuning { idle: self.shared.idle.clone() }
    }

    /// Where it can be reached: scheme, host and port.
    pub fn base(&self) -> &str {
        &self.shared.urls.base
    }

    /// Serves until the task is ended.
    pub async fn serve(self) {
        let Self { listener, tls, shared } = self;
        let front = Arc::new(Front(shared));
        web::serve(Door { listener, tls }, front, Limits::default(), CancellationToken::new()).await;
    }
}

/// Where clients come in.
struct Door {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
}

impl Listen for Door {
    type Raw = TcpStream;
    type Stream = Either<Socket, tokio_rustls::server::TlsStream<Socket>>;
    type Peer = Watch;

    async fn accept(&self) -> TcpStream {
        let stream = Listen::accept(&self.listener).await;
        // Keys that are typed go out one by one; where it cannot be set they come later.
        let _ = stream.set_nodelay(true);
        stream
    }

    fn open(
        &self,
        raw: TcpStream,
    ) -> impl Future<Output = Option<Opened<Self::Stream, Watch>>> + Send + 'static {
        let (socket, tls) = (Socket::new(raw), self.tls.clone());
        async move {
            let peer = socket.watch();
            let Some(tls) = tls else { return Some(Opened { stream: Either::Left(socket), peer }) };
            match tls.accept(socket).await {
                Ok(stream) => Some(Opened { stream: Either::Right(stream), peer }),
                Err(error) => {
                    tracing::debug!(%error, "no TLS for a stream");
                    None
                }
            }
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

/// What answers the requests that become sessions.
struct Front(Arc<Shared>);

impl Site for Front {
    type Peer = Watch;

    async fn answer(&self, mut request: Request<Incoming>, watch: &Watch) -> Response<Body> {
        let (answer, started) = answer(&mut request, &self.0);
        if let Some(started) = started {
            // The upgrade comes once the answer has gone out, and with it the end of this connection as HTTP.
            tokio::spawn(started.run(self.0.clone(), watch.clone()));
        }
        answer
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
    async fn run(self, shared: Arc<Shared>, watch: Watch) {
        match self.upgrade.await {
            Ok(stream) => {
                let stream = TokioIo::new(stream);
                let idle = Duration::from_secs(shared.idle.load(Ordering::Relaxed));
                let host = Host { engine: &shared.engine, bounds: &shared.bounds, idle };
                session::serve(&host, self.ticket, self.protocol, stream, watch).await;
            }
            Err(error) => tracing::debug!(%error, "a connection is not upgraded"),
        }
    }
}

/// The answer to a request, and the session that follows it.
fn answer(request: &mut Request<Incoming>, shared: &Shared) -> (Response<Body>, Option<Started>) {
    let method = request.method().clone();
    if method != Method::GET && method != Method::POST {
        let mut answer = last(StatusCode::METHOD_NOT_ALLOWED, "GET and POST are understood");
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST"));
        return (answer, None);
    }
    let Ok(permit) = shared.sessions.clone().try_acquire_owned() else {
        let mut answer = last(StatusCode::TOO_MANY_REQUESTS, "too many streams at a time");
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
        return (answer, None);
    };
    let path = request.uri().path().strip_prefix('/').unwrap_or_default();
    let found =
        path.split_once('/').and_then(|(verb, token)| shared.urls.tokens.redeem(verb, token, Instant::now()));
    let Some(ticket) = found else {
        return (last(StatusCode::NOT_FOUND, "no such stream: its URL is used, expired or wrong"), None);
    };
    match negotiate(&method, request.headers(), &ticket) {
        Ok(agreed) => {
            let mut answer = Response::new(full(Bytes::new()));
            *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            *answer.headers_mut() = agreed.headers;
            let upgrade = hyper::upgrade::on(request);
            let started = Started { ticket, protocol: agreed.protocol, upgrade, _permit: permit };
            (answer, Some(started))
        }
        Err(Refusal { status, text, headers }) => {
            let mut answer = last(status, text);
            for (name, value) in headers {
                answer.headers_mut().append(name, value);
            }
            (answer, None)
        }
    }
}

/// An answer in words, and the end of the connection.
fn last(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    let mut answer = plain(status, text);
    // One request a connection; to turn keep-alive off would take the upgrade out of the other answers, too.
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}
