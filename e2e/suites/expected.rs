//! The committed list of specs that cannot pass here, and why.

use e2e::Error;
use e2e::error::Context;
use serde::Deserialize;

const LIST: &str = include_str!("expected.toml");

/// The list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expected {
    #[serde(default)]
    failure: Vec<Failure>,
}

/// A failure that is the host's or the fixture's.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Failure {
    /// A part of the spec's name.
    spec: String,
    /// Of this runtime only; of every one when absent.
    #[serde(default)]
    runtime: Option<String>,
    reason: String,
}

/// The committed list.
///
/// # Errors
/// When it does not parse.
pub(crate) fn read() -> Result<Expected, Error> {
    toml::from_str(LIST).map_err(std::io::Error::other).at("understand", "e2e/suites/expected.toml")
}

impl Expected {
    /// Why a spec may fail on a runtime.
    pub(crate) fn reason(&self, spec: &str, runtime: &str) -> Option<&str> {
        let applies = |entry: &&Failure| entry.runtime.as_deref().is_none_or(|only| only == runtime);
        let found = self.failure.iter().filter(applies).find(|entry| spec.contains(&entry.spec));
        found.map(|entry| entry.reason.as_str())
    }
}
