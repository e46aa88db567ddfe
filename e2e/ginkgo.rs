//! What a suite of Go's ginkgo reports of a run, in the JSON that it writes: critest's, and Kubernetes' own.

use crate::error::{Context, Error};
use serde::Deserialize;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// How a spec ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It passed.
    Passed,
    /// It failed: message, and where the suite says so.
    Failed {
        /// What it says.
        message: String,
        /// File and line in the suite.
        location: String,
    },
    /// It skipped itself, saying why.
    Skipped(String),
}

/// A spec that ran, if only to skip itself.
#[derive(Debug, Clone)]
pub struct Spec {
    /// All its texts, joined by blanks.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
    /// What it measured: a name and durations each.
    pub measurements: Vec<Measurement>,
}

/// Durations that a benchmark recorded.
#[derive(Debug, Clone, Deserialize)]
pub struct Measurement {
    /// Its name.
    #[serde(rename = "Name")]
    pub name: String,
    /// Nanoseconds each.
    #[serde(rename = "Durations", default)]
    pub durations: Vec<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Suite {
    spec_reports: Vec<Raw>,
    #[serde(default)]
    special_suite_failure_reasons: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Raw {
    #[serde(default)]
    container_hierarchy_texts: Option<Vec<String>>,
    leaf_node_type: String,
    leaf_node_text: String,
    state: String,
    run_time: u64,
    #[serde(default)]
    failure: Option<Failure>,
    #[serde(default)]
    report_entries: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failure {
    #[serde(default)]
    message: String,
    #[serde(default)]
    location: Location,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Location {
    file_name: String,
    line_number: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    value: EntryValue,
}

#[derive(Deserialize)]
struct EntryValue {
    #[serde(rename = "AsJSON", default)]
    json: String,
}

#[derive(Deserialize)]
struct Experiment {
    #[serde(rename = "Measurements", default)]
    measurements: Vec<Measurement>,
}

/// Reads a report: every spec that ran or skipped itself, but for those left out by focus; and what stopped the suite
/// as a whole.
///
/// # Errors
/// When it cannot be read, or is not ginkgo's.
pub fn read(path: &Path) -> Result<(Vec<Spec>, Vec<String>), Error> {
    let text = fs::read(path).at("read", path)?;
    let suites: Vec<Suite> =
        serde_json::from_slice(&text).map_err(std::io::Error::from).at("understand", path)?;
    let mut specs = Vec::new();
    let mut reasons = Vec::new();
    for suite in suites {
        reasons.extend(suite.special_suite_failure_reasons.into_iter().flatten());
        specs.extend(suite.spec_reports.into_iter().filter_map(spec));
    }
    specs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((specs, reasons))
}

fn spec(raw: Raw) -> Option<Spec> {
    let failure = raw.failure.unwrap_or(Failure { message: String::new(), location: Location::default() });
    let outcome = match raw.state.as_str() {
        // The suite's own nodes matter when they fail only.
        "passed" if raw.leaf_node_type == "It" => Outcome::Passed,
        "passed" => return None,
        // Without a message it was left out by focus.
        "skipped" | "pending" if failure.message.is_empty() => return None,
        "skipped" | "pending" => Outcome::Skipped(failure.message),
        state => Outcome::Failed {
            message: format!("{state}: {}", failure.message),
            location: format!("{}:{}", failure.location.file_name, failure.location.line_number),
        },
    };
    let texts = raw.container_hierarchy_texts.unwrap_or_default();
    let mut words: Vec<_> = texts.iter().map(String::as_str).collect();
    words.push(if raw.leaf_node_text.is_empty() { &raw.leaf_node_type } else { &raw.leaf_node_text });
    let measurements = raw.report_entries.unwrap_or_default().iter().flat_map(measured).collect();
    let took = Duration::from_nanos(raw.run_time);
    Some(Spec { name: words.join(" "), outcome, took, measurements })
}

fn measured(entry: &Entry) -> Vec<Measurement> {
    // Other entries than experiments are text for people.
    serde_json::from_str::<Experiment>(&entry.value.json).map(|it| it.measurements).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(specs: &str) -> Vec<Spec> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), format!(r#"[{{"SpecReports": [{specs}]}}]"#)).unwrap();
        read(file.path()).unwrap().0
    }

    #[test]
    fn skips_by_focus_are_left_out_and_skips_by_the_spec_are_kept() {
        let specs = parse(
            r#"{"ContainerHierarchyTexts": ["A", "b"], "LeafNodeType": "It", "LeafNodeText": "c", "State": "passed", "RunTime": 5},
               {"ContainerHierarchyTexts": ["A"], "LeafNodeType": "It", "LeafNodeText": "x", "State": "skipped", "RunTime": 0},
               {"LeafNodeType": "It", "LeafNodeText": "y", "State": "skipped", "RunTime": 0, "Failure": {"Message": "no"}},
               {"LeafNodeType": "BeforeSuite", "LeafNodeText": "", "State": "passed", "RunTime": 0}"#,
        );
        let names: Vec<_> = specs.iter().map(|spec| (spec.name.as_str(), &spec.outcome)).collect();
        assert_eq!(names, [("A b c", &Outcome::Passed), ("y", &Outcome::Skipped("no".to_owned()))]);
    }

    #[test]
    fn a_panic_a_timeout_and_a_broken_suite_node_are_failures() {
        let specs = parse(
            r#"{"LeafNodeType": "BeforeSuite", "LeafNodeText": "", "State": "panicked", "RunTime": 0,
                "Failure": {"Message": "boom", "Location": {"FileName": "a.go", "LineNumber": 7}}},
               {"LeafNodeType": "It", "LeafNodeText": "t", "State": "timedout", "RunTime": 0}"#,
        );
        assert_eq!(specs.len(), 2);
        let expected =
            Outcome::Failed { message: "panicked: boom".to_owned(), location: "a.go:7".to_owned() };
        assert_eq!(specs[0].outcome, expected);
        assert!(matches!(specs[1].outcome, Outcome::Failed { .. }));
    }
}
