//! The client's deadline, answered as the kubelet knows it: DeadlineExceeded (`cri-client` turns it into a time-out).
//!
//! tonic ends a call at its deadline too, but as Cancelled. The layer lies within tonic's, so its clock starts no later
//! and is asked first.

use futures::FutureExt;
use http::{Request, Response};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

/// Ends calls at the deadline of `grpc-timeout`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline;

impl<S> Layer<S> for Deadline {
    type Service = Timed<S>;

    fn layer(&self, inner: S) -> Timed<S> {
        Timed { inner }
    }
}

/// See [`Deadline`].
#[derive(Debug, Clone)]
pub(crate) struct Timed<S> {
    inner: S,
}

impl<S> Service<Request<Body>> for Timed<S>
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
        let header = request.headers().get("grpc-timeout");
        let limit = header.and_then(|value| value.to_str().ok()).and_then(parse);
        let answer = self.inner.call(request);
        let Some(limit) = limit else { return Box::pin(answer) };
        Box::pin(tokio::time::timeout(limit, answer).map(|outcome| {
            outcome.unwrap_or_else(|_| {
                Ok(Status::deadline_exceeded("the client's deadline has passed").into_http())
            })
        }))
    }
}

/// At most eight digits and a unit, as in gRPC's protocol over HTTP/2; anything else is no deadline.
fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]

    use super::*;

    #[test]
    fn deadlines_in_every_unit_and_no_others() {
        assert_eq!(parse("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(parse("2M"), Some(Duration::from_secs(120)));
        assert_eq!(parse("3S"), Some(Duration::from_secs(3)));
        assert_eq!(parse("40m"), Some(Duration::from_millis(40)));
        assert_eq!(parse("5u"), Some(Duration::from_micros(5)));
        assert_eq!(parse("6n"), Some(Duration::from_nanos(6)));
        for text in ["", "S", "1", "-1S", "+1S", "123456789S", "1s", "1é", "S1"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[tokio::test]
    async fn a_call_that_takes_longer_has_exceeded_its_deadline() {
        let service =
            tower::service_fn(|_: Request<Body>| std::future::pending::<Result<_, std::io::Error>>());
        let mut timed = Deadline.layer(service);
        let request = Request::builder().header("grpc-timeout", "5m").body(Body::empty());
        let answer = timed.call(request.expect("a request")).await.expect("an answer");
        let status = Status::from_header_map(answer.headers()).map(|status| status.code());
        assert_eq!(status, Some(tonic::Code::DeadlineExceeded));
    }
}
