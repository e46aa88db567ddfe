//! A panic in one RPC is that RPC's failure, and nobody else's.

use futures::FutureExt;
use http::{Request, Response};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

/// Turns panics into the code Internal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CatchPanics;

impl<S> Layer<S> for CatchPanics {
    type Service = Caught<S>;

    fn layer(&self, inner: S) -> Caught<S> {
        Caught { inner }
    }
}

/// See [`CatchPanics`].
#[derive(Debug, Clone)]
pub(crate) struct Caught<S> {
    inner: S,
}

impl<S> Service<Request<Body>> for Caught<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The panic hook has said where it was; the client learns only that it was.
        let failed = || Status::internal("the daemon failed unexpectedly; its log says where").into_http();
        // What a panic leaves half-done is the engine's to survive: its locks guard single updates.
        match catch_unwind(AssertUnwindSafe(|| self.inner.call(request))) {
            Ok(answer) => Box::pin(
                AssertUnwindSafe(answer)
                    .catch_unwind()
                    .map(move |answer| answer.unwrap_or_else(|_| Ok(failed()))),
            ),
            Err(_) => Box::pin(std::future::ready(Ok(failed()))),
        }
    }
}
