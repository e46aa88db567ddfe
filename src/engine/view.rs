//! What the engine shows of pods and containers: snapshots that hold no lock.

use model::{ContainerConfig, ContainerState, Resources, SandboxConfig, SandboxState, Signal};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// A pod at one moment.
#[derive(Debug, Clone)]
pub struct PodView {
    /// The sandbox id.
    pub id: String,
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
    pub id: String,
    /// Its pod.
    pub sandbox_id: String,
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

/// Which pods a list shows; an empty filter shows all.
#[derive(Debug, Clone, Default)]
pub struct PodFilter {
    /// An id or a prefix of one.
    pub id: Option<String>,
    /// A state.
    pub state: Option<SandboxState>,
    /// Labels that must all be there.
    pub labels: BTreeMap<String, String>,
}

/// A container state without its data, for filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateKind {
    /// Created.
    Created,
    /// Running.
    Running,
    /// Exited.
    Exited,
}

impl StateKind {
    /// The kind of a state.
    pub fn of(state: &ContainerState) -> Self {
        match state {
            ContainerState::Created => Self::Created,
            ContainerState::Running { .. } => Self::Running,
            ContainerState::Exited { .. } => Self::Exited,
        }
    }
}

/// Which containers a list shows; an empty filter shows all.
#[derive(Debug, Clone, Default)]
pub struct ContainerFilter {
    /// An id or a prefix of one.
    pub id: Option<String>,
    /// A state.
    pub state: Option<StateKind>,
    /// The id of the pod, or a prefix of one.
    pub sandbox_id: Option<String>,
    /// Labels that must all be there.
    pub labels: BTreeMap<String, String>,
}

/// What a command in a container printed and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutput {
    /// Standard output, cut off at the configured limit.
    pub stdout: Vec<u8>,
    /// Standard error, likewise.
    pub stderr: Vec<u8>,
    /// The exit code; 128 + signal when a signal ended it.
    pub exit_code: i32,
}

/// A way of running containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandlerInfo {
    /// The RuntimeClass handler; empty is the default.
    pub name: String,
    /// Recursive read-only mounts work.
    pub recursive_read_only: bool,
    /// User namespaces work.
    pub user_namespaces: bool,
}

/// Whether the runtime and its network are ready.
#[derive(Debug, Clone)]
pub struct RuntimeStatus {
    /// What keeps this host from running pods.
    pub unfit: Option<crate::Unfit>,
    /// The network's part.
    pub network: net::NetworkStatus,
    /// The default handler first.
    pub handlers: Vec<HandlerInfo>,
    /// Verbose details: name and JSON.
    pub info: BTreeMap<String, String>,
}

/// Whether all wanted labels are among those there.
pub(crate) fn has_labels(wanted: &BTreeMap<String, String>, there: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| there.get(key) == Some(value))
}
