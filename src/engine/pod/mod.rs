//! The verbs of pods.

mod cgroup;
pub(crate) mod connection;
pub(crate) mod default_sysctls;
mod dial;
mod durable;
mod files;
mod list;
mod nameplate;
mod release;
mod remove;
pub(crate) mod run;
mod side;
mod stop;
mod sysctls;
mod update;

pub(crate) use cgroup::Tree;
pub(crate) use files::hostname;
pub use run::netns_name;

use crate::host::Host;
use crate::names::Names;
use crate::registry::PodName;
use crate::supervisor::Launcher;
use crate::{Containers, Core};
use model::{SandboxConfig, SandboxId};
use std::path::PathBuf;
use std::sync::Arc;

/// The use cases of pods.
pub struct Pods {
    core: Arc<Core>,
    containers: Arc<Containers>,
    pub(crate) launcher: Arc<dyn Launcher>,
    host: Arc<dyn Host>,
    pause_binary: PathBuf,
    pub(crate) names: Names<PodName, (Arc<SandboxConfig>, String), SandboxId>,
    /// Those that are being stopped.
    stops: Names<SandboxId, (), SandboxId>,
    /// Read by what attaches pods to the network, written by what frees attachments of nobody.
    pub(crate) attaching: tokio::sync::RwLock<()>,
}

/// What pods alone need of the host.
pub(crate) struct Means {
    pub(crate) launcher: Arc<dyn Launcher>,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) pause_binary: PathBuf,
}

impl Pods {
    pub(crate) fn new(core: Arc<Core>, containers: Arc<Containers>, means: Means) -> Self {
        let Means { launcher, host, pause_binary } = means;
        Self {
            core,
            containers,
            launcher,
            host,
            pause_binary,
            names: Names::default(),
            stops: Names::default(),
            attaching: tokio::sync::RwLock::default(),
        }
    }
}
