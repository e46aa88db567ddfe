//! A registry on a loopback port.

mod pushed;

use crate::Digest;
use base64::Engine as _;
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Body = BoxBody<Bytes, std::io::Error>;

/// How the registry behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behaviour {
    Open,
    Basic,
    Bearer,
    /// Layers have a wrong byte.
    FlipLayers,
    /// Layers end in the middle, with a right Content-Length.
    CutLayers,
    /// The first body of a layer breaks off in the middle.
    BreakOnce,
    Slow,
    /// Layers send half and then nothing.
    Stall,
    /// As [`Self::Stall`], for layers over 1 MiB alone.
    StallBig,
    /// Each path answers 503 once.
    BusyOnce,
    /// Everything answers with this status.
    Fail(u16),
    /// Layers come a byte at a time.
    Drip,
    /// As [`Self::BreakOnce`], and every body is whole from its first byte on.
    BreakOnceNoRanges,
    /// As [`Self::BreakOnce`], and the rest begins elsewhere.
    BreakOnceWrongRange,
}

pub(super) use pushed::{Ids, Pushed, gzip, zstd};

struct State {
    behaviour: Behaviour,
    manifests: HashMap<String, (String, Vec<u8>)>,
    blobs: HashMap<String, Vec<u8>>,
    layers: Vec<String>,
    broken: Vec<String>,
    busy: Vec<String>,
    redirect: Option<String>,
    token: String,
    connections: usize,
    requests: usize,
    now: usize,
    most_at_once: usize,
    blob_requests: usize,
    token_requests: usize,
    ranges: usize,
    sent: u64,
    authorized: usize,
    namespaces: Vec<String>,
}

pub(super) struct Mock {
    address: String,
    state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Mock {
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(Mutex::new(State {
            behaviour: Behaviour::Open,
            manifests: HashMap::new(),
            blobs: HashMap::new(),
            layers: Vec::new(),
            broken: Vec::new(),
            busy: Vec::new(),
            redirect: None,
            token: "good-token".into(),
            connections: 0,
            requests: 0,
            now: 0,
            most_at_once: 0,
            blob_requests: 0,
            token_requests: 0,
            ranges: 0,
            sent: 0,
            authorized: 0,
            namespaces: Vec::new(),
        }));
        let (served, own) = (Arc::clone(&state), address.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (state, own) = (Arc::clone(&served), own.clone());
                state.lock().unwrap().connections += 1;
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let (state, own) = (Arc::clone(&state), own.clone());
                        async move {
                            {
                                let mut state = state.lock().unwrap();
                                state.requests += 1;
                                state.now += 1;
                                state.most_at_once = state.most_at_once.max(state.now);
                            }
                            let reply = answer(&state, &own, request).await;
                            state.lock().unwrap().now -= 1;
                            Ok::<_, std::convert::Infallible>(reply)
                        }
                    });
                    let io = hyper_util::rt::TokioIo::new(stream);
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
                });
            }
        });
        Self { address, state, task }
    }

    pub(super) fn address(&self) -> String {
        self.address.clone()
    }

    pub(super) fn behave(&self, behaviour: Behaviour) {
        self.state.lock().unwrap().behaviour = behaviour;
    }

    pub(super) fn redirect_blobs(&self, to: &str) {
        self.state.lock().unwrap().redirect = Some(to.to_owned());
    }

    /// From now on the registry takes another token.
    pub(super) fn revoke(&self) {
        self.state.lock().unwrap().token = "newer-token".into();
    }

    pub(super) fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }

    pub(super) fn requests(&self) -> usize {
        self.state.lock().unwrap().requests
    }

    /// The most requests that were in hand together.
    pub(super) fn most_at_once(&self) -> usize {
        self.state.lock().unwrap().most_at_once
    }

    pub(super) fn blob_requests(&self) -> usize {
        self.state.lock().unwrap().blob_requests
    }

    pub(super) fn token_requests(&self) -> usize {
        self.state.lock().unwrap().token_requests
    }

    pub(super) fn ranges(&self) -> usize {
        self.state.lock().unwrap().ranges
    }

    pub(super) fn sent(&self) -> u64 {
        self.state.lock().unwrap().sent
    }

    pub(super) fn authorized(&self) -> usize {
        self.state.lock().unwrap().authorized
    }

    pub(super) fn namespaces(&self) -> Vec<String> {
        self.state.lock().unwrap().namespaces.clone()
    }

    pub(super) fn put_manifest(&self, repository: &str, tag: &str, document: &str) {
        let mut state = self.state.lock().unwrap();
        let entry = (String::new(), document.as_bytes().to_vec());
        state.manifests.insert(format!("{repository}/{tag}"), entry);
    }

    pub(super) fn push(&self, repository: &str, tag: &str, pushed: &Pushed) -> Ids {
        let mut state = self.state.lock().unwrap();
        let platform = crate::manifest::Platform::host();
        let mut size = 0;
        let mut layers = Vec::new();
        let mut diff_ids = Vec::new();
        for (compressed, content, kind) in &pushed.layers {
            let digest = Digest::of(compressed);
            size += compressed.len() as u64;
            layers.push(serde_json::json!({
                "mediaType": format!("application/vnd.oci.image.layer.v1.{kind}"),
                "digest": digest, "size": i64::try_from(compressed.len()).unwrap() + pushed.claim
            }));
            diff_ids.push(Digest::of(content));
            state.layers.push(digest.to_string());
            state.blobs.insert(digest.to_string(), compressed.clone());
        }
        let config = serde_json::to_vec(&serde_json::json!({
            "architecture": platform.architecture, "os": "linux", "config": {"Cmd": ["/bin/sh"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids}
        }))
        .unwrap();
        size += config.len() as u64;
        let config_digest = Digest::of(&config);
        let config_size = config.len();
        state.blobs.insert(config_digest.to_string(), config);
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = serde_json::to_vec(&serde_json::json!({
            "schemaVersion": 2, "mediaType": kind, "layers": layers,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                       "digest": config_digest, "size": config_size}
        }))
        .unwrap();
        let mut top = (kind.to_owned(), manifest.clone());
        if pushed.index {
            let digest = Digest::of(&manifest);
            state.manifests.insert(format!("{repository}/{digest}"), top);
            let kind_of_index = "application/vnd.oci.image.index.v1+json";
            let index = serde_json::to_vec(&serde_json::json!({
                "schemaVersion": 2, "mediaType": kind_of_index, "manifests": [
                    {"mediaType": kind, "digest": digest, "size": manifest.len(),
                     "platform": {"os": "linux", "architecture": platform.architecture}},
                    {"mediaType": kind, "digest": Digest::of(b"other"), "size": 1,
                     "platform": {"os": "linux", "architecture": "s390x"}}
                ]
            }))
            .unwrap();
            top = (kind_of_index.to_owned(), index);
        }
        let digest = Digest::of(&top.1);
        state.manifests.insert(format!("{repository}/{digest}"), top.clone());
        state.manifests.insert(format!("{repository}/{tag}"), top);
        Ids { top: digest, config: config_digest, size }
    }
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

fn status(code: u16, text: &'static str) -> Response<Body> {
    Response::builder().status(code).body(full(text)).unwrap()
}

async fn answer(state: &Arc<Mutex<State>>, own: &str, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let authorization =
        request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
    if path == "/token" {
        return token(state, authorization, request).await;
    }
    let behaviour = {
        let mut state = state.lock().unwrap();
        if let Behaviour::Fail(code) = state.behaviour {
            return Response::builder().status(code).header("retry-after", "0").body(full("")).unwrap();
        }
        if let Some(namespace) = request.uri().query().and_then(|query| query.strip_prefix("ns=")) {
            state.namespaces.push(namespace.to_owned());
        }
        state.authorized += usize::from(authorization.is_some());
        let expected = match state.behaviour {
            Behaviour::Basic => Some("Basic dXNlcjpwYXNz".to_owned()),
            Behaviour::Bearer => Some(format!("Bearer {}", state.token)),
            _ => None,
        };
        if expected.is_some() && authorization != expected {
            let challenge = match state.behaviour {
                Behaviour::Basic => "Basic realm=\"mock\"".to_owned(),
                _ => format!("Bearer realm=\"http://{own}/token\",service=\"mock\""),
            };
            let body = full(r#"{"errors":[{"code":"UNAUTHORIZED","message":"no"}]}"#);
            return Response::builder().status(401).header("www-authenticate", challenge).body(body).unwrap();
        }
        if state.behaviour == Behaviour::BusyOnce && !state.busy.contains(&path) {
            state.busy.push(path);
            return Response::builder().status(503).header("retry-after", "0").body(full("")).unwrap();
        }
        state.behaviour
    };
    if behaviour == Behaviour::Slow {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let rest = path.strip_prefix("/v2/").unwrap_or("");
    if let Some((repository, target)) = rest.split_once("/manifests/") {
        let state = state.lock().unwrap();
        let Some((kind, bytes)) = state.manifests.get(&format!("{repository}/{target}")) else {
            return status(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"secret"}]}"#);
        };
        return Response::builder().header("content-type", kind).body(full(bytes.clone())).unwrap();
    }
    match rest.split_once("/blobs/") {
        Some((repository, digest)) => blob(state, repository, digest, &request),
        None => status(404, ""),
    }
}

async fn token(
    state: &Arc<Mutex<State>>,
    authorization: Option<String>,
    request: Request<Incoming>,
) -> Response<Body> {
    let good = if request.method() == Method::POST {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let body = std::str::from_utf8(&body).unwrap();
        body.contains("grant_type=refresh_token") && body.contains("refresh_token=refresh-me")
    } else {
        assert!(request.uri().query().unwrap().contains("scope=repository%3Aprivate%2Fapp%3Apull"));
        let basic = base64::engine::general_purpose::STANDARD.encode("user:pass");
        authorization == Some(format!("Basic {basic}"))
    };
    let mut state = state.lock().unwrap();
    state.token_requests += 1;
    if !good {
        return status(401, "");
    }
    Response::new(full(format!(r#"{{"token":"{}","expires_in":300}}"#, state.token)))
}

fn blob(
    shared: &Arc<Mutex<State>>,
    repository: &str,
    digest: &str,
    request: &Request<Incoming>,
) -> Response<Body> {
    let mut state = shared.lock().unwrap();
    state.blob_requests += 1;
    let Some(mut bytes) = state.blobs.get(digest).cloned() else { return status(404, "") };
    if let Some(to) = &state.redirect {
        let location = format!("http://{to}/v2/{repository}/blobs/{digest}");
        return Response::builder().status(307).header("location", location).body(full("")).unwrap();
    }
    let range =
        request.headers().get("range").and_then(|range| range.to_str().unwrap().strip_prefix("bytes="));
    let range = range.filter(|_| state.behaviour != Behaviour::BreakOnceNoRanges);
    let start: usize = range.map_or(0, |range| range.trim_end_matches('-').parse().unwrap());
    state.ranges += usize::from(range.is_some());
    let length = bytes.len();
    let mut end = length;
    let mut hang = false;
    if state.layers.iter().any(|layer| layer == digest) {
        match state.behaviour {
            Behaviour::FlipLayers => bytes[length / 2] ^= 1,
            Behaviour::CutLayers => end = start.max(length / 2),
            Behaviour::BreakOnce | Behaviour::BreakOnceNoRanges | Behaviour::BreakOnceWrongRange
                if !state.broken.iter().any(|known| known == digest) =>
            {
                state.broken.push(digest.to_owned());
                end = length / 2;
            }
            Behaviour::Stall => (end, hang) = (start.max(length / 2), true),
            Behaviour::StallBig if length > 1 << 20 => (end, hang) = (start.max(length / 2), true),
            _ => {}
        }
    }
    state.sent += (end - start) as u64;
    let told = if state.behaviour == Behaviour::BreakOnceWrongRange { start / 2 } else { start };
    let response = Response::builder()
        .status(if range.is_some() { 206 } else { 200 })
        .header("content-range", format!("bytes {told}-{}/{length}", length - 1))
        .header("content-length", length - start);
    let piece = Bytes::from(bytes).slice(start..end);
    if state.behaviour == Behaviour::Drip && state.layers.iter().any(|layer| layer == digest) {
        let pieces = futures::stream::unfold(piece, |mut rest| async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let byte = rest.split_to(rest.len().min(1));
            (!byte.is_empty()).then_some((Ok(Frame::data(byte)), rest))
        });
        return response.body(BodyExt::boxed(StreamBody::new(pieces))).unwrap();
    }
    if end == length && !hang {
        return response.body(full(piece)).unwrap();
    }
    // Promises more than it sends: the connection ends, or nothing more comes.
    let (sender, receiver) = tokio::sync::mpsc::channel(2);
    tokio::spawn(async move {
        let _ = sender.send(Ok(Frame::data(piece))).await;
        tokio::time::sleep(Duration::from_secs(if hang { 20 } else { 0 })).await;
        let _ = sender.send(Err(std::io::Error::other("broken on purpose"))).await;
    });
    let stream = futures::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|frame| (frame, receiver))
    });
    response.body(BodyExt::boxed(StreamBody::new(stream))).unwrap()
}
