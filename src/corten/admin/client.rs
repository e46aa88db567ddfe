//! The command line's end.

use super::protocol::{Failure, NAME_HEADER, REMADE_HEADER, RESULT_TRAILER};
use http::header::TE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;

/// Why a request to the daemon failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// Nobody listens.
    #[error(
        "no daemon listens on {}: is it running? `systemctl status corten` tells; --admin names another socket",
        path.display()
    )]
    Down {
        /// The socket.
        path: PathBuf,
    },
    /// The socket is root's.
    #[error("{} may be opened by root alone: run this as root", path.display())]
    Forbidden {
        /// The socket.
        path: PathBuf,
    },
    /// It cannot be reached for another reason.
    #[error("cannot reach the daemon on {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It listens, and does nothing else.
    #[error("the daemon on {} does not answer within {seconds} s: it hangs, or is stopped", path.display())]
    Silent {
        /// The socket.
        path: PathBuf,
        /// How long it had.
        seconds: u64,
    },
    /// The connection broke.
    #[error("talking to the daemon")]
    Http(#[from] hyper::Error),
    /// It said something else than expected.
    #[error("the daemon's answer is malformed")]
    Json(#[from] serde_json::Error),
    /// It refused, or failed.
    #[error("{0}")]
    Refused(String),
    /// It ended in the middle.
    #[error("the daemon went away before it had finished")]
    Cut,
}

/// How long the daemon has for what costs it nothing.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to the daemon.
pub(crate) struct Client {
    sender: SendRequest<BoxBody<Bytes, io::Error>>,
    path: PathBuf,
}

impl Client {
    /// Connects, and sees that the daemon answers: what it is asked for next may take its time.
    ///
    /// # Errors
    /// When nobody answers there.
    pub(crate) async fn connect(path: &Path) -> Result<Self, ClientError> {
        let begin = async {
            let mut client = Self { sender: handshake(path).await?, path: path.to_owned() };
            let _: IgnoredAny = client.get("/v1/pulls").await?;
            Ok(client)
        };
        in_time(path, begin).await
    }

    /// Asks for what the daemon knows without looking at its disk.
    pub(crate) async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, ClientError> {
        let socket = self.path.clone();
        let answer = async {
            let body = self.send(Method::GET, path, Bytes::new()).await?;
            Ok(serde_json::from_slice(&body.collect().await?.to_bytes())?)
        };
        in_time(&socket, answer).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &mut self,
        path: &str,
        request: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = self.send(Method::POST, path, serde_json::to_vec(request)?.into()).await?;
        Ok(serde_json::from_slice(&body.collect().await?.to_bytes())?)
    }

    /// A request whose answer comes line by line.
    pub(crate) async fn lines(&mut self, path: &str, request: &impl Serialize) -> Result<Lines, ClientError> {
        let body = self.send(Method::POST, path, serde_json::to_vec(request)?.into()).await?;
        Ok(Lines { body, pending: Vec::new() })
    }

    async fn send(&mut self, method: Method, path: &str, body: Bytes) -> Result<Incoming, ClientError> {
        let body = Full::new(body).map_err(|never| match never {});
        Ok(self.exchange(method, path, BoxBody::new(body), None).await?.into_body())
    }

    /// Sends an archive as it is read, for an image of this name.
    pub(crate) async fn load<T: DeserializeOwned>(
        &mut self,
        archive: tokio::sync::mpsc::Receiver<io::Result<Bytes>>,
        name: Option<&str>,
    ) -> Result<T, ClientError> {
        let pieces = futures::stream::unfold(archive, |mut archive| async move {
            let piece = archive.recv().await?;
            Some((piece.map(Frame::data), archive))
        });
        let body = BodyExt::boxed(StreamBody::new(pieces));
        let answer = self.exchange(Method::POST, "/v1/load", body, name).await?;
        Ok(serde_json::from_slice(&answer.into_body().collect().await?.to_bytes())?)
    }

    /// Asks for an archive of the images.
    pub(crate) async fn save(&mut self, images: &Vec<String>) -> Result<Archive, ClientError> {
        let request = Full::new(Bytes::from(serde_json::to_vec(images)?)).map_err(|never| match never {});
        let answer = self.exchange(Method::POST, "/v1/save", BoxBody::new(request), None).await?;
        let remade = answer.headers().get(REMADE_HEADER).and_then(|value| value.to_str().ok());
        let remade = remade.and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok(Archive { body: answer.into_body(), remade })
    }

    async fn exchange(
        &mut self,
        method: Method,
        path: &str,
        body: BoxBody<Bytes, io::Error>,
        name: Option<&str>,
    ) -> Result<Response<Incoming>, ClientError> {
        if self.sender.ready().await.is_err() {
            // It was idle for longer than the daemon waits: somebody types a password.
            self.sender = handshake(&self.path).await?;
        }
        let mut request = Request::new(body);
        request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
        *request.method_mut() = method;
        if let Some(name) = name {
            let value = HeaderValue::from_str(name);
            let refuse =
                |_| ClientError::Refused(format!("image reference {name:?} has characters that none has"));
            request.headers_mut().insert(NAME_HEADER, value.map_err(refuse)?);
        }
        // The paths are this program's own constants.
        *request.uri_mut() = path.parse().unwrap_or_default();
        let response = self.sender.send_request(request).await?;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        let bytes = response.into_body().collect().await?.to_bytes();
        let failure: Failure = serde_json::from_slice(&bytes)?;
        Err(ClientError::Refused(failure.error))
    }
}

async fn handshake(path: &Path) -> Result<SendRequest<BoxBody<Bytes, io::Error>>, ClientError> {
    let stream = UnixStream::connect(path).await.map_err(|source| unreachable(path, source))?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Its end shows in the request that it carries.
    tokio::spawn(connection);
    Ok(sender)
}

async fn in_time<T>(
    path: &Path,
    work: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    let silent = |_| ClientError::Silent { path: path.to_owned(), seconds: PATIENCE.as_secs() };
    tokio::time::timeout(PATIENCE, work).await.map_err(silent)?
}

fn unreachable(path: &Path, source: io::Error) -> ClientError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::Down { path },
        io::ErrorKind::PermissionDenied => ClientError::Forbidden { path },
        _ => ClientError::Connect { path, source },
    }
}

/// An archive as it comes in.
pub(crate) struct Archive {
    body: Incoming,
    /// Layers that had to be made again.
    pub(crate) remade: usize,
}

impl Archive {
    /// The next piece; `None` behind the last one of a whole archive.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        let frame = self.body.frame().await.ok_or(ClientError::Cut)??;
        match frame.into_data() {
            Ok(data) => Ok(Some(data)),
            Err(frame) => {
                let trailers = frame.into_trailers().map_err(|_| ClientError::Cut)?;
                let result = trailers.get(RESULT_TRAILER).ok_or(ClientError::Cut)?;
                match String::from_utf8_lossy(result.as_bytes()).into_owned() {
                    whole if whole.is_empty() => Ok(None),
                    problem => Err(ClientError::Refused(problem)),
                }
            }
        }
    }
}

/// The lines of an answer.
pub(crate) struct Lines {
    body: Incoming,
    pending: Vec<u8>,
}

impl Lines {
    /// The next one; `None` at the end.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                return Ok(Some(serde_json::from_slice(&line)?));
            }
            match self.body.frame().await {
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        self.pending.extend_from_slice(&data);
                    }
                }
                None if self.pending.is_empty() => return Ok(None),
                None => return Err(ClientError::Cut),
            }
        }
    }
}
