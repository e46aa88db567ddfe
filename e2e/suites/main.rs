//! `make node-e2e` and `make conformance`: Kubernetes' own suites (`e2e.test`) on a cluster whose nodes run Corten, or
//! the peer (`RUNTIME=containerd`), each spec of both compared.
//!
//! A spec that fails makes the run a failure, unless `expected.toml` says why it can pass on no runtime here.

mod expected;
mod images;
mod run;
mod table;

use clap::{Parser, ValueEnum};
use e2e::Error;
use e2e::cluster::{Cluster, Options};
use e2e::error::{Chain, Context};
use e2e::ginkgo::{self, Outcome, Spec};
use e2e::interrupt::end_on_signals;
use e2e::runtime::Kind;
use e2e::tools;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// The interest groups whose conformance is the runtime's affair in part.
const GROUPS: [&str; 6] = ["node", "network", "storage", "apps", "cli", "auth"];

/// Runs a suite of Kubernetes on Corten, or on the peer (RUNTIME=containerd).
#[derive(Debug, Parser)]
pub(crate) struct Cli {
    /// Which specs
    suite: Suite,
    /// With conformance: of these special interest groups only; may be repeated [default: all six]
    #[arg(long)]
    sig: Vec<String>,
    /// Only specs whose name also matches this expression
    #[arg(long)]
    focus: Option<String>,
    /// No spec whose name matches this expression; may be repeated
    #[arg(long)]
    skip: Vec<String>,
    /// How many specs run side by side, but for those that must run alone
    #[arg(long, default_value_t = 10)]
    parallel: u32,
    /// How many nodes the cluster has
    #[arg(long)]
    nodes: Option<u8>,
    /// The seconds that the whole suite may take
    #[arg(long, default_value_t = 7200)]
    limit: u64,
}

/// A suite of Kubernetes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// What every node must do: [NodeConformance]
    NodeE2e,
    /// What every cluster must do: [Conformance] of sig-node, sig-network, sig-storage, sig-apps, sig-cli and sig-auth
    Conformance,
}

impl Cli {
    fn name(&self) -> &'static str {
        match self.suite {
            Suite::NodeE2e => "node-e2e",
            Suite::Conformance => "conformance",
        }
    }

    /// What the name of a spec must match.
    fn expression(&self) -> String {
        let more = self.focus.as_ref().map(|more| format!(".*({more})")).unwrap_or_default();
        match self.suite {
            Suite::NodeE2e => {
                format!(r"\[sig-node\]{more}.*\[NodeConformance\]|\[sig-storage\]{more}.*\[NodeConformance\]")
            }
            Suite::Conformance => {
                let groups = if self.sig.is_empty() { GROUPS.join("|") } else { self.sig.join("|") };
                format!(r"\[sig-({groups})\]{more}.*\[Conformance\]")
            }
        }
    }

    /// Whether no spec of the suite was left out.
    fn whole(&self) -> bool {
        self.sig.is_empty() && self.focus.is_none() && self.skip.is_empty()
    }

    fn nodes(&self) -> u8 {
        self.nodes.unwrap_or(match self.suite {
            Suite::NodeE2e => 1,
            // Some specs look at two.
            Suite::Conformance => 2,
        })
    }

    /// Where reports and logs of a runtime go.
    fn output(&self, runtime: &str) -> PathBuf {
        tools::repository().join("target/suites").join(self.name()).join(runtime)
    }
}

fn main() -> ExitCode {
    match suite(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("suites: {}", Chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn suite(cli: &Cli) -> Result<bool, Error> {
    let own = runtime(Kind::from_environment());
    let output = cli.output(own);
    fs::create_dir_all(&output).at("create", &output)?;
    let options = Options { nodes: cli.nodes(), logs: output.join("logs"), ..Options::new("suites") };
    let Some(cluster) = Cluster::start(&options)? else { return Ok(true) };
    for sweeper in cluster.sweepers() {
        end_on_signals(sweeper, Duration::from_secs(cli.limit + 300))?;
    }
    images::push(&cluster.node.world.registry)?;
    println!("suites: {} on {own}; its reports and logs go to {}", cli.name(), output.display());
    let runs = run::all(cli, &cluster, &output)?;
    drop(cluster);
    let mut specs = Vec::new();
    let mut reasons = Vec::new();
    for report in &runs.reports {
        let (more, why) = ginkgo::read(report)?;
        specs.extend(more);
        reasons.extend(why);
    }
    let other = if own == "corten" { "containerd" } else { "corten" };
    table::keep(&specs, runs.took, &output)?;
    let beside = table::kept(&cli.output(other))?;
    let mut wrong = judge(&specs, own, cli.whole())?;
    table::print(own, &specs, runs.took, beside.as_ref().map(|kept| (other, kept)));
    wrong.extend(reasons.into_iter().map(|reason| ("the suite".to_owned(), reason)));
    for (name, text) in &wrong {
        println!("\nWRONG {name}\n  {}", text.trim().replace('\n', "\n  "));
    }
    println!("suites: {} wrong", wrong.len());
    Ok(wrong.is_empty())
}

/// The runtime's name in the table.
fn runtime(kind: Kind) -> &'static str {
    match kind {
        Kind::Corten => "corten",
        Kind::Containerd => "containerd",
    }
}

/// What is wrong with a run: specs that failed without being listed, and those that passed and are.
fn judge(specs: &[Spec], runtime: &str, whole: bool) -> Result<Vec<(String, String)>, Error> {
    let list = expected::read()?;
    let mut wrong = Vec::new();
    for spec in specs {
        match (&spec.outcome, list.reason(&spec.name, runtime)) {
            (Outcome::Failed { message, location }, None) => {
                wrong.push((spec.name.clone(), format!("{message}\n  at {location}")));
            }
            (Outcome::Passed, Some(reason)) => {
                wrong.push((
                    spec.name.clone(),
                    format!("it passed, though it is listed as failing: {reason}"),
                ));
            }
            _ => {}
        }
    }
    if whole && specs.is_empty() {
        wrong.push(("the suite".to_owned(), "no spec ran".to_owned()));
    }
    Ok(wrong)
}
