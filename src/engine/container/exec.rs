//! ExecSync.

use crate::error::EngineError;
use crate::handlers::{CommandLine, ExecFile, Home};
use crate::in_memory::Container;
use crate::live::Live;
use crate::operations::{self, EXEC_SYNC};
use crate::supervisor::{Executed, SupervisorError};
use crate::{Containers, blocking};
use model::{Argv, ContainerState};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use sys::sync::lock;
use tokio_util::sync::CancellationToken;
use wire::msg::ErrorCode;
use wire::plan::{CgroupPlan, ExecPlan, ProcessPlan};

/// What a command in a container printed and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutput {
    /// Standard output, cut off at the configured limit.
    pub stdout: Vec<u8>,
    /// Standard error, likewise.
    pub stderr: Vec<u8>,
    /// The exit code; 128 + signal when a signal ended it.
    pub exit_code: i32,
}

/// How a container's processes run and join its cgroup, for execs.
#[derive(Debug)]
pub(crate) struct ExecTemplate {
    /// Without its filter of system calls.
    process: ProcessPlan,
    /// That filter, which most containers have in common.
    seccomp: Arc<[u8]>,
    /// Changes when a limit is set for the first time.
    pub(crate) cgroup: Mutex<CgroupPlan>,
}

impl ExecTemplate {
    pub(crate) fn new(mut process: ProcessPlan, cgroup: CgroupPlan) -> Self {
        let seccomp = oci::seccomp::shared(&std::mem::take(&mut process.seccomp));
        Self { process, seccomp, cgroup: Mutex::new(cgroup) }
    }

    pub(crate) fn cgroup(&self) -> CgroupPlan {
        lock(&self.cgroup).clone()
    }
}

impl Containers {
    /// Runs a command in a running container and waits for it. A timeout kills everything that the command
    /// started and is an error; `None` waits for ever. So does giving up waiting: a client that has left gets no output.
    pub async fn exec_sync(
        self: &Arc<Self>,
        id: &str,
        command: Argv,
        timeout: Option<Duration>,
    ) -> Result<ExecOutput, EngineError> {
        let container = self.core.registry.container(id)?;
        if !matches!(container.state(), ContainerState::Running { .. }) {
            return Err(EngineError::wrong_state("run a command in", &container));
        }
        let unwanted = CancellationToken::new();
        let _wanted = unwanted.clone().drop_guard();
        let this = self.clone();
        let run = async move { this.exec(&container, command, timeout, unwanted).await };
        self.core.detached(EXEC_SYNC, id, run).await
    }

    async fn exec(
        self: &Arc<Self>,
        container: &Arc<Container>,
        command: Argv,
        timeout: Option<Duration>,
        unwanted: CancellationToken,
    ) -> Result<ExecOutput, EngineError> {
        let supervisor = container.pod.live_supervisor("run a command in", &container.id)?;
        let live = self.core.live();
        let mut plan = self.exec_plan(container, command.clone(), timeout, &live).await?;
        let line = || CommandLine { argv: command.clone(), tty: false, size: None };
        let file = exec_file(container, line, &live).await?;
        drop(live);
        if let Some(file) = &file {
            plan.runtime.clone_from(&file.command);
        }
        let Executed { exit_code, stdout, stderr, timed_out } =
            supervisor.exec(plan, unwanted.clone()).await?;
        if timed_out && unwanted.is_cancelled() {
            tracing::info!(container_id = %container.id, command = ?command.words(), "a command is killed: its client has left");
            return Err(EngineError::ExecUnwanted(container.id.to_string(), command.into_words()));
        }
        if timed_out {
            return Err(EngineError::ExecTimeout {
                id: container.id.to_string(),
                seconds: timeout.unwrap_or_default().as_secs(),
                command: command.into_words(),
            });
        }
        // An OCI runtime that fails ends as a command that fails does, but says why.
        if exit_code != 0
            && let Some(message) = file.as_ref().and_then(ExecFile::error)
        {
            return Err(SupervisorError::Refused {
                verb: "run a command in",
                subject: container.id.to_string(),
                code: ErrorCode::Exec,
                errno: 0,
                message,
            }
            .into());
        }
        Ok(ExecOutput { stdout, stderr, exit_code })
    }

    /// The container's process with another program.
    pub(super) async fn exec_plan(
        self: &Arc<Self>,
        container: &Arc<Container>,
        argv: Argv,
        timeout: Option<Duration>,
        live: &Live,
    ) -> Result<ExecPlan, EngineError> {
        let template = container.exec.get_or_try_init(|| self.template(container)).await?;
        let inputs = oci::plan::ExecInputs {
            container: container.id.to_string(),
            cgroup: template.cgroup(),
            argv,
            timeout_ms: timeout.map_or(0, |limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)),
            output_cap: live.settings.exec_output_limit,
            drain_ms: live.settings.exec_drain_ms,
        };
        let mut plan = oci::plan::exec(&template.process, inputs);
        plan.process.seccomp = template.seccomp.to_vec();
        if let Some(agent) = &plan.process.seccomp_agent {
            let pid = container.pid().unwrap_or_default();
            plan.process.seccomp_agent = Some(oci::seccomp::agent_of_command(agent, pid));
        }
        Ok(plan)
    }

    /// How the container's processes run, from the spec that a former daemon wrote.
    async fn template(self: &Arc<Self>, container: &Arc<Container>) -> Result<ExecTemplate, EngineError> {
        let (this, held) = (self.clone(), container.clone());
        let _stage = operations::stage("reading its spec");
        blocking("reading a runtime spec", move || {
            let spec = held.read_spec()?;
            let mut cgroup = this.core.cgroups.joined(&held.cgroup());
            cgroup.resctrl = super::prepare::group(&this.core.live().classes, &spec)?;
            let mut process = oci::plan::process(&spec)?;
            process.seccomp_agent = super::agent(&held, &spec)?;
            Ok(ExecTemplate::new(process, cgroup))
        })
        .await
    }
}

/// What the container's handler needs to run a command; `None` where the shim does it.
pub(super) async fn exec_file(
    container: &Arc<Container>,
    command: impl FnOnce() -> CommandLine,
    live: &Live,
) -> Result<Option<ExecFile>, EngineError> {
    let handler = live.handlers.of(&container.pod);
    if !handler.is_foreign() {
        return Ok(None);
    }
    let (held, command) = (container.clone(), command());
    let _stage = operations::stage("preparing");
    blocking("preparing a command", move || {
        let (spec, bundle) = (held.read_spec()?, held.bundle());
        handler.command(Home { id: &held.id, bundle: &bundle }, &spec, &command)
    })
    .await
}
