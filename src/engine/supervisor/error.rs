//! What can go wrong between the engine and a pod's supervisor.

use model::ErrorKind;
use thiserror::Error;
use wire::feature::Features;
use wire::msg::ErrorCode;

const ENOENT: i32 = 2;

/// A request that a pod's supervisor did not carry out, or did not say so.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SupervisorError {
    /// It cannot be reached.
    #[error("the supervisor of pod {pod} is gone while it was asked to {verb} {subject}")]
    Gone {
        /// The pod.
        pod: String,
        /// What it was asked for.
        verb: &'static str,
        /// Of what.
        subject: String,
    },
    /// It is there, and hangs.
    #[error(
        "the supervisor of pod {pod} has not answered within {seconds} s: it was asked to {verb} {subject}"
    )]
    Silent {
        /// The pod.
        pod: String,
        /// What it was asked for.
        verb: &'static str,
        /// Of what.
        subject: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// It answers something else than what it was asked.
    #[error("the supervisor of pod {pod} answered something else when it was asked to {verb} {subject}")]
    WrongReply {
        /// The pod.
        pod: String,
        /// What it was asked for.
        verb: &'static str,
        /// Of what.
        subject: String,
    },
    /// It reports a failure.
    #[error("{verb} {subject}: {message}")]
    Refused {
        /// What it was asked for.
        verb: &'static str,
        /// Of what.
        subject: String,
        /// Its class of failure.
        code: ErrorCode,
        /// The kernel's number; 0 when it is not the kernel's failure.
        errno: i32,
        /// Its words.
        message: String,
    },
    /// It is that of an older release, which knew nothing of this.
    #[error("{verb} {subject}: the pod's supervisor is older: it cannot {lacking}, restart the pod")]
    Old {
        /// The verb.
        verb: &'static str,
        /// The object.
        subject: String,
        /// What it cannot do.
        lacking: Features,
    },
    /// It is of a release that this one cannot speak with.
    #[error(
        "the supervisor of pod {pod} speaks version {version} of the protocol, and this corten {} to {}: install the \
         release that the pod was started with, and remove the pod before the change",
        wire::OLDEST,
        wire::VERSION
    )]
    Foreign {
        /// The pod.
        pod: String,
        /// The version that it speaks.
        version: u32,
    },
    /// The request is longer than a supervisor reads.
    #[error("the process's arguments and environment: it takes {length} bytes, more than {limit}")]
    TooLong {
        /// Bytes.
        length: usize,
        /// Most bytes.
        limit: usize,
    },
}

impl SupervisorError {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Gone { .. } | Self::Silent { .. } | Self::WrongReply { .. } => ErrorKind::Internal,
            Self::Old { .. } | Self::Foreign { .. } => ErrorKind::FailedPrecondition,
            Self::TooLong { .. } => ErrorKind::InvalidArgument,
            Self::Refused { code, .. } => match code {
                ErrorCode::NotFound => ErrorKind::NotFound,
                // A program that is not there, or cannot be run, is for whoever made the image or the command to mend.
                ErrorCode::BadState | ErrorCode::Exec => ErrorKind::FailedPrecondition,
                ErrorCode::Invalid => ErrorKind::InvalidArgument,
                ErrorCode::Setup | ErrorCode::Io => ErrorKind::Internal,
            },
        }
    }

    /// The class of a failure that it reports.
    pub(crate) fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// See [`crate::EngineError::command_exit_code`].
    pub(crate) fn command_exit_code(&self) -> Option<i32> {
        match self {
            Self::Refused { code: ErrorCode::Exec, errno: ENOENT, .. } => Some(127),
            Self::Refused { code: ErrorCode::Exec, .. } => Some(126),
            _ => None,
        }
    }
}
