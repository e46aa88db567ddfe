//! One host as one pull uses it: documents and blobs.

use super::answer::{Answer, Tried};
use super::connections::Http;
use super::credentials::Login;
use super::progress::{Meter, Stop};
use super::range::Span;
use super::retry::Patience;
use super::words::Trust;
use super::{Document, MAX_CONFIG, MAX_MANIFEST, Transport};
use crate::digest::Digest;
use crate::hosts::{Host, HostsError, Tls, origin};
use crate::manifest::{ACCEPT, Descriptor};
use crate::reference::Reference;
use bytes::{Bytes, BytesMut};
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Response, Url};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long to wait before a body that broke off is asked for once more.
const PAUSE: Duration = Duration::from_millis(100);

/// One host as one pull uses it.
pub(crate) struct Client {
    pub(super) http: Arc<Http>,
    pub(super) base: Url,
    pub(super) headers: HeaderMap,
    pub(super) namespace: Option<String>,
    pub(super) trust: Trust,
    pub(super) repository: String,
    pub(super) login: Option<Login>,
    /// What is said of credentials that belong elsewhere, or of none.
    pub(super) without: Tried,
    pub(super) transport: Arc<Transport>,
    /// What the host last took as authorization.
    pub(super) authorization: Mutex<Option<HeaderValue>>,
}

/// What is asked of a host.
#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) kind: &'static str,
    pub(super) target: &'a str,
    pub(super) accept: Option<&'static str>,
    pub(super) span: Span,
    /// Whether it is much.
    pub(super) bulk: bool,
}

impl Client {
    pub(crate) fn new(
        (host, tls): (Host, Tls),
        reference: &Reference,
        login: Option<&Login>,
        transport: Arc<Transport>,
    ) -> Result<Self, HostsError> {
        let registry = reference.registry();
        let dial_timeout = host.dial_timeout.unwrap_or(transport.dial_timeout);
        let http = transport.connections.of(tls, dial_timeout, &transport.names)?;
        if host.configured {
            transport.metrics.admit(&origin(&host.base));
        }
        let (login, without) = match login {
            None => (None, Tried::Nothing),
            Some(login) if login.belongs_to(&host.base, registry) => {
                (Some(login.clone()), Tried::NotAsked(login.secret.kind()))
            }
            Some(login) => (None, Tried::Withheld(login.secret.kind(), login.home(registry).to_owned())),
        };
        Ok(Self {
            http,
            trust: Trust::of(&host),
            base: host.base,
            headers: host.headers,
            namespace: host.namespace,
            repository: reference.repository().to_owned(),
            login,
            without,
            transport,
            authorization: Mutex::new(None),
        })
    }

    /// Scheme, host and port, and the path where it tells this host from another.
    pub(crate) fn name(&self) -> String {
        let path = self.base.path().trim_end_matches('/');
        let own = path.strip_suffix("/v2").unwrap_or(path);
        format!("{}{own}", origin(&self.base))
    }

    /// The host as metrics have it.
    pub(crate) fn label(&self) -> String {
        self.transport.metrics.label(&origin(&self.base))
    }

    /// A manifest by tag or digest, verified where there is something to verify against.
    pub(crate) async fn manifest(&self, target: &str, expected: Option<&Digest>) -> Result<Document, Answer> {
        let ask = Ask { kind: "manifests", target, accept: Some(ACCEPT), span: Span::WHOLE, bulk: false };
        let (headers, bytes) = self.whole(ask, MAX_MANIFEST, None).await?;
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let announced = header("docker-content-digest").and_then(|text| Digest::parse(text).ok());
        let media_type = header("content-type").unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        let digest = Digest::of(&bytes);
        let wrong = expected.or(announced.as_ref()).filter(|expected| **expected != digest);
        if is_page(&media_type, &bytes) && (expected.is_none() || wrong.is_some()) {
            return Err(Answer::Page { media_type });
        }
        match wrong {
            Some(expected) => Err(Answer::Digest { expected: expected.clone(), actual: digest }),
            None => Ok(Document { bytes, media_type, digest }),
        }
    }

    /// A blob of at most [`MAX_CONFIG`] bytes, verified.
    pub(crate) async fn small_blob(&self, descriptor: &Descriptor) -> Result<Bytes, Answer> {
        if descriptor.size > MAX_CONFIG {
            return Err(Answer::Oversize { expected: MAX_CONFIG });
        }
        let limit = usize::try_from(descriptor.size).unwrap_or(usize::MAX);
        let ask = Ask {
            kind: "blobs",
            target: descriptor.digest.as_str(),
            accept: None,
            span: Span::WHOLE,
            bulk: false,
        };
        let (_, bytes) = self.whole(ask, limit, Some(descriptor.size)).await?;
        let digest = Digest::of(&bytes);
        if digest == descriptor.digest {
            Ok(bytes)
        } else {
            Err(Answer::Digest { expected: descriptor.digest.clone(), actual: digest })
        }
    }

    /// These bytes of a blob; the status tells whether the server heeded that.
    pub(crate) async fn blob(&self, digest: &Digest, span: Span) -> Result<Response, Answer> {
        self.get(Ask { kind: "blobs", target: digest.as_str(), accept: None, span, bulk: true }).await
    }

    /// A body as a whole, of this size where it is known; asked for once more where it breaks off.
    async fn whole(
        &self,
        ask: Ask<'_>,
        limit: usize,
        size: Option<u64>,
    ) -> Result<(HeaderMap, Bytes), Answer> {
        let mut patience = Patience::new();
        loop {
            let response = self.get(ask).await?;
            let headers = response.headers().clone();
            let received = match self.body(response, limit).await {
                Ok(bytes) => match size {
                    Some(expected) if (bytes.len() as u64) < expected => {
                        Err(Answer::Truncated { received: bytes.len() as u64, expected })
                    }
                    _ => Ok((headers, bytes)),
                },
                Err(answer) => Err(answer),
            };
            match received {
                Err(Answer::Broken { .. } | Answer::Truncated { .. }) if patience.another() => {
                    self.pause(PAUSE).await;
                }
                other => return other,
            }
        }
    }

    pub(super) async fn body(&self, mut response: Response, limit: usize) -> Result<Bytes, Answer> {
        let expected = limit as u64;
        let mut body = BytesMut::new();
        let mut meter = Meter::new(self.transport.progress_timeout);
        loop {
            let received = body.len() as u64;
            match meter.next(&mut response).await {
                Err(Stop::Stalled) => return Err(Answer::Stalled { received, expected: 0 }),
                Err(Stop::Broken(error)) => return Err(Answer::broken(&error, received, 0)),
                Ok(None) => return Ok(body.freeze()),
                Ok(Some(piece)) if body.len() + piece.len() > limit => {
                    return Err(Answer::Oversize { expected });
                }
                Ok(Some(piece)) => body.extend_from_slice(&piece),
            }
        }
    }

    /// Waits before the host is asked again.
    pub(super) async fn pause(&self, time: Duration) {
        self.transport.metrics.retries.with_label_values(&[&self.label()]).inc();
        tokio::time::sleep(time).await;
    }
}

/// Whether it is something that people read, and no document.
fn is_page(media_type: &str, bytes: &[u8]) -> bool {
    media_type.starts_with("text/") && serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_err()
}
