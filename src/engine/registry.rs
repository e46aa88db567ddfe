//! All pods and containers, and how they are found.

use crate::error::EngineError;
use crate::objects::{Container, Pod, lock};
use model::{ContainerMetadata, SandboxMetadata};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// The key of a container's name.
pub(crate) type ContainerName = (String, ContainerMetadata);
/// The key of a pod's name.
pub(crate) type PodName = SandboxMetadata;

/// Everything that exists, by id.
#[derive(Default)]
pub(crate) struct Registry {
    maps: Mutex<Maps>,
}

#[derive(Default)]
struct Maps {
    pods: HashMap<String, Arc<Pod>>,
    containers: HashMap<String, Arc<Container>>,
}

impl Registry {
    pub(crate) fn add_pod(&self, pod: Arc<Pod>) {
        lock(&self.maps).pods.insert(pod.id.clone(), pod);
    }

    pub(crate) fn add_container(&self, container: Arc<Container>) {
        lock(&self.maps).containers.insert(container.id.clone(), container);
    }

    pub(crate) fn drop_pod(&self, id: &str) {
        lock(&self.maps).pods.remove(id);
    }

    pub(crate) fn drop_container(&self, id: &str) {
        lock(&self.maps).containers.remove(id);
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

    /// All containers of a pod, also those that are still being made.
    pub(crate) fn containers_of(&self, pod: &str) -> Vec<Arc<Container>> {
        lock(&self.maps).containers.values().filter(|container| container.pod.id == pod).cloned().collect()
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

fn find<T>(map: &HashMap<String, Arc<T>>, id: &str) -> Result<Option<Arc<T>>, EngineError> {
    if let Some(found) = map.get(id) {
        return Ok(Some(found.clone()));
    }
    if id.is_empty() || id.len() >= 64 {
        return Ok(None);
    }
    let mut fitting = map.iter().filter(|(key, _)| key.starts_with(id));
    match (fitting.next(), fitting.next()) {
        (Some(_), Some(_)) => Err(EngineError::AmbiguousId(id.to_owned())),
        (found, _) => Ok(found.map(|(_, object)| object.clone())),
    }
}
