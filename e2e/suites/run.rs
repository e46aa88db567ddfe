//! Runs the program that Kubernetes' tests compile to.

use crate::Cli;
use e2e::cluster::Cluster;
use e2e::error::Context;
use e2e::{Error, command, tools};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const REPORT: &str = "report.json";

/// What has run.
#[derive(Debug)]
pub(crate) struct Run {
    /// The report.
    pub(crate) report: PathBuf,
    /// How long it took.
    pub(crate) took: Duration,
}

/// Runs all specs that are asked for, side by side: the suite begins with those that it knows to be slow, and leaves those
/// that must run alone to the end.
///
/// # Errors
/// When a program was not built, cannot be started, does not end in time or writes no report.
pub(crate) fn all(cli: &Cli, cluster: &Cluster, output: &Path) -> Result<Run, Error> {
    let begin = Instant::now();
    let limit = Duration::from_secs(cli.limit);
    let ginkgo = tools::go_tool("e2e-ginkgo", "suites")?;
    let (report, log) = (output.join(REPORT), output.join("suite.log"));
    let _ = fs::remove_file(&report);
    let file = File::create(&log).at("create", &log)?;
    let errors = file.try_clone().at("duplicate", &log)?;
    let mut command = Command::new(&ginkgo);
    command
        .args([format!("--procs={}", cli.parallel), format!("--json-report={REPORT}")])
        .arg(format!("--output-dir={}", output.display()))
        // It ends itself before it is ended, so that there is a report.
        .arg(format!("--timeout={}s", limit.as_secs() * 9 / 10))
        .args(["--no-color", "--silence-skips", "--poll-progress-after=10m"])
        .arg(format!("--label-filter={}", cli.labels()))
        .args(cli.focus.iter().map(|text| format!("--focus={text}")))
        .args(cli.skips().map(|text| format!("--skip={text}")))
        .arg(tools::go_tool("e2e.test", "suites")?)
        .arg("--")
        .args(arguments(cli, cluster)?)
        .current_dir(output)
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(errors);
    let mut child = command.spawn().at("start", &ginkgo)?;
    if command::wait(&mut child, limit).is_none() {
        return Err(Error::Late { what: "the suite's end", after: limit, last: tail(&log) });
    }
    if !report.exists() {
        let line = ginkgo.display().to_string();
        return Err(Error::Command { line, outcome: "wrote no report".to_owned(), stderr: tail(&log) });
    }
    Ok(Run { report, took: begin.elapsed() })
}

fn arguments(cli: &Cli, cluster: &Cluster) -> Result<Vec<String>, Error> {
    Ok(vec![
        "--provider=skeleton".to_owned(),
        format!("--kubeconfig={}", cluster.kubectl.config().display()),
        format!("--kubectl-path={}", tools::go_tool("kubectl", "cluster")?.display()),
        format!("--num-nodes={}", cli.nodes()),
        "--disable-log-dump".to_owned(),
        "--dump-logs-on-failure=false".to_owned(),
    ])
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}
