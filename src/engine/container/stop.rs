//! StopContainer: the stop signal once, the grace that was asked for, then SIGKILL to all of it.

use crate::Containers;
use crate::error::EngineError;
use crate::in_memory::Container;
use crate::operations;
use crate::supervisor::SupervisorError;
use model::{ContainerState, Signal};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use wire::msg::ErrorCode;

impl Containers {
    /// Ends a running container, or one that is being started; unknown and ended ones are fine, one that was never started
    /// stays as it is.
    /// Several stops may wait at once: the signal goes out once and the shortest grace wins.
    pub async fn stop_container(self: &Arc<Self>, id: &str, grace: Duration) -> Result<(), EngineError> {
        let container = match self.core.registry.container(id) {
            Err(EngineError::NoSuchContainer(_)) => return Ok(()),
            found => found?,
        };
        let this = self.clone();
        self.core.carry_out("StopContainer", id, async move {
            let Some(grace) = begun(&container, grace).await else { return Ok(()) };
            if !grace.is_zero() {
                if !container.stop_sent.swap(true, Ordering::Relaxed) {
                    let signal = container.record().stop_signal;
                    if let Err(error) = this.signal(&container, signal, false).await {
                        container.stop_sent.store(false, Ordering::Relaxed);
                        tracing::warn!(container_id = %container.id, error = crate::chain(&error), "cannot be signalled");
                    }
                }
                failpoint::pass!("engine.stop.signalled");
                let _stage = operations::stage("grace");
                if ended(&container, grace).await {
                    this.tell_end(&container).await;
                    return Ok(());
                }
            }
            let killed = this.kill(&container).await;
            failpoint::pass!("engine.stop.killed");
            if killed.is_ok() {
                this.tell_end(&container).await;
            }
            killed
        })
        .await
    }

    /// SIGKILL to every process of a container, and waits until its end is known. Where the supervisor cannot do it,
    /// the cgroup is thawed and killed from here.
    pub(crate) async fn kill(self: &Arc<Self>, container: &Arc<Container>) -> Result<(), EngineError> {
        let limit = Duration::from_secs(self.core.live().settings.kill_timeout_seconds);
        let _stage = operations::stage("kill");
        match self.signal(container, Signal::KILL, true).await {
            Ok(()) if ended(container, limit / 2).await => return Ok(()),
            Err(SupervisorError::Gone { .. }) if container.pod.supervisor().is_none() => {
                self.bury(container, super::SUPERVISOR_KILLED).await;
                return Ok(());
            }
            outcome => {
                let error = outcome.err().map(|error| crate::chain(&error));
                tracing::warn!(container_id = %container.id, error, "is killed through its cgroup");
            }
        }
        let (this, cgroup) = (self.clone(), container.cgroup());
        let killed = crate::blocking("killing a cgroup", move || {
            this.core.cgroups.thaw(&cgroup)?;
            Ok(this.core.cgroups.kill(&cgroup)?)
        });
        // A process in state D keeps the kill waiting too.
        let _ = tokio::time::timeout(limit / 2, killed).await;
        if ended(container, limit / 2).await {
            return Ok(());
        }
        Err(self.unkillable(container))
    }

    /// A container that does not end.
    pub(super) fn unkillable(&self, container: &Container) -> EngineError {
        EngineError::Unkillable {
            id: container.id.to_string(),
            seconds: self.core.live().settings.kill_timeout_seconds,
            hint: hint(container.pid()),
        }
    }

    /// Sends a signal; a process that has just ended is fine.
    pub(super) async fn signal(
        &self,
        container: &Container,
        signal: Signal,
        all: bool,
    ) -> Result<(), SupervisorError> {
        let _stage = operations::stage("signal");
        let supervisor = container.pod.live_supervisor("signal container", &container.id)?;
        match supervisor.signal(&container.id, signal.get(), all).await {
            Err(error) if matches!(error.code(), Some(ErrorCode::NotFound | ErrorCode::BadState)) => Ok(()),
            answer => answer,
        }
    }
}

/// What is left of the grace of a container that runs; `None` for one that has none to be given. What is being started is
/// waited for, so that a stop counts however the two overlap; what does not come to run in that time is left no more.
async fn begun(container: &Container, grace: Duration) -> Option<Duration> {
    let since = Instant::now();
    let mut left = grace;
    if matches!(container.state(), ContainerState::Created) {
        let _stage = operations::stage("start");
        if tokio::time::timeout(grace, container.op.lock()).await.is_err() {
            // Others may hold it, too: what is not being started stays as it is.
            return container.starting.load(Ordering::Relaxed).then_some(Duration::ZERO);
        }
        left = grace.saturating_sub(since.elapsed());
    }
    matches!(container.state(), ContainerState::Running { .. }).then_some(left)
}

async fn ended(container: &Container, limit: Duration) -> bool {
    let mut state = container.watch();
    let gone = state.wait_for(|state| matches!(state, ContainerState::Exited { .. }));
    matches!(tokio::time::timeout(limit, gone).await, Ok(Ok(_)))
}

/// Where a process hangs, for whoever must find out.
pub(crate) fn hint(pid: Option<i32>) -> String {
    let Some(pid) = pid else { return "its process is not known".to_owned() };
    let read = |file: &str| {
        std::fs::read_to_string(format!("/proc/{pid}/{file}"))
            .map(|text| text.trim().to_owned())
            .unwrap_or_default()
    };
    let state =
        read("status").lines().find_map(|line| line.strip_prefix("State:").map(|s| s.trim().to_owned()));
    format!(
        "process {pid} is in state {} and waits in {:?}",
        state.unwrap_or_else(|| "unknown".to_owned()),
        read("wchan")
    )
}
