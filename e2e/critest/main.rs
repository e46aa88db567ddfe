//! `make critest`: runs critest, the validation suite of the Container Runtime Interface, against a daemon in a world
//! of its own, and compares what comes out with a committed list (`expected.toml`).
//!
//! The images that it pulls are stand-ins made of Debian's packages ([`standins`]), found through a registry mirror.
//! `RUNTIME=containerd` runs the same on the peer, which tells a failing fixture from a failing runtime.

mod benchmark;
mod expected;
mod stage;
mod standins;
mod suite;

use clap::Parser;
use e2e::Error;
use e2e::error::{Chain, Context};
use e2e::ginkgo::{self, Spec};
use e2e::isolation::Isolation;
use e2e::registry::Registry;
use e2e::runtime::Kind;
use expected::{Expected, Verdict};
use stage::Stage;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The seconds that the suite gives each call of an ordinary machine.
const SERVICE_TIMEOUT: u64 = 300;

/// Runs critest against Corten, or against the peer (RUNTIME=containerd).
#[derive(Debug, Parser)]
pub(crate) struct Cli {
    /// Only specs whose name matches this expression; may be repeated
    #[arg(long)]
    focus: Vec<String>,
    /// No spec whose name matches this expression; may be repeated
    #[arg(long)]
    skip: Vec<String>,
    /// How many specs run side by side
    #[arg(long, default_value_t = 1, overrides_with = "parallel")]
    parallel: u32,
    /// The runtime handler of every pod
    #[arg(long)]
    runtime_handler: Option<String>,
    /// Stream over WebSocket instead of SPDY
    #[arg(long)]
    websocket: bool,
    /// A file with more of Corten's configuration; the section [runtime] is open
    #[arg(long)]
    daemon_config: Option<PathBuf>,
    /// A directory on the file system that the daemon's data shall lie on, instead of a tmpfs
    #[arg(long)]
    data: Option<PathBuf>,
    /// Images that --prepare has made, instead of making them now
    #[arg(long)]
    images: Option<PathBuf>,
    /// Make the images, into this directory, and end
    #[arg(long, conflicts_with = "images")]
    prepare: Option<PathBuf>,
    /// Where the reports and logs go [default: target/critest/RUNTIME]
    #[arg(long)]
    output: Option<PathBuf>,
    /// Run the suite's benchmarks, on Corten and on containerd, and print their medians side by side
    #[arg(long)]
    benchmark: bool,
    /// With --benchmark: how often each is repeated
    #[arg(long, default_value_t = 30)]
    samples: u32,
    /// With --benchmark: on the one runtime that RUNTIME names
    #[arg(long, requires = "benchmark")]
    once: bool,
    /// The seconds that the suite gives each call
    #[arg(long, default_value_t = SERVICE_TIMEOUT, overrides_with = "service_timeout")]
    service_timeout: u64,
    /// The seconds that the whole suite may take
    #[arg(long, default_value_t = 900, overrides_with = "limit")]
    limit: u64,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.prepare {
        Some(directory) => prepare(directory),
        None if cli.benchmark && !cli.once => benchmark::compare(&benchmark::directory()),
        None => run(&cli),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("critest: {}", Chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn prepare(directory: &Path) -> Result<bool, Error> {
    let temporary = tempfile::tempdir().at("create", "a temporary directory")?;
    let storage = temporary.path().join("blobs");
    let registry = Registry::start(temporary.path())?;
    standins::push(&registry)?;
    drop(registry);
    fs::create_dir_all(directory).at("create", directory)?;
    let mut copy = std::process::Command::new(e2e::tools::system("cp")?);
    copy.args(["-a", "--"]).arg(storage).arg(directory);
    e2e::command::run(&mut copy, std::time::Duration::from_secs(60))?;
    println!("critest: the images are in {}", directory.display());
    Ok(true)
}

fn run(cli: &Cli) -> Result<bool, Error> {
    if !Isolation::permitted() {
        return Ok(true);
    }
    let kind = Kind::from_environment();
    let name = if kind == Kind::Corten { "corten" } else { "containerd" };
    let output = cli.output.clone().unwrap_or_else(|| benchmark::directory().join(name));
    fs::create_dir_all(&output).at("create", &output)?;
    let stage = Stage::set(cli, kind)?;
    println!("critest: running on {name}; its report and logs go to {}", output.display());
    // What the peer leaves is the peer's affair.
    let baseline = if kind == Kind::Corten { Some(stage.baseline()?) } else { None };
    let run = suite::run(cli, &stage.daemon.place().socket, &stage.temporary()?, &output);
    keep_log(&stage, &output)?;
    let run = run?;
    let left = stage.clear()?;
    let (specs, reasons) = ginkgo::read(&run.report)?;
    let whole = cli.focus.is_empty() && cli.skip.is_empty() && !cli.benchmark;
    let mut verdict = Expected::read()?.judge(&specs, kind, whole);
    verdict.wrong.extend(reasons.into_iter().map(|reason| ("the suite".to_owned(), reason)));
    // Specs that failed leave things of their own.
    if let (Some(baseline), true) = (baseline, verdict.wrong.is_empty())
        && let Err(error) = stage.settle(&baseline)
    {
        verdict.wrong.push(("the host afterwards".to_owned(), Chain(&error).to_string()));
    }
    print(&verdict, &specs, run.took.as_secs_f64());
    if !left.is_empty() {
        println!("pods that specs have left: {}", left.join(", "));
    }
    if !verdict.wrong.is_empty() {
        println!("more: {} and {}", run.log.display(), output.join("daemon.log").display());
    }
    Ok(verdict.wrong.is_empty())
}

fn keep_log(stage: &Stage, output: &Path) -> Result<(), Error> {
    let (from, to) = (&stage.daemon.place().log, output.join("daemon.log"));
    fs::copy(from, &to).map(drop).at("copy", from)
}

fn print(verdict: &Verdict, specs: &[Spec], seconds: f64) {
    for (name, text) in &verdict.wrong {
        println!("\nWRONG {name}\n  {}", text.trim().replace('\n', "\n  "));
    }
    let mut slow: Vec<_> = specs.iter().collect();
    slow.sort_by_key(|spec| std::cmp::Reverse(spec.took));
    println!("\nthe slowest:");
    for spec in slow.iter().take(5) {
        println!("  {:5.1} s  {}", spec.took.as_secs_f64(), spec.name);
    }
    for (name, reason) in &verdict.allowed {
        println!("failed, as expected: {name}: {reason}");
    }
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, reason) in &verdict.skipped {
        *reasons.entry(reason).or_default() += 1;
    }
    for (reason, count) in reasons {
        println!("skipped, as expected: {count} specs: {reason}");
    }
    println!(
        "critest: {} passed, {} failed as expected, {} skipped, {} wrong, in {seconds:.0} s",
        verdict.passed.len(),
        verdict.allowed.len(),
        verdict.skipped.len(),
        verdict.wrong.len()
    );
}
