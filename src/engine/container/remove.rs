//! RemoveContainer.

use crate::error::EngineError;
use crate::events::EventKind;
use crate::handlers::Home;
use crate::in_memory::{Container, Pod};
use crate::mirror::Key;
use crate::supervisor::SupervisorError;
use crate::{Containers, blocking, room};
use model::{ContainerState, Signal};
use std::sync::Arc;
use std::time::Duration;
use sys::sync::lock;
use tokio::sync::MutexGuard;
use wire::msg::ErrorCode;

/// How long another verb may take that is at work on a container which is to be removed.
const MOMENT: Duration = Duration::from_secs(2);

impl Containers {
    /// Removes a container, killing it first where it lives; unknown ones are fine.
    pub async fn remove_container(self: &Arc<Self>, id: &str) -> Result<(), EngineError> {
        let container = match self.core.registry.container(id) {
            Err(EngineError::NoSuchContainer(_)) => return Ok(()),
            found => found?,
        };
        let this = self.clone();
        self.core
            .carry_out("RemoveContainer", id, async move {
                let _pod = container.pod.op.read().await;
                this.remove_held_container(&container).await
            })
            .await
    }

    /// Removes a container of a pod whose lock is held.
    pub(crate) async fn remove_held_container(
        self: &Arc<Self>,
        container: &Arc<Container>,
    ) -> Result<(), EngineError> {
        let _op = self.hold(container).await?;
        if self.core.registry.any_container(&container.id).is_none() {
            // Another one has removed it meanwhile, and told so.
            return Ok(());
        }
        if matches!(container.state(), ContainerState::Running { .. }) {
            // Bounded, where the shim's own removal waits for the process.
            self.kill(container).await?;
        }
        if let Some(supervisor) = container.pod.supervisor() {
            let limit = Duration::from_secs(self.core.live().settings.kill_timeout_seconds);
            match tokio::time::timeout(limit, supervisor.remove(&container.id)).await {
                Ok(Err(
                    SupervisorError::Refused { code: ErrorCode::NotFound, .. } | SupervisorError::Gone { .. },
                )) => {}
                Ok(answer) => answer?,
                Err(_) => return Err(self.unkillable(container)),
            }
        }
        failpoint::reach!("engine.remove.answered")?;
        self.clear(container).await
    }

    /// Takes the container's lock. A start that waits for a mount is ended for it.
    async fn hold<'a>(&self, container: &'a Container) -> Result<MutexGuard<'a, ()>, EngineError> {
        if let Ok(op) = tokio::time::timeout(MOMENT, container.op.lock()).await {
            return Ok(op);
        }
        // Whoever holds the lock hears of it.
        let _ = self.signal(container, Signal::KILL, true).await;
        let limit = Duration::from_secs(self.core.live().settings.kill_timeout_seconds);
        tokio::time::timeout(limit, container.op.lock()).await.map_err(|_| self.unkillable(container))
    }

    /// Frees what a container without processes holds, and forgets it.
    pub(crate) async fn clear(self: &Arc<Self>, container: &Arc<Container>) -> Result<(), EngineError> {
        // Also of one that never ran: what plugins have set aside for it is free.
        self.tell_end(container).await;
        let removed = self.core.begin_removing(container).await;
        let (this, held) = (self.clone(), container.clone());
        let room = blocking("removing a container's files", move || {
            this.drop_bundle(&held.pod, &held.id)?;
            if !held.pod.is_released() {
                this.core.tree.remove(&held)?;
            }
            failpoint::reach!("engine.remove.cgroup")?;
            let aside = this.core.set_aside(&this.core.paths.container(&held.id), &held.id)?;
            let room = aside.and_then(|aside| this.core.discard_layer(aside));
            failpoint::reach!("engine.remove.aside")?;
            if room.is_none() {
                unlink(&held)?;
            }
            Ok(room)
        })
        .await?;
        if room.is_some() {
            // Until then it is listed, and whatever is asked about it has an answer.
            room::wait(room).await;
            let held = container.clone();
            blocking("removing a container's records", move || unlink(&held)).await?;
        }
        room::wait(self.core.images.release(&container.id)).await;
        failpoint::pass!("engine.remove.released");
        self.core.mirror.delete(Key::Container(container.id.clone()));
        self.core.registry.drop_container(&container.id);
        failpoint::pass!("engine.remove.forgotten");
        self.core.tell_removed(container, removed).await;
        let record = container.record();
        if container.is_published() {
            self.core.events.tell(container, EventKind::Deleted);
        }
        self.names.free(&(record.sandbox_id, record.config.metadata.clone()), &container.id);
        Ok(())
    }

    /// Gives back devices of a container without processes, and deletes what the handler keeps of it; few have something.
    /// Blocks.
    pub(crate) fn drop_bundle(&self, pod: &Pod, id: &str) -> Result<(), EngineError> {
        super::give_back(pod, Some(id))?;
        let bundle = pod.files.bundle(id);
        if !bundle.exists() {
            return Ok(());
        }
        self.core.live().handlers.of(pod).discard(Home { id, bundle: &bundle })
    }
}

/// Removes the records of a container. Blocks.
fn unlink(container: &Container) -> Result<(), EngineError> {
    lock(&container.news).ended = true;
    let files = &container.pod.files;
    // The spec goes last: without a record beside it, it says that something is half-made or half-removed.
    for path in [files.exit(&container.id), files.container(&container.id), files.spec(&container.id)] {
        crate::record::remove(&path)?;
        // What was set aside of it is of no use any more.
        crate::record::remove(&sys::aside::name(&path))?;
        failpoint::reach!("engine.remove.unlinked")?;
    }
    Ok(())
}
