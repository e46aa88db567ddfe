//! Pods and containers as plugins see them: made of what was asked for, of the spec, and of what has come of it.

mod limits;
mod spec;
#[cfg(test)]
mod tests;

pub use limits::{LimitError, change_of, changeable, of_request, of_spec as limits_of_spec};

use crate::api::{
    CdiDevice, Container, ContainerState as State, Image, LinuxContainer, LinuxNamespace, LinuxPodSandbox,
    LinuxResources, OptionalInt, PodSandbox, SecurityProfile, User, security_profile::ProfileType,
};
use model::{ContainerConfig, ContainerState, Resources, SandboxConfig, Seccomp};
use oci_spec::runtime::{Linux, Process, Spec};
use std::collections::BTreeMap;

/// What is known of a pod.
#[derive(Debug, Clone)]
pub struct Pod<'a> {
    /// Its id.
    pub id: &'a str,
    /// What was asked for.
    pub config: &'a SandboxConfig,
    /// The RuntimeClass handler.
    pub handler: &'a str,
    /// Its addresses, the first of them before all others.
    pub ips: Vec<String>,
    /// The cgroup or slice that it lies in.
    pub cgroup_parent: &'a str,
    /// Its own cgroup.
    pub cgroup: String,
    /// By type and path.
    pub namespaces: Vec<(&'static str, String)>,
    /// Who holds them.
    pub pid: Option<i32>,
    /// Beyond what its containers need.
    pub overhead: Option<&'a Resources>,
    /// Of the pod as a whole.
    pub resources: Option<&'a Resources>,
}

/// What is known of a container.
#[derive(Debug, Clone)]
pub struct Contained<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its pod's.
    pub pod: &'a str,
    /// What was asked for.
    pub config: &'a ContainerConfig,
    /// What was made of it.
    pub spec: &'a Spec,
    /// `None`: it is not there yet.
    pub state: Option<&'a ContainerState>,
    /// In nanoseconds since 1970; 0: not yet.
    pub created_at: i64,
    /// Its first process, while that lives.
    pub pid: Option<i32>,
    /// The repository and digest of its image; empty where it has none.
    pub image_ref: &'a str,
    /// The digest of its image's configuration.
    pub image_id: &'a str,
    /// Limits that came later than the spec.
    pub updated: Option<&'a Resources>,
}

/// The message of a pod.
pub fn pod(pod: &Pod<'_>) -> PodSandbox {
    let metadata = &pod.config.metadata;
    let namespaces = pod.namespaces.iter();
    let resources = pod.resources.map(of_request);
    PodSandbox {
        id: pod.id.to_owned(),
        name: metadata.name.clone(),
        uid: metadata.uid.clone(),
        namespace: metadata.namespace.clone(),
        labels: pod.config.labels.clone(),
        annotations: pod.config.annotations.clone(),
        runtime_handler: pod.handler.to_owned(),
        linux: Some(LinuxPodSandbox {
            pod_overhead: pod.overhead.map(of_request),
            pod_resources: resources.clone(),
            cgroup_parent: pod.cgroup_parent.to_owned(),
            cgroups_path: pod.cgroup.clone(),
            namespaces: namespaces
                .map(|(kind, path)| LinuxNamespace { r#type: (*kind).to_owned(), path: path.clone() })
                .collect(),
            resources,
        }),
        pid: number(pod.pid),
        ips: pod.ips.clone(),
    }
}

/// The message of a container.
pub fn container(container: &Contained<'_>) -> Container {
    let Contained { config, spec, .. } = *container;
    let process = spec.process().as_ref();
    let mut annotations: BTreeMap<String, String> =
        spec.annotations().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
    annotations.extend(config.annotations.clone());
    let message = Container {
        id: container.id.to_owned(),
        pod_sandbox_id: container.pod.to_owned(),
        name: config.metadata.name.clone(),
        labels: config.labels.clone(),
        annotations,
        args: process.and_then(|process| process.args().clone()).unwrap_or_default(),
        env: process.and_then(|process| process.env().clone()).unwrap_or_default(),
        mounts: spec.mounts().iter().flatten().map(spec::mount).collect(),
        hooks: spec.hooks().as_ref().map(spec::hooks),
        linux: Some(linux(container)),
        pid: number(container.pid),
        rlimits: process
            .and_then(|process| process.rlimits().as_ref())
            .into_iter()
            .flatten()
            .map(spec::rlimit)
            .collect(),
        created_at: container.created_at,
        cdi_devices: config.cdi_devices.iter().map(|name| CdiDevice { name: name.clone() }).collect(),
        user: process.map(user),
        image: Some(image(container)),
        ..Container::default()
    };
    with_state(message, container.state)
}

fn with_state(message: Container, state: Option<&ContainerState>) -> Container {
    match state {
        None => message,
        Some(ContainerState::Created) => Container { state: State::ContainerCreated as i32, ..message },
        Some(ContainerState::Running { started_at }) => {
            Container { state: State::ContainerRunning as i32, started_at: *started_at, ..message }
        }
        Some(ContainerState::Exited { started_at, exit }) => Container {
            state: State::ContainerStopped as i32,
            started_at: *started_at,
            finished_at: exit.finished_at,
            exit_code: exit.code,
            status_reason: exit.reason.clone(),
            status_message: exit.message.clone(),
            ..message
        },
    }
}

fn linux(container: &Contained<'_>) -> LinuxContainer {
    let process = container.spec.process().as_ref();
    let profile = container.config.security.seccomp.as_ref().map(seccomp_profile);
    let message = LinuxContainer {
        oom_score_adj: process
            .and_then(Process::oom_score_adj)
            .map(|score| OptionalInt { value: score.into() }),
        io_priority: process.and_then(|process| process.io_priority().as_ref()).map(spec::io_priority),
        scheduler: process.and_then(|process| process.scheduler().as_ref()).map(spec::scheduler),
        seccomp_profile: profile,
        ..LinuxContainer::default()
    };
    let Some(linux) = container.spec.linux() else { return message };
    let entries = |map: &Option<std::collections::HashMap<String, String>>| {
        map.iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let path = linux.cgroups_path().as_ref().map(|path| path.display().to_string());
    LinuxContainer {
        namespaces: linux.namespaces().iter().flatten().map(spec::namespace).collect(),
        devices: linux.devices().iter().flatten().map(spec::device).collect(),
        resources: Some(resources(linux, container.updated)),
        cgroups_path: path.unwrap_or_default(),
        seccomp_policy: linux.seccomp().as_ref().map(spec::seccomp),
        sysctl: entries(linux.sysctl()),
        net_devices: linux.net_devices().iter().flatten().map(spec::net_device).collect(),
        rdt: linux.intel_rdt().as_ref().map(spec::rdt),
        ..message
    }
}

/// Those of the spec, or what has come in their place.
fn resources(linux: &Linux, updated: Option<&Resources>) -> LinuxResources {
    let first = linux.resources().as_ref().map(limits::of_spec).unwrap_or_default();
    let Some(updated) = updated.map(of_request) else { return first };
    let LinuxResources { memory, cpu, hugepage_limits, unified, .. } = updated;
    LinuxResources { memory, cpu, hugepage_limits, unified, ..first }
}

fn seccomp_profile(profile: &Seccomp) -> SecurityProfile {
    let (kind, path) = match profile {
        Seccomp::RuntimeDefault => (ProfileType::RuntimeDefault, String::new()),
        Seccomp::Unconfined => (ProfileType::Unconfined, String::new()),
        Seccomp::Localhost(path) => (ProfileType::Localhost, path.to_string()),
    };
    SecurityProfile { profile_type: kind as i32, localhost_ref: path }
}

fn user(process: &Process) -> User {
    let user = process.user();
    User {
        uid: user.uid(),
        gid: user.gid(),
        additional_gids: user.additional_gids().clone().unwrap_or_default(),
    }
}

/// An image has the name that the user wrote, as the kubelet asks for it by its id.
fn image(container: &Contained<'_>) -> Image {
    let asked = &container.config.image;
    let name = if asked.user_specified_image.is_empty() { &asked.image } else { &asked.user_specified_image };
    Image {
        name: name.clone(),
        digest: container.image_ref.rsplit_once('@').map(|(_, digest)| digest.to_owned()).unwrap_or_default(),
        config_digest: container.image_id.to_owned(),
    }
}

fn number(pid: Option<i32>) -> u32 {
    pid.and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0)
}
