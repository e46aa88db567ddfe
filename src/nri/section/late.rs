//! What plugins are told that have joined since a change was begun.

use super::Section;
use super::containers::of_container;
use super::pods::of_pod;
use crate::api::{
    Container, ContainerAdjustment, ContainerState, ContainerUpdate, CreateContainerResponse, Event,
    LinuxContainerUpdate, LinuxResources, PodSandbox,
};
use crate::error::NriResult;
use crate::plugin::{Plugin, Subject};
use crate::roster::{Joined, Known};
use std::sync::Arc;

impl Section {
    /// Tells plugins that have joined since the section was opened what they have missed. To be called once the change
    /// is in what [`Node::snapshot`](crate::Node::snapshot) returns, and before anybody else is told of it. Calls that
    /// are made on a section after this reach those plugins, too.
    ///
    /// What such a plugin wants of a container that is created comes too late, but for its limits, which are changed.
    pub async fn commit(&mut self, change: impl FnOnce() -> (PodSandbox, Option<Container>)) {
        let joined: Vec<Arc<Joined>> = self.generation.joined().clone();
        if !joined.is_empty() {
            Box::pin(self.catch_up(joined, change())).await;
        }
    }

    async fn catch_up(
        &mut self,
        joined: Vec<Arc<Joined>>,
        (pod, container): (PodSandbox, Option<Container>),
    ) {
        let subject = Subject { pod: &pod, container: container.as_ref() };
        for joined in &joined {
            let plugin = &joined.plugin;
            if !plugin.is_ready().await
                || !joined.known.get().is_some_and(|known| self.is_news(known, subject))
            {
                continue;
            }
            if plugin.wants(self.event)
                && let Err(error) = self.tell_late(plugin, subject).await
            {
                tracing::warn!(plugin = plugin.name, %error, "a plugin was told late of what it missed");
            }
            self.late.push(Arc::clone(plugin));
        }
    }

    /// Whether a plugin did not see the change when it was told of everything that was there.
    fn is_news(&self, known: &Known, subject: Subject<'_>) -> bool {
        let has_pod = known.pods.contains(&subject.pod.id);
        let state = subject.container.and_then(|container| known.containers.get(&container.id)).copied();
        match self.event {
            Event::RunPodSandbox => !has_pod,
            Event::UpdatePodSandbox | Event::StopPodSandbox | Event::RemovePodSandbox => has_pod,
            Event::CreateContainer => state.is_none(),
            Event::StartContainer => state == Some(ContainerState::ContainerCreated),
            Event::StopContainer => state.is_some_and(|state| state != ContainerState::ContainerStopped),
            _ => state.is_some(),
        }
    }

    async fn tell_late(&self, plugin: &Arc<Plugin>, subject: Subject<'_>) -> NriResult<()> {
        let limit = self.generation.settings.request_timeout;
        let about = (self.event, subject);
        match (self.event, subject.container) {
            (Event::CreateContainer, Some(container)) => {
                let payload = of_container(subject.pod, container);
                let reply: Option<CreateContainerResponse> = plugin.ask(about, payload, limit).await?;
                if let Some(reply) = reply {
                    self.take_late(plugin, &container.id, reply);
                }
                Ok(())
            }
            // What became of it is told after it.
            (Event::UpdateContainer | Event::UpdatePodSandbox, _) => Ok(()),
            (_, Some(container)) => plugin.tell(about, of_container(subject.pod, container), limit).await,
            (_, None) => plugin.tell(about, of_pod(subject.pod), limit).await,
        }
    }

    /// Nobody waits for this: the container is still its verb's.
    fn take_late(&self, plugin: &Arc<Plugin>, id: &str, mut reply: CreateContainerResponse) {
        let limits = reply.adjust.as_mut().and_then(|adjust| adjust.linux.as_mut()?.resources.take());
        if reply.adjust.is_some_and(|rest| !is_nothing(rest)) {
            tracing::warn!(
                plugin = plugin.name,
                container = id,
                "a plugin joined too late to adjust a container in more than its limits"
            );
        }
        if let Some(limits) = limits.filter(|limits| *limits != LinuxResources::default()) {
            reply.update.push(ContainerUpdate {
                container_id: id.to_owned(),
                linux: Some(LinuxContainerUpdate { resources: Some(limits) }),
                ignore_failure: true,
            });
        }
        let (core, plugin) = (Arc::clone(&self.core), Arc::clone(plugin));
        tokio::spawn(async move {
            core.change(&plugin.name, reply.update, reply.evict).await;
        });
    }
}

fn is_nothing(mut adjustment: ContainerAdjustment) -> bool {
    crate::merge::tidy(&mut adjustment);
    adjustment == ContainerAdjustment::default()
}
