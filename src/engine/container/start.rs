//! StartContainer: the process that waits in its finished root runs its program.

use crate::error::EngineError;
use crate::handlers::Home;
use crate::in_memory::Container;
use crate::{Containers, blocking};
use model::ContainerState;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use wire::msg::ErrorCode;

impl Containers {
    /// Starts a created container; one that runs already is fine.
    pub async fn start_container(self: &Arc<Self>, id: &str) -> Result<(), EngineError> {
        let container = self.core.registry.container(id)?;
        let this = self.clone();
        self.core
            .carry_out("StartContainer", id, async move {
                let _op = container.op.lock().await;
                match container.state() {
                    ContainerState::Created => {
                        container.starting.store(true, Ordering::Relaxed);
                        let started = this.core.stage("start", this.start(&container)).await;
                        container.starting.store(false, Ordering::Relaxed);
                        started
                    }
                    ContainerState::Running { .. } => Ok(()),
                    ContainerState::Exited { .. } => Err(EngineError::wrong_state("start", &container)),
                }
            })
            .await
    }

    async fn start(self: &Arc<Self>, container: &Arc<Container>) -> Result<(), EngineError> {
        let supervisor = container.pod.live_supervisor("start container", &container.id)?;
        let turn = self.core.turn(container).await;
        let section = self.core.ask_start(container).await?;
        match supervisor.start(&container.id).await {
            Ok(started) => {
                failpoint::pass!("engine.start.answered");
                if let Some(pid) = started.pid {
                    container.set_pid(pid);
                }
                self.started(container, started.at);
                self.core.tell_started(container, section, turn).await;
                self.tell_handler(container).await;
                Ok(())
            }
            Err(error) => {
                drop(turn);
                if error.code() == Some(ErrorCode::Exec) {
                    // The exit with code 128 follows; the status shall show it when the client reads the error.
                    let mut state = container.watch();
                    let ended = state.wait_for(|state| matches!(state, ContainerState::Exited { .. }));
                    let _ = tokio::time::timeout(Duration::from_secs(2), ended).await;
                }
                Err(super::explained(container, error.into()))
            }
        }
    }

    /// The container's program runs: what its devices bring to be done then is done (hooks).
    async fn tell_handler(&self, container: &Arc<Container>) {
        if !container.has_hooks.get_or_init(|| container.bundle().exists()) {
            return;
        }
        let (handler, held) = (self.core.live().handlers.of(&container.pod), container.clone());
        let tell = move || {
            handler.started(Home { id: &held.id, bundle: &held.bundle() }, held.pid());
            Ok(())
        };
        if let Err(error) = blocking("running hooks", tell).await {
            tracing::warn!(container_id = %container.id, error = crate::chain(&error), "its poststart hooks");
        }
    }
}
