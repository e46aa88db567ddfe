//! What lies between asking plugins about a change and its being seen from outside.

use crate::api::{
    Container, CreateContainerRequest, Event, LinuxResources, PodSandbox, UpdateContainerRequest,
};
use crate::error::NriResult;
use crate::merge::{Created, Creation, Update, Updates};

/// One change of one pod or container.
///
/// ```text
/// let mut section = nri.section(Event::CreateContainer);
/// if !section.is_idle() { adjusted = section.create_container(pod(), container()).await?; }
/// … the container is made, and then listed …
/// section.commit(|| (pod(), Some(container()))).await;
/// if !section.is_idle() { section.post_create(pod(), container()).await?; }
/// ```
///
/// A section that is dropped without [`commit`](Self::commit) has changed nothing.
#[must_use = "plugins that join meanwhile miss what is not committed"]
pub struct Section {
    event: Event,
}

impl Section {
    pub(crate) fn new(event: Event) -> Self {
        Self { event }
    }

    /// Whether nobody is to be asked: no message needs to be made then.
    pub fn is_idle(&self) -> bool {
        true
    }

    /// Tells plugins that have joined since the section was opened what they have missed. To be called once the change
    /// is in what [`Node::snapshot`](crate::Node::snapshot) returns, and before anybody else is told of it.
    pub async fn commit(&mut self, change: impl FnOnce() -> (PodSandbox, Option<Container>)) {
        let _ = (self.event, change);
    }

    /// A pod has its namespaces and network.
    ///
    /// # Errors
    /// A plugin refuses; the pod is not to be.
    pub async fn run_pod(&mut self, pod: PodSandbox) -> NriResult<()> {
        let _ = pod;
        Ok(())
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
        let _ = (pod, overhead, limits);
        Ok(())
    }

    /// A pod has other limits.
    ///
    /// # Errors
    /// A plugin answers with an error.
    pub async fn post_update_pod(&mut self, pod: PodSandbox) -> NriResult<()> {
        let _ = pod;
        Ok(())
    }

    /// A pod's containers are gone.
    ///
    /// # Errors
    /// A plugin answers with an error.
    pub async fn stop_pod(&mut self, pod: PodSandbox) -> NriResult<()> {
        let _ = pod;
        Ok(())
    }

    /// A pod is being removed.
    ///
    /// # Errors
    /// A plugin answers with an error.
    pub async fn remove_pod(&mut self, pod: PodSandbox) -> NriResult<()> {
        let _ = pod;
        Ok(())
    }

    /// A container is to be created; validators have agreed to what comes of it.
    ///
    /// # Errors
    /// A plugin refuses, two want the same, or a validator rejects it.
    pub async fn create_container(&mut self, pod: PodSandbox, container: Container) -> NriResult<Created> {
        Ok(Creation::new(CreateContainerRequest { pod: Some(pod), container: Some(container) }).finish())
    }

    /// A container has been created.
    ///
    /// # Errors
    /// A plugin answers with an error.
    pub async fn post_create(&mut self, pod: PodSandbox, container: Container) -> NriResult<()> {
        let _ = (pod, container);
        Ok(())
    }

    /// A container is being started.
    ///
    /// # Errors
    /// A plugin refuses.
    pub async fn start_container(&mut self, pod: PodSandbox, container: Container) -> NriResult<()> {
        let _ = (pod, container);
        Ok(())
    }

    /// A container runs.
    ///
    /// # Errors
    /// A plugin answers with an error.
    pub async fn post_start(&mut self, pod: PodSandbox, container: Container) -> NriResult<()> {
        let _ = (pod, container);
        Ok(())
    }

    /// A container is to have other limits; what it is to have comes back, and what changes of others.
    ///
    /// # Errors
    /// A plugin refuses, or two want the same.
    pub async fn update_container(
        &mut self,
        pod: PodSandbox,
        container: Container,
        limits: LinuxResources,
    ) -> NriResult<(LinuxResources, Updates)> {
        let request = UpdateContainerRequest {
            pod: Some(pod),
            container: Some(container),
            linux_resources: Some(limits),
        };
        Ok(Update::new(request).finish())
    }

    /// A container has other limits.
    ///
    /// # Errors
    /// A plugin answers with an error.
    pub async fn post_update(&mut self, pod: PodSandbox, container: Container) -> NriResult<()> {
        let _ = (pod, container);
        Ok(())
    }

    /// A container is gone; what changes of others comes back.
    ///
    /// # Errors
    /// A plugin answers with an error, or two want the same.
    pub async fn stop_container(&mut self, pod: PodSandbox, container: Container) -> NriResult<Updates> {
        let _ = (pod, container);
        Ok(Updates::default())
    }

    /// A container is being removed.
    ///
    /// # Errors
    /// A plugin answers with an error.
    pub async fn remove_container(&mut self, pod: PodSandbox, container: Container) -> NriResult<()> {
        let _ = (pod, container);
        Ok(())
    }
}
