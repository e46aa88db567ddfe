//! From a kind of failure to a gRPC status: the one place that does it.

use crate::decode::DecodeError;
use engine::{EngineError, chain};
use model::ErrorKind;
use stream::StreamError;
use tonic::{Code, Status};

/// The reason by which the kubelet knows that a registry cannot be reached (cri-api `pkg/errors`).
const REGISTRY_UNAVAILABLE: &str = "RegistryUnavailable";

/// The most bytes of a message: it travels in a header, and clients limit those.
const MESSAGE_MAX: usize = 4096;

fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::InvalidArgument => Code::InvalidArgument,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::AlreadyExists => Code::AlreadyExists,
        ErrorKind::FailedPrecondition => Code::FailedPrecondition,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::PermissionDenied => Code::PermissionDenied,
        ErrorKind::DeadlineExceeded => Code::DeadlineExceeded,
        ErrorKind::Cancelled => Code::Cancelled,
        ErrorKind::ResourceExhausted => Code::ResourceExhausted,
        ErrorKind::Unimplemented => Code::Unimplemented,
        ErrorKind::Internal => Code::Internal,
    }
}

/// The status of a request that is refused.
pub(crate) fn decode(error: &DecodeError) -> Status {
    Status::new(code(error.kind()), shorten(error.to_string()))
}

/// The status of a failed use case, with its causes.
pub(crate) fn engine(error: &EngineError) -> Status {
    Status::new(code(error.kind()), shorten(chain(error)))
}

/// The status of a stream that cannot be had.
pub(crate) fn stream(error: &StreamError) -> Status {
    Status::new(code(error.kind()), shorten(chain(error)))
}

/// The status of a failed pull. The kubelet looks for its reasons at the beginning of the text, and its client
/// hands over the bare text of no other code than Unknown.
pub(crate) fn pull(error: &EngineError) -> Status {
    match error.kind() {
        ErrorKind::Unavailable => {
            let text = chain(error);
            let reason = if text.starts_with(REGISTRY_UNAVAILABLE) {
                text
            } else {
                format!("{REGISTRY_UNAVAILABLE}: {text}")
            };
            Status::new(Code::Unknown, shorten(reason))
        }
        _ => engine(error),
    }
}

/// The status of an RPC that this build does not have.
pub(crate) fn unimplemented<T>(method: &str) -> Result<T, Status> {
    Err(Status::new(code(ErrorKind::Unimplemented), format!("{method} is not supported yet")))
}

fn shorten(mut text: String) -> String {
    if text.len() > MESSAGE_MAX {
        text.truncate(text.floor_char_boundary(MESSAGE_MAX));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_their_codes_and_causes_are_told() {
        let refused = DecodeError::Missing { field: "config.metadata".into() };
        let status = decode(&refused);
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "config.metadata is required"));
        let failed = EngineError::Io {
            operation: "open",
            path: "/x".into(),
            source: std::io::Error::other("no luck"),
        };
        let status = engine(&failed);
        assert_eq!(status.code(), Code::Internal);
        assert!(status.message().ends_with(": no luck"), "{}", status.message());
        assert_eq!(engine(&EngineError::NoSuchPod("a".into())).code(), Code::NotFound);
    }

    #[test]
    fn every_kind_has_a_code_of_its_own() {
        let kinds = [
            ErrorKind::InvalidArgument,
            ErrorKind::NotFound,
            ErrorKind::AlreadyExists,
            ErrorKind::FailedPrecondition,
            ErrorKind::Unavailable,
            ErrorKind::PermissionDenied,
            ErrorKind::DeadlineExceeded,
            ErrorKind::Cancelled,
            ErrorKind::ResourceExhausted,
            ErrorKind::Unimplemented,
            ErrorKind::Internal,
        ];
        let codes: std::collections::BTreeSet<i32> =
            kinds.into_iter().map(|kind| code(kind).into()).collect();
        assert_eq!(codes.len(), kinds.len());
    }

    #[test]
    fn a_long_text_fits_a_header() {
        assert!(shorten("é".repeat(9000)).len() < MESSAGE_MAX + 8);
    }
}
