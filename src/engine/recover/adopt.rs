//! Adopting one pod: ask its shim what became of its containers.

use super::load::{HalfMade, is_damaged};
use crate::Recovery;
use crate::error::{EngineError, chain};
use crate::in_memory::{Container, Pod};
use crate::mirror::Key;
use crate::pod::connection::Snapshots;
use crate::record::{ContainerRecord, PodRecord};
use crate::supervisor::SupervisorError;
use model::{ContainerId, SandboxState};
use std::sync::Arc;
use std::time::Duration;
use wire::msg::ContainerState;

/// How long the daemon's start waits for half-made containers to be gone.
const HALF_MADE: Duration = Duration::from_secs(5);

/// How long the daemon's start waits for a supervisor. Whatever is asked of its pod waits longer.
const PROMPT: Duration = Duration::from_secs(2);

impl Recovery {
    /// Takes over a pod that was made, behind the start where its supervisor is silent: no other pod waits for it.
    ///
    /// # Errors
    /// Those of [`Self::adopt`], where the supervisor answers in time.
    pub(super) async fn adopt_in_time(
        self: &Arc<Self>,
        pod: Arc<Pod>,
        half_made: Vec<HalfMade>,
    ) -> Result<(), EngineError> {
        let (this, held) = (self.clone(), pod.clone());
        let mut adopting = tokio::spawn(async move { this.adopt(held, half_made).await });
        match tokio::time::timeout(PROMPT, &mut adopting).await {
            Ok(Ok(adopted)) => adopted,
            Ok(Err(broken)) => match broken.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime ends.
                Err(_) => Ok(()),
            },
            Err(_) => {
                tracing::warn!(pod_id = %pod.id, "the pod's supervisor is silent: the pod is taken over once it answers");
                tokio::spawn(async move {
                    if let Ok(Err(error)) = adopting.await {
                        tracing::error!(pod_id = %pod.id, error = chain(&error), "the pod is not taken over");
                    }
                });
                Ok(())
            }
        }
    }

    /// Takes over a pod that was made. Without its shim it is not ready, and what it ran is ended.
    ///
    /// # Errors
    /// Its shim lives, and is of a release that this one cannot speak with: it must be left alone.
    async fn adopt(self: &Arc<Self>, pod: Arc<Pod>, half_made: Vec<HalfMade>) -> Result<(), EngineError> {
        let _op = pod.op.write().await;
        if pod.is_released() {
            return Ok(());
        }
        let error = match self.pods.reconnect(&pod).await {
            Ok(held) => {
                failpoint::pass!("engine.recover.adopted");
                let half_made = self.take_back(&pod, half_made, &held);
                self.drop_half_made(&pod, half_made).await;
                return Ok(());
            }
            Err(foreign @ EngineError::Supervisor(SupervisorError::Foreign { .. })) => return Err(foreign),
            Err(error) => error,
        };
        tracing::warn!(pod_id = %pod.id, error = chain(&error), "the pod is not ready any more");
        self.pods.launcher.kill_lost(&pod.id).await;
        // One with a directory of records has been removed, and not a directory deleted by somebody.
        let deleted = !pod.files.containers().exists();
        let (lost, half_made): (Vec<_>, Vec<_>) =
            half_made.into_iter().partition(|half| deleted && half.copy.is_some());
        for record in lost.into_iter().filter_map(|half| half.copy) {
            self.load_lost(&pod, *record);
        }
        self.containers.orphaned(&pod, "the pod's supervisor was gone when the daemon started").await;
        failpoint::pass!("engine.recover.lost");
        let half_made = half_made.into_iter().map(|lost| lost.id).collect();
        self.drop_half_made(&pod, half_made).await;
        if let Some(bytes) =
            pod.update_regardless(|record: &mut PodRecord| record.state = SandboxState::NotReady)
        {
            self.core.mirror.put(Key::Pod(pod.id.clone()), bytes);
        }
        Ok(())
    }

    /// Takes down a pod that the former daemon was still making: no client ever got its id.
    ///
    /// # Errors
    /// It is listed as not ready then.
    pub(super) async fn undo(self: &Arc<Self>, pod: &Arc<Pod>) -> Result<(), EngineError> {
        let _op = pod.op.write().await;
        match self.pods.reconnect(pod).await {
            Ok(held) => {
                let unknown = self.take_back(pod, Vec::new(), &held);
                self.drop_half_made(pod, unknown).await;
            }
            Err(foreign @ EngineError::Supervisor(SupervisorError::Foreign { .. })) => {
                pod.strand();
                return Err(foreign);
            }
            Err(error) => {
                tracing::debug!(pod_id = %pod.id, error = chain(&error), "a half-made pod has no supervisor");
                self.pods.launcher.kill_lost(&pod.id).await;
            }
        }
        self.pods.unmake(pod).await
    }

    /// Has containers again whose records somebody has deleted: a supervisor forgets those that are removed before their
    /// records are. The others are returned, with those that it holds and nobody knows.
    fn take_back(&self, pod: &Arc<Pod>, half_made: Vec<HalfMade>, held: &Snapshots) -> Vec<ContainerId> {
        let unknown = |id: &&ContainerId| {
            // One whose record was left aside is somebody's.
            let is_aside =
                is_damaged(&pod.files.container(id)) || crate::record::cannot_list(&pod.files.containers());
            let is_known = self.core.registry.any_container(id).is_some();
            !is_aside && !is_known && half_made.iter().all(|half| half.id != **id)
        };
        let mut rest: Vec<ContainerId> = held.keys().filter(unknown).cloned().collect();
        for HalfMade { id, copy } in half_made {
            let stands = held.get(&id).filter(|snapshot| snapshot.state != ContainerState::Creating);
            match (stands, copy) {
                (Some(snapshot), Some(record)) => {
                    self.pods.reconcile(&self.load_lost(pod, *record), snapshot);
                }
                _ => rest.push(id),
            }
        }
        rest
    }

    /// A container whose record is lost.
    fn load_lost(&self, pod: &Arc<Pod>, record: ContainerRecord) -> Arc<Container> {
        let (id, path) = (record.id.clone(), pod.files.container(&record.id));
        tracing::warn!(pod_id = %pod.id, container_id = %id, "the record of a container is lost, and taken from its durable copy");
        let saved = std::fs::create_dir_all(pod.files.containers())
            .map_err(EngineError::io("make the directory", pod.files.containers()))
            .and_then(|()| crate::record::save(&path, &id, &record));
        match saved {
            Ok(bytes) => self.core.mirror.put(Key::Container(id), bytes),
            Err(error) => {
                tracing::error!(container_id = %id, error = chain(&error), "the durable copy is used, but not written");
            }
        }
        self.load_container(record, pod)
    }

    /// Frees what containers hold whose creation was never answered and never recorded. One whose processes do not die
    /// is left to go behind.
    async fn drop_half_made(self: &Arc<Self>, pod: &Arc<Pod>, ids: Vec<ContainerId>) {
        let (this, held) = (self.clone(), pod.clone());
        let dropped = tokio::spawn(async move { this.drop_all_half_made(&held, ids).await });
        if tokio::time::timeout(HALF_MADE, dropped).await.is_err() {
            tracing::warn!(pod_id = %pod.id, "a half-made container does not die");
        }
    }

    async fn drop_all_half_made(self: &Arc<Self>, pod: &Arc<Pod>, ids: Vec<ContainerId>) {
        for id in ids {
            if let Some(supervisor) = pod.supervisor() {
                // One that does not know it, or is gone, leaves the rest to be done here.
                let _ = supervisor.remove(&id).await;
            }
            let (this, held) = (self.clone(), pod.clone());
            let dropped = crate::blocking("dropping a half-made container", move || {
                let cgroup = held.cgroup.container(&id);
                this.core.cgroups.kill(&cgroup)?;
                this.containers.drop_bundle(&held, &id)?;
                this.core.cgroups.remove(&cgroup)?;
                crate::record::remove(&held.files.spec(&id))
            });
            if let Err(error) = dropped.await {
                tracing::error!(pod_id = %pod.id, error = chain(&error), "a half-made container is not all freed");
            }
            failpoint::pass!("engine.recover.dropped");
        }
    }
}
