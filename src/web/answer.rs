//! Answers, and the work that they stand for.

use crate::room::Work;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, SizeHint};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The body of an answer.
pub type Body = BoxBody<Bytes, io::Error>;

/// A body that is there as a whole.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    BodyExt::boxed(Full::new(bytes.into()).map_err(|never| match never {}))
}

/// A line for people.
pub fn plain(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    let mut answer = Response::new(full(text.into() + "\n"));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

/// A body whose request is in work until all of it is made.
pub(crate) struct InWork {
    body: Body,
    _work: Work,
}

impl InWork {
    pub(crate) fn new(body: Body, work: Work) -> Self {
        Self { body, _work: work }
    }
}

impl hyper::body::Body for InWork {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
