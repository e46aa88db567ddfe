//! Tokens (the distribution specification's token authentication, and its OAuth2 form).

use super::answer::{Answer, TokenProblem, Tried};
use super::credentials::{Login, Secret};
use super::redirect::{self, MAX_REDIRECTS, is_redirect};
use super::retry::Patience;
use super::words::Trust;
use super::{refusal, words};
use crate::hosts::origin;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{RequestBuilder, Response, Url};
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use sys::sync::lock;

/// The most bytes of a token server's answer.
const MAX_TOKEN_ANSWER: usize = 1 << 20;
/// How long a token lives whose server does not say (the specification's default).
const DEFAULT_LIFE: u64 = 60;
const LONGEST_LIFE: u64 = 3600;
/// A token is not used in the last moments of its life.
const MARGIN: Duration = Duration::from_secs(5);
const MOST_TOKENS: usize = 1024;

/// What a token must be good for.
pub(super) struct TokenRequest {
    pub realm: Url,
    pub service: Option<String>,
    pub scope: String,
}

/// Tokens that are still good, of every pull.
#[derive(Default)]
pub(crate) struct TokenCache {
    tokens: Mutex<HashMap<Key, (HeaderValue, Instant)>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    realm: String,
    service: Option<String>,
    scope: String,
    /// The login's fingerprint; empty for an anonymous token.
    login: String,
}

/// Who asks a token server, and how.
pub(super) struct Asker<'a> {
    pub http: &'a reqwest::Client,
    pub login: Option<&'a Login>,
    /// What is said of credentials where there are none for this host.
    pub without: &'a Tried,
    pub trust: &'a Trust,
    pub timeout: Duration,
}

impl TokenCache {
    /// A token as the value of an Authorization header: a cached one unless a fresh one is demanded.
    pub(super) async fn token(
        &self,
        asker: &Asker<'_>,
        request: &TokenRequest,
        fresh: bool,
    ) -> Result<HeaderValue, Answer> {
        let key = Key {
            realm: request.realm.to_string(),
            service: request.service.clone(),
            scope: request.scope.clone(),
            login: asker.login.map_or_else(String::new, |login| login.fingerprint.to_string()),
        };
        if !fresh && let Some(token) = self.cached(&key) {
            return Ok(token);
        }
        let server = origin(&request.realm);
        let (token, life) = asker
            .fetch(request)
            .await
            .map_err(|problem| Answer::Token { server: server.clone(), problem })?;
        let value = bearer(&token).ok_or(Answer::Token { server, problem: TokenProblem::NoToken })?;
        let mut tokens = lock(&self.tokens);
        let now = Instant::now();
        tokens.retain(|_, (_, until)| *until > now);
        if tokens.len() < MOST_TOKENS {
            tokens.insert(key, (value.clone(), now + life.saturating_sub(MARGIN)));
        }
        Ok(value)
    }

    fn cached(&self, key: &Key) -> Option<HeaderValue> {
        let tokens = lock(&self.tokens);
        let (token, until) = tokens.get(key)?;
        (*until > Instant::now()).then(|| token.clone())
    }
}

/// A request to a token server, as it is repeated at each redirect.
#[derive(Clone)]
struct Form {
    url: Url,
    authorization: Option<HeaderValue>,
    /// With a refresh token; posted.
    body: Option<String>,
}

impl Form {
    fn new(request: &TokenRequest, login: Option<&Login>) -> Result<Self, TokenProblem> {
        let mut url = request.realm.clone();
        match login.map(|login| &login.secret) {
            Some(Secret::Identity { token, .. }) => {
                let mut form = Url::parse("http://form/").map_err(|_| TokenProblem::Address)?;
                form.query_pairs_mut()
                    .append_pair("grant_type", "refresh_token")
                    .append_pair("service", request.service.as_deref().unwrap_or(""))
                    .append_pair("client_id", "corten")
                    .append_pair("scope", &request.scope)
                    .append_pair("refresh_token", token);
                Ok(Self { url, authorization: None, body: Some(form.query().unwrap_or("").to_owned()) })
            }
            other => {
                if let Some(service) = &request.service {
                    url.query_pairs_mut().append_pair("service", service);
                }
                url.query_pairs_mut().append_pair("scope", &request.scope);
                let authorization = match other {
                    Some(Secret::Password { user, password }) => {
                        Some(basic(user, password).ok_or(TokenProblem::NoToken)?)
                    }
                    _ => None,
                };
                Ok(Self { url, authorization, body: None })
            }
        }
    }

    fn request(&self, http: &reqwest::Client) -> RequestBuilder {
        let builder = match &self.body {
            Some(body) => http
                .post(self.url.clone())
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(body.clone()),
            None => http.get(self.url.clone()),
        };
        match &self.authorization {
            Some(value) => builder.header(AUTHORIZATION, value.clone()),
            None => builder,
        }
    }

    /// Goes where the server sends it. What is secret goes to the same host only: a password is left behind, and a
    /// request that is nothing without its token is not made.
    fn redirect(&mut self, response: &Response) -> Result<(), TokenProblem> {
        let to = redirect::target(&self.url, response).map_err(|answer| match answer {
            Answer::Redirect(how) => TokenProblem::Redirect(how),
            _ => TokenProblem::Address,
        })?;
        if !redirect::same_host(&self.url, &to) {
            if self.body.is_some() {
                return Err(TokenProblem::Redirect(
                    "to another host, to which an identity token is not sent",
                ));
            }
            self.authorization = None;
        }
        self.url = to;
        Ok(())
    }
}

impl Asker<'_> {
    async fn fetch(&self, request: &TokenRequest) -> Result<(String, Duration), TokenProblem> {
        let begin = Form::new(request, self.login)?;
        let (mut form, mut redirects, mut patience) = (begin.clone(), 0, Patience::new());
        loop {
            let mut response = match tokio::time::timeout(self.timeout, form.request(self.http).send()).await
            {
                Err(_) => return Err(TokenProblem::Unreachable("timed out".to_owned())),
                Ok(Ok(response)) => response,
                Ok(Err(error)) => match patience.hiccup(&error) {
                    Some(time) => {
                        tokio::time::sleep(time).await;
                        continue;
                    }
                    None => return Err(self.unreachable(&error)),
                },
            };
            if is_redirect(response.status()) {
                redirects += 1;
                if redirects > MAX_REDIRECTS {
                    return Err(TokenProblem::Redirect("more than ten times"));
                }
                form.redirect(&response)?;
            } else if response.status().is_success() {
                match self.body(&mut response).await {
                    Ok(body) => return parse(&body).ok_or(TokenProblem::NoToken),
                    Err(TokenProblem::Unreachable(_)) if patience.another() => {}
                    Err(problem) => return Err(problem),
                }
            } else if let Some(time) = patience.busy(&response) {
                tokio::time::sleep(time).await;
                (form, redirects) = (begin.clone(), 0);
            } else {
                return Err(self.refusal(response, &patience).await);
            }
        }
    }

    async fn body(&self, response: &mut Response) -> Result<Vec<u8>, TokenProblem> {
        let mut body = Vec::new();
        loop {
            match tokio::time::timeout(self.timeout, response.chunk()).await {
                Err(_) => return Err(TokenProblem::Unreachable("timed out".to_owned())),
                Ok(Err(error)) => return Err(self.unreachable(&error)),
                Ok(Ok(None)) => return Ok(body),
                Ok(Ok(Some(piece))) if body.len() + piece.len() > MAX_TOKEN_ANSWER => {
                    return Err(TokenProblem::NoToken);
                }
                Ok(Ok(Some(piece))) => body.extend_from_slice(&piece),
            }
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> TokenProblem {
        match words::unreachable(error, self.trust) {
            Answer::Unreachable { reason } => TokenProblem::Unreachable(reason),
            other => TokenProblem::Tls(other.to_string()),
        }
    }

    async fn refusal(&self, mut response: Response, patience: &Patience) -> TokenProblem {
        let status = response.status().as_u16();
        let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let kind = kind.unwrap_or_default().to_owned();
        let body = self.body(&mut response).await.unwrap_or_default();
        let secrets = self.login.map(|login| login.secret.hidden()).unwrap_or_default();
        let message = refusal::words(&body, &kind, &secrets).message;
        let tried = self.login.map_or_else(|| self.without.clone(), |login| Tried::Sent(login.secret.kind()));
        TokenProblem::Status { status, message, tried, tries: patience.tries() }
    }
}

/// Token and life of an answer; the two names of the token mean the same.
fn parse(body: &[u8]) -> Option<(String, Duration)> {
    #[derive(serde::Deserialize)]
    struct Body {
        token: Option<String>,
        access_token: Option<String>,
        expires_in: Option<f64>,
    }
    let body: Body = serde_json::from_slice(body).ok()?;
    let token = body.token.filter(|token| !token.is_empty()).or(body.access_token)?;
    let seconds = body.expires_in.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let life = seconds
        .filter(|life| !life.is_zero())
        .unwrap_or(Duration::from_secs(DEFAULT_LIFE))
        .min(Duration::from_secs(LONGEST_LIFE));
    (!token.is_empty()).then_some((token, life))
}

/// The value of an Authorization header; `None` for a token that no header can hold.
pub(super) fn bearer(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// As [`bearer`], for a user name and password.
pub(super) fn basic(user: &str, password: &str) -> Option<HeaderValue> {
    let encoded = STANDARD.encode(format!("{user}:{password}"));
    let mut value = HeaderValue::from_str(&format!("Basic {encoded}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_answers() {
        let seconds = |text: &str| parse(text.as_bytes()).map(|(token, life)| (token, life.as_secs()));
        for (text, expected) in [
            (r#"{"token":"a"}"#, Some(("a".to_owned(), 60))),
            (r#"{"access_token":"b","expires_in":300}"#, Some(("b".to_owned(), 300))),
            (r#"{"token":"a","access_token":"b","expires_in":1e12}"#, Some(("a".to_owned(), 3600))),
            (r#"{"token":"","access_token":"b","expires_in":-5}"#, Some(("b".to_owned(), 60))),
            (r#"{"token":""}"#, None),
            ("{}", None),
            ("[]", None),
            ("", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
        assert!(bearer("line\nbreak").is_none());
    }
}
