//! What a log calls pods and containers: always by name and id, each under a field of its own.

use crate::Engine;
use crate::in_memory::{Container, Pod};
use model::{ContainerId, SandboxId};

/// The names and ids under which the log speaks of a pod, and of a container in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The pod as `namespace/name`.
    pub pod: String,
    /// The sandbox id.
    pub pod_id: SandboxId,
    /// The addresses of the pod, separated by commas; empty with the host's network.
    pub addresses: String,
    /// The container, where one is meant.
    pub container: Option<ContainerIdentity>,
}

/// See [`Identity`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerIdentity {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: ContainerId,
    /// The image that was asked for.
    pub image: String,
    /// The image's id.
    pub image_id: String,
}

impl Engine {
    /// How the log calls a pod; `None` when there is none of the id.
    pub fn pod_identity(&self, id: &str) -> Option<Identity> {
        self.core.registry.pod(id).ok().map(|pod| of_pod(&pod))
    }

    /// How the log calls a container; `None` when there is none of the id.
    pub fn container_identity(&self, id: &str) -> Option<Identity> {
        self.core.registry.container(id).ok().map(|container| of_container(&container))
    }
}

/// A pod as `namespace/name`.
pub(crate) fn name_of(pod: &Pod) -> String {
    let config = pod.config();
    format!("{}/{}", config.metadata.namespace, config.metadata.name)
}

fn of_pod(pod: &Pod) -> Identity {
    let addresses: Vec<String> = pod.view().ips.iter().map(ToString::to_string).collect();
    Identity { pod: name_of(pod), pod_id: pod.id.clone(), addresses: addresses.join(","), container: None }
}

/// How the log calls a container.
pub(crate) fn of_container(container: &Container) -> Identity {
    let view = container.view();
    let inner = ContainerIdentity {
        name: view.config.metadata.name.clone(),
        id: view.id,
        image: view.config.image.image.clone(),
        image_id: view.image_id,
    };
    Identity { container: Some(inner), ..of_pod(&container.pod) }
}
