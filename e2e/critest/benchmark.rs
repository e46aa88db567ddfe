//! critest's own benchmarks: their settings, and a table of Corten beside the peer from one run.

use crate::Cli;
use e2e::Error;
use e2e::error::Context;
use e2e::ginkgo::{self, Spec};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Nanoseconds of each sample, by operation.
type Samples = BTreeMap<String, Vec<u64>>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Lifecycles {
    operations_names: Vec<String>,
    datapoints: Vec<Datapoint>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Datapoint {
    operations_durations_ns: Vec<u64>,
}

/// The options of critest for a benchmark whose files go to a directory.
///
/// # Errors
/// When the settings cannot be written.
pub(crate) fn options(cli: &Cli, output: &Path) -> Result<Vec<String>, Error> {
    let parameters = output.join("parameters.json");
    // JSON is YAML. The samples are taken one after the other, so that they are latencies; the time-outs are for
    // one sample, or for all, as the benchmark has it.
    let text = json!({
        "containersNumber": cli.samples, "containersNumberParallel": 1, "containerBenchmarkTimeoutSeconds": 120,
        "podsNumber": cli.samples, "podsNumberParallel": 1, "podBenchmarkTimeoutSeconds": 120,
        "imagesNumber": cli.samples, "imagesNumberParallel": 1, "imageBenchmarkTimeoutSeconds": 120,
        "podContainerStartBenchmarkTimeoutSeconds": 30,
    });
    fs::write(&parameters, text.to_string()).at("write", &parameters)?;
    Ok(vec![
        "--benchmark".to_owned(),
        format!("--benchmarking-params-file={}", parameters.display()),
        format!("--benchmarking-output-dir={}", output.display()),
    ])
}

/// Runs the benchmarks on Corten and on the peer, and prints what they measured; whether all of them passed.
///
/// # Errors
/// When a run cannot be made or its files cannot be read.
pub(crate) fn compare(directory: &Path) -> Result<bool, Error> {
    let own = std::env::current_exe().at("find", "this program")?;
    let mut measured = Vec::new();
    for runtime in ["corten", "containerd"] {
        let output = directory.join(format!("benchmark-{runtime}"));
        let mut command = Command::new(&own);
        // The options of this run, and where the files go.
        command.args(std::env::args_os().skip(1)).arg("--once").arg("--output").arg(&output);
        if !command.env("RUNTIME", runtime).status().at("start", &own)?.success() {
            return Ok(false);
        }
        measured.push(samples(&output)?);
    }
    let [ours, theirs] = measured.as_slice() else { return Ok(false) };
    println!("\n{:<58} {:>9} {:>11} {:>6}", "median, ms", "Corten", "containerd", "ratio");
    for (name, own) in ours {
        let (own, peer) = (median(own), theirs.get(name).map_or(f64::NAN, |peer| median(peer)));
        println!("{name:<58} {own:>9.2} {peer:>11.2} {:>6.1}", peer / own);
    }
    Ok(true)
}

fn samples(output: &Path) -> Result<Samples, Error> {
    let mut samples = Samples::new();
    for (file, what) in [
        ("container_benchmark_data.json", "container"),
        ("image_lifecycle_benchmark_data.json", "image"),
        ("image_listing_benchmark_data.json", "images"),
        ("pod_benchmark_data.json", "pod"),
    ] {
        let path = output.join(file);
        let text = fs::read(&path).at("read", &path)?;
        let data: Lifecycles =
            serde_json::from_slice(&text).map_err(std::io::Error::from).at("understand", &path)?;
        for point in data.datapoints {
            for (name, duration) in data.operations_names.iter().zip(point.operations_durations_ns) {
                samples.entry(format!("{what}: {name}")).or_default().push(duration);
            }
        }
    }
    let (specs, _) = ginkgo::read(&output.join("report.json"))?;
    for measurement in specs.into_iter().flat_map(|Spec { measurements, .. }| measurements) {
        if !measurement.durations.is_empty() {
            samples.entry(measurement.name).or_default().extend(measurement.durations);
        }
    }
    Ok(samples)
}

/// Milliseconds.
fn median(samples: &[u64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).map_or(f64::NAN, |middle| *middle as f64 / 1e6)
}

/// Where a run keeps its files when it is not told.
pub(crate) fn directory() -> PathBuf {
    e2e::tools::repository().join("target/critest")
}
