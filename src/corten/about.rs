//! `corten version` and `corten completion`: what this program is, and what it takes.

use crate::error::Error;
use cli::version::{CompletionArgs, Shell, VersionArgs};
use client::print;

/// What this program was built of; programs that are not built for use do not know.
pub(crate) const COMMIT: &str = match option_env!("CORTEN_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// How it was built: the profile of cargo.
const PROFILE: &str = match option_env!("CORTEN_PROFILE") {
    Some(profile) => profile,
    None if cfg!(debug_assertions) => "dev",
    None => "release",
};

/// The version of the Container Runtime Interface.
const CRI: &str = "v1";

/// `corten version`.
///
/// # Errors
/// stdout cannot be written.
pub(crate) fn version(arguments: &VersionArgs) -> Result<(), Error> {
    let facts = [
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("commit", COMMIT.to_owned()),
        ("profile", PROFILE.to_owned()),
        ("cri", CRI.to_owned()),
        ("wire", engine::WIRE_VERSION.to_string()),
    ];
    if arguments.json {
        let map: serde_json::Map<String, serde_json::Value> =
            facts.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        return Ok(print(&format!("{}\n", serde_json::Value::from(map)))?);
    }
    Ok(print(&facts.map(|(name, value)| format!("{name:<8} {value}\n")).concat())?)
}

/// `corten completion`.
///
/// # Errors
/// stdout cannot be written.
pub(crate) fn completion(arguments: &CompletionArgs) -> Result<(), Error> {
    use clap_complete::generate;
    use clap_complete::shells::{Bash, Fish, Zsh};
    let (mut definition, mut text) = (cli::definition(), Vec::new());
    match arguments.shell {
        Shell::Bash => generate(Bash, &mut definition, "corten", &mut text),
        Shell::Fish => generate(Fish, &mut definition, "corten", &mut text),
        Shell::Zsh => generate(Zsh, &mut definition, "corten", &mut text),
    }
    Ok(print(&String::from_utf8_lossy(&text))?)
}
