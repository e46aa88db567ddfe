//! What plugins ask for beside what they are asked: other limits of containers, and containers' ends.

use crate::Containers;
use crate::error::{EngineError, chain};
use crate::in_memory::Container;
use model::ContainerState;
use nri::api::ContainerUpdate;
use nri::merge::{Eviction, Updates};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a container may be busy with something else.
const BUSY: Duration = Duration::from_secs(10);
/// How long a container has to end of itself where nobody says how long.
const GRACE: Duration = Duration::from_secs(30);
/// Letters of a plugin's reason that are told.
const REASON: usize = 256;
/// The kubelet's word on it.
const GRACE_ANNOTATION: &str = "io.kubernetes.pod.terminationGracePeriod";

impl Containers {
    /// Does what plugins want of other containers, as part of a request.
    ///
    /// # Errors
    /// What fails of that, unless its plugin does not mind.
    pub(crate) async fn apply_updates(
        self: &Arc<Self>,
        mut updates: Updates,
        request: &'static str,
    ) -> Result<(), EngineError> {
        self.evict(std::mem::take(&mut updates.evictions), request);
        for update in &updates.updates {
            let container_id = &update.container_id;
            let updated = self.update_for_plugin(update).await;
            match updated.map_err(|error| error.asked_by(updates.asked_by(container_id))) {
                Ok(()) => tracing::info!(container_id, request, "a plugin has changed its limits"),
                Err(error) if update.ignore_failure => {
                    tracing::info!(container_id, request, error = chain(&error), "a plugin's update");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The same where there is no request that could fail.
    pub(crate) async fn follow(self: &Arc<Self>, updates: Updates, request: &'static str) {
        if let Err(error) = self.apply_updates(updates, request).await {
            tracing::warn!(request, error = chain(&error), "an update that a plugin wants fails");
        }
    }

    /// Changes the limits of a container for a plugin: as UpdateContainerResources does, but nobody is asked about it.
    pub(super) async fn update_for_plugin(
        self: &Arc<Self>,
        update: &ContainerUpdate,
    ) -> Result<(), EngineError> {
        let container = self.core().registry.container(&update.container_id)?;
        let Some(limits) = update.linux.as_ref().and_then(|linux| linux.resources.as_ref()) else {
            return Ok(());
        };
        let change = nri::view::change_of(limits)?;
        if matches!(container.state(), ContainerState::Exited { .. }) {
            return Err(EngineError::wrong_state("update the resources of", &container));
        }
        // Not the pod's lock: a request in it may be waiting for the plugin that asks. What is torn down meanwhile refuses
        // its limits.
        let Ok(_op) = tokio::time::timeout(BUSY, container.op.lock()).await else {
            return Err(EngineError::wrong_state("update the resources of", &container));
        };
        if matches!(container.state(), ContainerState::Exited { .. }) {
            return Err(EngineError::wrong_state("update the resources of", &container));
        }
        let annotations = container.record().updated.map(|updated| updated.annotations);
        self.change_limits(&container, change, annotations.unwrap_or_default()).await?;
        container.nri.forget_spec();
        Ok(failpoint::reach!("engine.plugins.others_changed")?)
    }

    /// Stops containers for plugins, behind.
    pub(super) fn evict(self: &Arc<Self>, evictions: Vec<Eviction>, request: &'static str) {
        let mut missing = 0_usize;
        for Eviction { plugin, container_id, reason } in evictions {
            let Ok(container) = self.core().registry.container(&container_id) else {
                missing += 1;
                continue;
            };
            // Who asks again and again is heard once.
            if container.nri.is_evicted.swap(true, Ordering::Relaxed) {
                continue;
            }
            let grace = grace(&container);
            tracing::warn!(
                plugin,
                container_id,
                request,
                reason = reason.chars().take(REASON).collect::<String>(),
                seconds = grace.as_secs(),
                "a plugin evicts a container"
            );
            failpoint::pass!("engine.plugins.evict_begun");
            let this = self.clone();
            let stop = async move {
                if let Err(error) = this.stop_container(&container_id, grace).await {
                    tracing::warn!(container_id, error = chain(&error), "it is not evicted");
                    container.nri.is_evicted.store(false, Ordering::Relaxed);
                }
                failpoint::pass!("engine.plugins.evict_ended");
            };
            drop(self.core().reactor.spawn(stop));
        }
        if missing > 0 {
            tracing::debug!(request, missing, "a plugin evicts containers that are not there");
        }
    }
}

fn grace(container: &Container) -> Duration {
    let record = container.record();
    let seconds = record.config.annotations.get(GRACE_ANNOTATION).and_then(|text| text.parse().ok());
    seconds.map_or(GRACE, Duration::from_secs)
}
