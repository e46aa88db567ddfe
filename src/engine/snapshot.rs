//! What the engine shows of pods and containers: snapshots that hold no lock.

use crate::filter::StateKind;
use model::{
    ContainerConfig, ContainerId, ContainerState, Resources, SandboxConfig, SandboxId, SandboxState, Signal,
};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// A pod at one moment.
#[derive(Debug, Clone)]
pub struct PodView {
    /// The sandbox id.
    pub id: SandboxId,
    /// What was asked for.
    pub config: Arc<SandboxConfig>,
    /// Its state.
    pub state: SandboxState,
    /// Unix time in nanoseconds.
    pub created_at: i64,
    /// Addresses, the primary one first; none with the host's network.
    pub ips: Vec<IpAddr>,
    /// The runtime handler that was asked for; empty is the default one.
    pub handler: String,
}

/// What is said of a pod by its usage.
pub(crate) struct PodBrief {
    pub(crate) config: Arc<SandboxConfig>,
    pub(crate) state: SandboxState,
    pub(crate) created_at: i64,
}

/// What is said of a container by its usage.
pub(crate) struct ContainerBrief {
    pub(crate) config: Arc<ContainerConfig>,
    pub(crate) state: StateKind,
    pub(crate) created_at: i64,
}

/// The identity a container runs under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserView {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// A container at one moment.
#[derive(Debug, Clone)]
pub struct ContainerView {
    /// The container id.
    pub id: ContainerId,
    /// Its pod.
    pub sandbox_id: SandboxId,
    /// What was asked for.
    pub config: Arc<ContainerConfig>,
    /// Its limits: in a status those in force, in a list those asked for last.
    pub resources: Resources,
    /// Its state.
    pub state: ContainerState,
    /// Unix time in nanoseconds.
    pub created_at: i64,
    /// The image's id.
    pub image_id: String,
    /// The image's repository digest, or its id where it has none.
    pub image_ref: String,
    /// What the images among the mounts resolved to, by the mount's index.
    pub image_volumes: BTreeMap<usize, String>,
    /// Absolute; empty without a log.
    pub log_path: String,
    /// The resolved identity.
    pub user: UserView,
    /// Its first process on the host, while there is one.
    pub pid: Option<i32>,
    /// The signal that stops it.
    pub stop_signal: Signal,
}
