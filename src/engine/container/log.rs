//! ReopenContainerLog.

use crate::Containers;
use crate::error::EngineError;
use model::ContainerState;

impl Containers {
    /// Lets the shim write to a new file at the container's log path. On an error no new file is left.
    pub async fn reopen_log(&self, id: &str) -> Result<(), EngineError> {
        let container = self.core.registry.container(id)?;
        if !matches!(container.state(), ContainerState::Running { .. }) {
            return Err(EngineError::wrong_state("reopen the log of", &container));
        }
        let supervisor = container.pod.live_supervisor("reopen the log of", &container.id)?;
        Ok(supervisor.reopen_log(&container.id).await?)
    }
}
