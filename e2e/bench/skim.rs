//! Answers whose items are but counted. Decoding megabytes takes a client longer than the runtime takes to tell them, and
//! here it would take that on the CPUs that the runtime works on.

use bytes::Buf;
use e2e::Error;
use e2e::client::Cri;
use hyper::http::uri::PathAndQuery;
use prost::encoding::{decode_key, decode_varint};
use std::io;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Request, Status};

const LIMIT: usize = 256 << 20;

/// What an answer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Skimmed {
    /// Messages in its list.
    pub(crate) items: usize,
    /// Bytes in all.
    pub(crate) bytes: usize,
}

/// Asks for a list, without a filter.
///
/// # Errors
/// The runtime's.
pub(crate) async fn skim(cri: &Cri, method: &'static str) -> Result<Skimmed, Error> {
    let path = format!("/runtime.v1.RuntimeService/{method}");
    let path = PathAndQuery::try_from(path).map_err(|error| Error::Invalid { reason: error.to_string() })?;
    let mut client = Grpc::new(cri.channel.clone()).max_decoding_message_size(LIMIT);
    let asked = async {
        client.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
        client.unary(Request::new(()), path, Skim).await
    };
    let answer = asked.await.map_err(|status| Error::Rpc { method, status: Box::new(status) })?;
    Ok(answer.into_inner())
}

#[derive(Debug, Clone, Copy, Default)]
struct Skim;

impl Codec for Skim {
    type Encode = ();
    type Decode = Skimmed;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Skim {
    type Item = ();
    type Error = Status;

    fn encode(&mut self, (): (), _: &mut EncodeBuf<'_>) -> Result<(), Status> {
        Ok(())
    }
}

impl Decoder for Skim {
    type Item = Skimmed;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Skimmed>, Status> {
        let mut found = Skimmed { items: 0, bytes: from.remaining() };
        while from.has_remaining() {
            let malformed = |error: &dyn std::error::Error| Status::internal(error.to_string());
            decode_key(from).map_err(|error| malformed(&error))?;
            let length = decode_varint(from).map_err(|error| malformed(&error))?;
            let length = usize::try_from(length).map_err(|error| malformed(&error))?;
            if length > from.remaining() {
                return Err(malformed(&io::Error::from(io::ErrorKind::UnexpectedEof)));
            }
            from.advance(length);
            found.items += 1;
        }
        Ok(Some(found))
    }
}
