//! What a host answered when it did not give what was asked for.

use crate::digest::Digest;
use model::ErrorKind;
use std::error::Error as _;
use std::fmt;

/// A host and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostAnswer {
    /// Scheme, host and port.
    pub host: String,
    /// What it answered.
    pub answer: Answer,
}

impl fmt::Display for HostAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.host, self.answer)
    }
}

/// Why a host did not serve an object. Neither addresses with their queries nor bodies are kept: either
/// may hold a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Answer {
    /// No connection.
    #[error("cannot be reached: {0}", .reason)]
    Unreachable {
        /// The chain of causes.
        reason: String,
    },
    /// A status that is no success.
    #[error("answered {status}{}{tried}", code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default())]
    Status {
        /// The HTTP status.
        status: u16,
        /// The registry's own error code.
        code: Option<String>,
        /// Which kind of credential was tried, for people.
        tried: &'static str,
    },
    /// The token server refused, or answered nonsense.
    #[error("its token server {server} {problem}")]
    Token {
        /// Scheme, host and port of the server.
        server: String,
        /// What it did.
        problem: TokenProblem,
    },
    /// A challenge that cannot be answered.
    #[error("asks for an authentication that is not supported")]
    Challenge,
    /// A redirect that must not be followed.
    #[error("redirects {0}")]
    Redirect(&'static str),
    /// No byte for the progress time-out.
    #[error("stalled after {received} of {expected} bytes")]
    Stalled {
        /// Bytes so far.
        received: u64,
        /// Bytes in all, 0 when unknown.
        expected: u64,
    },
    /// The body ended early.
    #[error("ended after {received} of {expected} bytes")]
    Truncated {
        /// Bytes so far.
        received: u64,
        /// Bytes in all.
        expected: u64,
    },
    /// The connection broke.
    #[error("broke off after {received} of {expected} bytes: {reason}")]
    Broken {
        /// Bytes so far.
        received: u64,
        /// Bytes in all.
        expected: u64,
        /// The chain of causes.
        reason: String,
    },
    /// Another part than the one that was asked for.
    #[error("sent another range of bytes than it was asked for")]
    Range,
    /// More bytes than there can be.
    #[error("sent more than the {expected} bytes that there may be")]
    Oversize {
        /// The limit, or the size of the descriptor.
        expected: u64,
    },
    /// Other content than was asked for.
    #[error("sent content with digest {actual} for {expected}")]
    Digest {
        /// Asked for.
        expected: Digest,
        /// Got.
        actual: Digest,
    },
}

/// What went wrong at a token server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenProblem {
    /// A status that is no success.
    #[error("answered {status}{tried}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// Which kind of credential was tried.
        tried: &'static str,
    },
    /// It cannot be reached.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// It answered something that holds no token.
    #[error("sent no usable token")]
    NoToken,
    /// Its address is missing, malformed, or plain HTTP for a registry over HTTPS.
    #[error("has no address that may be used")]
    Address,
}

impl Answer {
    pub(crate) fn unreachable(error: &reqwest::Error) -> Self {
        Self::Unreachable { reason: causes(error) }
    }

    pub(crate) fn broken(error: &reqwest::Error, received: u64, expected: u64) -> Self {
        Self::Broken { received, expected, reason: causes(error) }
    }

    /// What the answer means to the one who asked.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Status { status: 404, .. } => ErrorKind::NotFound,
            Self::Status { status: 401 | 403, .. }
            | Self::Token { problem: TokenProblem::Status { status: 400..=403, .. }, .. } => {
                ErrorKind::PermissionDenied
            }
            Self::Digest { .. } | Self::Oversize { .. } => ErrorKind::FailedPrecondition,
            _ => ErrorKind::Unavailable,
        }
    }
}

/// The chain of causes without the address, whose query may be a signature.
pub(crate) fn causes(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() {
        "timed out".to_owned()
    } else if error.is_connect() {
        "no connection".to_owned()
    } else {
        "request failed".to_owned()
    };
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
