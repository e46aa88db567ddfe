//! Exec: a command whose streams the caller holds.

use super::exec::exec_file;
use crate::Containers;
use crate::error::EngineError;
use crate::handlers::CommandLine;
use crate::in_memory::Container;
use crate::operations::{self, COMMAND};
use crate::stdio::{self, Input, Output, Terminal};
use crate::supervisor::{Command, Opened};
use model::{Argv, ContainerId, ContainerState};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::task::JoinHandle;
use wire::msg::Streams;

/// A command to be run beside a container's first process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenExec {
    /// Program and arguments.
    pub command: Argv,
    /// In a terminal.
    pub tty: bool,
    /// Those not asked for are the null device.
    pub streams: Streams,
    /// Columns and rows that the terminal has before the command runs, where they are known.
    pub size: Option<(u16, u16)>,
}

/// A command that runs. Dropping its streams is how a client leaves: a terminal hangs up, pipes end and break; a
/// command that uses neither goes on by itself.
pub struct ExecSession {
    /// Where its stdin is asked for.
    pub stdin: Option<Input>,
    /// Where its stdout is asked for; a terminal's output.
    pub stdout: Option<Output>,
    /// Where its stderr is asked for.
    pub stderr: Option<Output>,
    /// Where it runs in one.
    pub terminal: Option<Terminal>,
    /// For waiting.
    pub end: ExecEnd,
}

/// The end of a command. It is waited for from the beginning, so that the supervisor keeps nothing for a caller that is
/// gone.
pub struct ExecEnd(JoinHandle<Result<i32, EngineError>>);

impl ExecEnd {
    /// Waits for the command's exit code; 128 + signal when a signal ended it.
    ///
    /// # Errors
    /// When the pod's supervisor is gone.
    pub async fn wait(self) -> Result<i32, EngineError> {
        self.0.await.map_err(|_| EngineError::TaskDied("waiting for a command"))?
    }
}

impl Containers {
    /// The whole id of a running container, for verbs that come later.
    ///
    /// # Errors
    /// When there is none, or it does not run.
    pub fn running_container(&self, id: &str, operation: &'static str) -> Result<ContainerId, EngineError> {
        self.running(id, operation).map(|container| container.id.clone())
    }

    pub(crate) fn running(&self, id: &str, operation: &'static str) -> Result<Arc<Container>, EngineError> {
        let container = self.core.registry.container(id)?;
        if matches!(container.state(), ContainerState::Running { .. }) {
            return Ok(container);
        }
        Err(EngineError::wrong_state(operation, &container))
    }

    /// Runs a command in a running container and hands over its streams once it runs.
    ///
    /// # Errors
    /// When the container does not run, or the command cannot: see [`EngineError::command_exit_code`].
    pub async fn open_exec(self: &Arc<Self>, id: &str, exec: OpenExec) -> Result<ExecSession, EngineError> {
        let container = self.running(id, "run a command in")?;
        let this = self.clone();
        let work = async move {
            let _stage = operations::stage("opening its streams");
            this.open_exec_in(container, exec).await
        };
        self.core.detached(COMMAND, id, work).await
    }

    async fn open_exec_in(
        self: &Arc<Self>,
        container: Arc<Container>,
        exec: OpenExec,
    ) -> Result<ExecSession, EngineError> {
        let supervisor = container.pod.live_supervisor("run a command in", &container.id)?;
        let live = self.core.live();
        let line = || CommandLine { argv: exec.command.clone(), tty: exec.tty, size: exec.size };
        let file = exec_file(&container, line, &live).await?;
        let mut plan = self.exec_plan(&container, exec.command, None, &live).await?;
        drop(live);
        if let Some(file) = &file {
            plan.runtime.clone_from(&file.command);
        }
        if exec.tty && !plan.process.env.iter().any(|entry| entry.starts_with(b"TERM=")) {
            plan.process.env.push(b"TERM=xterm".to_vec());
        }
        plan.size = exec.size.map_or((0, 0), |(columns, rows)| (columns.into(), rows.into()));
        let command = Command { plan, streams: exec.streams, tty: exec.tty };
        let Opened { number, descriptors } = supervisor.open_exec(command).await?;
        let held = container.clone();
        let waited = async move { supervisor.wait_exec(&held.id, number).await };
        let waited = self.core.operations.track(COMMAND, container.id.to_string(), waited);
        let end = ExecEnd(tokio::spawn(async move {
            // The runtime reads its files while the command begins.
            let _file = file;
            Ok(waited.await?)
        }));
        let mut passed = descriptors.into_iter();
        let mut next = || passed.next().ok_or_else(|| missing(&container));
        if exec.tty {
            let (stdin, stdout, terminal) = stdio::terminal(next()?)?;
            let stdin = exec.streams.stdin.then_some(stdin);
            return Ok(ExecSession {
                stdin,
                stdout: Some(stdout),
                stderr: None,
                terminal: Some(terminal),
                end,
            });
        }
        let stdin = if exec.streams.stdin { Some(Input::new(next()?)?) } else { None };
        let stdout = if exec.streams.stdout { Some(Output::new(next()?)?) } else { None };
        let stderr = if exec.streams.stderr { Some(Output::new(next()?)?) } else { None };
        Ok(ExecSession { stdin, stdout, stderr, terminal: None, end })
    }
}

/// The supervisor passed fewer descriptors than it said: the process is out of them.
pub(super) fn missing(container: &Container) -> EngineError {
    let source = std::io::Error::other("the process has no descriptor left for it");
    EngineError::Io { operation: "take over the streams of", path: container.id.as_str().into(), source }
}

/// The first descriptor as a stdin where there is one more than pipes.
pub(super) fn split_stdin(passed: Vec<OwnedFd>, pipes: usize) -> (Option<OwnedFd>, Vec<OwnedFd>) {
    let mut passed = passed;
    let first = (passed.len() > pipes).then(|| passed.remove(0));
    (first, passed)
}
