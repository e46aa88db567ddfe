//! The pods and containers of the node, and how they are found by what people call them.

use crate::connection::Daemon;
use crate::error::Error;
use proto::{
    Container, ContainerState, ListContainersRequest, ListPodSandboxRequest, PodSandbox, PodSandboxState,
};
use std::collections::{BTreeMap, HashMap};

/// Digits of an id that are shown where there is little room; it is found by them.
const SHORT: usize = 13;

/// What is on the node.
pub(crate) struct Node {
    /// The youngest first.
    pub(crate) pods: Vec<PodSandbox>,
    /// The youngest first.
    pub(crate) containers: Vec<Container>,
    by_id: HashMap<String, usize>,
}

/// A pod or a container.
pub(crate) enum Thing<'a> {
    Pod(&'a PodSandbox),
    Container(&'a Container),
}

/// The first digits of an id.
pub(crate) fn short(id: &str) -> String {
    id.chars().take(SHORT).collect()
}

/// Namespace and name of a pod.
pub(crate) fn pod_name(pod: &PodSandbox) -> (&str, &str) {
    pod.metadata.as_ref().map_or(("", ""), |metadata| (&metadata.namespace, &metadata.name))
}

/// The name of a container in its pod.
pub(crate) fn container_name(container: &Container) -> &str {
    container.metadata.as_ref().map_or("", |metadata| &metadata.name)
}

impl Node {
    /// Asks the daemon.
    pub(crate) async fn look(daemon: &Daemon) -> Result<Self, Error> {
        let mut runtime = daemon.runtime.clone();
        let call = runtime.list_pod_sandbox(ListPodSandboxRequest::default());
        let mut pods = daemon.answer("list the pods", call).await?.items;
        let call = runtime.list_containers(ListContainersRequest::default());
        let mut containers = daemon.answer("list the containers", call).await?.containers;
        pods.sort_by_key(|pod| std::cmp::Reverse(pod.created_at));
        containers.sort_by_key(|container| std::cmp::Reverse(container.created_at));
        let by_id = pods.iter().enumerate().map(|(place, pod)| (pod.id.clone(), place)).collect();
        Ok(Self { pods, containers, by_id })
    }

    /// The pod of a container; `None` where it came or went while the daemon was asked.
    pub(crate) fn pod_of(&self, container: &Container) -> Option<&PodSandbox> {
        self.by_id.get(&container.pod_sandbox_id).and_then(|place| self.pods.get(*place))
    }

    /// Namespace, name of the pod, name of the container.
    pub(crate) fn names<'a>(&'a self, container: &'a Container) -> (&'a str, &'a str, &'a str) {
        let (namespace, pod) = self.pod_of(container).map_or(("", ""), pod_name);
        (namespace, pod, container_name(container))
    }

    /// As messages call it.
    pub(crate) fn full_name(&self, container: &Container) -> String {
        let (namespace, pod, name) = self.names(container);
        format!("{namespace}/{pod}/{name}")
    }

    /// The pod of this id, beginning of an id, name, or namespace and name.
    pub(crate) fn pod(&self, wanted: &str) -> Result<&PodSandbox, Error> {
        match self.find(wanted, true, false)? {
            Some(Thing::Pod(pod)) => Ok(pod),
            _ => Err(self.missing(wanted, "pod", "corten pods")),
        }
    }

    /// The container of this id, beginning of an id, or name, which may have those of its pod and namespace before it.
    pub(crate) fn container(&self, wanted: &str) -> Result<&Container, Error> {
        match self.find(wanted, false, true)? {
            Some(Thing::Container(container)) => Ok(container),
            _ => Err(self.missing(wanted, "container", "corten ps -a")),
        }
    }

    /// Either.
    pub(crate) fn thing(&self, wanted: &str) -> Result<Thing<'_>, Error> {
        let list = "corten pods; corten ps -a";
        let missing = || Error::NoSuch { what: "pod or container", name: wanted.to_owned(), list };
        self.find(wanted, true, true)?.ok_or_else(missing)
    }

    /// Why there is none; what is called so is of the other kind where one thing is.
    fn missing(&self, wanted: &str, what: &'static str, list: &'static str) -> Error {
        let name = wanted.to_owned();
        match self.find(wanted, true, true) {
            Ok(Some(other)) => Error::OtherKind { what, name, is: self.told(&other), list },
            _ => Error::NoSuch { what, name, list },
        }
    }

    fn find(&self, wanted: &str, pods: bool, containers: bool) -> Result<Option<Thing<'_>>, Error> {
        let parts: Vec<&str> = wanted.split('/').collect();
        let pods = self.pods.iter().filter(|_| pods);
        let containers = self.containers.iter().filter(|_| containers);
        let all: Vec<Thing<'_>> = pods.map(Thing::Pod).chain(containers.map(Thing::Container)).collect();
        if let Some(place) = all.iter().position(|thing| thing.id() == wanted) {
            return Ok(all.into_iter().nth(place));
        }
        let (named, rest): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|thing| self.is_called(thing, &parts));
        let found = if named.is_empty() {
            let begins = |thing: &Thing<'_>| !wanted.is_empty() && thing.id().starts_with(wanted);
            rest.into_iter().filter(begins).collect()
        } else {
            self.youngest(named)
        };
        match <[_; 1]>::try_from(found) {
            Ok([one]) => Ok(Some(one)),
            Err(none) if none.is_empty() => Ok(None),
            Err(several) => Err(self.ambiguous(wanted, &several)),
        }
    }

    fn is_called(&self, thing: &Thing<'_>, parts: &[&str]) -> bool {
        match (thing, parts) {
            (Thing::Pod(pod), [name]) => pod_name(pod).1 == *name,
            (Thing::Pod(pod), [namespace, name]) => pod_name(pod) == (*namespace, *name),
            (Thing::Container(container), [name]) => container_name(container) == *name,
            (Thing::Container(container), [pod, name]) => {
                let (_, of, own) = self.names(container);
                (of, own) == (*pod, *name)
            }
            (Thing::Container(container), [namespace, pod, name]) => {
                self.names(container) == (*namespace, *pod, *name)
            }
            _ => false,
        }
    }

    /// What was made again has the name of what was there before: the youngest of each name. Things are sorted by age.
    fn youngest<'a>(&self, things: Vec<Thing<'a>>) -> Vec<Thing<'a>> {
        let mut seen = std::collections::HashSet::new();
        things.into_iter().filter(|thing| seen.insert(self.told(thing))).collect()
    }

    fn told(&self, thing: &Thing<'_>) -> String {
        match thing {
            Thing::Pod(pod) => {
                let (namespace, name) = pod_name(pod);
                format!("pod {namespace}/{name}")
            }
            Thing::Container(container) => format!("container {}", self.full_name(container)),
        }
    }

    fn ambiguous(&self, wanted: &str, several: &[Thing<'_>]) -> Error {
        let candidates: Vec<String> =
            several.iter().map(|thing| format!("{} ({})", thing.id(), self.told(thing))).collect();
        Error::Ambiguous { name: wanted.to_owned(), candidates: model::first_of(candidates) }
    }
}

impl Thing<'_> {
    fn id(&self) -> &str {
        match self {
            Self::Pod(pod) => &pod.id,
            Self::Container(container) => &container.id,
        }
    }
}

/// Labels that must be there, with their values where they are given.
pub(crate) struct Labels(Vec<(String, Option<String>)>);

impl Labels {
    /// Of `KEY` and `KEY=VALUE`.
    pub(crate) fn parse(texts: &[String]) -> Self {
        let split = |text: &String| match text.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (text.clone(), None),
        };
        Self(texts.iter().map(split).collect())
    }

    pub(crate) fn are_among(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|(key, wanted)| {
            let found = labels.get(key);
            found.is_some_and(|found| wanted.as_ref().is_none_or(|wanted| wanted == found))
        })
    }
}

/// A pod's state for people.
pub(crate) fn pod_state(state: PodSandboxState) -> &'static str {
    match state {
        PodSandboxState::SandboxReady => "Ready",
        PodSandboxState::SandboxNotready => "NotReady",
    }
}

/// A container's state for people.
pub(crate) fn container_state(state: ContainerState) -> &'static str {
    match state {
        ContainerState::ContainerCreated => "Created",
        ContainerState::ContainerRunning => "Running",
        ContainerState::ContainerExited => "Exited",
        ContainerState::ContainerUnknown => "Unknown",
    }
}

#[cfg(test)]
#[path = "node_tests.rs"]
mod tests;
