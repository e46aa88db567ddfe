//! The daemon's end.

use super::protocol::{
    AdoptRequest, Failure, ImageView, NAME_HEADER, PullEvent, PullRequest, RemoveRequest, Sought,
};
use crate::reload::Reloader;
use crate::socket::Socket;
use engine::Engine;
use futures::{Stream, StreamExt as _};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use image::{ImageError, ImageStore, Reference};
use net::Network;
use prometheus::Registry;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use web::{Body, Limits, Site, full};

/// Most bytes of a request's body that is read as a whole.
const MAX_REQUEST: usize = 1 << 20;
/// How often a pull tells how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// How long such a body may take: what is in it is short.
const BODY: Duration = Duration::from_secs(10);
/// How long the next piece of an archive may take.
const PIECE: Duration = Duration::from_secs(600);

pub(super) type Answer = Result<Response<Body>, Refusal>;

/// Serves the administration of the images, and tells of the configuration.
pub(crate) struct Server {
    pub(super) images: Arc<ImageStore>,
    pub(super) engine: Arc<Engine>,
    pub(super) reloader: Arc<Reloader>,
    pub(super) network: Arc<Network>,
    registry: Registry,
    /// Unix time in seconds.
    pub(super) started_at: u64,
}

impl Site for Server {
    type Peer = ();

    async fn answer(&self, request: Request<Incoming>, (): &()) -> Response<Body> {
        let answer = self.route(request).await;
        answer.unwrap_or_else(|Refusal(status, error)| json(status, &Failure { error }))
    }
}

/// A request that is not done.
pub(super) struct Refusal(pub(super) StatusCode, pub(super) String);

impl From<ImageError> for Refusal {
    fn from(error: ImageError) -> Self {
        Self(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
    }
}

impl Server {
    /// Of a daemon that begins now.
    pub(crate) fn new(
        images: Arc<ImageStore>,
        engine: Arc<Engine>,
        reloader: Arc<Reloader>,
        network: Arc<Network>,
        registry: Registry,
    ) -> Self {
        let started_at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self { images, engine, reloader, network, registry, started_at }
    }

    /// Serves until the token says stop; requests in flight end with the daemon.
    pub(crate) async fn serve(self, socket: Socket, stop: CancellationToken) {
        web::serve(socket, Arc::new(self), Limits::default(), stop).await;
    }

    async fn route(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path().to_owned();
        match (request.method(), path.as_str()) {
            (&Method::GET, "/v1/images") => {
                let images: Vec<ImageView> =
                    self.images.list().iter().map(|image| ImageView::from(image.as_ref())).collect();
                ok(&images)
            }
            (&Method::GET, "/v1/status") => ok(&self.status()),
            (&Method::GET, "/v1/metrics") => ok(&prometheus::TextEncoder::new()
                .encode_to_string(&self.registry.gather())
                .unwrap_or_default()),
            (&Method::POST, "/v1/why") => self.explain(body(request).await?).await,
            (&Method::GET, "/v1/config") => ok(&self.reloader.status()),
            (&Method::GET, "/v1/pulls") => ok(&self.images.pulls()),
            (&Method::GET, "/v1/usage") => ok(&self.images.disk_usage()),
            (&Method::POST, "/v1/inspect") => self.inspect(&body::<String>(request).await?),
            (&Method::POST, "/v1/explain") => {
                let PullRequest { reference, secrets } = body(request).await?;
                let credentials = secrets.map(Into::into);
                ok(&self.images.explain(&reference, credentials.as_ref()).await?)
            }
            (&Method::POST, "/v1/pull") => self.pull(body(request).await?),
            (&Method::POST, "/v1/verify") => self.verify(body(request).await?),
            (&Method::POST, "/v1/save") => self.save(body(request).await?).await,
            (&Method::POST, "/v1/load") => self.load(request).await,
            (&Method::POST, "/v1/adopt") => {
                let adopt: AdoptRequest = body(request).await?;
                let name = adopt.names.first().cloned().unwrap_or_default();
                let adopted = self.images.adopt(adopt.into());
                ok(&self.engine.for_operator("corten adopt images", &name, adopted).await?)
            }
            (&Method::POST, "/v1/remove") => self.remove(body(request).await?).await,
            (&Method::POST, "/v1/prune") => {
                let all = body(request).await?;
                let images = Arc::clone(&self.images);
                let prune = blocking(move || images.prune(all));
                ok(&self.engine.for_operator("corten image prune", "", prune).await?)
            }
            _ => Err(Refusal(StatusCode::NOT_FOUND, format!("there is no {} {path} here", request.method()))),
        }
    }

    fn inspect(&self, name: &str) -> Answer {
        let image = self.images.find(name)?.ok_or_else(|| ImageError::NoSuchImage(name.to_owned()))?;
        ok(&ImageView::from(image.as_ref()))
    }

    async fn remove(&self, request: RemoveRequest) -> Answer {
        let mut outcome = Vec::with_capacity(request.images.len());
        for name in request.images {
            let removal = self.images.remove(&name);
            let removed = self.engine.for_operator("corten image rm", &name, removal).await?;
            let names = removed.as_ref().map(|image| image.names().to_vec()).unwrap_or_default();
            outcome.push(Sought { name, found: removed.is_some(), names });
        }
        ok(&outcome)
    }

    /// The body is the archive; the header may name its image.
    async fn load(&self, request: Request<Incoming>) -> Answer {
        let name =
            request.headers().get(NAME_HEADER).and_then(|name| name.to_str().ok()).map(ToOwned::to_owned);
        let mut body = request.into_body();
        let (sender, pieces) = mpsc::channel(4);
        // What is refused is read to its end all the same: a client that is still sending would see a broken pipe instead
        // of the reason.
        tokio::spawn(async move {
            let mut wanted = true;
            loop {
                let piece = match tokio::time::timeout(PIECE, body.frame()).await {
                    Ok(None) => return,
                    Ok(Some(Ok(frame))) => match frame.into_data() {
                        Ok(piece) => Ok(piece),
                        Err(_) => continue,
                    },
                    Ok(Some(Err(error))) => Err(io::Error::other(error)),
                    Err(_) => {
                        Err(io::Error::new(io::ErrorKind::TimedOut, "nothing more came of the archive"))
                    }
                };
                let last = piece.is_err();
                wanted = wanted && sender.send(piece).await.is_ok();
                if last {
                    return;
                }
            }
        });
        let input = Box::new(Pieces { pieces, current: Bytes::new() });
        let load = self.images.load(input, name.as_deref());
        ok(&self.engine.for_operator("corten image load", name.as_deref().unwrap_or_default(), load).await?)
    }

    /// One line of JSON an event. A client that goes away leaves the pull running, as the CRI's do.
    fn pull(&self, request: PullRequest) -> Answer {
        let refuse = |error: image::ReferenceError| {
            Refusal(
                StatusCode::UNPROCESSABLE_ENTITY,
                format!("image reference {:?}: {error}", request.reference),
            )
        };
        let reference = Reference::parse(&request.reference).map_err(refuse)?.to_string();
        let (sender, receiver) = mpsc::channel(4);
        let (images, engine) = (Arc::clone(&self.images), Arc::clone(&self.engine));
        tokio::spawn(async move {
            let begin = Instant::now();
            let pull = images.pull(&reference, request.secrets.map(Into::into));
            let mut pull = pin!(engine.for_operator("corten image pull", &reference, pull));
            let mut ticks = tokio::time::interval(PROGRESS_INTERVAL);
            let ended = loop {
                tokio::select! {
                    ended = &mut pull => break ended,
                    _ = ticks.tick() => {
                        let now = images.pulls().into_iter().find(|pull| pull.reference == reference);
                        if let Some(progress) = now {
                            // A slow reader misses some.
                            let _ = sender.try_send(PullEvent::Progress(progress));
                        }
                    }
                }
            };
            let seconds = begin.elapsed().as_secs_f64();
            let last = match ended {
                Ok(id) => {
                    tracing::info!(image = reference, image_id = id, seconds, "corten image pull: done");
                    PullEvent::Done(id)
                }
                Err(error) => {
                    tracing::warn!(image = reference, %error, seconds, "corten image pull: failed");
                    PullEvent::Failed(Failure { error: error.to_string() })
                }
            };
            let _ = sender.send(last).await;
        });
        Ok(lines(futures::stream::unfold(receiver, |mut receiver| async move {
            let event = receiver.recv().await?;
            Some((event, receiver))
        })))
    }
}

/// A body as a reader, for a thread that may block.
struct Pieces {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl io::Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.current = piece?,
                None => return Ok(0),
            }
        }
        let count = self.current.len().min(buffer.len());
        let piece = self.current.split_to(count);
        if let Some(place) = buffer.get_mut(..count) {
            place.copy_from_slice(&piece);
        }
        Ok(count)
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Refusal(StatusCode::INTERNAL_SERVER_ERROR, "the work was interrupted".to_owned())),
    }
}

async fn body<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Refusal> {
    let refuse = |error: String| Refusal(StatusCode::BAD_REQUEST, format!("the request: {error}"));
    let whole = Limited::new(request.into_body(), MAX_REQUEST).collect();
    let whole = tokio::time::timeout(BODY, whole).await.map_err(|_| {
        let problem = format!("the request: it has not come within {} s", BODY.as_secs());
        Refusal(StatusCode::REQUEST_TIMEOUT, problem)
    })?;
    let bytes = whole.map_err(|error| refuse(error.to_string()))?.to_bytes();
    serde_json::from_slice(&bytes).map_err(|error| refuse(error.to_string()))
}

/// An answer of one line of JSON an event.
pub(super) fn lines<T: Serialize>(events: impl Stream<Item = T> + Send + Sync + 'static) -> Response<Body> {
    let lines = events.map(|event| {
        let mut line = serde_json::to_vec(&event).unwrap_or_default();
        line.push(b'\n');
        Ok(Frame::data(Bytes::from(line)))
    });
    Response::new(BodyExt::boxed(StreamBody::new(lines)))
}

pub(super) fn ok(value: &impl Serialize) -> Answer {
    Ok(json(StatusCode::OK, value))
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    // These types have string keys and no number that JSON lacks.
    let text = serde_json::to_vec(value).unwrap_or_default();
    let mut response = Response::new(full(text));
    *response.status_mut() = status;
    response
}
