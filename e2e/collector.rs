//! An OpenTelemetry collector that keeps what it is sent, by either of OTLP's protocols.

use crate::error::{Context, Error};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use otlp::message::{ExportTraceServiceRequest, Span};
use prost::Message;
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::{Builder, Runtime};

/// A span and the service that it is of.
pub type Kept = (String, Span);

/// A collector, on a thread of its own; it ends with this.
#[derive(Debug)]
pub struct Collector {
    kept: Arc<Mutex<Vec<Kept>>>,
    runtime: Option<Runtime>,
}

impl Collector {
    /// Listens in the network of the calling thread.
    ///
    /// # Errors
    /// The address is taken.
    pub fn start(address: SocketAddr) -> Result<Self, Error> {
        let listener = TcpListener::bind(address).at("listen on", address.to_string())?;
        listener.set_nonblocking(true).at("listen on", address.to_string())?;
        let runtime =
            Builder::new_multi_thread().worker_threads(1).enable_all().build().at("start", "tokio")?;
        let kept = Arc::new(Mutex::new(Vec::new()));
        let all = kept.clone();
        runtime.spawn(async move {
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            while let Ok((stream, _)) = listener.accept().await {
                let all = all.clone();
                let service = service_fn(move |request| answer(request, all.clone()));
                let connection = auto::Builder::new(TokioExecutor::new());
                tokio::spawn(async move {
                    // A client that goes away is its own affair.
                    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Ok(Self { kept, runtime: Some(runtime) })
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // Scenarios drop it where waiting is not allowed.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

type Answer = http_body_util::combinators::BoxBody<Bytes, Infallible>;

async fn answer(
    request: Request<Incoming>,
    kept: Arc<Mutex<Vec<Kept>>>,
) -> Result<Response<Answer>, Infallible> {
    let is_grpc = request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/grpc");
    let whole =
        request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    // gRPC has five bytes before the message; its kubelet compresses nothing.
    let message = whole.get(if is_grpc { 5 } else { 0 }..).unwrap_or_default();
    let message = ExportTraceServiceRequest::decode(message).unwrap_or_default();
    for of in message.resource_spans {
        let attributes = of.resource.unwrap_or_default().attributes;
        let named = attributes.into_iter().find(|attribute| attribute.key == "service.name");
        let service = match named.and_then(|name| name.value).and_then(|name| name.value) {
            Some(otlp::message::Value::String(name)) => name,
            _ => String::new(),
        };
        let spans = of.scope_spans.into_iter().flat_map(|scope| scope.spans);
        let mut all = kept.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(spans.map(|span| (service.clone(), span)));
    }
    let mut answer = Response::new(Full::from(Bytes::new()).boxed());
    if is_grpc {
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let empty = Full::from(Bytes::from_static(&[0; 5]));
        *answer.body_mut() = empty.with_trailers(async { Some(Ok(trailers)) }).boxed();
    }
    Ok(answer)
}
