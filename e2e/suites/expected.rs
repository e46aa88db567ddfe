//! The committed list of specs that cannot pass here, and why.

use e2e::error::Context;
use e2e::{Error, command, tools};
use serde::Deserialize;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

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
    /// Only where the kernel makes no links of this kind.
    #[serde(default)]
    link: Option<String>,
    reason: String,
}

/// What of the committed list is true on this host. The calling thread is in a network namespace that may be changed.
///
/// # Errors
/// When the list does not parse, or iproute2 is not installed.
pub(crate) fn read() -> Result<Expected, Error> {
    let mut list = parse()?;
    let ip = tools::system("ip")?;
    list.failure.retain(|entry| !entry.link.as_ref().is_some_and(|kind| makes_links(&ip, kind)));
    Ok(list)
}

/// The whole list.
///
/// # Errors
/// When it does not parse.
pub(crate) fn parse() -> Result<Expected, Error> {
    toml::from_str(LIST).map_err(std::io::Error::other).at("understand", "e2e/suites/expected.toml")
}

fn makes_links(ip: &Path, kind: &str) -> bool {
    let ip =
        |line: &str| command::run(Command::new(ip).args(line.split(' ')), Duration::from_secs(10)).is_ok();
    ip(&format!("link add probe0 type {kind}")) && ip("link delete probe0")
}

impl Expected {
    /// Why a spec may fail on a runtime.
    pub(crate) fn reason(&self, spec: &str, runtime: &str) -> Option<&str> {
        let applies = |entry: &&Failure| entry.runtime.as_deref().is_none_or(|only| only == runtime);
        let found = self.failure.iter().filter(applies).find(|entry| spec.contains(&entry.spec));
        found.map(|entry| entry.reason.as_str())
    }
}
