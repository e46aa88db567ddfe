//! Why a request cannot be taken.

use model::ErrorKind;

/// A request that is refused before anything happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A field without which the request means nothing.
    #[error("{field} is required")]
    Missing {
        /// The path of the field in the request.
        field: String,
    },
    /// A value that the field cannot have.
    #[error("{field}: {problem}")]
    Invalid {
        /// The path of the field in the request.
        field: String,
        /// What is wrong with the value.
        problem: String,
    },
    /// A field of the interface that this build does not act on.
    #[error("{field} is not supported yet")]
    Unsupported {
        /// The path of the field in the request.
        field: String,
    },
}

impl DecodeError {
    /// Always [`ErrorKind::InvalidArgument`].
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Missing { .. } | Self::Invalid { .. } | Self::Unsupported { .. } => {
                ErrorKind::InvalidArgument
            }
        }
    }
}
