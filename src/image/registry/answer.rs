//! What a host answered when it did not give what was asked for.

use super::words::causes;
use crate::digest::Digest;
use model::ErrorKind;
use std::fmt;
use std::time::Duration;

/// A host and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostAnswer {
    /// Scheme, host and port, and the path where one is configured.
    pub host: String,
    /// What it answered.
    pub answer: Answer,
}

impl fmt::Display for HostAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.host, self.answer)
    }
}

/// Why a host did not serve an object. Neither addresses with their queries nor whole bodies are kept: either may hold a
/// secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Answer {
    /// No connection.
    #[error("cannot be reached: {0}", .reason)]
    Unreachable {
        /// The chain of causes.
        reason: String,
    },
    /// It was reached, and could not be trusted.
    #[error("{problem}")]
    Tls {
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A status that is no success.
    #[error("answered {status}{}{tried}{}", told(*.status, .code.as_deref(), .message.as_deref()), repeated(*.status, *.tries))]
    Status {
        /// The HTTP status.
        status: u16,
        /// The registry's own error code.
        code: Option<String>,
        /// The registry's own words.
        message: Option<String>,
        /// What was said of who asks.
        tried: Tried,
        /// How often a busy host was asked.
        tries: Option<Tries>,
    },
    /// The host sends its clients to another one, which did not serve it.
    #[error("sends its clients to {host}, which {answer}")]
    Elsewhere {
        /// Scheme, host and port.
        host: String,
        /// What that one answered.
        answer: Box<Answer>,
    },
    /// Something that is no document of an image, with a status of success.
    #[error("answered {media_type}, not a manifest: a proxy or a login page may be in between")]
    Page {
        /// What it calls it.
        media_type: String,
    },
    /// A document that is no manifest.
    #[error("answered no manifest: {problem}")]
    Malformed {
        /// What is wrong with it.
        problem: String,
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
    /// Bytes that are not the layer's.
    #[error("sent wrong content: {problem}")]
    Wrong {
        /// What is wrong with it.
        problem: String,
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

/// What a host was told of who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tried {
    /// It does not matter.
    Unsaid,
    /// There are no credentials.
    Nothing,
    /// Credentials of this kind were sent.
    Sent(&'static str),
    /// Credentials of this kind were given, and the host did not ask for such.
    NotAsked(&'static str),
    /// Credentials of this kind were given, and belong to another host.
    Withheld(&'static str, String),
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsaid => Ok(()),
            Self::Nothing => f.write_str(", without credentials"),
            Self::Sent(kind) => write!(f, ", with {kind}"),
            Self::NotAsked(kind) => {
                write!(f, ", without credentials: {kind} was given, but not sent, as it did not ask for such")
            }
            Self::Withheld(kind, host) => {
                write!(f, ", without credentials: {kind} was given, but not sent, as it belongs to {host}")
            }
        }
    }
}

/// How often a request was made, and how long that took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tries {
    /// How often.
    pub count: u32,
    /// From the first to the last.
    pub took: Duration,
}

/// The registry's own words, of which those are left out that say the status or the code once more.
fn told(status: u16, code: Option<&str>, message: Option<&str>) -> String {
    let repeats = |message: &&str| {
        let same = |code: &str| code.replace('_', " ").eq_ignore_ascii_case(message);
        message.is_empty() || code.is_some_and(same)
    };
    let number = status.to_string();
    let said = |message: &str| message.strip_prefix(&number).is_some_and(|rest| rest.starts_with([' ', ':']));
    let message = message.map(|message| match said(message) {
        true => message[number.len()..].trim_start_matches([' ', ':']),
        false => message,
    });
    match (code, message.filter(|message| !repeats(message))) {
        (None, None) => String::new(),
        (Some(text), None) | (None, Some(text)) => format!(" ({text})"),
        (Some(code), Some(message)) => format!(" ({code}: {message})"),
    }
}

fn repeated(status: u16, tries: Option<Tries>) -> String {
    let limited = if status == 429 { ": the rate is limited" } else { "" };
    match tries {
        None => limited.to_owned(),
        Some(Tries { count, took }) => {
            format!("{limited}, tried {} in {:.1} s", model::counted(count, "time"), took.as_secs_f64())
        }
    }
}

/// What went wrong at a token server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenProblem {
    /// A status that is no success.
    #[error("answered {status}{}{tried}{}", told(*.status, None, .message.as_deref()), repeated(*.status, *.tries))]
    Status {
        /// The HTTP status.
        status: u16,
        /// Its own words.
        message: Option<String>,
        /// What was said of who asks.
        tried: Tried,
        /// How often a busy server was asked.
        tries: Option<Tries>,
    },
    /// A redirect that must not be followed.
    #[error("redirects {0}")]
    Redirect(&'static str),
    /// It cannot be reached.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// It was reached, and could not be trusted.
    #[error("{0}")]
    Tls(String),
    /// It answered something that holds no token.
    #[error("sent no usable token")]
    NoToken,
    /// Its address is missing, malformed, or plain HTTP for a registry over HTTPS.
    #[error("has no address that may be used")]
    Address,
}

impl Answer {
    pub(crate) fn broken(error: &reqwest::Error, received: u64, expected: u64) -> Self {
        Self::Broken { received, expected, reason: causes(error) }
    }

    /// Whether the host was not reached at all, and will not be within this pull.
    pub(super) fn is_absence(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Tls { .. })
    }

    /// What the answer means to the one who asked.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Status { status: 404, .. } => ErrorKind::NotFound,
            Self::Status { status: 401 | 403, .. }
            | Self::Token { problem: TokenProblem::Status { status: 400..=403, .. }, .. } => {
                ErrorKind::PermissionDenied
            }
            Self::Elsewhere { answer, .. } => match answer.kind() {
                // It was not the registry that refused, and what it signs for its storage lives for a short time.
                ErrorKind::PermissionDenied => ErrorKind::Unavailable,
                kind => kind,
            },
            Self::Digest { .. } | Self::Oversize { .. } | Self::Wrong { .. } => ErrorKind::FailedPrecondition,
            _ => ErrorKind::Unavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_registry_says_is_told_once() {
        for (code, message, expected) in [
            (Some("MANIFEST_UNKNOWN"), Some("manifest unknown"), "answered 404 (MANIFEST_UNKNOWN)"),
            (Some("MANIFEST_UNKNOWN"), Some("no tag v2"), "answered 404 (MANIFEST_UNKNOWN: no tag v2)"),
            (None, Some("404 page not found"), "answered 404 (page not found)"),
            (None, Some("404: Not Found"), "answered 404 (Not Found)"),
            (None, Some("4042 of them"), "answered 404 (4042 of them)"),
            (None, Some("404 "), "answered 404"),
            (None, None, "answered 404"),
        ] {
            let answer = Answer::Status {
                status: 404,
                code: code.map(str::to_owned),
                message: message.map(str::to_owned),
                tried: Tried::Unsaid,
                tries: None,
            };
            assert_eq!(answer.to_string(), expected);
        }
    }
}
