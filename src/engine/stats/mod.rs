//! What containers and pods use: ContainerStats, PodSandboxStats and their lists.

mod disk;
mod kept;
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
use crate::filter::{ContainerFilter, PodFilter, StateKind};
use crate::in_memory::{Container, Pod};
use crate::limits::InForce;
use crate::registry::Registry;
use crate::settings::Paths;
use crate::snapshot::{ContainerBrief, PodBrief};
use model::{ContainerConfig, ContainerId, SandboxConfig, SandboxId, SandboxState};
use std::cmp::Reverse;
use std::path::Path;
use std::sync::Arc;

/// A container's usage at one moment.
#[derive(Debug, Clone)]
pub struct ContainerStats {
    /// Whose.
    pub id: ContainerId,
    /// What was asked for.
    pub config: Arc<ContainerConfig>,
    /// `None` once it has ended.
    pub usage: Option<Usage>,
    /// Its writable layer.
    pub layer: LayerUsage,
}

/// A pod's usage at one moment.
#[derive(Debug, Clone)]
pub struct PodStats {
    /// Whose.
    pub id: SandboxId,
    /// What was asked for.
    pub config: Arc<SandboxConfig>,
    /// Unix time in nanoseconds.
    pub created_at: i64,
    /// Of the pod's cgroup: its containers, the supervisor and the pause.
    pub usage: Option<Usage>,
    /// Its interfaces, its own first; `None` with the host's network.
    pub interfaces: Option<Arc<[Interface]>>,
    /// Processes of its containers.
    pub processes: u64,
    /// Unix time in nanoseconds, of interfaces and processes.
    pub timestamp: i64,
    /// Its containers.
    pub containers: Vec<ContainerStats>,
}

/// A pod of a list.
type Listed = (Arc<Pod>, PodBrief);

/// The use cases of usage: reads it, and remembers what takes long to count.
pub struct Stats {
    registry: Arc<Registry>,
    limits: Arc<InForce>,
    /// The directory of the containers' layers.
    layers: Arc<Path>,
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
        blocking("reading counters", move || stats.of(&container, container.brief(), None)).await
    }

    /// ListContainerStats: the containers that fit, newest first, as `show` tells them to its lane, on the thread on which
    /// they are read; the lanes in order. One that cannot be read is left out.
    ///
    /// # Errors
    /// When the reading ends unexpectedly.
    pub async fn list_container_stats<L: Default + Send + 'static>(
        self: &Arc<Self>,
        filter: ContainerFilter,
        show: impl Fn(&mut L, ContainerStats) + Send + Sync + 'static,
    ) -> Result<Vec<L>, EngineError> {
        let stats = self.clone();
        let read = move |lane: &mut L, (container, brief): (Arc<Container>, ContainerBrief)| {
            if let Some(read) = stats.of_one(&container, brief, None) {
                show(lane, read);
            }
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
        blocking("reading counters", move || stats.of_pod(&pod, pod.brief())).await
    }

    /// ListPodSandboxStats: the ready pods that fit, newest first, as `show` tells them to its lane, on the thread on which
    /// they are read; the lanes in order. One that cannot be read is left out.
    ///
    /// # Errors
    /// When the reading ends unexpectedly.
    pub async fn list_pod_stats<L: Default + Send + 'static>(
        self: &Arc<Self>,
        filter: PodFilter,
        show: impl Fn(&mut L, PodStats) + Send + Sync + 'static,
    ) -> Result<Vec<L>, EngineError> {
        let stats = self.clone();
        let read = move |lane: &mut L, (pod, brief): Listed| {
            if let Some(read) = stats.of_listed(&pod, brief) {
                show(lane, read);
            }
        };
        self.lanes.read(self.ready(filter), read).await
    }
}

impl Stats {
    pub(crate) fn new(registry: Arc<Registry>, limits: Arc<InForce>, paths: &Paths) -> Self {
        Self {
            registry,
            limits,
            layers: paths.layers().into(),
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
    fn of_listed(self: &Arc<Self>, pod: &Arc<Pod>, brief: PodBrief) -> Option<PodStats> {
        let failed = |error: &EngineError| {
            tracing::warn!(pod_id = %pod.id, error = chain(error), "the pod's usage cannot be read");
        };
        self.of_pod(pod, brief).inspect_err(failed).ok()
    }

    /// A container's usage; `None`, and a line in the log, where it cannot be read.
    fn of_one(
        self: &Arc<Self>,
        container: &Arc<Container>,
        brief: ContainerBrief,
        pod: Option<u64>,
    ) -> Option<ContainerStats> {
        let failed = |error: &EngineError| {
            tracing::warn!(container_id = %container.id, error = chain(error), "the container's usage cannot be read");
        };
        self.of(container, brief, pod).inspect_err(failed).ok()
    }

    /// `pod` is how often the pod was seen to have run, where that was read just now.
    fn of(
        self: &Arc<Self>,
        container: &Arc<Container>,
        brief: ContainerBrief,
        pod: Option<u64>,
    ) -> Result<ContainerStats, EngineError> {
        let usage = match brief.state {
            StateKind::Exited => {
                container.sampler.close();
                None
            }
            _ => {
                let account = self.account_of(container);
                let sampled = container.sampler.read(&account, brief.created_at, pod)?;
                sampled.map(|sampled| sampled.usage)
            }
        };
        let layer = self.layer(container);
        Ok(ContainerStats { id: container.id.clone(), config: brief.config, usage, layer })
    }

    fn account_of<'a>(&'a self, container: &'a Container) -> Account<'a> {
        Account { host: &self.limits.cgroups, pod: &container.pod, container: Some(&container.id) }
    }

    fn of_pod(self: &Arc<Self>, pod: &Arc<Pod>, brief: PodBrief) -> Result<PodStats, EngineError> {
        let account = Account { host: &self.limits.cgroups, pod, container: None };
        // Before its containers: what has not run by now has not run in them either.
        let sampled = pod.sampler.read(&account, brief.created_at, None)?;
        let runs = sampled.map(|sampled| sampled.runs);
        let all = self.registry.containers_of(&pod.id);
        let published = all.iter().filter(|container| container.is_published());
        let mut containers: Vec<(i64, ContainerStats)> = published
            .filter_map(|container| {
                let brief = container.brief();
                Some((brief.created_at, self.of_one(container, brief, runs)?))
            })
            .collect();
        // After the counters, which are open now.
        let processes = |container: &Arc<Container>| match container.has_ended() {
            true => 0,
            false => container.sampler.processes(&self.account_of(container)),
        };
        let processes = all.iter().map(processes).sum();
        containers.sort_by_key(|(created_at, _)| Reverse(*created_at));
        Ok(PodStats {
            id: pod.id.clone(),
            config: brief.config,
            created_at: brief.created_at,
            usage: sampled.map(|sampled| sampled.usage),
            interfaces: interfaces(pod)?,
            processes,
            timestamp: crate::now(),
            containers: containers.into_iter().map(|(_, stats)| stats).collect(),
        })
    }
}

fn interfaces(pod: &Pod) -> Result<Option<Arc<[Interface]>>, EngineError> {
    let Some(supervisor) = pod.supervisor().filter(|_| pod.has_netns()) else { return Ok(None) };
    let read = supervisor.interfaces();
    read.map(Some).map_err(EngineError::io("read the interfaces of", pod.files.dir()))
}
