//! What a check has found.

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// As it should be.
    Ok,
    /// Something cannot be had, or may go wrong one day; pods run.
    Warning,
    /// The daemon does not start, or no pod does.
    Error,
}

/// What one check has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// Which check: one word, the same for ever.
    pub(crate) check: &'static str,
    /// How bad it is.
    pub(crate) level: Level,
    /// What is, or is not.
    pub(crate) found: String,
    /// What that costs.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) costs: String,
    /// How to mend it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) mend: String,
}

impl Finding {
    fn new(check: &'static str, level: Level, found: impl Into<String>) -> Self {
        Self { check, level, found: found.into(), costs: String::new(), mend: String::new() }
    }

    /// All is well.
    pub(crate) fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(check, Level::Ok, found)
    }

    /// Something is missing that not every pod takes.
    pub(crate) fn warning(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(check, Level::Warning, found)
    }

    /// Something is missing without which there are no pods.
    pub(crate) fn error(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(check, Level::Error, found)
    }

    /// What it costs.
    pub(crate) fn costs(mut self, costs: impl Into<String>) -> Self {
        self.costs = costs.into();
        self
    }

    /// How to mend it.
    pub(crate) fn mend(mut self, mend: impl Into<String>) -> Self {
        self.mend = mend.into();
        self
    }
}
