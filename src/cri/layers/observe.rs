//! A span around each RPC, a line in the log at its end, and its metrics.

use super::methods::Class;
use super::metrics::{Metrics, name};
use http::{Request, Response};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::{Instrument, Span};

/// Watches every RPC.
#[derive(Debug, Clone)]
pub(crate) struct Observe {
    /// Where it counts.
    pub(crate) metrics: Arc<Metrics>,
}

impl<S> Layer<S> for Observe {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        Observed { inner, metrics: self.metrics.clone() }
    }
}

/// See [`Observe`].
#[derive(Debug, Clone)]
pub(crate) struct Observed<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S> Service<Request<Body>> for Observed<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let call = Call::begin(self.metrics.clone(), &request);
        // The handlers fill in what the request names.
        let span = tracing::info_span!(
            parent: &call.span,
            "rpc",
            method = call.method(),
            pod = tracing::field::Empty,
            pod_id = tracing::field::Empty,
            addresses = tracing::field::Empty,
            container = tracing::field::Empty,
            container_id = tracing::field::Empty,
            image = tracing::field::Empty,
            image_id = tracing::field::Empty,
        );
        let answer = span.in_scope(|| self.inner.call(request));
        Box::pin(
            async move {
                let answer = answer.await;
                if let Ok(response) = &answer {
                    call.end(Status::from_header_map(response.headers()));
                }
                answer
            }
            .instrument(span),
        )
    }
}

/// An RPC under way. Dropped before its end, it counts as cancelled: the client has hung up.
struct Call {
    metrics: Arc<Metrics>,
    path: String,
    begin: Instant,
    ended: bool,
    /// What a trace has of it, where one is kept.
    span: Span,
}

impl Call {
    fn begin(metrics: Arc<Metrics>, request: &Request<Body>) -> Self {
        metrics.begin();
        let path = request.uri().path();
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        // Level and target are the trace's own: the log has the span below.
        let span = tracing::trace_span!(
            target: "spans",
            parent: None,
            "call",
            method = path,
            traceparent = header("traceparent"),
            tracestate = header("tracestate"),
            code = tracing::field::Empty,
            error = tracing::field::Empty,
        );
        Self { metrics, path: path.to_owned(), begin: Instant::now(), ended: false, span }
    }

    fn method(&self) -> &'static str {
        self.metrics.method(&self.path).name
    }

    /// A successful answer tells its status only after its messages, a failed one at once.
    fn end(mut self, status: Option<Status>) {
        let code = status.as_ref().map_or(Code::Ok, Status::code);
        if let Some(status) = status.as_ref().filter(|status| status.code() != Code::Ok) {
            self.span.record("error", status.message());
        }
        self.record(code);
        let class = self.metrics.method(&self.path).class;
        let (code, milliseconds) = (name(code), self.begin.elapsed().as_secs_f64() * 1e3);
        let took = format_args!("{milliseconds:.3}ms");
        match (status.filter(|status| status.code() != Code::Ok), class) {
            (None, Class::Polling) => tracing::debug!(code, %took, "answered"),
            (None, Class::Mutation) => {
                // By itself: the client does not wait for the line.
                let told = async move {
                    tracing::info!(code, took = %format_args!("{milliseconds:.3}ms"), "answered");
                };
                tokio::spawn(told.in_current_span());
            }
            // Asking for what is gone, or for what this build lacks, is part of how clients poll.
            (Some(status), Class::Polling)
                if matches!(status.code(), Code::NotFound | Code::Unimplemented) =>
            {
                tracing::debug!(code, %took, error = status.message(), "failed");
            }
            (Some(status), _) => tracing::warn!(code, %took, error = status.message(), "failed"),
        }
    }

    fn record(&mut self, code: Code) {
        self.ended = true;
        self.span.record("code", i64::from(i32::from(code)));
        self.metrics.end(self.metrics.method(&self.path), code, self.begin.elapsed());
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.ended {
            self.record(Code::Cancelled);
            tracing::info!("the client hung up");
        }
    }
}
