//! `corten check`: whether this host can run pods, before the daemon starts. Each finding says what is missing, what that
//! costs and how to mend it. What the settings lead to is looked at as `corten config check` does; the rest is asked of the
//! kernel, mostly by trying it. Nothing stays behind.

mod cgroups;
mod clock;
mod finding;
mod host;
mod kernel;
mod neighbours;
mod network;
mod plugins;
mod state;
mod storage;
mod sysctls;
mod text;

use crate::aside::{self, PATIENCE};
use crate::config::{self, Config, HostProblem};
use crate::error::Error;
use crate::lock;
use cli::check::CheckArgs;
use finding::{Finding, Level};
use host::Host;
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;

/// Everything that was found, as it is printed with `--json`.
#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    errors: usize,
    warnings: usize,
    findings: Vec<Finding>,
}

/// Looks at the host, and prints what it has found.
///
/// # Errors
/// The daemon would not start, or no pod.
pub(crate) fn run(request: &CheckArgs) -> Result<(), Error> {
    let mut report = Report::of(request.serve.config.as_deref(), &config::defaults(&request.serve));
    if request.quiet {
        report.findings.retain(|finding| finding.level != Level::Ok);
    }
    let printed = if request.json {
        serde_json::to_string(&report).map_err(crate::admin::ClientError::from)? + "\n"
    } else {
        text::table(&report, request.quiet, client::has_colors())
    };
    text::print(&printed)?;
    if report.errors == 0 { Ok(()) } else { Err(Error::UnfitHost { errors: report.errors }) }
}

/// The same for a file.
pub(crate) fn report(config: Option<&Path>) -> String {
    text::table(&Report::of(config, ""), false, false)
}

impl Report {
    fn of(file: Option<&Path>, defaults: &str) -> Self {
        let findings = all(file, defaults);
        let count = |level| findings.iter().filter(|finding| finding.level == level).count();
        let (errors, warnings) = (count(Level::Error), count(Level::Warning));
        Self { version: env!("CARGO_PKG_VERSION"), errors, warnings, findings }
    }
}

fn all(file: Option<&Path>, defaults: &str) -> Vec<Finding> {
    let (config, mut found) = settings(file, defaults);
    let host = || Host { root: "/".into(), selinux: config.runtime.selinux };
    let engine = config.engine();
    found.extend(group("kernel", host(), |host| kernel::check(&host)));
    let state_dir = config.state_dir.clone();
    found.extend(group("sysctl", (host(), state_dir), |(host, state_dir)| {
        sysctls::check(&host, lock::holding(&state_dir).map(|holder| holder.pid))
    }));
    found.extend(group("cgroups", (host(), engine), |(host, settings)| cgroups::check(&host, &settings)));
    found.extend(group("overlay", config.clone(), |config| storage::check(&config)));
    found.extend(group("state", config.clone(), |config| state::check(&config)));
    found.extend(group("cni", config.network.clone(), |settings| network::check(&settings)));
    found.extend(group("daemon", (host(), config), |(host, config)| neighbours::check(&host, &config)));
    found.push(clock::check());
    found
}

/// Some checks, on a thread of their own: a filesystem may never answer.
fn group<T: Send + 'static>(
    check: &'static str,
    subject: T,
    work: impl FnOnce(T) -> Vec<Finding> + Send + 'static,
) -> Vec<Finding> {
    aside::CHECKS.wait(move || work(subject)).unwrap_or_else(|| {
        let found = format!("a filesystem, or the kernel, did not answer within {} s", PATIENCE.as_secs());
        let finding = Finding::warning(check, found).costs("nothing is known of this and what goes with it");
        vec![finding.mend("see what hangs: processes in state D, mounts of servers that are gone")]
    })
}

/// The settings, as far as they are right, and what is wrong with them here.
fn settings(file: Option<&Path>, defaults: &str) -> (Config, Vec<Finding>) {
    let loaded = match config::load_over(defaults, file) {
        Ok(loaded) => Arc::new(loaded),
        Err(mistakes) => {
            let refuse = |line| {
                Finding::error("configuration", line)
                    .costs("the daemon does not start; what follows is checked with the defaults")
                    .mend("`corten config check` after the change; `corten config default` explains each setting")
            };
            return (Config::default(), mistakes.lines().into_iter().map(refuse).collect());
        }
    };
    let files: Vec<String> = loaded.files.iter().map(|file| file.display().to_string()).collect();
    let read = if files.is_empty() { "no file, the defaults".to_owned() } else { files.join(", ") };
    let mut found = vec![Finding::ok("configuration", read)];
    found.extend(config::check_host(&loaded).iter().filter(|problem| !is_tried(problem)).map(told));
    (loaded.config.clone(), found)
}

/// What is tried here, and not only looked at.
fn is_tried(problem: &HostProblem) -> bool {
    let of_cgroups = problem.key() == "runtime.cgroup_driver";
    of_cgroups || problem.key() == "data_dir" && !problem.prevents_start()
}

fn told(problem: &HostProblem) -> Finding {
    let check = match problem.key() {
        "network.conf_dir" | "network.bin_dirs" => "cni",
        "images.certs_dir" => "registries",
        "metrics.token_file" => "metrics",
        _ => "settings",
    };
    if ["runtime.shim", "runtime.pause"].contains(&problem.key()) {
        Finding::error(check, problem.to_string())
            .costs("no pod can be started; those that run have their daemon")
            .mend("install the program again, or another value")
    } else if problem.prevents_start() {
        Finding::error(check, problem.to_string())
            .costs("the daemon does not start")
            .mend("what the message says, or another value")
    } else {
        let costs = match check {
            "cni" => "pods with a network of their own may fail to start",
            "registries" => "pulls from that registry fail",
            "metrics" => "nothing is scraped: the daemon lives, and nobody sees its figures",
            _ => "pods that need it fail to start, or do without",
        };
        Finding::warning(check, problem.to_string()).costs(costs).mend("what the message says")
    }
}
