//! What a spec is made of.

use super::settings::Settings;
use crate::users::ResolvedUser;
use model::{ContainerConfig, ContainerId, SandboxConfig, SandboxId};
use std::path::Path;

/// The part of an image's configuration that decides how it runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageConfig {
    /// `NAME=value`.
    pub env: Vec<String>,
    /// The program, and arguments that a request does not replace alone.
    pub entrypoint: Vec<String>,
    /// Arguments, or the program where there is no entrypoint.
    pub cmd: Vec<String>,
    /// For [`crate::users::UserRequest::new`].
    pub user: String,
    /// Empty: `/`.
    pub working_dir: String,
    /// For [`super::stop_signal`].
    pub stop_signal: String,
}

/// The files of the pod that its containers see.
#[derive(Debug, Clone, Copy, Default)]
pub struct PodFiles<'a> {
    /// Shown at `/etc/resolv.conf`.
    pub resolv_conf: Option<&'a Path>,
    /// Shown at `/etc/hostname`.
    pub hostname: Option<&'a Path>,
    /// Shown at `/etc/hosts`; the kubelet brings its own for its pods, as a mount of the request.
    pub hosts: Option<&'a Path>,
    /// Shown at `/dev/shm`: the pod's own, or the host's for a pod in the host's IPC namespace.
    pub shm: Option<&'a Path>,
}

/// The namespaces that a container shares with its pod, for the spec: paths that another process could open.
#[derive(Debug, Clone, Copy, Default)]
pub struct PodNamespaces<'a> {
    /// The pinned network namespace; `None`: the host's.
    pub network: Option<&'a Path>,
    /// The shim, in whose IPC and UTS namespaces the containers are born.
    pub shim_pid: Option<i32>,
    /// A process of the PID namespace to join (the pause, or the target container's).
    pub pid_of: Option<i32>,
}

/// Everything that [`super::container`] reads.
#[derive(Debug, Clone, Copy)]
pub struct ContainerInputs<'a> {
    /// The pod's id.
    pub sandbox_id: &'a SandboxId,
    /// The container's id.
    pub container_id: &'a ContainerId,
    /// The pod's request.
    pub sandbox: &'a SandboxConfig,
    /// The container's request.
    pub container: &'a ContainerConfig,
    /// The image.
    pub image: &'a ImageConfig,
    /// The name by which the image was asked for.
    pub image_name: &'a str,
    /// From [`crate::users::resolve`].
    pub user: &'a ResolvedUser,
    /// The pod's hostname; empty in the host's UTS namespace when it is not known.
    pub hostname: &'a str,
    /// The pod's files.
    pub files: PodFiles<'a>,
    /// What images contribute.
    pub volumes: super::Volumes<'a>,
    /// The pod's namespaces.
    pub namespaces: PodNamespaces<'a>,
    /// The container's cgroup, as [`crate::cgroup::CgroupPath`] prints it.
    pub cgroup: &'a str,
    /// Where the root filesystem is assembled.
    pub rootfs: &'a Path,
    /// Whether the host has cgroup v2 only ([`crate::cgroup::Host::is_unified`]).
    pub unified_cgroups: bool,
    /// From [`crate::selinux::Policy::labels`].
    pub labels: &'a crate::selinux::Labels,
    /// The choice for the pod's handler.
    pub host_devices: super::HostDevices,
    /// Limits of its processes, the handler's choice too; the rest is inherited.
    pub rlimits: &'a [oci_spec::runtime::PosixRlimit],
    /// The operator's choices.
    pub settings: &'a Settings,
}
