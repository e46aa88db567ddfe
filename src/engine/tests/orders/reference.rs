//! What the node ought to look like.

use super::super::World;
use crate::{ContainerFilter, PodFilter, StateKind};
use model::{ContainerState, SandboxState};
use std::collections::{BTreeMap, BTreeSet};

/// How often a client hears of a network that cannot be released, but for the last time.
const FAILURES: u32 = 2;

/// A pod.
pub(super) struct Pod {
    pub(super) id: String,
    pub(super) is_ready: bool,
    /// How often its network can fail to be released before it is released without the pod.
    pub(super) failures_left: u32,
    /// Without it no failure is worth another attempt.
    has_namespace: bool,
    pub(super) containers: BTreeMap<usize, Container>,
}

/// A container.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Container {
    pub(super) id: String,
    pub(super) state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Created,
    Running,
    /// With a code, where it ended by itself.
    Exited(Option<i32>),
}

/// By the numbers of names.
#[derive(Default)]
pub(super) struct Reference {
    pub(super) pods: BTreeMap<usize, Pod>,
    /// Ids that are gone.
    pub(super) gone: BTreeSet<String>,
}

impl Pod {
    pub(super) fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            is_ready: true,
            failures_left: FAILURES,
            has_namespace: true,
            containers: BTreeMap::new(),
        }
    }

    /// By a daemon that knows nothing of failures before its time.
    pub(super) fn is_met_anew(&mut self) {
        if self.has_namespace {
            self.failures_left = FAILURES;
        }
    }

    pub(super) fn lose_namespace(&mut self) {
        self.has_namespace = false;
        self.failures_left = 0;
    }

    /// The machine went down: its network namespace is gone, too.
    pub(super) fn outlive(&mut self) {
        self.end();
        self.lose_namespace();
    }

    /// It is not ready any more: what it ran has ended.
    pub(super) fn end(&mut self) {
        self.is_ready = false;
        for container in self.containers.values_mut() {
            container.end(None);
        }
    }
}

impl Container {
    /// It ends, if it has not.
    pub(super) fn end(&mut self, code: Option<i32>) {
        if !matches!(self.state, State::Exited(_)) {
            self.state = State::Exited(code);
        }
    }
}

impl Reference {
    pub(super) fn pod(&mut self, pod: usize) -> Option<&mut Pod> {
        self.pods.get_mut(&pod)
    }

    pub(super) fn container(&mut self, pod: usize, container: usize) -> Option<&mut Container> {
        self.pods.get_mut(&pod)?.containers.get_mut(&container)
    }

    pub(super) fn remove_pod(&mut self, pod: usize) {
        if let Some(pod) = self.pods.remove(&pod) {
            self.gone.extend(pod.containers.into_values().map(|container| container.id));
            self.gone.insert(pod.id);
        }
    }

    pub(super) fn remove_container(&mut self, pod: usize, container: usize) {
        let removed = self.pod(pod).and_then(|pod| pod.containers.remove(&container));
        self.gone.extend(removed.map(|container| container.id));
    }

    /// What is not as it ought to be.
    pub(super) fn difference(&self, world: &World) -> Option<String> {
        self.pods_differ(world).or_else(|| self.containers_differ(world)).or_else(|| self.what_is_gone(world))
    }

    fn pods_differ(&self, world: &World) -> Option<String> {
        let engine = world.engine();
        let of = |id: &str, is_ready: bool| format!("{id} {}", if is_ready { "ready" } else { "not ready" });
        let wanted: BTreeSet<String> = self.pods.values().map(|pod| of(&pod.id, pod.is_ready)).collect();
        let listed = engine.pods().list_pods(&PodFilter::default());
        let is_ready = |state| state == SandboxState::Ready;
        let shown: BTreeSet<String> = listed.iter().map(|pod| of(&pod.id, is_ready(pod.state))).collect();
        if shown != wanted {
            return Some(format!("pods: {shown:?} are listed in the place of {wanted:?}"));
        }
        let count = engine.core.registry.pods().len();
        if count != self.pods.len() {
            return Some(format!("{count} pods are known in the place of {}", self.pods.len()));
        }
        let ready: Vec<&Pod> = self.pods.values().filter(|pod| pod.is_ready).collect();
        let supervised: BTreeSet<String> = ready.iter().map(|pod| pod.id.clone()).collect();
        let living: BTreeSet<String> = world.node.living().into_iter().collect();
        if supervised != living {
            return Some(format!("supervisors: {living:?} live in the place of {supervised:?}"));
        }
        let lost = ready.iter().find(|pod| {
            let held = engine.core.registry.pod(&pod.id).unwrap().supervisor();
            held.is_none_or(|supervisor| supervisor.is_lost())
        });
        if let Some(lost) = lost {
            return Some(format!("the supervisor of {} is out of reach", lost.id));
        }
        let statuses = listed.iter().map(|pod| (pod, engine.pods().pod_status(&pod.id).unwrap().state));
        let other = statuses.into_iter().find(|(pod, state)| pod.state != *state);
        other.map(|(pod, state)| format!("the status of {} says {state:?}", pod.id))
    }

    fn containers_differ(&self, world: &World) -> Option<String> {
        let engine = world.engine();
        let all = engine.containers().list_containers(&ContainerFilter::default());
        let count = self.pods.values().map(|pod| pod.containers.len()).sum::<usize>();
        if all.len() != count {
            return Some(format!("{} containers are listed in the place of {count}", all.len()));
        }
        for pod in self.pods.values() {
            let filter = ContainerFilter { sandbox_id: Some(pod.id.clone()), ..ContainerFilter::default() };
            let listed = engine.containers().list_containers(&filter);
            for container in pod.containers.values() {
                let Some(shown) = listed.iter().find(|shown| shown.id == container.id) else {
                    return Some(format!("the pod's list lacks {}", container.id));
                };
                let status = engine.containers().container_status(&container.id).unwrap();
                if status.state != shown.state || !fits(container.state, &shown.state) {
                    return Some(format!("{} is {:?} and not {:?}", shown.id, shown.state, container.state));
                }
            }
        }
        None
    }

    fn what_is_gone(&self, world: &World) -> Option<String> {
        let engine = world.engine();
        let is_there = |id: &&String| {
            engine.pods().pod_status(id).is_ok() || engine.containers().container_status(id).is_ok()
        };
        self.gone.iter().find(is_there).map(|id| format!("{id} is there again"))
    }
}

fn fits(wanted: State, shown: &ContainerState) -> bool {
    match (wanted, StateKind::of(shown)) {
        (State::Created, StateKind::Created) | (State::Running, StateKind::Running) => true,
        (State::Exited(code), StateKind::Exited) => match (code, shown) {
            (Some(code), ContainerState::Exited { exit, .. }) => exit.code == code,
            _ => true,
        },
        _ => false,
    }
}
