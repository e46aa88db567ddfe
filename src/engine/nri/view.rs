//! Pods and containers as plugins see them.

use crate::blocking;
use crate::error::chain;
use crate::in_memory::{Container, Pod};
use crate::record::ContainerRecord;
use model::{ContainerState, NamespaceMode};
use nri::api;
use nri::view;
use oci_spec::runtime::Spec;
use std::net::IpAddr;
use std::sync::Arc;

/// A pod as it is now.
pub(crate) fn pod(pod: &Pod) -> api::PodSandbox {
    let attachment = pod.record().attachment;
    pod_with(pod, &attachment.map(|attachment| attachment.ips.clone()).unwrap_or_default())
}

/// The same with addresses that are not on record yet.
pub(crate) fn pod_with(pod: &Pod, ips: &[IpAddr]) -> api::PodSandbox {
    let record = pod.record();
    let limits = record.limits();
    let pid = pod.pid();
    view::pod(&view::Pod {
        id: &pod.id,
        config: &record.config,
        handler: &record.handler,
        ips: ips.iter().map(IpAddr::to_string).collect(),
        cgroup_parent: &record.cgroup_parent,
        cgroup: pod.cgroup.parent().to_string(),
        namespaces: namespaces(pod, pid),
        pid,
        overhead: limits.overhead.as_ref(),
        resources: limits.resources.as_ref(),
    })
}

/// The namespaces that are the pod's own, each with where it can be entered.
fn namespaces(pod: &Pod, pid: Option<i32>) -> Vec<(&'static str, String)> {
    let asked = pod.config().linux.security.namespaces.clone();
    let of_process = |kind: &str| pid.map(|pid| format!("/proc/{pid}/ns/{kind}")).unwrap_or_default();
    let mut own = Vec::new();
    if let Some(netns) = pod.netns() {
        own.push(("network", netns.display().to_string()));
    }
    if asked.ipc == NamespaceMode::Pod {
        own.push(("ipc", of_process("ipc")));
    }
    if asked.pid == NamespaceMode::Pod {
        own.push(("pid", of_process("pid")));
    }
    if asked.network == NamespaceMode::Pod {
        own.push(("uts", of_process("uts")));
    }
    own.push(("mount", of_process("mnt")));
    own
}

/// A container with this spec, which is still being made where it has no state.
pub(crate) fn with_spec(
    record: &ContainerRecord,
    spec: &Spec,
    state: Option<&ContainerState>,
    pid: Option<i32>,
) -> api::Container {
    view::container(&view::Contained {
        id: &record.id,
        pod: &record.sandbox_id,
        config: &record.config,
        spec,
        state,
        created_at: if state.is_some() { record.created_at } else { 0 },
        pid,
        image_ref: &record.image_ref,
        image_id: &record.image_id,
        updated: record.updated.as_ref().map(|updated| &updated.resources),
    })
}

/// What changes of a container, at one moment.
pub(super) struct Moment {
    record: ContainerRecord,
    pid: Option<i32>,
    /// While it is kept.
    spec: Option<Arc<Spec>>,
}

impl Moment {
    pub(super) fn of(container: &Container) -> Self {
        Self { record: container.record(), pid: container.pid(), spec: container.nri.spec() }
    }

    /// The container as it was. Blocks where its spec has to be read.
    fn show(self, container: &Container) -> api::Container {
        let spec = self.spec.unwrap_or_else(|| Arc::new(read_spec(container)));
        with_spec(&self.record, &spec, Some(&self.record.state), self.pid)
    }
}

/// A container as it is now. Blocks where its spec has to be read.
pub(super) fn now(container: &Container) -> api::Container {
    Moment::of(container).show(container)
}

/// What there is of the spec of a container that a reboot has ended is nothing.
fn read_spec(container: &Container) -> Spec {
    container.read_spec().unwrap_or_else(|error| {
        tracing::debug!(container_id = %container.id, error = chain(&error), "plugins see no spec");
        let mut none = Spec::default();
        none.set_process(None).set_mounts(None).set_linux(None).set_hostname(None).set_root(None);
        none
    })
}

/// A container as it was at a moment.
pub(super) async fn container(container: &Arc<Container>, moment: Moment) -> api::Container {
    if moment.spec.is_some() {
        return moment.show(container);
    }
    let held = container.clone();
    let read = blocking("reading a spec", move || Ok(moment.show(&held))).await;
    read.unwrap_or_else(|_| now(container))
}

/// Several of them. Blocks.
pub(super) fn all(containers: &[Arc<Container>]) -> Vec<api::Container> {
    containers.iter().map(|container| now(container)).collect()
}
