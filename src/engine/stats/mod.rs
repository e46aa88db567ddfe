//! What containers and pods use: ContainerStats, PodSandboxStats and their lists.

mod disk;
mod lanes;
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

pub(crate) use layer::Layer;
pub(crate) use metrics::Load;
pub(crate) use sampler::{Sampler, limits_changed};
pub(crate) use traffic::Traffic;

use disk::Disk;
use lanes::Lanes;
use layer::Waiting;
use sampler::Account;

use crate::blocking;
use crate::error::{EngineError, chain};
use crate::filter::{ContainerFilter, PodFilter};
use crate::in_memory::{Container, Pod};
use crate::limits::InForce;
use crate::registry::Registry;
use crate::settings::Paths;
use crate::snapshot::{ContainerView, PodView};
use model::{ContainerState, SandboxState};
use std::path::PathBuf;
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

/// A pod of a list.
type Listed = (Arc<Pod>, PodView);

/// The use cases of usage: reads it, and remembers what takes long to count.
pub struct Stats {
    registry: Arc<Registry>,
    limits: Arc<InForce>,
    /// The directory of the containers' layers.
    layers: PathBuf,
    waiting: Waiting,
    disk: Disk,
    lanes: Lanes,
}

impl Stats {
    /// ContainerStats.
    ///
    /// # Errors
    /// When there is none of the id, or its counters cannot be read.
    pub async fn container_stats(self: &Arc<Self>, id: &str) -> Result<ContainerStats, EngineError> {
        let (stats, container) = (self.clone(), self.registry.container(id)?);
        blocking("reading counters", move || stats.of(&container, container.view(), None)).await
    }

    /// ListContainerStats: the containers that fit, newest first, as `show` makes them, which works where they are read:
    /// on several threads. One that cannot be read is left out.
    ///
    /// # Errors
    /// When the reading ends unexpectedly.
    pub async fn list_container_stats<R: Send + 'static>(
        self: &Arc<Self>,
        filter: ContainerFilter,
        show: impl Fn(ContainerStats) -> R + Send + Sync + 'static,
    ) -> Result<Vec<R>, EngineError> {
        let stats = self.clone();
        let read = move |(container, view): (Arc<Container>, ContainerView)| {
            Some(show(stats.of_one(&container, view, None)?))
        };
        self.lanes.read(self.registry.fitting_containers(&filter), read).await
    }

    /// PodSandboxStats of a ready pod.
    ///
    /// # Errors
    /// When there is none of the id, it is not ready, or its counters cannot be read.
    pub async fn pod_stats(self: &Arc<Self>, id: &str) -> Result<PodStats, EngineError> {
        let (stats, pod) = (self.clone(), self.registry.pod(id)?);
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
        blocking("reading counters", move || stats.of_pod(&pod, pod.view())).await
    }

    /// ListPodSandboxStats: the ready pods that fit, newest first, as `show` makes them, which works where they are read:
    /// on several threads. One that cannot be read is left out.
    ///
    /// # Errors
    /// When the reading ends unexpectedly.
    pub async fn list_pod_stats<R: Send + 'static>(
        self: &Arc<Self>,
        filter: PodFilter,
        show: impl Fn(PodStats) -> R + Send + Sync + 'static,
    ) -> Result<Vec<R>, EngineError> {
        let stats = self.clone();
        let read = move |(pod, view): Listed| Some(show(stats.of_listed(&pod, view)?));
        self.lanes.read(self.ready(filter), read).await
    }
}

impl Stats {
    pub(crate) fn new(registry: Arc<Registry>, limits: Arc<InForce>, paths: &Paths) -> Self {
        Self {
            registry,
            limits,
            layers: paths.layers(),
            waiting: Waiting::default(),
            disk: Disk::default(),
            lanes: Lanes::new(),
        }
    }

    /// The ready pods that fit, newest first.
    fn ready(&self, filter: PodFilter) -> Vec<Listed> {
        self.registry.fitting_pods(&PodFilter { state: Some(SandboxState::Ready), ..filter })
    }

    /// The usage of a pod that was there just now; `None`, and a line in the log, where it cannot be read.
    fn of_listed(self: &Arc<Self>, pod: &Arc<Pod>, view: PodView) -> Option<PodStats> {
        let failed = |error: &EngineError| {
            tracing::warn!(pod_id = %pod.id, error = chain(error), "the pod's usage cannot be read");
        };
        self.of_pod(pod, view).inspect_err(failed).ok()
    }

    /// A container's usage; `None`, and a line in the log, where it cannot be read.
    fn of_one(
        self: &Arc<Self>,
        container: &Arc<Container>,
        view: ContainerView,
        pod: Option<u64>,
    ) -> Option<ContainerStats> {
        let failed = |error: &EngineError| {
            tracing::warn!(container_id = %container.id, error = chain(error), "the container's usage cannot be read");
        };
        self.of(container, view, pod).inspect_err(failed).ok()
    }

    /// `pod` is how often the pod was seen to have run, where that was read just now.
    fn of(
        self: &Arc<Self>,
        container: &Arc<Container>,
        view: ContainerView,
        pod: Option<u64>,
    ) -> Result<ContainerStats, EngineError> {
        let usage = match view.state {
            ContainerState::Exited { .. } => {
                container.sampler.close();
                None
            }
            _ => {
                let accounts = container.pod.accounts(&self.limits.cgroups);
                let path = container.cgroup();
                let account = Account { of: &*accounts, path: &path, since: view.created_at };
                container.sampler.read(account, pod)?.map(|sampled| sampled.usage)
            }
        };
        Ok(ContainerStats { usage, layer: self.layer(container), container: view })
    }

    fn of_pod(self: &Arc<Self>, pod: &Arc<Pod>, view: PodView) -> Result<PodStats, EngineError> {
        let accounts = pod.accounts(&self.limits.cgroups);
        let account = Account { of: &*accounts, path: pod.cgroup.parent(), since: view.created_at };
        // Before its containers: what has not run by now has not run in them either.
        let sampled = pod.sampler.read(account, None)?;
        let runs = sampled.map(|sampled| sampled.runs);
        let all = self.registry.containers_of(&view.id);
        let published = all.iter().filter(|container| container.is_published());
        let mut containers: Vec<ContainerStats> =
            published.filter_map(|container| self.of_one(container, container.view(), runs)).collect();
        // After the counters, which are open now.
        let processes = |container: &Arc<Container>| match container.state() {
            ContainerState::Exited { .. } => 0,
            _ => container.sampler.processes(&*accounts, &container.cgroup()),
        };
        let processes = all.iter().map(processes).sum();
        containers.sort_by_key(|stats| std::cmp::Reverse(stats.container.created_at));
        Ok(PodStats {
            usage: sampled.map(|sampled| sampled.usage),
            interfaces: interfaces(pod)?,
            processes,
            timestamp: crate::now(),
            containers,
            pod: view,
        })
    }
}

fn interfaces(pod: &Pod) -> Result<Option<Vec<Interface>>, EngineError> {
    let (Some(_), Some(supervisor)) = (pod.netns(), pod.supervisor()) else { return Ok(None) };
    let read = supervisor.interfaces();
    read.map(Some).map_err(EngineError::io("read the interfaces of", pod.files.dir()))
}
