//! `make node-e2e` and `make conformance`: Kubernetes' own suites (`e2e.test`) on a cluster whose nodes run Corten, or
//! the peer (`RUNTIME=containerd`), each spec of both compared.
//!
//! A spec that fails makes the run a failure, unless `expected.toml` says why it can pass on no runtime here.

mod expected;
mod images;
mod run;
mod table;

use crate::expected::Expected;
use clap::{Parser, ValueEnum};
use e2e::Error;
use e2e::cluster::{Cluster, Options};
use e2e::error::{Chain, Context};
use e2e::ginkgo::{self, Outcome, Spec};
use e2e::interrupt::end_on_signals;
use e2e::registry::Registry;
use e2e::runtime::Kind;
use e2e::tools;
use nix::mount::{MsFlags, mount};
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// The interest groups whose conformance is the runtime's affair in part.
const GROUPS: [&str; 6] = ["node", "network", "storage", "apps", "cli", "auth"];

/// Specs that wait for minutes without saying that they are slow: for what must not happen, or for the kubelet's next look at
/// a volume.
const WAITING: &str = "Probing|NodeLease|Lifecycle Sleep Hook|ConfigMap|Secret|Projected|Downward API volume";

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
    /// Only those that need no minutes: what `make test` runs of node-e2e, in three
    #[arg(long)]
    brief: bool,
    /// How many specs run side by side, but for those that must run alone
    #[arg(long, default_value_t = 12)]
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

    /// What the labels of a spec must match.
    fn labels(&self) -> String {
        let groups = |names: &[String]| {
            names.iter().map(|name| format!("sig-{name}")).collect::<Vec<_>>().join(" || ")
        };
        let labels = match self.suite {
            Suite::NodeE2e => "NodeConformance && (sig-node || sig-storage)".to_owned(),
            Suite::Conformance => format!("Conformance && ({})", groups(&self.groups())),
        };
        if self.brief { format!("{labels} && !Slow && !Serial") } else { labels }
    }

    /// What the name of no spec may match.
    fn skips(&self) -> impl Iterator<Item = &str> {
        let waiting = self.brief.then_some(WAITING);
        waiting.into_iter().chain(self.skip.iter().map(String::as_str))
    }

    fn groups(&self) -> Vec<String> {
        if self.sig.is_empty() { GROUPS.map(str::to_owned).to_vec() } else { self.sig.clone() }
    }

    /// Whether no spec of the suite was left out.
    fn whole(&self) -> bool {
        self.sig.is_empty() && self.focus.is_none() && self.skips().next().is_none()
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
    let logs = output.join("logs");
    let options = Options { nodes: cli.nodes(), logs, furnish: Some(furnish), ..Options::new("suites") };
    let Some(cluster) = Cluster::start(&options)? else { return Ok(true) };
    let expected = expected::read()?;
    for sweeper in cluster.sweepers() {
        end_on_signals(sweeper, Duration::from_secs(cli.limit + 300))?;
    }
    println!("suites: {} on {own}; its reports and logs go to {}", cli.name(), output.display());
    let run = run::all(cli, &cluster, &output)?;
    drop(cluster);
    let (specs, reasons) = ginkgo::read(&run.report)?;
    let other = if own == "corten" { "containerd" } else { "corten" };
    if cli.whole() {
        table::keep(&specs, run.took, &output)?;
    }
    let beside = table::kept(&cli.output(other))?;
    let mut wrong = judge(&specs, &expected, own);
    table::print(own, &specs, run.took, beside.as_ref().map(|kept| (other, kept)));
    wrong.extend(reasons.into_iter().map(|reason| ("the suite".to_owned(), reason)));
    for (name, text) in &wrong {
        println!("\nWRONG {name}\n  {}", text.trim().replace('\n', "\n  "));
    }
    println!("suites: {} wrong", wrong.len());
    Ok(wrong.is_empty())
}

/// Gives a node the suites' images, and a `/tmp` of its own, which specs write to and never clean; not where this repository
/// is in it.
fn furnish(registry: &Registry) -> Result<(), Error> {
    images::push(registry)?;
    if tools::repository().starts_with("/tmp") {
        return Ok(());
    }
    mount(Some("tmpfs"), "/tmp", Some("tmpfs"), MsFlags::empty(), Some("mode=1777"))
        .map_err(|source| Error::System { operation: "mount a tmpfs", source })
}

/// The runtime's name in the table.
fn runtime(kind: Kind) -> &'static str {
    match kind {
        Kind::Corten => "corten",
        Kind::Containerd => "containerd",
    }
}

/// What is wrong with a run: specs that failed without being listed, those that passed and are, and that none ran.
fn judge(specs: &[Spec], list: &Expected, runtime: &str) -> Vec<(String, String)> {
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
    if specs.is_empty() {
        wrong.push(("the suite".to_owned(), "no spec ran".to_owned()));
    }
    wrong
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn wrong(name: &str, outcome: Outcome) -> Vec<String> {
        let list = toml::from_str(
            "[[failure]]\nspec = 'no module'\nreason = 'r'\n\
             [[failure]]\nspec = 'peer only'\nruntime = 'containerd'\nreason = 'r'",
        );
        let spec = Spec { name: name.to_owned(), outcome, took: Duration::ZERO, measurements: Vec::new() };
        judge(&[spec], &list.unwrap(), "corten").into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn only_what_is_listed_for_a_runtime_may_fail_and_then_it_must() {
        let failed = || Outcome::Failed { message: "m".to_owned(), location: "l".to_owned() };
        assert!(wrong("[x] no module here", failed()).is_empty());
        assert!(wrong("other", Outcome::Passed).is_empty());
        assert!(wrong("[x] no module here", Outcome::Skipped("s".to_owned())).is_empty());
        assert_eq!(wrong("other", failed()), ["other"]);
        assert_eq!(wrong("[x] no module here", Outcome::Passed), ["[x] no module here"]);
        assert_eq!(wrong("peer only", failed()), ["peer only"]);
    }

    #[test]
    fn a_run_of_nothing_is_wrong_and_the_committed_list_parses() {
        let list = expected::parse().unwrap();
        assert_eq!(judge(&[], &list, "corten").len(), 1);
    }
}
