//! What plugins ask for and a container cannot have.

use model::ErrorKind;
use oci::OciError;

/// An adjustment that is refused, by the name of its field.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// It is malformed, or this host or handler cannot do it.
    #[error("NRI adjustment of {field}: {reason}")]
    Refused {
        /// The field of the adjustment, in the interface's spelling.
        field: String,
        /// Why.
        reason: String,
    },
    /// What a device, a path or a limit needs is not there.
    #[error("NRI adjustment of {field}")]
    Oci {
        /// The field of the adjustment.
        field: String,
        /// What is missing.
        source: OciError,
    },
}

impl ApplyError {
    pub(super) fn refused(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Refused { field: field.into(), reason: reason.into() }
    }

    /// For `map_err`.
    pub(super) fn oci(field: &str) -> impl FnOnce(OciError) -> Self {
        move |source| Self::Oci { field: field.to_owned(), source }
    }

    /// The kind, for the gRPC edge: it is not the request that is wrong.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused { .. } => ErrorKind::FailedPrecondition,
            Self::Oci { source, .. } => match source.kind() {
                ErrorKind::InvalidArgument => ErrorKind::FailedPrecondition,
                kind => kind,
            },
        }
    }
}
