//! `make kubelet-smoke`: the real kubelet, without an API server, on Corten and then on containerd. Both must come
//! through the same scenario, on Corten the kubelet must complain of nothing that it does not complain of on containerd, and
//! its figures, by default gates, must have every series and label that they have there.

mod api;
mod errors;
mod figures;
mod manifests;
mod node;
mod scenario;

use clap::Parser;
use e2e::error::{Chain, Context};
use e2e::{Error, tools};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Runs the kubelet with static pods on Corten and on containerd, and compares what it complains of.
#[derive(Debug, Parser)]
struct Cli {
    /// Run the scenario once, on the runtime that RUNTIME names, and write the kubelet's log to this file
    #[arg(long)]
    once: Option<PathBuf>,
}

fn main() -> ExitCode {
    let result = match Cli::parse().once {
        Some(log) => scenario::run(&log),
        None => compare(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kubelet-smoke: {}", Chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn compare() -> Result<(), Error> {
    let directory = tools::repository().join("target/kubelet");
    fs::create_dir_all(&directory).at("create", &directory)?;
    let (mut complaints, mut shapes) = (Vec::new(), Vec::new());
    for runtime in ["corten", "containerd"] {
        let log = directory.join(format!("{runtime}.log"));
        println!("kubelet-smoke: on {runtime}; the kubelet's log is {}", log.display());
        once(runtime, &log)?;
        complaints.push(errors::read(&log)?);
        shapes.push(figures::Shape::read(&log.with_extension("figures.json"))?);
    }
    compare_figures(&shapes)?;
    let [ours, theirs] = complaints.as_slice() else { return Ok(()) };
    let new: Vec<_> = ours.iter().filter(|(name, _)| !theirs.contains_key(*name)).collect();
    if new.is_empty() {
        println!(
            "kubelet-smoke: on Corten it logs {} kinds of errors, all of which it logs on containerd too",
            ours.len()
        );
        return Ok(());
    }
    let seen = new.iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>().join("\n");
    Err(Error::Unexpected { what: "errors that the kubelet does not log on containerd", seen })
}

/// Every series of `/metrics/cadvisor` with its labels, and every member of `/stats/summary`.
fn compare_figures(shapes: &[figures::Shape]) -> Result<(), Error> {
    let [ours, theirs] = shapes else { return Ok(()) };
    let missing = ours.lacks(theirs);
    if !missing.is_empty() {
        return Err(Error::Unexpected {
            what: "figures that the kubelet has on containerd alone",
            seen: missing.join("\n"),
        });
    }
    let ((series, members), (of_series, of_members)) = (ours.size(), theirs.size());
    println!(
        "kubelet-smoke: on Corten it shows {series} series of two pods and {members} members of their summary, among them \
         all {of_series} and {of_members} that it shows on containerd"
    );
    for more in theirs.lacks(ours) {
        println!("kubelet-smoke: on Corten alone: {more}");
    }
    Ok(())
}

/// A process for each, as namespaces belong to one.
fn once(runtime: &str, log: &Path) -> Result<(), Error> {
    let own = std::env::current_exe().at("find", "this program")?;
    let mut command = Command::new(&own);
    let status = command.arg("--once").arg(log).env("RUNTIME", runtime).status().at("start", &own)?;
    if status.success() {
        return Ok(());
    }
    let line = format!("RUNTIME={runtime} {} --once {}", own.display(), log.display());
    Err(Error::Command { line, outcome: format!("ended with {status}"), stderr: String::new() })
}
