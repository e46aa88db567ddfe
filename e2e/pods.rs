//! Configurations of pods and containers that scenarios start from.

use crate::proto::{
    ContainerConfig, ContainerMetadata, ImageSpec, LinuxContainerConfig, LinuxContainerResources,
    LinuxContainerSecurityContext, LinuxPodSandboxConfig, LinuxSandboxSecurityContext, NamespaceMode,
    NamespaceOption, PodSandboxConfig, PodSandboxMetadata, PortMapping, SecurityProfile,
};
use std::path::Path;

/// RuntimeDefault, as a seccomp profile.
pub fn runtime_default() -> SecurityProfile {
    SecurityProfile { profile_type: 0, localhost_ref: String::new() }
}

/// What the kubelet asks for by default: the pod's network and IPC, a PID namespace for each container.
pub fn namespaces() -> NamespaceOption {
    NamespaceOption { pid: NamespaceMode::Container.into(), ..NamespaceOption::default() }
}

/// A networked pod whose logs go below a directory.
pub fn pod(name: &str, logs: &Path, cgroup_parent: &str) -> PodSandboxConfig {
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: name.to_owned(),
            uid: format!("uid-{name}"),
            namespace: "test".to_owned(),
            attempt: 0,
        }),
        hostname: name.chars().take(60).collect(),
        log_directory: logs.join(name).display().to_string(),
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent: cgroup_parent.to_owned(),
            security_context: Some(LinuxSandboxSecurityContext {
                namespace_options: Some(namespaces()),
                seccomp: Some(runtime_default()),
                ..LinuxSandboxSecurityContext::default()
            }),
            ..LinuxPodSandboxConfig::default()
        }),
        ..PodSandboxConfig::default()
    }
}

/// Adds a TCP host port to a pod.
pub fn with_host_port(mut pod: PodSandboxConfig, host_port: i32, container_port: i32) -> PodSandboxConfig {
    pod.port_mappings.push(PortMapping { protocol: 0, container_port, host_port, host_ip: String::new() });
    pod
}

/// A container with limits and the default seccomp profile, logging to `<name>.log`.
pub fn container(name: &str, image: &str, command: &[&str]) -> ContainerConfig {
    ContainerConfig {
        metadata: Some(ContainerMetadata { name: name.to_owned(), attempt: 0 }),
        image: Some(ImageSpec { image: image.to_owned(), ..ImageSpec::default() }),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        log_path: format!("{name}.log"),
        linux: Some(LinuxContainerConfig {
            resources: Some(LinuxContainerResources {
                cpu_period: 100_000,
                cpu_quota: 100_000,
                cpu_shares: 512,
                memory_limit_in_bytes: 128 << 20,
                ..LinuxContainerResources::default()
            }),
            security_context: Some(LinuxContainerSecurityContext {
                namespace_options: Some(namespaces()),
                seccomp: Some(runtime_default()),
                ..LinuxContainerSecurityContext::default()
            }),
        }),
        ..ContainerConfig::default()
    }
}

/// A container that runs a shell script.
pub fn shell(name: &str, image: &str, script: &str) -> ContainerConfig {
    container(name, image, &["/bin/sh", "-c", script])
}

/// A container with another security context.
#[must_use]
pub fn secured(
    mut config: ContainerConfig,
    change: impl FnOnce(&mut LinuxContainerSecurityContext),
) -> ContainerConfig {
    change(config.linux.get_or_insert_default().security_context.get_or_insert_default());
    config
}
