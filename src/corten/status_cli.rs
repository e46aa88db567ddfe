//! `corten status` and `corten explain`: what a running daemon knows.

mod plugins;

use crate::admin::{self, Client, ClientError, ExplainRequest, StatusView};
use crate::config;
use crate::error::Error;
use cli::status::{AskArgs, ExplainCommand};
use client::print;
use engine::{Explanation, PastView, counted};
use serde::Serialize;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// The socket of the daemon that has this configuration.
///
/// # Errors
/// The file that names its directory cannot be read.
pub(crate) fn socket(config: Option<&Path>, admin: Option<PathBuf>) -> Result<PathBuf, Error> {
    match admin {
        Some(socket) => Ok(socket),
        // The daemon runs, whatever has become of its files.
        None => Ok(admin::socket(&config::state_dir(config)?)),
    }
}

/// What the daemon answers to a question without a body.
///
/// # Errors
/// It cannot be reached.
pub(crate) fn get<T: serde::de::DeserializeOwned>(socket: &Path, path: &str) -> Result<T, Error> {
    let work = async { Client::connect(socket).await?.get(path).await };
    Ok(runtime()?.block_on(work)?)
}

fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|source| Error::Runtime { what: "the asynchronous runtime", source })
}

/// `corten status`.
///
/// # Errors
/// The daemon cannot be reached.
pub(crate) fn status(ask: AskArgs) -> Result<(), Error> {
    let status: StatusView = get(&socket(ask.config.as_deref(), ask.admin)?, "/v1/status")?;
    show(ask.json, &status, status_text)
}

/// `corten explain …`.
///
/// # Errors
/// The daemon cannot be reached, or knows of no such thing.
pub(crate) fn explain(command: ExplainCommand) -> Result<(), Error> {
    let (container, id, ask) = match command {
        ExplainCommand::Pod { id, ask } => (false, id, ask),
        ExplainCommand::Container { id, ask } => (true, id, ask),
    };
    let socket = socket(ask.config.as_deref(), ask.admin)?;
    let request = ExplainRequest { container, id };
    let work = async { Client::connect(&socket).await?.post("/v1/why", &request).await };
    let explained: Explanation = runtime()?.block_on(work)?;
    show(ask.json, &explained, explanation_text)
}

fn show<T: Serialize>(json: bool, value: &T, text: impl Fn(&T) -> String) -> Result<(), Error> {
    if json {
        return Ok(print(&(serde_json::to_string(value).map_err(ClientError::from)? + "\n"))?);
    }
    Ok(print(&text(value))?)
}

/// Lines of a name and what there is to say of it.
struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, said: &str) {
        // A String takes everything.
        let _ = writeln!(self.0, "{name:<16}  {said}");
    }
}

fn status_text(status: &StatusView) -> String {
    let StatusView { version, commit, pid, .. } = status;
    let mut lines = Lines(format!(
        "corten {version} (commit {commit}), process {pid}, up {}\n",
        age(status.uptime_seconds)
    ));
    for condition in &status.conditions {
        let parts = [condition.status.to_string(), condition.reason.clone(), condition.message.clone()];
        let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        lines.add(&condition.name, &parts.join("  "));
    }
    let network = status.network.as_ref().map_or_else(
        || "none in force".to_owned(),
        |network| {
            let from = match network.path.as_os_str().is_empty() {
                true => "built in".to_owned(),
                false => format!("from {}", network.path.display()),
            };
            format!("{} {from}: {}", network.name, network.plugins.join(", "))
        },
    );
    lines.add("network", &network);
    // What plugins are missing is told with the others.
    for (name, said) in status.info.iter().filter(|(name, _)| *name != engine::REQUIRED_PLUGINS) {
        lines.add(name, said);
    }
    for handler in &status.handlers {
        let name = if handler.name.is_empty() { "(default)" } else { &handler.name };
        let has = |what: &str, it: bool| if it { format!("  {what}") } else { String::new() };
        let features = has("recursive-read-only", handler.recursive_read_only)
            + &has("user-namespaces", handler.user_namespaces);
        lines.add("handler", &format!("{name}{features}"));
    }
    configuration(status, &mut lines);
    for disk in &status.disks {
        let free = format!("{} of {} free", size(disk.available_bytes), size(disk.size_bytes));
        lines.add("disk", &format!("{} {}: {free}", disk.name, disk.path.display()));
    }
    lines.add("images", &format!("{}, {}", status.images, size(status.image_bytes)));
    lines.add("pods", &format!("{} ready, {} not ready", status.pods.ready, status.pods.not_ready));
    let containers = &status.containers;
    let counts = format!(
        "{} created, {} running, {} exited",
        containers.created, containers.running, containers.exited
    );
    lines.add("containers", &counts);
    if status.records_not_durable > 0 {
        lines.add("records", &format!("a crash now would lose {}", status.records_not_durable));
    }
    if let Some(recovery) = &status.recovery {
        let pods = counted(recovery.pods, "pod");
        lines.add("recovery", &format!("{pods} in {:.3} s, at the start", recovery.seconds));
    }
    plugins::tell(status, &mut lines);
    operations(status, &mut lines);
    lines.0
}

fn configuration(status: &StatusView, lines: &mut Lines) {
    let files: Vec<String> = status.config.files.iter().map(|file| file.display().to_string()).collect();
    lines.add("files", &if files.is_empty() { "none".to_owned() } else { files.join(", ") });
    for (key, value) in &status.settings {
        lines.add("setting", &format!("{key} = {value}"));
    }
    if let Some(refused) = &status.config.refused {
        lines.add("refused", refused);
    }
    if !status.config.waiting_for_restart.is_empty() {
        lines.add("wait for restart", &status.config.waiting_for_restart.join(", "));
    }
}

fn operations(status: &StatusView, lines: &mut Lines) {
    for operation in &status.operations {
        let stages: Vec<String> = operation
            .stages
            .iter()
            .map(|one| format!("{} for {:.3} s", one.stage, one.age_seconds))
            .collect();
        let at = if stages.is_empty() { String::new() } else { format!(", in {}", stages.join(" and ")) };
        let said =
            format!("{} {} for {:.3} s{at}", operation.method, operation.subject, operation.age_seconds);
        lines.add("in flight", &said);
    }
    if status.operations.is_empty() {
        lines.add("in flight", "nothing");
    }
}

fn explanation_text(explained: &Explanation) -> String {
    let Explanation { kind, id, name, state, .. } = explained;
    let mut text = format!("{kind} {name} {id}: {state}\n");
    for reason in &explained.reasons {
        text += &format!("why    {reason}\n");
    }
    for wait in &explained.waits {
        text += &format!("waits  {wait}\n");
    }
    for note in &explained.notes {
        text += &format!("note   {note}\n");
    }
    for operation in &explained.operations {
        text += &operation_text(operation);
    }
    if explained.operations.is_empty() {
        text += "no operation is remembered: it is long ago, or was under an earlier daemon\n";
    }
    text
}

fn operation_text(operation: &PastView) -> String {
    let PastView { verb, subject, seconds, .. } = operation;
    let goes_on = |it: bool| if it { "  goes on" } else { "" };
    let mut text = format!(
        "{}  {verb} {subject}  {seconds:.3} s{}\n",
        time(operation.began_ms),
        goes_on(operation.in_flight)
    );
    for stage in &operation.stages {
        let open = goes_on(stage.in_flight);
        text +=
            &format!("    +{:.3} s  {:<18} {:.3} s{open}\n", stage.after_seconds, stage.stage, stage.seconds);
    }
    if let Some(failure) = &operation.failure {
        text += &format!("    failed: {failure}\n");
    }
    text
}

/// The time of day, in UTC.
fn time(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}.{:03}Z", seconds / 3600, seconds / 60 % 60, seconds % 60, milliseconds % 1000)
}

fn age(seconds: u64) -> String {
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[allow(clippy::cast_precision_loss, reason = "shown with one digit")]
fn size(bytes: u64) -> String {
    if bytes < 1 << 30 {
        return format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    }
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_for_people() {
        assert_eq!([age(5), age(125), age(7265), age(200_000)], ["5 s", "2 min", "2 h 1 min", "2 d 7 h"]);
        assert_eq!(time(1_735_689_600_000 + 3_723_004), "01:02:03.004Z");
        assert_eq!([size(5 << 20), size(3 << 30)], ["5.0 MiB", "3.0 GiB"]);
    }
}
