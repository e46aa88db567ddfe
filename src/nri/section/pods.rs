//! What plugins are told of pods.

use super::Section;
use crate::api::{Event, LinuxResources, PodSandbox, RunPodSandboxRequest, UpdatePodSandboxRequest};
use crate::error::NriResult;
use crate::plugin::Subject;
use prost::Message;

impl Section {
    /// A pod has its namespaces and network.
    ///
    /// # Errors
    /// A plugin refuses; the pod is not to be.
    pub async fn run_pod(&mut self, pod: PodSandbox) -> NriResult<()> {
        self.tell_of_pod(Event::RunPodSandbox, pod).await
    }

    /// A pod is to have other limits.
    ///
    /// # Errors
    /// A plugin refuses.
    pub async fn update_pod(
        &mut self,
        pod: PodSandbox,
        overhead: LinuxResources,
        limits: LinuxResources,
    ) -> NriResult<()> {
        let request = UpdatePodSandboxRequest {
            pod: Some(pod.clone()),
            overhead_linux_resources: Some(overhead),
            linux_resources: Some(limits),
        };
        let subject = Subject { pod: &pod, container: None };
        self.tell(Event::UpdatePodSandbox, subject, &request.encode_to_vec()).await
    }

    /// A pod has other limits.
    ///
    /// # Errors
    /// A plugin answers with an error.
    pub async fn post_update_pod(&mut self, pod: PodSandbox) -> NriResult<()> {
        self.tell_of_pod(Event::PostUpdatePodSandbox, pod).await
    }

    /// A pod's containers are gone.
    ///
    /// # Errors
    /// A plugin answers with an error.
    pub async fn stop_pod(&mut self, pod: PodSandbox) -> NriResult<()> {
        self.tell_of_pod(Event::StopPodSandbox, pod).await
    }

    /// A pod is being removed.
    ///
    /// # Errors
    /// A plugin answers with an error.
    pub async fn remove_pod(&mut self, pod: PodSandbox) -> NriResult<()> {
        self.tell_of_pod(Event::RemovePodSandbox, pod).await
    }

    async fn tell_of_pod(&mut self, event: Event, pod: PodSandbox) -> NriResult<()> {
        let payload = of_pod(&pod);
        self.tell(event, Subject { pod: &pod, container: None }, &payload).await
    }
}

/// Requests that say no more than which pod have the same fields.
pub(super) fn of_pod(pod: &PodSandbox) -> Vec<u8> {
    RunPodSandboxRequest { pod: Some(pod.clone()) }.encode_to_vec()
}
