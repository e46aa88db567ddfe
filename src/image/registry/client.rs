//! Requests to one host: authentication, redirects, retries.

use super::answer::{Answer, TokenProblem, causes};
use super::auth::{self, TokenRequest};
use super::challenge::{self, Challenge};
use super::credentials::{Login, Secret};
use super::progress::{Meter, Stop};
use super::{Document, MAX_CONFIG, MAX_MANIFEST, Transport};
use crate::digest::Digest;
use crate::hosts::{Host, HostsError, client_config, origin};
use crate::manifest::{ACCEPT, Descriptor};
use crate::reference::Reference;
use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT as ACCEPT_HEADER, AUTHORIZATION, HeaderMap, HeaderValue, RANGE};
use reqwest::{Response, StatusCode, Url};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// How often a busy host (429, 5xx) is asked.
const BUSY_TRIES: u32 = 3;
/// The longest that a `Retry-After` is obeyed.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
const MAX_REDIRECTS: usize = 10;
/// The most bytes of an error's body that are looked at.
const MAX_ERROR: usize = 64 << 10;

/// One host as one pull uses it.
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    headers: HeaderMap,
    namespace: Option<String>,
    repository: String,
    login: Option<Login>,
    transport: Arc<Transport>,
    /// What the host last took as authorization.
    authorization: Mutex<Option<HeaderValue>>,
}

impl Client {
    pub(crate) fn new(
        host: Host,
        reference: &Reference,
        login: Option<Login>,
        transport: Arc<Transport>,
    ) -> Result<Self, HostsError> {
        let mut tls = client_config(&host)?;
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(host.dial_timeout.unwrap_or(transport.dial_timeout))
            .http2_adaptive_window(true)
            .user_agent(concat!("corten/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| HostsError::Certificate { path: "TLS".into(), problem: causes(&error) })?;
        Ok(Self {
            http,
            base: host.base,
            headers: host.headers,
            namespace: host.namespace,
            repository: reference.repository().to_owned(),
            login,
            transport,
            authorization: Mutex::new(None),
        })
    }

    /// Scheme, host and port.
    pub(crate) fn name(&self) -> String {
        origin(&self.base)
    }

    /// A manifest by tag or digest, verified where there is something to verify against.
    pub(crate) async fn manifest(&self, target: &str, expected: Option<&Digest>) -> Result<Document, Answer> {
        let response = self.get("manifests", target, Some(ACCEPT), 0).await?;
        let header = |name: &str| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned)
        };
        let announced = header("docker-content-digest").and_then(|text| Digest::parse(&text).ok());
        let media_type = header("content-type").unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        let bytes = self.body(response, MAX_MANIFEST).await?;
        let digest = Digest::of(&bytes);
        match expected.or(announced.as_ref()) {
            Some(expected) if *expected != digest => {
                Err(Answer::Digest { expected: expected.clone(), actual: digest })
            }
            _ => Ok(Document { bytes, media_type, digest }),
        }
    }

    /// A blob of at most [`MAX_CONFIG`] bytes, verified.
    pub(crate) async fn small_blob(&self, descriptor: &Descriptor) -> Result<Bytes, Answer> {
        if descriptor.size > MAX_CONFIG {
            return Err(Answer::Oversize { expected: MAX_CONFIG });
        }
        let response = self.get("blobs", descriptor.digest.as_str(), None, 0).await?;
        let limit = usize::try_from(descriptor.size).unwrap_or(usize::MAX);
        let bytes = self.body(response, limit).await?;
        let digest = Digest::of(&bytes);
        if digest == descriptor.digest {
            Ok(bytes)
        } else {
            Err(Answer::Digest { expected: descriptor.digest.clone(), actual: digest })
        }
    }

    /// The body of a blob from this byte on; the status tells whether the server heeded that.
    pub(crate) async fn blob(&self, digest: &Digest, from: u64) -> Result<Response, Answer> {
        self.get("blobs", digest.as_str(), None, from).await
    }

    async fn body(&self, mut response: Response, limit: usize) -> Result<Bytes, Answer> {
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

    /// GET with authentication, and with patience for a busy host.
    async fn get(
        &self,
        kind: &str,
        target: &str,
        accept: Option<&'static str>,
        from: u64,
    ) -> Result<Response, Answer> {
        let url = self.url(kind, target);
        let mut headers = HeaderMap::new();
        if let Some(accept) = accept {
            headers.insert(ACCEPT_HEADER, HeaderValue::from_static(accept));
        }
        if from > 0
            && let Ok(range) = HeaderValue::from_str(&format!("bytes={from}-"))
        {
            headers.insert(RANGE, range);
        }
        let (mut challenged, mut busy) = (0, 0);
        loop {
            let authorization = self.authorization();
            let (response, own) = self.follow(url.clone(), &headers, authorization.as_ref()).await?;
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            if status == StatusCode::UNAUTHORIZED && own && challenged < 2 {
                challenged += 1;
                if self.authenticate(&response, challenged > 1).await? {
                    continue;
                }
            } else if is_busy(status) && busy + 1 < BUSY_TRIES {
                busy += 1;
                self.transport.metrics.retries.with_label_values(&[&self.name()]).inc();
                tokio::time::sleep(wait(&response, busy)).await;
                continue;
            }
            return Err(self.refusal(response).await);
        }
    }

    fn url(&self, kind: &str, target: &str) -> Url {
        let mut url = self.base.clone();
        // The reference's grammar leaves nothing in these that would need an escape.
        let path = format!("{}/{}/{kind}/{target}", self.base.path().trim_end_matches('/'), self.repository);
        url.set_path(&path);
        if let Some(namespace) = &self.namespace {
            url.query_pairs_mut().append_pair("ns", namespace);
        }
        url
    }

    /// Follows redirects by hand, so that what is meant for this host never reaches another. The flag
    /// tells whether this host itself answered.
    async fn follow(
        &self,
        mut url: Url,
        headers: &HeaderMap,
        authorization: Option<&HeaderValue>,
    ) -> Result<(Response, bool), Answer> {
        let own_origin = self.base.origin();
        for _ in 0..=MAX_REDIRECTS {
            let own = url.origin() == own_origin;
            let mut request = self.http.get(url.clone()).headers(headers.clone());
            if own {
                request = request.headers(self.headers.clone());
                if let Some(authorization) = authorization {
                    request = request.header(AUTHORIZATION, authorization.clone());
                }
            }
            let host = origin(&url);
            self.transport.pace.turn(&host).await;
            self.transport.metrics.requests.with_label_values(&[&host]).inc();
            let response = match tokio::time::timeout(self.transport.progress_timeout, request.send()).await {
                Err(_) => return Err(Answer::Stalled { received: 0, expected: 0 }),
                Ok(Err(error)) => return Err(Answer::unreachable(&error)),
                Ok(Ok(response)) => response,
            };
            if !is_redirect(response.status()) {
                return Ok((response, own));
            }
            url = redirect_target(&url, &response)?;
        }
        Err(Answer::Redirect("more than ten times"))
    }

    /// Prepares what the challenge asks for; `false` when there is nothing (more) to offer.
    async fn authenticate(&self, response: &Response, again: bool) -> Result<bool, Answer> {
        let headers = response.headers().get_all("www-authenticate");
        let challenge = challenge::choose(headers.iter().map(HeaderValue::as_bytes));
        let secret = self.login.as_ref().map(|login| &login.secret);
        let value = match (challenge, secret) {
            (_, Some(Secret::Registry { token })) => {
                if again {
                    return Ok(false);
                }
                auth::bearer(token)
            }
            (Some(Challenge::Basic), Some(Secret::Password { user, password })) => {
                if again {
                    return Ok(false);
                }
                auth::basic(user, password)
            }
            (Some(Challenge::Basic), _) => return Ok(false),
            (Some(Challenge::Bearer { realm, service, scope }), _) => {
                let realm = self.realm(&realm)?;
                let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", self.repository));
                let request = TokenRequest { realm, service, scope };
                let timeout = self.transport.progress_timeout;
                Some(
                    self.transport
                        .tokens
                        .token(&self.http, &request, self.login.as_ref(), again, timeout)
                        .await?,
                )
            }
            (None, None) => return Ok(false),
            (None, Some(_)) => return Err(Answer::Challenge),
        };
        let mut current = self.authorization.lock().unwrap_or_else(PoisonError::into_inner);
        *current = value;
        Ok(current.is_some())
    }

    fn realm(&self, realm: &str) -> Result<Url, Answer> {
        let problem = || Answer::Token { server: String::new(), problem: TokenProblem::Address };
        let url = Url::parse(realm).map_err(|_| problem())?;
        let usable = url.scheme() == "https" || (url.scheme() == "http" && self.base.scheme() == "http");
        if usable && url.username().is_empty() && url.password().is_none() { Ok(url) } else { Err(problem()) }
    }

    fn authorization(&self) -> Option<HeaderValue> {
        self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn refusal(&self, response: Response) -> Answer {
        let status = response.status().as_u16();
        let code = self.body(response, MAX_ERROR).await.ok().and_then(|body| error_code(&body));
        let tried = match (status, &self.login) {
            (401 | 403, Some(login)) => login.secret.tried(),
            (401 | 403, None) => ", without credentials",
            _ => "",
        };
        Answer::Status { status, code, tried }
    }
}

fn is_busy(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 500 | 502 | 503 | 504)
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn redirect_target(from: &Url, response: &Response) -> Result<Url, Answer> {
    let location = response.headers().get("location").and_then(|value| value.to_str().ok());
    let location = location.ok_or(Answer::Redirect("without saying where"))?;
    let to = from.join(location).map_err(|_| Answer::Redirect("to a malformed address"))?;
    match (from.scheme(), to.scheme()) {
        (_, "https") | ("http", "http") => {}
        ("https", "http") => return Err(Answer::Redirect("from HTTPS to plain HTTP, which is refused")),
        _ => return Err(Answer::Redirect("to something that is not HTTP")),
    }
    if !to.username().is_empty() || to.password().is_some() {
        return Err(Answer::Redirect("to an address with a user in it, which is refused"));
    }
    Ok(to)
}

/// `Retry-After`, else 200 ms doubled at each try.
fn wait(response: &Response, tries: u32) -> Duration {
    let after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
    match after.and_then(|text| retry_after(text.trim(), SystemTime::now())) {
        Some(after) => after.min(LONGEST_WAIT),
        None => Duration::from_millis(100 << tries.min(6)),
    }
}

/// Seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// The registry's own code for the error, and nothing else of the body: it may echo what was sent.
fn error_code(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Body {
        errors: Vec<Entry>,
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        code: String,
    }
    let code = serde_json::from_slice::<Body>(body).ok()?.errors.into_iter().next()?.code;
    let plain =
        (1..=40).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    plain.then_some(code)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn redirect(from: &str, location: &str) -> Result<String, Answer> {
        let reply = http::Response::builder().status(307).header("location", location).body("").unwrap();
        redirect_target(&Url::parse(from).unwrap(), &Response::from(reply)).map(|url| url.to_string())
    }

    #[test]
    fn redirects_never_lose_the_encryption() {
        assert_eq!(redirect("https://a/v2/x", "/y").unwrap(), "https://a/y");
        assert_eq!(redirect("http://a/v2/x", "https://b/y").unwrap(), "https://b/y");
        for (from, location, problem) in [
            ("https://a/", "http://a/", "plain HTTP"),
            ("https://a/", "ftp://a/", "no HTTP"),
            ("http://a/", "file:///etc/passwd", "not HTTP"),
            ("http://a/", "http://user:pass@a/", "user"),
            ("http://a/", "http://[", "malformed"),
        ] {
            let error = redirect(from, location).unwrap_err().to_string();
            assert!(error.contains(problem) || error.contains("not HTTP"), "{location}: {error}");
            assert!(!error.contains("pass"), "{error}");
        }
    }

    #[test]
    fn retry_after_in_seconds_and_as_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
        for (text, seconds) in [
            ("7", Some(7)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(7)),
            ("Sat, 05 Nov 1994 08:49:37 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(retry_after(text, now).map(|wait| wait.as_secs()), seconds, "{text}");
        }
    }
}
