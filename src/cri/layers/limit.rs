//! The most that a request may weigh.
//!
//! tonic's own limit answers OutOfRange; the interface's convention is ResourceExhausted. So the length that
//! stands before the message is read here, and a request that announces too much ends before it is buffered.
//! Only the first message is looked at: every request of the CRI has one.

use bytes::Bytes;
use http::Request;
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

/// A flag and a length of 32 bits in network order.
const PREFIX: usize = 5;

/// Refuses requests of more than so many bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SizeLimit {
    /// Bytes of one encoded request.
    pub(crate) bytes: usize,
}

impl<S> Layer<S> for SizeLimit {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        Limited { inner, limit: self.bytes }
    }
}

/// See [`SizeLimit`].
#[derive(Debug, Clone)]
pub(crate) struct Limited<S> {
    inner: S,
    limit: usize,
}

impl<S: Service<Request<Body>>> Service<Request<Body>> for Limited<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> S::Future {
        let limit = self.limit;
        let body = |inner| Body::new(LimitedBody { inner, limit, prefix: [0; PREFIX], seen: 0 });
        self.inner.call(request.map(body))
    }
}

struct LimitedBody {
    inner: Body,
    limit: usize,
    prefix: [u8; PREFIX],
    seen: usize,
}

impl LimitedBody {
    fn check(&mut self, data: &Bytes) -> Result<(), Status> {
        if self.seen == PREFIX {
            return Ok(());
        }
        let count = data.len().min(PREFIX - self.seen);
        self.prefix[self.seen..self.seen + count].copy_from_slice(&data[..count]);
        self.seen += count;
        let [_, length @ ..] = self.prefix;
        let length = u32::from_be_bytes(length);
        if self.seen == PREFIX && usize::try_from(length).is_ok_and(|length| length > self.limit) {
            let limit = self.limit;
            return Err(Status::resource_exhausted(format!(
                "a request of {length} bytes is over the limit of {limit} bytes"
            )));
        }
        Ok(())
    }
}

impl HttpBody for LimitedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = std::task::ready!(Pin::new(&mut self.inner).poll_frame(cx));
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                let checked = frame.data_ref().map_or(Ok(()), |data| self.check(data));
                Some(checked.map(|()| frame))
            }
            other => other,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
