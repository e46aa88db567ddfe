//! What containers and pods use: ContainerStats, PodSandboxStats and their lists.

mod disk;
mod layer;
mod metrics;
mod processes;
mod sampler;
mod traffic;

pub use layer::LayerUsage;
pub use metrics::{ContainerFigures, Filesystem, PodFigures};
pub use processes::{Processes, Threads};
pub use sampler::Usage;
pub use traffic::{Flow, Interface};

pub(crate) use disk::Disk;
pub(crate) use layer::{Layer, Waiting};
pub(crate) use metrics::Load;
pub(crate) use sampler::Sampler;
pub(crate) use traffic::Traffic;

use crate::error::{EngineError, chain};
use crate::objects::{Container, Pod};
use crate::view::{ContainerFilter, ContainerView, PodFilter, PodView};
use crate::{Engine, blocking};
use model::{ContainerState, SandboxState};
use std::sync::Arc;

/// A container's usage at one moment.
#[derive(Debug, Clone)]
pub struct ContainerStats {
    /// Whose.
    pub container: ContainerView,
    /// `None` once it has ended.
    pub usage: Option<Usage>,
    /// Its writable layer.
    pub layer: LayerUsage,
}

/// A pod's usage at one moment.
#[derive(Debug, Clone)]
pub struct PodStats {
    /// Whose.
    pub pod: PodView,
    /// Of the pod's cgroup: its containers, the supervisor and the pause.
    pub usage: Option<Usage>,
    /// Its interfaces, its own first; `None` with the host's network.
    pub interfaces: Option<Vec<Interface>>,
    /// Processes of its containers.
    pub processes: u64,
    /// Unix time in nanoseconds, of interfaces and processes.
    pub timestamp: i64,
    /// Its containers.
    pub containers: Vec<ContainerStats>,
}

impl Engine {
    /// ContainerStats.
    pub async fn container_stats(self: &Arc<Self>, id: &str) -> Result<ContainerStats, EngineError> {
        let (engine, container) = (self.clone(), self.registry.container(id)?);
        blocking("reading counters", move || engine.stats_of(&container)).await
    }

    /// ListContainerStats: the containers that fit, newest first; one that cannot be read is left out.
    pub async fn list_container_stats(
        self: &Arc<Self>,
        filter: ContainerFilter,
    ) -> Result<Vec<ContainerStats>, EngineError> {
        let engine = self.clone();
        blocking("reading counters", move || Ok(engine.stats_of_all(&filter))).await
    }

    /// PodSandboxStats of a ready pod.
    pub async fn pod_stats(self: &Arc<Self>, id: &str) -> Result<PodStats, EngineError> {
        let (engine, pod) = (self.clone(), self.registry.pod(id)?);
        match pod.state() {
            SandboxState::Ready => {}
            SandboxState::Creating => return Err(EngineError::NoSuchPod(id.to_owned())),
            SandboxState::NotReady => {
                return Err(EngineError::WrongState {
                    operation: "read the usage of",
                    id: format!("pod sandbox {}", pod.id),
                    state: "not ready".to_owned(),
                });
            }
        }
        blocking("reading counters", move || engine.stats_of_pod(&pod)).await
    }

    /// ListPodSandboxStats: the ready pods that fit, newest first; one that cannot be read is left out.
    pub async fn list_pod_stats(self: &Arc<Self>, filter: PodFilter) -> Result<Vec<PodStats>, EngineError> {
        let engine = self.clone();
        let filter = PodFilter { state: Some(SandboxState::Ready), ..filter };
        blocking("reading counters", move || {
            let read = |view: PodView| {
                let pod = engine.registry.pod(&view.id).ok()?;
                let failed = |error: &EngineError| {
                    tracing::warn!(pod_id = %pod.id, error = chain(error), "the pod's usage cannot be read");
                };
                engine.stats_of_pod(&pod).inspect_err(failed).ok()
            };
            Ok(engine.list_pods(&filter).into_iter().filter_map(read).collect())
        })
        .await
    }

    pub(crate) fn stats_of_all(self: &Arc<Self>, filter: &ContainerFilter) -> Vec<ContainerStats> {
        let read = |view: ContainerView| self.stats_of_one(&self.registry.any_container(&view.id)?);
        self.list_containers(filter).into_iter().filter_map(read).collect()
    }

    /// A container's usage; `None`, and a line in the log, where it cannot be read.
    fn stats_of_one(self: &Arc<Self>, container: &Arc<Container>) -> Option<ContainerStats> {
        let failed = |error: &EngineError| {
            tracing::warn!(container_id = %container.id, error = chain(error), "the container's usage cannot be read");
        };
        self.stats_of(container).inspect_err(failed).ok()
    }

    fn stats_of(self: &Arc<Self>, container: &Arc<Container>) -> Result<ContainerStats, EngineError> {
        let view = container.view();
        let usage = match view.state {
            ContainerState::Exited { .. } => {
                container.sampler.close();
                None
            }
            _ => container.sampler.read(&self.cgroups, &container.cgroup(), view.created_at)?,
        };
        Ok(ContainerStats { usage, layer: self.layer(container), container: view })
    }

    fn stats_of_pod(self: &Arc<Self>, pod: &Arc<Pod>) -> Result<PodStats, EngineError> {
        let view = pod.view();
        let usage = pod.sampler.read(&self.cgroups, pod.cgroup.parent(), view.created_at)?;
        let mut containers = self.registry.containers_of(&view.id);
        let processes = |container: &Arc<Container>| match container.state() {
            ContainerState::Exited { .. } => 0,
            _ => self.cgroups.procs(&container.cgroup()).len() as u64,
        };
        let processes = containers.iter().map(processes).sum();
        containers.retain(|container| container.is_published());
        let mut containers: Vec<ContainerStats> =
            containers.iter().filter_map(|container| self.stats_of_one(container)).collect();
        containers.sort_by_key(|stats| std::cmp::Reverse(stats.container.created_at));
        Ok(PodStats {
            usage,
            interfaces: interfaces(pod)?,
            processes,
            timestamp: crate::now(),
            containers,
            pod: view,
        })
    }
}

fn interfaces(pod: &Pod) -> Result<Option<Vec<Interface>>, EngineError> {
    let (Some(_), Some(shim)) = (pod.netns(), pod.supervisor_pid()) else {
        return Ok(None);
    };
    let read = pod.traffic.read(shim);
    read.map(Some).map_err(EngineError::io("read the interfaces of", pod.files.dir()))
}
