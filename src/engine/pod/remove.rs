//! RemovePodSandbox.

use crate::Engine;
use crate::error::EngineError;
use crate::events::EventKind;
use crate::objects::Pod;
use std::io;
use std::path::Path;
use std::sync::Arc;

impl Engine {
    /// Stops a pod that is not stopped, removes its containers and forgets it; unknown pods are fine.
    pub async fn remove_pod(self: &Arc<Self>, id: &str) -> Result<(), EngineError> {
        let pod = match self.registry.pod(id) {
            Err(EngineError::NoSuchPod(_)) => return Ok(()),
            found => found?,
        };
        let engine = self.clone();
        self.carry_out("RemovePodSandbox", id, async move {
            pod.ending.cancel();
            let _op = pod.op.write().await;
            engine.release(&pod).await?;
            for container in engine.registry.containers_of(&pod.id) {
                engine.remove_held_container(&container).await?;
            }
            engine.forget(&pod)
        })
        .await
    }

    /// Removes a pod's records and frees its name.
    pub(crate) fn forget(&self, pod: &Pod) -> Result<(), EngineError> {
        // Out of sight at once, so that a crash leaves a whole pod or none; the files follow behind.
        let dir = pod.files.dir();
        let trash = dir.with_file_name(format!("{REMOVED}{}", pod.id));
        match std::fs::rename(dir, &trash) {
            Ok(()) => self.strangers.behind(move || discard(&trash)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(EngineError::io("set aside", dir)(error)),
        }
        self.mirror.delete(super::run::pod_key(&pod.id));
        self.registry.drop_pod(&pod.id);
        self.tell_pod(pod, EventKind::Deleted);
        self.pod_names.free(&pod.config().metadata, &pod.id);
        Ok(())
    }
}

/// Names of directories whose pods or containers are removed begin so.
pub(crate) const REMOVED: &str = ".removed-";

/// Deletes what was set aside; where that fails, the next start tries again.
pub(crate) fn discard(path: &Path) {
    if let Err(error) = sys::tree::remove(path) {
        tracing::warn!(path = %path.display(), %error, "what was removed is not deleted: the next start does");
    }
}
