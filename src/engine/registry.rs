//! All pods and containers, and how they are found.

use crate::error::EngineError;
use crate::filter::{ContainerFilter, PodFilter, StateKind};
use crate::in_memory::{Container, Pod};
use crate::snapshot::{ContainerBrief, ContainerView, PodBrief, PodView};
use model::{ContainerId, ContainerMetadata, SandboxId, SandboxMetadata};
use std::borrow::Borrow;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::ops::Deref;
use std::sync::{Arc, Mutex};
use sys::sync::lock;

/// The key of a container's name.
pub(crate) type ContainerName = (SandboxId, ContainerMetadata);
/// The key of a pod's name.
pub(crate) type PodName = SandboxMetadata;

/// Everything that exists, by id.
#[derive(Default)]
pub(crate) struct Registry {
    maps: Mutex<Maps>,
}

#[derive(Default)]
struct Maps {
    pods: HashMap<SandboxId, Arc<Pod>>,
    containers: HashMap<ContainerId, Arc<Container>>,
    /// The containers of each pod that has some.
    by_pod: HashMap<SandboxId, Vec<Arc<Container>>>,
}

impl Registry {
    pub(crate) fn add_pod(&self, pod: Arc<Pod>) {
        lock(&self.maps).pods.insert(pod.id.clone(), pod);
    }

    pub(crate) fn add_container(&self, container: Arc<Container>) {
        let mut maps = lock(&self.maps);
        maps.by_pod.entry(container.pod.id.clone()).or_default().push(container.clone());
        maps.containers.insert(container.id.clone(), container);
    }

    pub(crate) fn drop_pod(&self, id: &str) {
        lock(&self.maps).pods.remove(id);
    }

    pub(crate) fn drop_container(&self, id: &str) {
        let mut maps = lock(&self.maps);
        let Some(dropped) = maps.containers.remove(id) else { return };
        if let Entry::Occupied(mut siblings) = maps.by_pod.entry(dropped.pod.id.clone()) {
            siblings.get_mut().retain(|container| container.id != dropped.id);
            if siblings.get().is_empty() {
                siblings.remove();
            }
        }
    }

    pub(crate) fn pods(&self) -> Vec<Arc<Pod>> {
        lock(&self.maps).pods.values().cloned().collect()
    }

    /// The containers that clients see.
    pub(crate) fn containers(&self) -> Vec<Arc<Container>> {
        let published = |container: &&Arc<Container>| container.is_published();
        lock(&self.maps).containers.values().filter(published).cloned().collect()
    }

    /// The containers, also those that are still being made.
    pub(crate) fn all_containers(&self) -> Vec<Arc<Container>> {
        lock(&self.maps).containers.values().cloned().collect()
    }

    /// A container by its whole id, also one that is still being made.
    pub(crate) fn any_container(&self, id: &str) -> Option<Arc<Container>> {
        lock(&self.maps).containers.get(id).cloned()
    }

    /// A pod by its whole id, also one that is still being made.
    pub(crate) fn any_pod(&self, id: &str) -> Option<Arc<Pod>> {
        lock(&self.maps).pods.get(id).cloned()
    }

    /// All containers of a pod, also those that are still being made.
    pub(crate) fn containers_of(&self, pod: &str) -> Vec<Arc<Container>> {
        lock(&self.maps).by_pod.get(pod).cloned().unwrap_or_default()
    }

    /// The containers that clients see of the pods whose ids begin so.
    pub(crate) fn containers_below(&self, pod: &str) -> Vec<Arc<Container>> {
        let maps = lock(&self.maps);
        let published = |container: &&Arc<Container>| container.is_published();
        // A whole id begins no other.
        if let Some(containers) = maps.by_pod.get(pod) {
            return containers.iter().filter(published).cloned().collect();
        }
        let fitting = maps.by_pod.iter().filter(|(id, _)| id.starts_with(pod));
        fitting.flat_map(|(_, containers)| containers).filter(published).cloned().collect()
    }

    /// The pods that fit, newest first.
    pub(crate) fn list_pods(&self, filter: &PodFilter) -> Vec<PodView> {
        let viewed = self.pods().into_iter().map(|pod| pod.view());
        let fits = |pod: &PodView| filter.fits(&pod.id, pod.state, &pod.config.labels);
        let mut pods: Vec<_> = viewed.filter(fits).collect();
        pods.sort_by_key(|pod| Reverse(pod.created_at));
        pods
    }

    /// The same, with what their usage says of them.
    pub(crate) fn fitting_pods(&self, filter: &PodFilter) -> Vec<(Arc<Pod>, PodBrief)> {
        let told = self.pods().into_iter().map(|pod| {
            let brief = pod.brief();
            (pod, brief)
        });
        let fits =
            |(pod, brief): &(Arc<Pod>, PodBrief)| filter.fits(&pod.id, brief.state, &brief.config.labels);
        let mut pods: Vec<_> = told.filter(fits).collect();
        pods.sort_by_key(|(_, brief)| Reverse(brief.created_at));
        pods
    }

    /// The containers that fit, newest first.
    pub(crate) fn list_containers(&self, filter: &ContainerFilter) -> Vec<ContainerView> {
        let viewed = self.containers_in(filter).into_iter().map(|container| container.view());
        let fits = |container: &ContainerView| {
            filter.fits(&container.id, StateKind::of(&container.state), &container.config.labels)
        };
        let mut containers: Vec<_> = viewed.filter(fits).collect();
        containers.sort_by_key(|container| Reverse(container.created_at));
        containers
    }

    /// The same, with what their usage says of them.
    pub(crate) fn fitting_containers(
        &self,
        filter: &ContainerFilter,
    ) -> Vec<(Arc<Container>, ContainerBrief)> {
        let told = self.containers_in(filter).into_iter().map(|container| {
            let brief = container.brief();
            (container, brief)
        });
        let fits = |(container, brief): &(Arc<Container>, ContainerBrief)| {
            filter.fits(&container.id, brief.state, &brief.config.labels)
        };
        let mut containers: Vec<_> = told.filter(fits).collect();
        containers.sort_by_key(|(_, brief)| Reverse(brief.created_at));
        containers
    }

    /// The containers of the pods that fit.
    fn containers_in(&self, filter: &ContainerFilter) -> Vec<Arc<Container>> {
        match &filter.sandbox_id {
            Some(pod) => self.containers_below(pod),
            None => self.containers(),
        }
    }

    /// The pod with this id, or with this unique prefix of one.
    pub(crate) fn pod(&self, id: &str) -> Result<Arc<Pod>, EngineError> {
        find(&lock(&self.maps).pods, id)?.ok_or_else(|| EngineError::NoSuchPod(id.to_owned()))
    }

    /// The container with this id, or with this unique prefix of one.
    pub(crate) fn container(&self, id: &str) -> Result<Arc<Container>, EngineError> {
        find(&lock(&self.maps).containers, id)?
            .filter(|container| container.is_published())
            .ok_or_else(|| EngineError::NoSuchContainer(id.to_owned()))
    }
}

fn find<I, T>(map: &HashMap<I, Arc<T>>, id: &str) -> Result<Option<Arc<T>>, EngineError>
where
    I: Eq + Hash + Borrow<str> + Deref<Target = str>,
{
    if let Some(found) = map.get(id) {
        return Ok(Some(found.clone()));
    }
    if id.is_empty() || id.len() >= 64 {
        return Ok(None);
    }
    let mut fitting = map.iter().filter(|(key, _)| key.starts_with(id));
    let found = fitting.next();
    let Some(another) = fitting.next() else { return Ok(found.map(|(_, object)| object.clone())) };
    let mut ids: Vec<&str> =
        found.into_iter().chain([another]).chain(fitting).map(|(key, _)| &**key).collect();
    ids.sort_unstable();
    Err(EngineError::AmbiguousId { begin: id.to_owned(), candidates: model::first_of(ids) })
}
