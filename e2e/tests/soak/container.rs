//! A container of a pod, with what is known of it.

use crate::node::{AGAIN, Node, PATIENCE};
use crate::plan::Role;
use e2e::death::Death;
use e2e::error::{Context, Error};
use e2e::invariants::{ended_with, numbered};
use e2e::logs;
use e2e::pods::{secured, shell};
use e2e::proto::{
    ContainerConfig, ContainerState, ContainerStatus, LinuxContainerResources, NamespaceOption,
    PodSandboxConfig, ReopenContainerLogRequest, UpdateContainerResourcesRequest,
};
use e2e::{image, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// The port of the first container of a pod that listens.
const PORT: u16 = 8000;
/// How soon an end has to be seen.
const SOON: Duration = Duration::from_secs(5);

/// Why it does not run any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Somebody has killed it.
    Killed(Death),
    /// It was asked to end.
    Stopped,
    /// Its supervisor was killed.
    Lost,
}

/// The container.
#[derive(Debug)]
pub(crate) struct One {
    pub(crate) id: String,
    pub(crate) role: Role,
    pub(crate) port: u16,
    log: PathBuf,
    parts: Vec<PathBuf>,
    end: Option<End>,
}

/// What a container of this number is asked for as.
pub(crate) fn config(
    role: Role,
    number: u16,
    image: &str,
    namespaces: Option<NamespaceOption>,
) -> ContainerConfig {
    let script = match role {
        Role::Counts(code) => {
            format!("trap 'exit {code}' TERM; i=0; while :; do echo $i; i=$((i+1)); usleep 40000; done")
        }
        Role::Ends(lines, code) => format!("i=0; [ {lines} = 0 ] || seq 0 $(({lines}-1)); exit {code}"),
        Role::Idles => "exec sleep 100000".to_owned(),
        Role::Echoes => format!("exec nc -ll -p {} -e cat", PORT + number),
        Role::Reads(_) => "sha256sum /noise".to_owned(),
    };
    secured(shell(&format!("c{number}"), image, &script), |security| security.namespace_options = namespaces)
}

/// What the file of an image has, of which containers tell the digest.
pub(crate) fn noise(image: u64) -> Vec<u8> {
    let factor = 2_654_435_761_u64.wrapping_add(image * 2);
    (0..1_000_000 * (image + 1)).map(|at| (at.wrapping_mul(factor) >> 13).to_le_bytes()[0]).collect()
}

impl One {
    pub(crate) fn new(id: String, role: Role, number: u16, pod: &PodSandboxConfig) -> Self {
        let log = PathBuf::from(&pod.log_directory).join(format!("c{number}.log"));
        Self { id, role, port: PORT + number, log, parts: Vec::new(), end: None }
    }

    /// Whether it runs until somebody ends it, and nobody has.
    pub(crate) fn stays(&self) -> bool {
        self.end.is_none() && !matches!(self.role, Role::Ends(..) | Role::Reads(_))
    }

    pub(crate) async fn status(&self, node: &Node) -> Result<ContainerStatus, Error> {
        node.ask("ContainerStatus", &[], |cri| async move { cri.container_status(&self.id).await }).await
    }

    /// Starts it. Where the answer was lost, it may have started, and ended.
    pub(crate) async fn start(&self, node: &Node) -> Result<(), Error> {
        let begin = std::time::Instant::now();
        while !node.is_late(begin) {
            let started =
                node.once("StartContainer", &[], |cri| async move { cri.start(&self.id).await }).await?;
            if started.is_ok() || self.status(node).await?.state() != ContainerState::ContainerCreated {
                return Ok(());
            }
            tokio::time::sleep(AGAIN).await;
        }
        Err(Error::Late { what: "the start of a container (I3)", after: PATIENCE, last: self.id.clone() })
    }

    /// A command, with what it says and how it ends.
    pub(crate) async fn exec(&self, node: &Node, code: i32) -> Result<(), Error> {
        let script = format!("echo said by {code}; exit {code}");
        let command = ["/bin/sh", "-c", &script];
        let reply =
            node.ask("ExecSync", &[], |cri| async move { cri.exec(&self.id, &command, 60).await }).await?;
        node.holds("I2", ended_with(reply.exit_code, code))?;
        let said = String::from_utf8_lossy(&reply.stdout).into_owned();
        let is_right = said == format!("said by {code}\n");
        if is_right { Ok(()) } else { Err(Error::Unexpected { what: "a command's output", seen: said }) }
    }

    /// A command that has to be ended, with all that it has started.
    pub(crate) async fn exec_too_long(&self, node: &Node) -> Result<(), Error> {
        // Nobody else sleeps so long.
        let long = (100_001 + node.counts().values().sum::<u64>() % 800_000).to_string();
        let script = format!("sleep {long} & sleep {long}");
        let command = ["/bin/sh", "-c", &script];
        let begin = std::time::Instant::now();
        let cri = async { e2e::client::Cri::connect(&node.socket).await?.exec(&self.id, &command, 1).await };
        match cri.await {
            Err(Error::Rpc { status, .. }) if status.code() == tonic::Code::DeadlineExceeded => {
                node.count("ExecSync that takes too long");
            }
            Err(_) if node.weather.explains(&[], begin) => return Ok(()),
            other => {
                let seen = format!("{other:?}");
                return Err(Error::Unexpected { what: "a command that takes too long", seen });
            }
        }
        let runs = || {
            fs::read_dir("/proc").into_iter().flatten().flatten().any(|entry| {
                let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                String::from_utf8_lossy(&line).trim_end_matches('\0').ends_with(&format!("sleep\0{long}"))
            })
        };
        let rest = || async { Ok(runs().then(|| format!("sleep {long} goes on"))) };
        node.until("the end of a command's processes", SOON, rest).await
    }

    /// Another limit, which the status shows.
    pub(crate) async fn limit(&self, node: &Node, mebibytes: i64) -> Result<(), Error> {
        let linux = LinuxContainerResources { memory_limit_in_bytes: mebibytes << 20, ..Default::default() };
        let request = UpdateContainerResourcesRequest {
            container_id: self.id.clone(),
            linux: Some(linux),
            ..Default::default()
        };
        let update = |cri: e2e::client::Cri| {
            let request = request.clone();
            async move {
                let updated = cri.runtime.clone().update_container_resources(request).await;
                let failed =
                    |status| Error::Rpc { method: "UpdateContainerResources", status: Box::new(status) };
                updated.map(drop).map_err(failed)
            }
        };
        node.ask("UpdateContainerResources", &[], update).await?;
        let shown = self.status(node).await?.resources.and_then(|resources| resources.linux);
        let shown = shown.unwrap_or_default().memory_limit_in_bytes;
        if shown == mebibytes << 20 {
            return Ok(());
        }
        Err(Error::Unexpected { what: "a limit in a status", seen: format!("{shown} for {mebibytes} MiB") })
    }

    /// Cuts its log, as the kubelet does.
    pub(crate) async fn rotate(&mut self, node: &Node) -> Result<(), Error> {
        let part = self.log.with_extension(format!("log.{:03}", self.parts.len()));
        fs::rename(&self.log, &part).at("rename", &self.log)?;
        self.parts.push(part);
        let request = ReopenContainerLogRequest { container_id: self.id.clone() };
        let reopen = |cri: e2e::client::Cri| {
            let request = request.clone();
            async move {
                let opened = cri.runtime.clone().reopen_container_log(request).await;
                let failed = |status| Error::Rpc { method: "ReopenContainerLog", status: Box::new(status) };
                opened.map(drop).map_err(failed)
            }
        };
        node.ask("ReopenContainerLog", &[], reopen).await
    }

    pub(crate) async fn pid(&self, node: &Node) -> Result<i32, Error> {
        let info =
            node.ask("ContainerStatus", &[], |cri| async move { cri.container_info(&self.id).await }).await?;
        let pid = info["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        pid.ok_or(Error::Incomplete { method: "ContainerStatus", part: "pid" })
    }

    /// Kills its first process, as anybody on the node can.
    pub(crate) async fn kill(&mut self, node: &Node) -> Result<(), Error> {
        let pid = self.pid(node).await?;
        self.end = Some(End::Killed(Death::cause(pid).await?));
        node.count("first processes killed");
        Ok(())
    }

    /// Asks it to end.
    pub(crate) async fn stop(&mut self, node: &Node) -> Result<(), Error> {
        let mut grace = 0;
        if matches!(self.role, Role::Counts(_)) {
            // Before its first line it has not said how it wants to end.
            let silent = || async {
                for part in self.parts.iter().chain([&self.log]).filter(|part| part.exists()) {
                    if !logs::read(part)?.is_empty() {
                        return Ok(None);
                    }
                }
                Ok(Some("it is silent".to_owned()))
            };
            node.until("a container's first line", PATIENCE, silent).await?;
            grace = 60;
        }
        self.end = Some(End::Stopped);
        let id = &self.id;
        for _ in 0..2 {
            node.ask("StopContainer", &[], |cri| async move { cri.stop(id, grace).await }).await?;
        }
        Ok(())
    }

    pub(crate) fn is_lost(&mut self) {
        self.end.get_or_insert(End::Lost);
    }

    /// Has it end, if it does not by itself, and looks at its end and at its log.
    pub(crate) async fn finish(&mut self, node: &Node) -> Result<(), Error> {
        if self.stays() {
            self.stop(node).await?;
        }
        let after = if matches!(self.role, Role::Ends(..) | Role::Reads(_)) { PATIENCE } else { SOON };
        let runs = || async {
            let status = self.status(node).await?;
            let has_ended = status.state() == ContainerState::ContainerExited;
            Ok((!has_ended).then(|| format!("{}: {:?}", self.id, status.state())))
        };
        node.until("the end of a container", after, runs).await?;
        let status = self.status(node).await?;
        let wanted = match (self.role, self.end) {
            (Role::Ends(_, code), Some(End::Lost)) if status.exit_code == code => code,
            (Role::Reads(_), Some(End::Lost)) if status.exit_code == 0 => 0,
            (_, Some(End::Killed(_) | End::Lost)) => 137,
            (Role::Counts(code) | Role::Ends(_, code), _) => code,
            (Role::Reads(_), _) => 0,
            (Role::Idles | Role::Echoes, _) => 137,
        };
        node.holds("I2", ended_with(status.exit_code, wanted))?;
        if let Some(End::Killed(death)) = self.end {
            node.holds("I2", death.is_told_as(status.finished_at, &node.stall))?;
        }
        self.check_log(node)
    }

    fn check_log(&self, node: &Node) -> Result<(), Error> {
        let parts: Vec<_> =
            self.parts.iter().chain([&self.log]).filter(|part| part.exists()).cloned().collect();
        match self.role {
            Role::Counts(_) => node.holds("I5", numbered(&parts).map(drop)),
            Role::Ends(lines, _) => {
                let found = numbered(&parts)?;
                let is_whole = found as u64 == lines || self.end == Some(End::Lost);
                let outcome = if is_whole {
                    Ok(())
                } else {
                    let seen = format!("{found} lines of {lines} in {parts:?}");
                    Err(Error::Unexpected { what: "the length of a log (I5)", seen })
                };
                node.holds("I5", outcome)
            }
            Role::Reads(image) if self.end != Some(End::Lost) => {
                let lines = logs::read(&self.log)?;
                let digest = image::digest(&noise(image));
                let digest = digest.trim_start_matches("sha256:");
                let is_right = lines.first().is_some_and(|line| line.text.starts_with(digest));
                node.count("images that were read");
                if is_right {
                    return Ok(());
                }
                Err(Error::Unexpected { what: "a file of an image", seen: format!("{lines:?}") })
            }
            _ => Ok(()),
        }
    }

    pub(crate) async fn remove(&self, node: &Node) -> Result<(), Error> {
        node.told().containers.remove(&self.id);
        for _ in 0..2 {
            node.ask("RemoveContainer", &[], |cri| async move { cri.remove(&self.id).await }).await?;
        }
        node.holds("I3", Ok(()))
    }
}

/// Waits on a thread that may wait.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Error::Unexpected { what: "a thread", seen: error.to_string() }))
}

/// Kills the supervisor of a pod.
pub(crate) fn kill_supervisor(pod: &str) -> Result<(), Error> {
    let is_one = |pid: i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.split('\0').next().is_some_and(|program| program.ends_with("corten-shim")) && line.contains(pod)
    };
    let entries = fs::read_dir("/proc").at("read", "/proc")?.flatten();
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let pid =
        pids.find(|pid| is_one(*pid)).ok_or(Error::Incomplete { method: "/proc", part: "supervisor" })?;
    kill(Pid::from_raw(pid), Signal::SIGKILL)
        .map_err(|source| Error::System { operation: "kill", source })?;
    wait::until("the supervisor's end", PATIENCE, || !is_one(pid))
}
