//! What plugins ask for and a container cannot have.

use super::asked;
use crate::api::FieldOwners;
use crate::view::LimitError;
use model::ErrorKind;
use oci::OciError;

/// An adjustment that is refused, by the name of its field.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// It is malformed, or this host or handler cannot do it.
    #[error("NRI adjustment of {field}{}: {reason}", by(plugins))]
    Refused {
        /// The field of the adjustment, in the interface's spelling.
        field: String,
        /// Why.
        reason: String,
        /// Who asked for it.
        plugins: Vec<String>,
    },
    /// What a device, a path or a limit needs is not there.
    #[error("NRI adjustment of {field}{}", by(plugins))]
    Oci {
        /// The field of the adjustment.
        field: String,
        /// What is missing.
        source: OciError,
        /// Who asked for it.
        plugins: Vec<String>,
    },
}

impl From<LimitError> for ApplyError {
    fn from(error: LimitError) -> Self {
        match error {
            LimitError::Value { field, source } => {
                Self::refused(format!("linux.resources.{field}"), source.to_string())
            }
            LimitError::Fixed(field) => Self::refused(
                format!("linux.resources.{field}"),
                "cannot be changed once the container is created",
            ),
        }
    }
}

fn by(plugins: &[String]) -> String {
    match plugins {
        [] => String::new(),
        [plugin] => format!(" by plugin {plugin:?}"),
        several => format!(" by one of the plugins {}", several.join(", ")),
    }
}

impl ApplyError {
    pub(super) fn refused(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Refused { field: field.into(), reason: reason.into(), plugins: Vec::new() }
    }

    /// For `map_err`.
    pub(super) fn oci(field: &str) -> impl FnOnce(OciError) -> Self {
        move |source| Self::Oci { field: field.to_owned(), source, plugins: Vec::new() }
    }

    /// The same with those who asked for it.
    #[must_use]
    pub fn asked_by(mut self, owners: Option<&FieldOwners>) -> Self {
        let (Self::Refused { field, plugins, .. } | Self::Oci { field, plugins, .. }) = &mut self;
        *plugins = owners.map(|owners| asked::for_field(field, owners)).unwrap_or_default();
        self
    }

    /// Who asked for it.
    pub fn plugins(&self) -> &[String] {
        let (Self::Refused { plugins, .. } | Self::Oci { plugins, .. }) = self;
        plugins
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
