//! RemovePodSandbox.

use crate::Core;
use crate::Pods;
use crate::error::EngineError;
use crate::events::EventKind;
use crate::in_memory::Pod;
use crate::mirror::Key;
use std::io;
use std::path::Path;
use std::sync::Arc;
use sys::tree::Trash;

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
                this.forget(&pod)
            })
            .await
    }

    /// Removes a pod's records and frees its name.
    pub(crate) fn forget(&self, pod: &Pod) -> Result<(), EngineError> {
        // Out of sight at once, so that a crash leaves a whole pod or none.
        self.core.set_aside(pod.files.dir(), &pod.id)?;
        failpoint::reach!("engine.forget.aside")?;
        self.core.mirror.delete(Key::Pod(pod.id.clone()));
        self.core.registry.drop_pod(&pod.id);
        failpoint::pass!("engine.forget.dropped");
        self.core.events.tell_pod(pod, EventKind::Deleted);
        self.names.free(&pod.config().metadata, &pod.id);
        Ok(())
    }
}

impl Core {
    /// Takes the directory of a removed pod or container out of the way at once; its files, which may be many, are
    /// deleted behind.
    pub(crate) fn set_aside(&self, dir: &Path, id: &str) -> Result<(), EngineError> {
        let trash = dir.with_file_name(format!("{REMOVED}{id}"));
        match std::fs::rename(dir, &trash) {
            Ok(()) => self.trash.discard(trash),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // A disk may be too full for another name.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                sys::tree::remove(dir).map_err(|error| EngineError::io("remove", dir)(error.into()))?;
            }
            Err(error) => return Err(EngineError::io("set aside", dir)(error)),
        }
        Ok(())
    }
}

/// Names of directories whose pods or containers are removed begin so.
pub(crate) const REMOVED: &str = ".removed-";

/// Where the files of removed pods and containers go; where their deletion fails, the next start tries again.
pub(crate) fn trash() -> Trash {
    Trash::new(|path, error| {
        tracing::warn!(path = %path.display(), %error, "what was removed is not deleted: the next start does");
    })
}
