//! Failures that are those of what plugins ask for.

use crate::EngineError;
use model::ErrorKind;

/// What plugins ask for cannot be done; nothing else says that it is theirs.
#[derive(Debug, thiserror::Error)]
#[error("as asked for by {}", named(plugins))]
pub struct AskedByPlugins {
    plugins: Vec<String>,
    source: Box<EngineError>,
}

impl AskedByPlugins {
    /// Not the request is wrong, but what the node adds to it.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self.source.kind() {
            ErrorKind::InvalidArgument => ErrorKind::FailedPrecondition,
            kind => kind,
        }
    }
}

impl EngineError {
    /// The same of what plugins may have asked for.
    #[must_use]
    pub(crate) fn asked_by(self, plugins: &[String]) -> Self {
        if plugins.is_empty() || matches!(self, Self::Nri(_) | Self::NriAdjustment(_)) {
            return self;
        }
        AskedByPlugins { plugins: plugins.to_vec(), source: Box::new(self) }.into()
    }
}

fn named(plugins: &[String]) -> String {
    match plugins {
        [plugin] => format!("NRI plugin {plugin:?}"),
        several => format!("one of the NRI plugins {}", several.join(", ")),
    }
}
