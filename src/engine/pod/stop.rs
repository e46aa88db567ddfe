//! StopPodSandbox.

use crate::error::EngineError;
use crate::{Engine, detached};
use std::sync::Arc;

impl Engine {
    /// Ends a pod's processes and frees what it holds on the host; unknown and stopped pods are fine.
    pub async fn stop_pod(self: &Arc<Self>, id: &str) -> Result<(), EngineError> {
        let pod = match self.registry.pod(id) {
            Err(EngineError::NoSuchPod(_)) => return Ok(()),
            found => found?,
        };
        let engine = self.clone();
        detached("StopPodSandbox", async move {
            let _op = pod.op.write().await;
            engine.release(&pod).await
        })
        .await
    }
}
