//! StopPodSandbox.

use crate::Pods;
use crate::error::EngineError;
use crate::names::Claim;
use std::sync::Arc;

impl Pods {
    /// Ends a pod's processes and frees what it holds on the host; unknown and stopped pods are fine. A retry joins the
    /// stop in flight and hears how it went: however often a client asks, only one is at work.
    pub async fn stop_pod(self: &Arc<Self>, id: &str) -> Result<(), EngineError> {
        let pod = match self.core.registry.pod(id) {
            Err(EngineError::NoSuchPod(_)) => return Ok(()),
            found => found?,
        };
        let ticket = match self.stops.claim(&pod.id, (), &pod.id) {
            Claim::New(ticket) => ticket,
            Claim::Join(join) => return join.wait().await.map(drop),
            // It has ended this moment.
            Claim::Held { .. } | Claim::Busy { .. } => return Ok(()),
        };
        let this = self.clone();
        self.core
            .carry_out("StopPodSandbox", id, async move {
                pod.ending.cancel();
                let _op = pod.op.write().await;
                match this.release(&pod).await {
                    Ok(()) => {
                        ticket.done();
                        Ok(())
                    }
                    Err(error) => Err(ticket.fail(error)),
                }
            })
            .await
    }
}
