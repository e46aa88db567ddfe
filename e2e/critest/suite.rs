//! Runs the program that cri-tools' tests compile to.

use crate::{Cli, benchmark};
use e2e::error::Context;
use e2e::{Error, command, tools};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Where both runtimes listen for plugins.
const NRI_SOCKET: &str = "/var/run/nri/nri.sock";
/// The name of the report.
const REPORT: &str = "report.json";

/// A run of the suite that has ended.
#[derive(Debug)]
pub(crate) struct Run {
    /// The report.
    pub(crate) report: PathBuf,
    /// What the suite printed.
    pub(crate) log: PathBuf,
    /// How long it took.
    pub(crate) took: Duration,
}

/// Runs the suite on a socket to its end, whatever that is; its files go to a directory.
///
/// # Errors
/// When it is not built, cannot be started, does not end in time or writes no report.
pub(crate) fn run(cli: &Cli, socket: &Path, temporary: &Path, output: &Path) -> Result<Run, Error> {
    let program = tools::go_tool("critest", "critest")?;
    let (report, log) = (output.join(REPORT), output.join("critest.log"));
    let _ = fs::remove_file(&report);
    let file = File::create(&log).at("create", &log)?;
    let errors = file.try_clone().at("duplicate", &log)?;
    let mut command = Command::new(&program);
    command
        .args(arguments(cli, socket, temporary))
        .args(if cli.benchmark { benchmark::options(cli, output)? } else { Vec::new() })
        .env("TMPDIR", temporary)
        .env("PATH", path(&program))
        .current_dir(temporary)
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(errors);
    let begin = Instant::now();
    let mut child = command.spawn().at("start", &program)?;
    let limit = Duration::from_secs(cli.limit);
    if command::wait(&mut child, limit).is_none() {
        return Err(Error::Late { what: "the suite's end", after: limit, last: tail(&log) });
    }
    let took = begin.elapsed();
    // Relative, because ginkgo, which runs specs side by side, joins a path to directories of its own.
    let made = temporary.join(REPORT);
    if made.exists() {
        fs::copy(&made, &report).at("copy", &made)?;
    }
    if !report.exists() {
        let line = program.display().to_string();
        return Err(Error::Command { line, outcome: "wrote no report".to_owned(), stderr: tail(&log) });
    }
    Ok(Run { report, log, took })
}

fn arguments(cli: &Cli, socket: &Path, temporary: &Path) -> Vec<String> {
    let mut list = vec![
        format!("--runtime-endpoint=unix://{}", socket.display()),
        format!("--config={}", temporary.join("none.yaml").display()),
        // The isolation has a directory of its own there.
        format!("--nri-socket={NRI_SOCKET}"),
        format!("--runtime-service-timeout={}s", cli.service_timeout),
        format!("--image-service-timeout={}s", cli.service_timeout),
        "--ginkgo.no-color".to_owned(),
        // It ends itself before it is ended, so that there is a report.
        format!("--ginkgo.timeout={}s", cli.limit * 9 / 10),
        format!("--ginkgo.json-report={REPORT}"),
    ];
    if cli.parallel > 1 {
        list.push(format!("--parallel={}", cli.parallel));
    }
    list.extend(cli.focus.iter().map(|text| format!("--ginkgo.focus={text}")));
    list.extend(cli.skip.iter().map(|text| format!("--ginkgo.skip={text}")));
    list.extend(cli.runtime_handler.iter().map(|name| format!("--runtime-handler={name}")));
    if cli.websocket {
        list.extend(["exec", "attach", "portforward"].map(|verb| format!("--websocket-{verb}")));
    }
    list
}

fn path(program: &Path) -> String {
    let own = program.parent().map(|directory| directory.display().to_string()).unwrap_or_default();
    format!("{own}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
}

/// The last lines of a log.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}
