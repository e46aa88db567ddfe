//! A pod sandbox: what was asked for and the state it is in.

use crate::limits::Resources;
use crate::path::AbsPath;
use crate::security::SecurityContext;
use crate::sysctl::Sysctls;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The unique name of a sandbox (CRI `PodSandboxMetadata`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct SandboxMetadata {
    /// The pod's name.
    pub name: String,
    /// The pod's uid.
    pub uid: String,
    /// The pod's namespace.
    pub namespace: String,
    /// How often the sandbox was created anew.
    pub attempt: u32,
}

/// Resolver settings (CRI `DNSConfig`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DnsConfig {
    /// `nameserver` lines.
    pub servers: Vec<String>,
    /// The `search` line.
    pub searches: Vec<String>,
    /// The `options` line.
    pub options: Vec<String>,
}

/// The protocol of a port mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The lower-case name, as the CNI `portMappings` capability spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// One port of the host that leads to the pod (CRI `PortMapping`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// Protocol.
    pub protocol: Protocol,
    /// Port inside the pod, never 0.
    pub container_port: u16,
    /// Port of the host; 0 maps nothing.
    pub host_port: u16,
    /// Address of the host to bind; `None` is every address.
    pub host_ip: Option<IpAddr>,
}

/// The Linux part of a sandbox (CRI `LinuxPodSandboxConfig`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LinuxSandbox {
    /// The cgroup under which the pod's cgroups are made; empty: the runtime's default.
    pub cgroup_parent: String,
    /// Security of the sandbox itself (its pause, where there is one) and its namespaces.
    pub security: SecurityContext,
    /// Namespaced kernel parameters of the pod.
    pub sysctls: Sysctls,
    /// What the pod takes beside its containers. With `resources` it limits the pod's cgroup where the request names no
    /// `cgroup_parent`; else whoever owns that (the kubelet) sizes it, and both are kept to be shown.
    pub overhead: Option<Resources>,
    /// The sum of its containers.
    pub resources: Option<Resources>,
}

/// Everything that RunPodSandbox was asked for (CRI `PodSandboxConfig`), already validated.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SandboxConfig {
    /// The unique name.
    pub metadata: SandboxMetadata,
    /// Empty for host-network pods, and where the request names none: then the pod is called by the first 12 digits of
    /// its sandbox id.
    pub hostname: String,
    /// Where the containers' log files go; `None`: no logs.
    #[serde(with = "crate::path::or_empty")]
    pub log_directory: Option<AbsPath>,
    /// `None`: the host's resolv.conf.
    pub dns: Option<DnsConfig>,
    /// Host ports.
    pub port_mappings: Vec<PortMapping>,
    /// Verbatim.
    pub labels: BTreeMap<String, String>,
    /// Verbatim; never control input.
    pub annotations: BTreeMap<String, String>,
    /// The Linux part.
    pub linux: LinuxSandbox,
}

/// CRI `PodSandboxState`.
///
/// ```text
/// Creating ──ready──▶ Ready ──stop, or the shim is lost──▶ NotReady ──remove──▶ (gone)
///     └──── failure: undone, or NotReady where an undo step failed ────▲
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SandboxState {
    /// RunPodSandbox is under way; never shown to clients.
    Creating,
    /// Its namespaces and network stand.
    Ready,
    /// Stopped, or broken.
    NotReady,
}
