//! What plugins are asked and told of containers.

use super::{Section, Verdict};
use crate::api::{
    Container, CreateContainerRequest, CreateContainerResponse, Event, LinuxResources, PluginInstance,
    PodSandbox, PostCreateContainerRequest, StopContainerResponse, UpdateContainerRequest,
    UpdateContainerResponse, ValidateContainerAdjustmentRequest,
};
use crate::error::NriResult;
use crate::merge::{Created, Creation, MergeError, Stop, Update, Updates};
use crate::plugin::{Plugin, Subject, method};
use prost::Message;
use std::sync::Arc;

impl Section {
    /// A container is to be created. Validators have agreed to what plugins change; where they change nothing, what
    /// validators say of that comes as soon as they have said it.
    ///
    /// # Errors
    /// A plugin refuses, two want the same, or a validator rejects it.
    pub async fn create_container(
        &mut self,
        pod: PodSandbox,
        container: Container,
    ) -> NriResult<(Created, Verdict)> {
        // Boxed, as its messages are large, and most nodes have no plugin.
        Box::pin(self.ask_for_adjustments(pod, container)).await
    }

    async fn ask_for_adjustments(
        &mut self,
        pod: PodSandbox,
        container: Container,
    ) -> NriResult<(Created, Verdict)> {
        self.settle().await;
        let generation = Arc::clone(&self.generation);
        let settings = &generation.settings;
        let event = Event::CreateContainer;
        let mut judges = Vec::new();
        let mut asked = Vec::new();
        let mut creation = Creation::new(CreateContainerRequest {
            pod: Some(pod.clone()),
            container: Some(container.clone()),
        });
        let subject = Subject { pod: &pod, container: Some(&container) };
        for plugin in &generation.plugins {
            if !plugin.is_ready().await {
                continue;
            }
            if plugin.wants(Event::ValidateContainerAdjustment) {
                judges.push(Arc::clone(plugin));
            }
            let (name, index) = (plugin.identity.base.clone(), plugin.identity.index.clone());
            asked.push(PluginInstance { name, index });
            if plugin.wants(event) {
                let payload = creation.request().encode_to_vec();
                let reply: Option<CreateContainerResponse> =
                    plugin.ask((event, subject), payload, settings.request_timeout).await?;
                if let Some(reply) = reply {
                    taken(plugin, event, creation.take(&plugin.name, reply))?;
                }
            }
        }
        let created = creation.finish();
        let mut verdict = Verdict::agreed();
        if settings.validator.enable || !judges.is_empty() {
            let request = ValidateContainerAdjustmentRequest {
                adjust: Some(created.adjustment.clone()),
                update: created.updates.updates.clone(),
                owners: Some(created.owners.clone()),
                plugins: asked,
                pod: Some(pod),
                container: Some(container),
            };
            verdict = Verdict::of(settings, judges, request)?;
            if !created.is_nothing() {
                std::mem::take(&mut verdict).wait().await?;
            }
        }
        Ok((created, verdict))
    }

    /// What plugins of these names wanted of a container that is created cannot be done.
    pub fn rejected(&self, plugins: &[String]) {
        for plugin in self.generation.plugins.iter().filter(|plugin| plugins.contains(&plugin.name)) {
            plugin.counters.rejected(method(Event::CreateContainer));
        }
    }

    /// A container has been created, runs, or has other limits: `event` is one of the `Post…` kind.
    ///
    /// # Errors
    /// A plugin answers with an error.
    pub async fn post(&mut self, event: Event, pod: PodSandbox, container: Container) -> NriResult<()> {
        self.tell_of_container(event, &pod, &container).await
    }

    /// A container is being started.
    ///
    /// # Errors
    /// A plugin refuses.
    pub async fn start_container(&mut self, pod: PodSandbox, container: Container) -> NriResult<()> {
        self.tell_of_container(Event::StartContainer, &pod, &container).await
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
        Box::pin(self.ask_for_limits(pod, container, limits)).await
    }

    async fn ask_for_limits(
        &mut self,
        pod: PodSandbox,
        container: Container,
        limits: LinuxResources,
    ) -> NriResult<(LinuxResources, Updates)> {
        self.settle().await;
        let (event, timeout) = (Event::UpdateContainer, self.generation.settings.request_timeout);
        let mut update = Update::new(UpdateContainerRequest {
            pod: Some(pod.clone()),
            container: Some(container.clone()),
            linux_resources: Some(limits),
        });
        let subject = Subject { pod: &pod, container: Some(&container) };
        for plugin in &self.generation.plugins {
            if !plugin.wants(event) || !plugin.is_ready().await {
                continue;
            }
            let payload = update.request().encode_to_vec();
            let reply: Option<UpdateContainerResponse> =
                plugin.ask((event, subject), payload, timeout).await?;
            if let Some(reply) = reply {
                taken(plugin, event, update.take(&plugin.name, reply))?;
            }
        }
        Ok(update.finish())
    }

    /// A container is gone; what changes of others comes back.
    ///
    /// # Errors
    /// A plugin answers with an error, or two want the same.
    pub async fn stop_container(&mut self, pod: PodSandbox, container: Container) -> NriResult<Updates> {
        self.settle().await;
        let (event, timeout) = (Event::StopContainer, self.generation.settings.request_timeout);
        let payload = of_container(&pod, &container);
        let subject = Subject { pod: &pod, container: Some(&container) };
        let mut stop = Stop::default();
        for plugin in &self.generation.plugins {
            if !plugin.wants(event) || !plugin.is_ready().await {
                continue;
            }
            // It joined between the end and this.
            if plugin.knows_the_end_of(&container.id) {
                continue;
            }
            let reply: Option<StopContainerResponse> =
                plugin.ask((event, subject), payload.clone(), timeout).await?;
            if let Some(reply) = reply {
                taken(plugin, event, stop.take(&plugin.name, reply))?;
            }
        }
        Ok(stop.finish())
    }

    /// A container is being removed.
    ///
    /// # Errors
    /// A plugin answers with an error.
    pub async fn remove_container(&mut self, pod: PodSandbox, container: Container) -> NriResult<()> {
        self.tell_of_container(Event::RemoveContainer, &pod, &container).await
    }

    async fn tell_of_container(
        &mut self,
        event: Event,
        pod: &PodSandbox,
        container: &Container,
    ) -> NriResult<()> {
        let payload = of_container(pod, container);
        self.tell(event, Subject { pod, container: Some(container) }, &payload).await
    }
}

/// Counts a reply that changes something, or that cannot be taken beside those of others.
fn taken(plugin: &Plugin, event: Event, taken: Result<bool, MergeError>) -> Result<(), MergeError> {
    match taken {
        Ok(true) => plugin.counters.adjusted(method(event)),
        Ok(false) => {}
        Err(error) => {
            plugin.counters.rejected(method(event));
            return Err(error);
        }
    }
    Ok(())
}

/// Requests that say no more than which container have the same fields.
pub(super) fn of_container(pod: &PodSandbox, container: &Container) -> Vec<u8> {
    PostCreateContainerRequest { pod: Some(pod.clone()), container: Some(container.clone()) }.encode_to_vec()
}
