//! Answers that are sent as they were written, piece by piece: a list of everything that a thousand pods use is of
//! megabytes, and tonic would have it written once more, into one piece of memory.
//!
//! A handler gives the pieces beside a message without them; whoever has the whole answer puts them in its place.

use crate::encode::wire::Items;
use bytes::{BufMut, Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::{Response, Status};

/// Of a message of gRPC: that it is not compressed, and its length.
const HEADER: usize = 5;

/// Messages, each with its header, in pieces.
#[derive(Debug, Clone, Default)]
struct Parts(VecDeque<Bytes>);

impl Parts {
    fn add(&mut self, message: Vec<Vec<u8>>) -> Result<(), Status> {
        let length = message.iter().map(Vec::len).sum::<usize>();
        let length =
            u32::try_from(length).map_err(|_| Status::resource_exhausted("the answer is too large"))?;
        let mut header = BytesMut::with_capacity(HEADER);
        header.put_u8(0);
        header.put_u32(length);
        self.0.push_back(header.freeze());
        self.0.extend(message.into_iter().map(Bytes::from));
        Ok(())
    }
}

/// A list in one message.
pub(crate) fn whole<T: Default>(lanes: Vec<Items>) -> Result<Response<T>, Status> {
    let mut parts = Parts::default();
    parts.add(Items::join(lanes))?;
    Ok(beside(T::default(), parts))
}

/// A list in messages of bounded size.
pub(crate) fn messages<T: Send + 'static>(
    lanes: Vec<Items>,
) -> Result<Response<BoxStream<'static, Result<T, Status>>>, Status> {
    let mut parts = Parts::default();
    Items::messages(lanes).into_iter().try_for_each(|message| parts.add(message))?;
    Ok(beside(stream::empty().boxed(), parts))
}

fn beside<T>(message: T, parts: Parts) -> Response<T> {
    let mut response = Response::new(message);
    response.extensions_mut().insert(parts);
    response
}

/// The answer with its pieces, if it has some.
pub(crate) fn put(mut answer: http::Response<Body>) -> http::Response<Body> {
    match answer.extensions_mut().remove::<Parts>() {
        Some(parts) => answer.map(|_| Body::new(Pieces(Some(parts)))),
        None => answer,
    }
}

/// The pieces, then that all went well.
struct Pieces(Option<Parts>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(Parts(left)) = &mut self.0 else { return Poll::Ready(None) };
        Poll::Ready(Some(Ok(match left.pop_front() {
            Some(piece) => Frame::data(piece),
            None => {
                self.0 = None;
                let ok = (Status::GRPC_STATUS, HeaderValue::from_static("0"));
                Frame::trailers(HeaderMap::from_iter([ok]))
            }
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::encode::wire::ITEMS;
    use crate::proto::{ListPodSandboxMetricsResponse, PodSandboxMetrics, StreamPodSandboxMetricsResponse};
    use tonic::Streaming;
    use tonic::codec::Codec;
    use tonic_prost::ProstCodec;

    fn lanes(ids: &[&[&str]]) -> Vec<Items> {
        let lane = |ids: &&[&str]| {
            let mut items = Items::default();
            ids.iter().for_each(|id| items.add(|to| to.message(ITEMS, |to| to.string(1, id))));
            items
        };
        ids.iter().map(lane).collect()
    }

    fn ids(metrics: Vec<PodSandboxMetrics>) -> Vec<usize> {
        metrics.into_iter().map(|one| one.pod_sandbox_id.len()).collect()
    }

    /// What a client reads of an answer with what a handler has put beside it.
    fn client<T: prost::Message + Default + 'static, R>(mut response: Response<R>) -> Streaming<T> {
        let mut answer = http::Response::new(Body::empty());
        std::mem::swap(answer.extensions_mut(), response.extensions_mut());
        let mut codec = ProstCodec::<(), T>::default();
        Streaming::new_response(codec.decoder(), put(answer).into_body(), http::StatusCode::OK, None, None)
    }

    #[tokio::test]
    async fn a_list_in_pieces_is_one_message() {
        let response = whole::<ListPodSandboxMetricsResponse>(lanes(&[&["a", "bb"], &[], &["ccc"]])).unwrap();
        let mut read = client::<ListPodSandboxMetricsResponse, _>(response);
        assert_eq!(ids(read.message().await.unwrap().unwrap().pod_metrics), [1, 2, 3]);
        assert_eq!(read.message().await.unwrap(), None);
        assert_eq!(read.trailers().await.unwrap().unwrap().get("grpc-status").unwrap(), "0");
    }

    #[tokio::test]
    async fn a_stream_has_a_message_for_each_megabyte() {
        let giants = ["x".repeat(600_000), "x".repeat(600_001)];
        let lanes = lanes(&[&[&giants[0]], &[&giants[1]]]);
        let response = messages::<StreamPodSandboxMetricsResponse>(lanes).unwrap();
        let mut read = client::<StreamPodSandboxMetricsResponse, _>(response);
        for size in [600_000, 600_001] {
            assert_eq!(ids(read.message().await.unwrap().unwrap().pod_sandbox_metrics), [size]);
        }
        assert_eq!(read.message().await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_fails_has_no_pieces() {
        let failed = put(Status::not_found("gone").into_http());
        assert_eq!(failed.headers().get("grpc-status").unwrap(), "5");
    }
}
