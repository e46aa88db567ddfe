//! The daemon's end.

use super::protocol::{Failure, ImageView, NAME_HEADER, PullEvent, PullRequest, RemoveRequest, Sought};
use crate::reload::Reloader;
use crate::socket::Socket;
use futures::{Stream, StreamExt as _};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use image::{ImageError, ImageStore, Reference};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use web::{Body, Limits, Site, full};

/// Most bytes of a request's body that is read as a whole.
const MAX_REQUEST: usize = 1 << 20;
/// How often a pull tells how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

pub(super) type Answer = Result<Response<Body>, Refusal>;

/// Serves the administration of the images, and tells of the configuration.
pub(crate) struct Server {
    pub(super) images: Arc<ImageStore>,
    reloader: Arc<Reloader>,
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
    pub(crate) fn new(images: Arc<ImageStore>, reloader: Arc<Reloader>) -> Self {
        Self { images, reloader }
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
            (&Method::POST, "/v1/remove") => self.remove(body(request).await?).await,
            (&Method::POST, "/v1/prune") => {
                let all = body(request).await?;
                let images = Arc::clone(&self.images);
                ok(&blocking(move || images.prune(all)).await?)
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
            let removed = self.images.remove(&name).await?;
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
            while let Some(frame) = body.frame().await {
                let piece = match frame.map(Frame::into_data) {
                    Ok(Ok(piece)) => Ok(piece),
                    Ok(Err(_)) => continue,
                    Err(error) => Err(io::Error::other(error)),
                };
                let last = piece.is_err();
                wanted = wanted && sender.send(piece).await.is_ok();
                if last {
                    return;
                }
            }
        });
        let input = Box::new(Pieces { pieces, current: Bytes::new() });
        ok(&self.images.load(input, name.as_deref()).await?)
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
        let images = Arc::clone(&self.images);
        tokio::spawn(async move {
            let mut pull = pin!(images.pull(&reference, request.secrets.map(Into::into)));
            let mut ticks = tokio::time::interval(PROGRESS_INTERVAL);
            let last = loop {
                tokio::select! {
                    ended = &mut pull => break match ended {
                        Ok(id) => PullEvent::Done(id),
                        Err(error) => PullEvent::Failed(Failure { error: error.to_string() }),
                    },
                    _ = ticks.tick() => {
                        let now = images.pulls().into_iter().find(|pull| pull.reference == reference);
                        if let Some(progress) = now {
                            // A slow reader misses some.
                            let _ = sender.try_send(PullEvent::Progress(progress));
                        }
                    }
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
    let whole = Limited::new(request.into_body(), MAX_REQUEST).collect().await;
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

fn ok(value: &impl Serialize) -> Answer {
    Ok(json(StatusCode::OK, value))
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    // These types have string keys and no number that JSON lacks.
    let text = serde_json::to_vec(value).unwrap_or_default();
    let mut response = Response::new(full(text));
    *response.status_mut() = status;
    response
}
