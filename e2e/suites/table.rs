//! The table of two runtimes: what passed, what failed and where else it does.

use e2e::Error;
use e2e::error::Context;
use e2e::ginkgo::{Outcome, Spec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

const FILE: &str = "outcomes.json";

/// A run, kept for the table of the next.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    seconds: u64,
    /// `passed`, `failed` or `skipped`, by the spec's name.
    outcomes: BTreeMap<String, String>,
}

impl Kept {
    fn of(specs: &[Spec], took: Duration) -> Self {
        let outcomes = specs.iter().map(|spec| (spec.name.clone(), word(&spec.outcome).to_owned())).collect();
        Self { seconds: took.as_secs(), outcomes }
    }

    fn count(&self, word: &str) -> usize {
        self.outcomes.values().filter(|outcome| *outcome == word).count()
    }
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "passed",
        Outcome::Failed { .. } => "failed",
        Outcome::Skipped(_) => "skipped",
    }
}

/// Keeps a run in its directory.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn keep(specs: &[Spec], took: Duration, directory: &Path) -> Result<(), Error> {
    let path = directory.join(FILE);
    let text = serde_json::to_vec_pretty(&Kept::of(specs, took)).map_err(std::io::Error::from);
    fs::write(&path, text.at("encode", "outcomes")?).at("write", &path)
}

/// The run that is kept in a directory, if there is one.
///
/// # Errors
/// When it does not parse.
pub(crate) fn kept(directory: &Path) -> Result<Option<Kept>, Error> {
    let path = directory.join(FILE);
    let Ok(text) = fs::read(&path) else { return Ok(None) };
    serde_json::from_slice(&text).map(Some).map_err(std::io::Error::from).at("understand", &path)
}

/// Prints both runs' sums, and every spec whose outcome differs or is a failure.
pub(crate) fn print(runtime: &str, specs: &[Spec], took: Duration, beside: Option<(&str, &Kept)>) {
    let own = Kept::of(specs, took);
    println!("\n| runtime | passed | failed | skipped | seconds |\n|---|---|---|---|---|");
    for (name, kept) in std::iter::once((runtime, &own)).chain(beside) {
        let [passed, failed, skipped] = ["passed", "failed", "skipped"].map(|word| kept.count(word));
        println!("| {name} | {passed} | {failed} | {skipped} | {} |", kept.seconds);
    }
    for (name, outcome) in &own.outcomes {
        let there =
            beside.map_or("not run", |(_, kept)| kept.outcomes.get(name).map_or("not run", String::as_str));
        if outcome == "failed" || (there == "failed" && outcome != there) {
            let other = beside.map_or("the other", |(other, _)| other);
            println!("{outcome} on {runtime}, {there} on {other}: {name}");
        }
    }
}
