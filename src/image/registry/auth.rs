//! Tokens (the distribution specification's token authentication, and its OAuth2 form).

use super::answer::{Answer, TokenProblem, causes};
use super::credentials::{Login, Secret};
use crate::hosts::origin;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

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

impl TokenCache {
    /// A token as the value of an Authorization header: a cached one unless a fresh one is demanded.
    pub(super) async fn token(
        &self,
        http: &reqwest::Client,
        request: &TokenRequest,
        login: Option<&Login>,
        fresh: bool,
        timeout: Duration,
    ) -> Result<HeaderValue, Answer> {
        let key = Key {
            realm: request.realm.to_string(),
            service: request.service.clone(),
            scope: request.scope.clone(),
            login: login.map_or_else(String::new, |login| login.fingerprint.to_string()),
        };
        if !fresh && let Some(token) = self.cached(&key) {
            return Ok(token);
        }
        let server = origin(&request.realm);
        let (token, life) = fetch(http, request, login, timeout)
            .await
            .map_err(|problem| Answer::Token { server: server.clone(), problem })?;
        let value = bearer(&token).ok_or(Answer::Token { server, problem: TokenProblem::NoToken })?;
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        tokens.retain(|_, (_, until)| *until > now);
        if tokens.len() < MOST_TOKENS {
            tokens.insert(key, (value.clone(), now + life.saturating_sub(MARGIN)));
        }
        Ok(value)
    }

    fn cached(&self, key: &Key) -> Option<HeaderValue> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let (token, until) = tokens.get(key)?;
        (*until > Instant::now()).then(|| token.clone())
    }
}

async fn fetch(
    http: &reqwest::Client,
    request: &TokenRequest,
    login: Option<&Login>,
    timeout: Duration,
) -> Result<(String, Duration), TokenProblem> {
    let mut url = request.realm.clone();
    let builder = match login.map(|login| &login.secret) {
        Some(Secret::Identity { token, .. }) => {
            let mut form = Url::parse("http://form/").map_err(|_| TokenProblem::Address)?;
            form.query_pairs_mut()
                .append_pair("grant_type", "refresh_token")
                .append_pair("service", request.service.as_deref().unwrap_or(""))
                .append_pair("client_id", "corten")
                .append_pair("scope", &request.scope)
                .append_pair("refresh_token", token);
            http.post(url)
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form.query().unwrap_or("").to_owned())
        }
        other => {
            if let Some(service) = &request.service {
                url.query_pairs_mut().append_pair("service", service);
            }
            url.query_pairs_mut().append_pair("scope", &request.scope);
            let mut builder = http.get(url);
            if let Some(Secret::Password { user, password }) = other {
                builder = builder.header(AUTHORIZATION, basic(user, password).ok_or(TokenProblem::NoToken)?);
            }
            builder
        }
    };
    // Redirects of a token server are not followed: the request may hold a secret.
    let mut response = match tokio::time::timeout(timeout, builder.send()).await {
        Err(_) => return Err(TokenProblem::Unreachable("timed out".to_owned())),
        Ok(Err(error)) => return Err(TokenProblem::Unreachable(causes(&error))),
        Ok(Ok(response)) => response,
    };
    if !response.status().is_success() {
        let tried = login.map_or(", without credentials", |login| login.secret.tried());
        return Err(TokenProblem::Status { status: response.status().as_u16(), tried });
    }
    let mut body = Vec::new();
    loop {
        match tokio::time::timeout(timeout, response.chunk()).await {
            Err(_) => return Err(TokenProblem::Unreachable("timed out".to_owned())),
            Ok(Err(error)) => return Err(TokenProblem::Unreachable(causes(&error))),
            Ok(Ok(None)) => break,
            Ok(Ok(Some(piece))) if body.len() + piece.len() > MAX_TOKEN_ANSWER => {
                return Err(TokenProblem::NoToken);
            }
            Ok(Ok(Some(piece))) => body.extend_from_slice(&piece),
        }
    }
    parse(&body).ok_or(TokenProblem::NoToken)
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
