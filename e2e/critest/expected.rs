//! Compares a run with the committed list of what it may lack.

use e2e::Error;
use e2e::error::Context;
use e2e::ginkgo::{Outcome, Spec};
use e2e::runtime::Kind;
use serde::Deserialize;
use std::fs;

const LIST: &str = include_str!("expected.toml");

/// What a whole run may lack.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expected {
    specs: usize,
    #[serde(default)]
    failure: Vec<Failure>,
    #[serde(default)]
    skip: Vec<Skip>,
}

/// A failure that is not the runtime's.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Failure {
    spec: String,
    /// Of which runtime only; of every one when absent.
    #[serde(default)]
    runtime: Option<Runtime>,
    reason: String,
}

/// Specs that skip themselves on hosts with a property.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Skip {
    spec: String,
    #[serde(default)]
    when: Option<Host>,
    #[serde(default)]
    runtime: Option<Runtime>,
    message: String,
    reason: String,
}

/// A property of the host that makes specs skip themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Host {
    NoApparmor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Runtime {
    Containerd,
}

impl Host {
    fn holds(self) -> bool {
        match self {
            // What the suite itself asks.
            Self::NoApparmor => !fs::read_to_string("/sys/module/apparmor/parameters/enabled")
                .is_ok_and(|text| text.starts_with('Y')),
        }
    }
}

impl Runtime {
    fn is(self, kind: Kind) -> bool {
        match self {
            Self::Containerd => kind == Kind::Containerd,
        }
    }
}

/// What a run comes to.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Names of those that passed.
    pub(crate) passed: Vec<String>,
    /// Name and reason of each failure that is allowed.
    pub(crate) allowed: Vec<(String, String)>,
    /// Name and reason of each skip that is expected.
    pub(crate) skipped: Vec<(String, String)>,
    /// What makes the run a failure, each with a name and what is wrong.
    pub(crate) wrong: Vec<(String, String)>,
}

impl Expected {
    /// The committed list.
    ///
    /// # Errors
    /// When it does not parse.
    pub(crate) fn read() -> Result<Self, Error> {
        toml::from_str(LIST).map_err(std::io::Error::other).at("understand", "e2e/critest/expected.toml")
    }

    /// Judges the specs of a run; `whole` when none was left out.
    pub(crate) fn judge(&self, specs: &[Spec], kind: Kind, whole: bool) -> Verdict {
        self.judge_on(specs, kind, whole, Host::holds)
    }

    fn judge_on(&self, specs: &[Spec], kind: Kind, whole: bool, holds: impl Fn(Host) -> bool) -> Verdict {
        let applies = |runtime: Option<Runtime>| runtime.is_none_or(|runtime| runtime.is(kind));
        let failures: Vec<_> = self.failure.iter().filter(|entry| applies(entry.runtime)).collect();
        let skips: Vec<_> = self
            .skip
            .iter()
            .filter(|entry| applies(entry.runtime) && entry.when.is_none_or(&holds))
            .collect();
        let mut verdict = Verdict::default();
        for spec in specs {
            let name = spec.name.clone();
            let skip = skips.iter().find(|entry| spec.name.contains(&entry.spec));
            match &spec.outcome {
                Outcome::Passed => match skip {
                    Some(entry) => {
                        let text = format!("it passed, though it is listed as skipped: {}", entry.reason);
                        verdict.wrong.push((name, text));
                    }
                    None => verdict.passed.push(name),
                },
                Outcome::Skipped(message) => match skip {
                    Some(entry) if message.contains(&entry.message) => {
                        verdict.skipped.push((name, entry.reason.clone()));
                    }
                    _ => verdict.wrong.push((name, format!("it skipped itself: {message}"))),
                },
                Outcome::Failed { message, location } => {
                    match failures.iter().find(|entry| spec.name.contains(&entry.spec)) {
                        Some(entry) => verdict.allowed.push((name, entry.reason.clone())),
                        None => verdict.wrong.push((name, format!("{message}\n  at {location}"))),
                    }
                }
            }
        }
        if whole && specs.len() < self.specs {
            let text = format!("{} specs ran, of {}", specs.len(), self.specs);
            verdict.wrong.push(("the suite".to_owned(), text));
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;

    fn spec(name: &str, outcome: Outcome) -> Spec {
        Spec { name: name.to_owned(), outcome, took: Duration::ZERO, measurements: Vec::new() }
    }

    fn skip() -> Outcome {
        Outcome::Skipped("AppArmor is disabled on this host".to_owned())
    }

    fn failed() -> Outcome {
        Outcome::Failed { message: "failed: no".to_owned(), location: "a.go:1".to_owned() }
    }

    fn wrong(outcome: Outcome, name: &str, apparmor: bool) -> usize {
        let expected = Expected::read().unwrap();
        expected.judge_on(&[spec(name, outcome)], Kind::Corten, false, |_| !apparmor).wrong.len()
    }

    #[test]
    fn a_skip_is_right_where_the_host_lacks_the_feature_only() {
        assert_eq!(wrong(skip(), "AppArmor should x", false), 0);
        assert_eq!(wrong(skip(), "AppArmor should x", true), 1);
        assert_eq!(wrong(Outcome::Passed, "AppArmor should x", false), 1, "the list is out of date");
        assert_eq!(wrong(Outcome::Passed, "AppArmor should x", true), 0);
        assert_eq!(wrong(Outcome::Skipped("other".to_owned()), "AppArmor should x", false), 1);
        assert_eq!(wrong(skip(), "Streaming", false), 1);
        let unasked = Outcome::Skipped("NRI socket not configured (use -nri-socket flag)".to_owned());
        assert_eq!(wrong(unasked, "NRI should x", false), 1);
    }

    #[test]
    fn one_failure_is_allowed_and_no_other() {
        assert_eq!(wrong(failed(), "public image with digest should be pulled and removed", false), 0);
        assert_eq!(wrong(failed(), "Streaming runtime should support exec", false), 1);
    }

    #[test]
    fn specs_that_are_not_there_are_missed_in_a_whole_run() {
        let expected = Expected::read().unwrap();
        let specs = [spec("a", Outcome::Passed)];
        assert!(expected.judge_on(&specs, Kind::Corten, false, |_| true).wrong.is_empty());
        assert_eq!(expected.judge_on(&specs, Kind::Corten, true, |_| true).wrong.len(), 1);
    }
}
