//! RemovePodSandbox.

use crate::Pods;
use crate::error::EngineError;
use crate::events::EventKind;
use crate::in_memory::Pod;
use crate::mirror::Key;
use model::SandboxState;
use std::sync::Arc;

impl Pods {
    /// Stops a pod that is not stopped, removes its containers and forgets it; unknown pods are fine.
    pub async fn remove_pod(self: &Arc<Self>, id: &str) -> Result<(), EngineError> {
        let pod = match self.core.registry.pod(id) {
            Err(EngineError::NoSuchPod(_)) => return Ok(()),
            found => found?,
        };
        let this = self.clone();
        self.core
            .carry_out("RemovePodSandbox", id, async move {
                pod.ending.cancel();
                let _op = pod.op.write().await;
                this.release(&pod).await?;
                for container in this.core.registry.containers_of(&pod.id) {
                    this.containers.remove_held_container(&container).await?;
                }
                this.forget(&pod).await
            })
            .await
    }

    /// Takes down a pod that was never ready, and forgets it: no client has got its id.
    ///
    /// # Errors
    /// It is listed as not ready then.
    pub(crate) async fn unmake(self: &Arc<Self>, pod: &Arc<Pod>) -> Result<(), EngineError> {
        self.release(pod).await?;
        failpoint::pass!("engine.run.undone");
        // Of one whose record was lost there may be some.
        for container in self.core.registry.containers_of(&pod.id) {
            self.containers.remove_held_container(&container).await?;
        }
        let forgotten = self.forget(pod).await;
        if forgotten.is_err() {
            pod.update_regardless(|record| record.state = SandboxState::NotReady);
        }
        forgotten
    }

    /// Removes a pod's records and frees its name.
    pub(crate) async fn forget(&self, pod: &Pod) -> Result<(), EngineError> {
        let removed = self.core.begin_removing_pod(pod);
        // Out of sight at once, so that a crash leaves a whole pod or none.
        if let Some(aside) = self.core.set_aside(pod.files.dir(), &pod.id)? {
            self.core.trash.discard(aside);
        }
        failpoint::reach!("engine.forget.aside")?;
        self.core.mirror.delete(Key::Pod(pod.id.clone()));
        self.core.registry.drop_pod(&pod.id);
        failpoint::pass!("engine.forget.dropped");
        self.core.tell_removed_pod(pod, removed).await;
        self.core.events.tell_pod(pod, EventKind::Deleted);
        self.names.free(&pod.config().metadata, &pod.id);
        Ok(())
    }
}
