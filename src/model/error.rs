//! What kind of failure an error is; each crate's error says it through a `kind()` of its own.

use std::borrow::Cow;

/// The kind of a failure. The gRPC edge (`cri`) is the one place that turns it into a status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request is malformed, or asks for something that no retry will make possible.
    InvalidArgument,
    /// The named object does not exist.
    NotFound,
    /// The name is taken by an object with another configuration.
    AlreadyExists,
    /// The object exists, but is in a state that does not allow the operation.
    FailedPrecondition,
    /// Something outside (a registry, a plugin, the network configuration) cannot be reached now.
    Unavailable,
    /// The credentials were refused.
    PermissionDenied,
    /// The operation's own deadline passed.
    DeadlineExceeded,
    /// Nobody waits for it any more.
    Cancelled,
    /// A limit was reached: request size, disk space, tokens in flight.
    ResourceExhausted,
    /// The interface has it, this build does not do it yet.
    Unimplemented,
    /// Anything else; the message carries the operation and the path.
    Internal,
}

/// An error with all its causes on one line; a cause that the error already quotes is not repeated. What of it strangers
/// have written acts on no terminal.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let words = next.to_string();
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = next.source();
    }
    match crate::printable(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(told) => told,
    }
}
