//! What can go wrong.

use crate::bus::BusError;
use model::ErrorKind;
use thiserror::Error;

/// The result of a call.
pub type SystemdResult<T> = Result<T, SystemdError>;

/// A unit could not be started or stopped.
#[derive(Debug, Error)]
pub enum SystemdError {
    /// systemd cannot be reached, or refuses.
    #[error("{operation} {unit} through systemd")]
    Bus {
        /// What was being done.
        operation: &'static str,
        /// To which unit.
        unit: String,
        /// Its answer.
        source: BusError,
    },
    /// systemd tried, and it did not work.
    #[error("{operation} {unit} through systemd: the job ended as {result:?}")]
    Job {
        /// What was being done.
        operation: &'static str,
        /// To which unit.
        unit: String,
        /// `failed`, `canceled`, `timeout`, `dependency`, `skipped`, `disconnected`, …
        result: String,
    },
    /// There was no answer in time.
    #[error("{operation} {unit} through systemd: no answer within {seconds} s")]
    Late {
        /// What was being done.
        operation: &'static str,
        /// To which unit.
        unit: String,
        /// How long was waited.
        seconds: u64,
    },
}

impl SystemdError {
    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Bus { .. } | Self::Job { .. } => ErrorKind::Internal,
            Self::Late { .. } => ErrorKind::DeadlineExceeded,
        }
    }

    pub(crate) fn is_unknown_unit(&self) -> bool {
        let Self::Bus { source, .. } = self else { return false };
        matches!(source, BusError::Method { name, .. } if name == "org.freedesktop.systemd1.NoSuchUnit")
    }
}
