//! The client of the registry API (OCI distribution specification) over a reference's hosts.

mod ahead;
mod answer;
mod auth;
mod blob;
pub(crate) mod challenge;
mod client;
mod connections;
mod credentials;
mod early;
mod names;
mod pace;
mod progress;
mod range;
mod redirect;
mod refusal;
mod request;
mod retry;
mod words;

pub use answer::{Answer, HostAnswer, TokenProblem, Tried, Tries};
pub use credentials::Credentials;

use ahead::Room;
use auth::TokenCache;
pub(crate) use client::Client;
use connections::Connections;
pub(crate) use credentials::Login;
pub(crate) use early::{Arrived, Coming};
#[cfg(test)]
pub(crate) use names::Lookup;
pub(crate) use names::Resolver;
use pace::Pace;
use range::Span;

use crate::config::ImageConfig;
use crate::digest::Digest;
use crate::error::ImageError;
use crate::hosts::{Host, HostsError, Tls};
use crate::manifest::{self, Descriptor};
use crate::metrics::Metrics;
use crate::reference::Reference;
use bytes::Bytes;
use model::ErrorKind;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The most bytes of a manifest or index.
pub(crate) const MAX_MANIFEST: usize = 4 << 20;
/// The most bytes of an image's config.
pub(crate) const MAX_CONFIG: u64 = 8 << 20;

/// A document of a registry.
pub(crate) struct Document {
    pub bytes: Bytes,
    pub media_type: String,
    pub digest: Digest,
}

/// Takes the pieces of a body, in order.
pub(crate) trait Sink: Send {
    /// `false` when nothing more is wanted.
    fn take(&mut self, piece: Bytes) -> impl Future<Output = bool> + Send;
}

/// What all pulls share on their way to registries.
pub(crate) struct Transport {
    pub tokens: Arc<TokenCache>,
    pub pace: Arc<Pace>,
    pub names: Arc<Resolver>,
    pub connections: Arc<Connections>,
    pub metrics: Metrics,
    pub dial_timeout: Duration,
    pub progress_timeout: Duration,
    /// From how many bytes on a blob comes in parts at once; `None` where none does.
    pub split_from: Option<u64>,
    /// For parts that came early.
    pub room: Arc<Room>,
}

impl Transport {
    pub(crate) fn new(config: &ImageConfig, metrics: Metrics, names: Arc<Resolver>) -> Self {
        Self {
            tokens: Arc::default(),
            pace: Arc::new(Pace::new(config.registry_qps, config.registry_burst)),
            names,
            connections: Arc::default(),
            metrics,
            dial_timeout: config.dial_timeout(),
            progress_timeout: config.progress_timeout(),
            split_from: config.split_from(),
            room: Arc::default(),
        }
    }

    /// The same under other settings: tokens and connections stay, what is in memory is counted on, and so is who is due
    /// where the pace is the same.
    pub(crate) fn with(&self, config: &ImageConfig) -> Self {
        let pace = Pace::new(config.registry_qps, config.registry_burst);
        let pace = if self.pace.is_as_fast_as(&pace) { self.pace.clone() } else { Arc::new(pace) };
        let new = Self::new(config, self.metrics.clone(), self.names.clone());
        let connections = self.connections.clone();
        Self { tokens: self.tokens.clone(), room: self.room.clone(), connections, pace, ..new }
    }
}

/// The hosts of one pull, with what was learned about them so far.
pub(crate) struct Session {
    reference: Reference,
    endpoints: Vec<Endpoint>,
    /// The number of the host that gave the last document.
    giver: AtomicUsize,
}

struct Endpoint {
    client: Arc<Client>,
    resolve: bool,
    pull: bool,
    /// Why it is not asked again in this pull: it could not be reached, or served something wrong.
    given_up: OnceLock<Answer>,
}

/// How a blob came in.
pub(crate) enum Brought {
    /// Whole, its end from the host of this number if one was asked at all.
    Whole(Option<usize>),
    /// A host broke off for good, and another one has it: its bytes are not mixed with the first one's, of which nobody
    /// knows yet whether they were right. To be asked for again, from its first byte.
    Anew,
}

impl Session {
    pub(crate) fn new(
        reference: &Reference,
        hosts: Vec<(Host, Tls)>,
        login: Option<&Login>,
        transport: &Arc<Transport>,
    ) -> Result<Self, HostsError> {
        let mut endpoints = Vec::with_capacity(hosts.len());
        for (host, tls) in hosts {
            let (resolve, pull) = (host.resolve, host.pull);
            let client = Arc::new(Client::new((host, tls), reference, login, Arc::clone(transport))?);
            endpoints.push(Endpoint { client, resolve, pull, given_up: OnceLock::new() });
        }
        Ok(Self { reference: reference.clone(), endpoints, giver: AtomicUsize::new(0) })
    }

    /// Fetches a manifest or index by tag, or by digest and then verified.
    pub(crate) async fn manifest(
        &self,
        target: &str,
        expected: Option<&Digest>,
    ) -> Result<Document, ImageError> {
        let mut answers = Answers::default();
        let able = |(_, endpoint): &(usize, &Endpoint)| {
            let able = if expected.is_some() { endpoint.pull } else { endpoint.resolve };
            able && !endpoint.given_up()
        };
        let mut able = self.endpoints.iter().enumerate().filter(able).peekable();
        while let Some((number, endpoint)) = able.next() {
            self.giver.store(number, Ordering::Relaxed);
            match endpoint.client.manifest(target, expected).await {
                // What a digest names is right. Of the rest the last host's word counts, good or bad.
                Ok(document) if expected.is_some() || able.peek().is_none() => return Ok(document),
                Ok(document) => match manifest::parse(&document.bytes, &document.media_type) {
                    Ok(_) => return Ok(document),
                    Err(problem) => {
                        endpoint.note(Answer::Malformed { problem: problem.to_string() }, &mut answers);
                    }
                },
                Err(answer) => endpoint.note(answer, &mut answers),
            }
        }
        Err(self.failure(answers))
    }

    /// Fetches a small blob whole and verifies it.
    pub(crate) async fn small_blob(&self, descriptor: &Descriptor) -> Result<Bytes, ImageError> {
        let mut answers = Answers::default();
        for endpoint in self.endpoints.iter().filter(|endpoint| endpoint.pull && !endpoint.given_up()) {
            match endpoint.client.small_blob(descriptor).await {
                Ok(bytes) => return Ok(bytes),
                Err(answer) => endpoint.note(answer, &mut answers),
            }
        }
        Err(self.failure(answers))
    }

    /// Has a small blob come in that may turn out not to be needed, from the host that gave the last document; `None` where
    /// that one serves no blobs, or there is no room.
    pub(crate) fn early(&self, descriptor: &Descriptor) -> Option<Coming> {
        let endpoint = self.endpoints.get(self.giver.load(Ordering::Relaxed))?;
        (endpoint.pull && !endpoint.given_up()).then(|| early::begin(&endpoint.client, descriptor)).flatten()
    }

    /// Streams a blob into the sink, from the byte on that is asked for; where a body breaks off, goes on at
    /// that byte on the same host. The content is not verified here.
    pub(crate) async fn blob(
        &self,
        descriptor: &Descriptor,
        from: u64,
        sink: &mut impl Sink,
    ) -> Result<Brought, ImageError> {
        if from > 0 && from == descriptor.size {
            return Ok(Brought::Whole(None));
        }
        let mut answers = Answers::default();
        let mut received = from;
        let mut giver: Option<(&Endpoint, Answer)> = None;
        for (number, endpoint) in self.endpoints.iter().enumerate() {
            if !endpoint.pull || endpoint.given_up() {
                continue;
            }
            if let Some((giver, problem)) = &giver {
                match endpoint.client.blob(&descriptor.digest, Span::WHOLE).await {
                    Ok(_) => {
                        giver.give_up(problem.clone());
                        return Ok(Brought::Anew);
                    }
                    Err(answer) => endpoint.note(answer, &mut answers),
                }
                continue;
            }
            match blob::fetch(&endpoint.client, descriptor, &mut received, sink).await {
                Ok(()) => return Ok(Brought::Whole(Some(number))),
                Err(answer) => {
                    if received > from {
                        giver = Some((endpoint, answer.clone()));
                    }
                    endpoint.note(answer, &mut answers);
                }
            }
        }
        Err(self.failure(answers))
    }

    /// Leaves a host that served wrong bytes out of the rest of the pull; `true` when another is left.
    pub(crate) fn distrust(&self, number: usize, problem: &str) -> bool {
        if let Some(endpoint) = self.endpoints.get(number) {
            endpoint.give_up(Answer::Wrong { problem: problem.to_owned() });
        }
        self.endpoints.iter().any(|endpoint| endpoint.pull && !endpoint.given_up())
    }

    /// The answers of all hosts, also of those that were given up before.
    fn failure(&self, answers: Answers) -> ImageError {
        let Answers(mut answers) = answers;
        let hosts: Vec<HostAnswer> = self
            .endpoints
            .iter()
            .filter_map(|endpoint| {
                let host = endpoint.client.name();
                let now = answers.iter().position(|answer| answer.host == host);
                now.map(|at| answers.remove(at))
                    .or_else(|| Some(HostAnswer { host, answer: endpoint.given_up.get()?.clone() }))
            })
            .collect();
        // The registry's own host comes last and has the last word; a mirror's absence says nothing.
        let kind = hosts.last().map_or(ErrorKind::Unavailable, |host| host.answer.kind());
        ImageError::Registry { reference: Box::new(self.reference.clone()), hosts, kind }
    }
}

/// What the hosts of one object answered.
#[derive(Default)]
struct Answers(Vec<HostAnswer>);

impl Endpoint {
    fn given_up(&self) -> bool {
        self.given_up.get().is_some()
    }

    fn give_up(&self, answer: Answer) {
        // The first reason stands.
        let _ = self.given_up.set(answer);
    }

    fn note(&self, answer: Answer, answers: &mut Answers) {
        if answer.is_absence() {
            self.give_up(answer.clone());
        }
        let host = self.client.name();
        tracing::debug!(host, %answer, "a host did not serve the object");
        answers.0.push(HostAnswer { host, answer });
    }
}
