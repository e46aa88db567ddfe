//! What plugins are asked and told of pods.

use super::view;
use crate::Core;
use crate::error::{EngineError, chain};
use crate::in_memory::Pod;
use crate::record::PodLimits;
use nri::Section;
use nri::api::{Event, PodSandbox};
use std::net::IpAddr;
use std::sync::Arc;

impl Core {
    /// Asks plugins whether a pod may be, which has its namespaces and its network. The section is to be committed once
    /// the pod is published.
    pub(crate) async fn ask_run_pod(&self, pod: &Pod, ips: &[IpAddr]) -> Result<Section, EngineError> {
        let mut section = self.nri.section(Event::RunPodSandbox);
        if !section.is_idle() {
            pod.nri.ask();
            self.stage("nri", Box::pin(section.run_pod(view::pod_with(pod, ips)))).await?;
            failpoint::reach!("engine.plugins.run_asked")?;
        }
        Ok(section)
    }

    /// A pod is published.
    pub(crate) async fn tell_running_pod(&self, pod: &Pod, section: &mut Section) {
        Box::pin(section.commit(|| (view::pod(pod), None))).await;
        failpoint::pass!("engine.plugins.run_committed");
    }

    /// Tells plugins that a pod stops, whose containers have ended: once.
    pub(crate) async fn tell_stopping_pod(&self, pod: &Pod) {
        if !pod.nri.is_asked() && !pod.is_published() {
            return;
        }
        let tell = Box::pin(async {
            let mut section = self.nri.section(Event::StopPodSandbox);
            if !section.is_idle() {
                let told = self.stage("nri", Box::pin(section.stop_pod(view::pod(pod)))).await;
                told.unwrap_or_else(|error| warn(pod, "StopPodSandbox", &error));
                failpoint::pass!("engine.plugins.stop_pod_told");
            }
            Box::pin(section.commit(|| (view::pod(pod), None))).await;
        });
        pod.nri.stopped.get_or_init(|| tell).await;
    }

    /// What plugins are told of a pod that is about to be forgotten.
    pub(crate) fn begin_removing_pod(&self, pod: &Pod) -> RemovedPod {
        let section = self.nri.section(Event::RemovePodSandbox);
        RemovedPod { is_known: pod.nri.is_asked() || pod.is_published(), section }
    }

    /// Tells plugins that a pod is forgotten.
    pub(crate) async fn tell_removed_pod(&self, pod: &Pod, removed: RemovedPod) {
        let RemovedPod { is_known, mut section } = removed;
        if !is_known {
            return;
        }
        if !section.is_idle() {
            let told = self.stage("nri", Box::pin(section.remove_pod(view::pod(pod)))).await;
            told.unwrap_or_else(|error| warn(pod, "RemovePodSandbox", &error));
            failpoint::pass!("engine.plugins.remove_pod_told");
        }
        Box::pin(section.commit(|| (view::pod(pod), None))).await;
    }

    /// Asks plugins whether a pod may have other limits.
    pub(crate) async fn ask_update_pod(
        &self,
        pod: &Arc<Pod>,
        change: &PodLimits,
    ) -> Result<Section, EngineError> {
        let mut section = self.nri.section(Event::UpdatePodSandbox);
        if !section.is_idle() {
            let limits = |limits: &Option<model::Resources>| {
                limits.as_ref().map(nri::view::of_request).unwrap_or_default()
            };
            let asked =
                section.update_pod(view::pod(pod), limits(&change.overhead), limits(&change.resources));
            self.stage("nri", Box::pin(asked)).await?;
            failpoint::reach!("engine.plugins.resize_asked")?;
        }
        Ok(section)
    }

    /// Tells plugins that a pod has other limits.
    pub(crate) async fn tell_updated_pod(&self, pod: &Pod, mut section: Section) {
        Box::pin(section.commit(|| (view::pod(pod), None))).await;
        if !section.is_idle() {
            let told = self.stage("nri", Box::pin(section.post_update_pod(view::pod(pod)))).await;
            told.unwrap_or_else(|error| warn(pod, "PostUpdatePodSandbox", &error));
            failpoint::pass!("engine.plugins.resize_told");
        }
    }

    /// All pods that clients know, for a plugin that joins.
    pub(super) fn pods_for_plugins(&self) -> Vec<PodSandbox> {
        let pods = self.registry.pods().into_iter().filter(|pod| pod.is_published());
        pods.map(|pod| view::pod(&pod)).collect()
    }
}

/// A pod that is about to be forgotten.
pub(crate) struct RemovedPod {
    is_known: bool,
    section: Section,
}

/// What is on its way out goes on without its plugins.
fn warn(pod: &Pod, request: &'static str, error: &nri::Error) {
    tracing::warn!(pod_id = %pod.id, request, error = chain(error), "a plugin fails");
}
