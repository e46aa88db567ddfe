//! Runs the program that Kubernetes' tests compile to: first all specs that may run side by side, then the others.

use crate::Cli;
use e2e::cluster::Cluster;
use e2e::error::Context;
use e2e::{Error, command, tools};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What specs say in their names that stand no other beside them.
const ALONE: &str = r"\[Serial\]|\[Disruptive\]";

/// What has run.
#[derive(Debug)]
pub(crate) struct Runs {
    /// The reports.
    pub(crate) reports: Vec<PathBuf>,
    /// How long it took in all.
    pub(crate) took: Duration,
}

/// Runs all specs that are asked for.
///
/// # Errors
/// When a program was not built, cannot be started, does not end in time or writes no report.
pub(crate) fn all(cli: &Cli, cluster: &Cluster, output: &Path) -> Result<Runs, Error> {
    let begin = Instant::now();
    let side_by_side =
        Pass { name: "parallel", parallel: cli.parallel, skip: Some(ALONE), focus: cli.expression() };
    let focus = format!("({}).*({ALONE})|({ALONE}).*({})", cli.expression(), cli.expression());
    let alone = Pass { name: "serial", parallel: 1, skip: None, focus };
    let mut reports = Vec::new();
    for pass in [side_by_side, alone] {
        let left = Duration::from_secs(cli.limit).saturating_sub(begin.elapsed());
        reports.push(pass.run(cli, cluster, output, left)?);
    }
    Ok(Runs { reports, took: begin.elapsed() })
}

struct Pass {
    name: &'static str,
    parallel: u32,
    skip: Option<&'static str>,
    focus: String,
}

impl Pass {
    fn run(&self, cli: &Cli, cluster: &Cluster, output: &Path, limit: Duration) -> Result<PathBuf, Error> {
        let ginkgo = tools::go_tool("e2e-ginkgo", "suites")?;
        let report = format!("{}.json", self.name);
        let (made, log) = (output.join(&report), output.join(format!("{}.log", self.name)));
        let _ = fs::remove_file(&made);
        let file = File::create(&log).at("create", &log)?;
        let errors = file.try_clone().at("duplicate", &log)?;
        let mut command = Command::new(&ginkgo);
        command
            .args([format!("--procs={}", self.parallel), format!("--json-report={report}")])
            .arg(format!("--output-dir={}", output.display()))
            // It ends itself before it is ended, so that there is a report.
            .arg(format!("--timeout={}s", limit.as_secs() * 9 / 10))
            .args(["--no-color", "--silence-skips", "--poll-progress-after=10m"])
            .arg(format!("--focus={}", self.focus))
            .args(self.skip.map(str::to_owned).iter().chain(&cli.skip).map(|text| format!("--skip={text}")))
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
        if !made.exists() {
            let line = ginkgo.display().to_string();
            return Err(Error::Command { line, outcome: "wrote no report".to_owned(), stderr: tail(&log) });
        }
        Ok(made)
    }
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
