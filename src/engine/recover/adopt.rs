//! Adopting one pod: ask its shim what became of its containers.

use crate::error::{EngineError, chain};
use crate::mirror::Key;
use crate::objects::{Container, Pod};
use crate::record::PodRecord;
use crate::supervisor::{Hello, SupervisorError};
use crate::{Engine, now};
use model::{ContainerEvent, ContainerState, SandboxState};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use wire::msg::{ContainerSnapshot, ExitRecord};

/// How long the daemon's start waits for half-made containers to be gone.
const HALF_MADE: Duration = Duration::from_secs(5);

impl Engine {
    /// Takes over a pod that was made. Without its shim it is not ready, and what it ran is ended.
    ///
    /// # Errors
    /// Its shim lives, and is of a release that this one cannot speak with: it must be left alone.
    pub(super) async fn adopt(
        self: &Arc<Self>,
        pod: Arc<Pod>,
        half_made: Vec<String>,
    ) -> Result<(), EngineError> {
        let _op = pod.op.write().await;
        if pod.is_released() {
            return Ok(());
        }
        let error = match self.reconnect(&pod).await {
            Ok(()) => {
                failpoint::pass!("engine.recover.adopted");
                self.drop_half_made(&pod, half_made).await;
                return Ok(());
            }
            Err(foreign @ EngineError::Supervisor(SupervisorError::Foreign { .. })) => return Err(foreign),
            Err(error) => error,
        };
        tracing::warn!(pod_id = %pod.id, error = chain(&error), "the pod is not ready any more");
        self.launcher.kill_lost(&pod.id).await;
        self.orphaned(&pod, "the pod's supervisor was gone when the daemon started").await;
        self.drop_half_made(&pod, half_made).await;
        if let Some(bytes) =
            pod.update_regardless(|record: &mut PodRecord| record.state = SandboxState::NotReady)
        {
            self.mirror.put(Key::Pod(pod.id.clone()), bytes);
        }
        Ok(())
    }

    /// Takes down a pod that the former daemon was still making: no client ever got its id.
    pub(super) async fn undo(self: &Arc<Self>, pod: &Arc<Pod>) -> Result<(), EngineError> {
        let _op = pod.op.write().await;
        if let Err(error) = self.reconnect(pod).await {
            if let foreign @ EngineError::Supervisor(SupervisorError::Foreign { .. }) = error {
                return Err(foreign);
            }
            tracing::debug!(pod_id = %pod.id, error = chain(&error), "a half-made pod has no supervisor");
            self.launcher.kill_lost(&pod.id).await;
        }
        self.release(pod).await?;
        self.forget(pod)
    }

    /// Connects to the shim of a pod whose lock is held, and takes over what it says of the containers.
    pub(crate) async fn reconnect(self: &Arc<Self>, pod: &Arc<Pod>) -> Result<(), EngineError> {
        let (supervisor, Hello { pause_pid, containers }) = self.connect(pod, None).await?;
        pod.set_pause(pause_pid);
        pod.set_supervisor(Some(supervisor));
        failpoint::pass!("engine.recover.connected");
        let known: HashMap<String, ContainerSnapshot> =
            containers.into_iter().map(|snapshot| (snapshot.id.clone(), snapshot)).collect();
        for container in self.registry.containers_of(&pod.id) {
            match known.get(&container.id) {
                Some(snapshot) => self.reconcile(&container, snapshot),
                None => self.missing(&container),
            }
        }
        Ok(())
    }

    fn reconcile(&self, container: &Arc<Container>, snapshot: &ContainerSnapshot) {
        container.set_pid(snapshot.pid);
        match &snapshot.exit {
            Some(exit) => self.exited(exit),
            None if snapshot.state == wire::msg::ContainerState::Running
                && container.state() == ContainerState::Created =>
            {
                self.publish(container, ContainerEvent::Started(snapshot.started_at_ns));
            }
            None => {}
        }
    }

    /// A container that its own shim does not know: its removal was under way.
    fn missing(&self, container: &Arc<Container>) {
        if !matches!(container.state(), ContainerState::Exited { .. }) {
            self.exited(&ExitRecord {
                id: container.id.clone(),
                code: 137,
                signal: Some(9),
                finished_at_ns: now(),
                ..Default::default()
            });
        }
    }

    /// Frees what containers hold whose creation was never answered and never recorded. One whose processes do not die
    /// is left to go behind.
    async fn drop_half_made(self: &Arc<Self>, pod: &Arc<Pod>, ids: Vec<String>) {
        let (engine, held) = (self.clone(), pod.clone());
        let dropped = tokio::spawn(async move { engine.drop_all_half_made(&held, ids).await });
        if tokio::time::timeout(HALF_MADE, dropped).await.is_err() {
            tracing::warn!(pod_id = %pod.id, "a half-made container does not die");
        }
    }

    async fn drop_all_half_made(self: &Arc<Self>, pod: &Arc<Pod>, ids: Vec<String>) {
        for id in ids {
            if let Some(supervisor) = pod.supervisor() {
                // One that does not know it, or is gone, leaves the rest to be done here.
                let _ = supervisor.remove(&id).await;
            }
            let (engine, held) = (self.clone(), pod.clone());
            let dropped = crate::blocking("dropping a half-made container", move || {
                let cgroup = held.cgroup.container(&id);
                engine.cgroups.kill(&cgroup)?;
                engine.drop_bundle(&held, &id)?;
                engine.cgroups.remove(&cgroup)?;
                crate::record::remove(&held.files.spec(&id))
            });
            if let Err(error) = dropped.await {
                tracing::error!(pod_id = %pod.id, error = chain(&error), "a half-made container is not all freed");
            }
            failpoint::pass!("engine.recover.dropped");
        }
    }
}
