//! Requests to one host: authentication, redirects, retries.

use super::answer::{Answer, TokenProblem, Tried};
use super::auth::{self, Asker, TokenRequest};
use super::challenge::{self, Challenge};
use super::client::{Ask, Client};
use super::credentials::Secret;
use super::redirect::{self, MAX_REDIRECTS, is_redirect};
use super::refusal::{self, Words};
use super::retry::Patience;
use super::words;
use crate::hosts::origin;
use reqwest::header::{ACCEPT as ACCEPT_HEADER, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RANGE};
use reqwest::{Response, StatusCode, Url};
use sys::sync::lock;

/// The most bytes of an error's body that are looked at.
const MAX_ERROR: usize = 64 << 10;

/// An answer, and who gave it.
struct Served {
    response: Response,
    /// Whether it was the host itself, and not one that it sent its client to.
    own: bool,
}

/// Why there was no answer.
enum Trouble {
    Answer(Answer),
    /// The connection to this host.
    Transport(reqwest::Error, Url),
}

impl Client {
    /// GET with authentication, and with patience for a busy host.
    pub(super) async fn get(&self, ask: Ask<'_>) -> Result<Response, Answer> {
        let url = self.url(ask.kind, ask.target);
        let mut headers = HeaderMap::new();
        if let Some(accept) = ask.accept {
            headers.insert(ACCEPT_HEADER, HeaderValue::from_static(accept));
        }
        if let Some(range) = ask.span.header() {
            headers.insert(RANGE, range);
        }
        let http = if ask.bulk { &self.http.layers } else { &self.http.documents };
        let (mut challenged, mut patience) = (0, Patience::new());
        loop {
            let authorization = self.authorization();
            let Served { response, own } =
                match self.follow(http, &url, &headers, authorization.as_ref()).await {
                    Ok(served) => served,
                    Err(Trouble::Answer(answer)) => return Err(answer),
                    Err(Trouble::Transport(error, at)) => match patience.hiccup(&error) {
                        Some(time) => {
                            self.pause(time).await;
                            continue;
                        }
                        None => return Err(self.at(&at, words::unreachable(&error, &self.trust))),
                    },
                };
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            if refuses_ranges(status) && headers.remove(RANGE).is_some() {
                // The whole of it, then.
                continue;
            }
            if status == StatusCode::UNAUTHORIZED && own && challenged < 2 {
                challenged += 1;
                if self.authenticate(&response, challenged > 1).await? {
                    continue;
                }
            } else if let Some(time) = patience.busy(&response) {
                self.pause(time).await;
                continue;
            }
            return Err(self.refusal(response, authorization.as_ref(), &patience).await);
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

    /// Follows redirects by hand, so that what is meant for this host never reaches another.
    async fn follow(
        &self,
        http: &reqwest::Client,
        url: &Url,
        headers: &HeaderMap,
        authorization: Option<&HeaderValue>,
    ) -> Result<Served, Trouble> {
        let mut url = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let own = url.origin() == self.base.origin();
            let mut request = http.get(url.clone()).headers(headers.clone());
            if own {
                request = request.headers(self.headers.clone());
                if let Some(authorization) = authorization {
                    request = request.header(AUTHORIZATION, authorization.clone());
                }
            }
            self.transport.pace.turn(&origin(&url)).await;
            let sent = tokio::time::timeout(self.transport.progress_timeout, request.send()).await;
            let metrics = &self.transport.metrics;
            if own && matches!(sent, Ok(Ok(_))) {
                metrics.answered(&origin(&self.base));
            }
            // Of a storage that it names too: that name is the host's choice.
            metrics.requests.with_label_values(&[&self.label()]).inc();
            let response = match sent {
                Err(_) => {
                    let stalled = Answer::Stalled { received: 0, expected: 0 };
                    return Err(Trouble::Answer(self.at(&url, stalled)));
                }
                Ok(Err(error)) => return Err(Trouble::Transport(error, url)),
                Ok(Ok(response)) => response,
            };
            if !is_redirect(response.status()) {
                return Ok(Served { response, own });
            }
            url = redirect::target(&url, &response).map_err(Trouble::Answer)?;
        }
        Err(Trouble::Answer(Answer::Redirect("more than ten times")))
    }

    /// The answer as that of the host that gave it.
    fn at(&self, url: &Url, answer: Answer) -> Answer {
        if url.origin() == self.base.origin() {
            return answer;
        }
        Answer::Elsewhere { host: origin(url), answer: Box::new(answer) }
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
                let realm = self.realm(response.url(), &realm)?;
                let request = TokenRequest { realm, service, scope: self.scope(scope.as_deref()) };
                let asker = Asker {
                    http: &self.http.documents,
                    login: self.login.as_ref(),
                    without: &self.without,
                    trust: &self.trust,
                    timeout: self.transport.progress_timeout,
                };
                Some(self.transport.tokens.token(&asker, &request, again).await?)
            }
            (None, None) => return Ok(false),
            (None, Some(_)) => return Err(Answer::Challenge),
        };
        let mut current = lock(&self.authorization);
        *current = value;
        Ok(current.is_some())
    }

    /// What a token is asked for: to pull this repository, whatever else the challenge names. A host that could choose
    /// would be handed tokens for other repositories, or for more than to read.
    fn scope(&self, offered: Option<&str>) -> String {
        // A path behind the version is part of the repository's name to the host.
        let above = self.base.path().split_once("/v2/").map_or("", |(_, above)| above.trim_matches('/'));
        let whole = format!("{above}/{}", self.repository);
        let own = [self.repository.as_str(), whole.trim_start_matches('/')];
        let mut offered = offered.unwrap_or_default().split(' ').filter_map(|scope| {
            let (name, _) = scope.strip_prefix("repository:")?.rsplit_once(':')?;
            own.into_iter().find(|own| *own == name)
        });
        format!("repository:{}:pull", offered.next().unwrap_or(&self.repository))
    }

    /// The address of the token server, which may be relative to what was asked for.
    fn realm(&self, asked: &Url, realm: &str) -> Result<Url, Answer> {
        let problem = || Answer::Token { server: String::new(), problem: TokenProblem::Address };
        let url = asked.join(realm).map_err(|_| problem())?;
        let usable = url.scheme() == "https" || (url.scheme() == "http" && self.base.scheme() == "http");
        if usable && url.username().is_empty() && url.password().is_none() { Ok(url) } else { Err(problem()) }
    }

    fn authorization(&self) -> Option<HeaderValue> {
        lock(&self.authorization).clone()
    }

    async fn refusal(&self, response: Response, sent: Option<&HeaderValue>, patience: &Patience) -> Answer {
        let status = response.status().as_u16();
        let url = response.url().clone();
        let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let kind = kind.unwrap_or_default().to_owned();
        let mut secrets = self.login.as_ref().map(|login| login.secret.hidden()).unwrap_or_default();
        secrets.extend(sent.and_then(|value| value.to_str().ok()?.split_once(' ')).map(|(_, value)| value));
        let body = self.body(response, MAX_ERROR).await.unwrap_or_default();
        let Words { code, message } = refusal::words(&body, &kind, &secrets);
        let tried = match (status, sent, &self.login) {
            _ if url.origin() != self.base.origin() => Tried::Unsaid,
            (401 | 403, Some(_), Some(login)) => Tried::Sent(login.secret.kind()),
            (401 | 403, _, None) => self.without.clone(),
            (401 | 403, None, Some(_)) => self.without.clone(),
            (404, None, _) if matches!(self.without, Tried::Withheld(..)) => self.without.clone(),
            _ => Tried::Unsaid,
        };
        self.at(&url, Answer::Status { status, code, message, tried, tries: patience.tries() })
    }
}

/// Whether a host that was asked for a part may have answered that it knows no parts, or not this one.
fn refuses_ranges(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::RANGE_NOT_SATISFIABLE
            | StatusCode::BAD_REQUEST
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::NOT_IMPLEMENTED
    )
}
