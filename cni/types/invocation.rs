//! One call of one plugin, as the library's entry points take it.

use crate::bridge::Ready;
use crate::types::{PluginConfig, Version};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use sys::SysResult;
use sys::netns::Netns;

/// What a plugin is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    /// Attach the container.
    Add,
    /// Detach it; succeeds when nothing is attached.
    Del,
    /// Verify that it is attached as the previous result says (0.4.0).
    Check,
    /// Say whether an ADD could be served (1.1.0).
    Status,
    /// Remove what belongs to no valid attachment (1.1.0).
    Gc,
    /// List the supported versions.
    Version,
}

impl Command {
    /// The value of `CNI_COMMAND`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Status => "STATUS",
            Self::Gc => "GC",
            Self::Version => "VERSION",
        }
    }

    /// The command that a `CNI_COMMAND` names.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Add, Self::Del, Self::Check, Self::Status, Self::Gc, Self::Version]
            .into_iter()
            .find(|command| command.as_str() == text)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The network namespace of the container.
#[derive(Debug, Clone)]
pub struct NetnsRef {
    /// The path at which it is pinned; the value of `CNI_NETNS`.
    pub path: PathBuf,
    /// The namespace, where the caller has it open already.
    pub handle: Option<Arc<Netns>>,
    /// The interfaces that were made in it ahead ([`crate::Plugins::prepare`]).
    pub ready: Option<Arc<Ready>>,
}

impl NetnsRef {
    /// A namespace known by its path alone.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), handle: None, ready: None }
    }

    /// The open namespace: the caller's, else the one pinned at the path.
    ///
    /// # Errors
    /// When it has to be opened, and cannot be.
    pub fn open(&self) -> SysResult<Arc<Netns>> {
        match &self.handle {
            Some(handle) => Ok(Arc::clone(handle)),
            None => Netns::open(&self.path).map(Arc::new),
        }
    }
}

/// An attachment that GC must keep (`cni.dev/valid-attachments`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ValidAttachment {
    /// The container.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// Its interface.
    pub ifname: String,
}

/// One call of one plugin: the `CNI_*` variables and the configuration of its standard input.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// `CNI_COMMAND`.
    pub command: Command,
    /// `CNI_CONTAINERID`; empty for STATUS and GC.
    pub container_id: String,
    /// `CNI_IFNAME`; empty for STATUS and GC.
    pub ifname: String,
    /// `CNI_NETNS`; `None` for STATUS and GC, and for a DEL after the namespace has gone.
    pub netns: Option<NetnsRef>,
    /// `CNI_ARGS`, in order.
    pub args: Vec<(String, String)>,
    /// `CNI_PATH`: where delegated plugins are looked for.
    pub path: Vec<PathBuf>,
    /// The plugin's configuration with `name`, `cniVersion` and, as the command has them, `prevResult`,
    /// `runtimeConfig` and `cni.dev/valid-attachments` put in.
    pub conf: PluginConfig,
    /// DEL: the caller removes the whole network namespace next, and the interfaces with it, so plugins
    /// only free what lives outside (addresses, firewall rules). Plugin binaries never set it.
    pub skip_link_delete: bool,
}

impl Invocation {
    /// The version of the configuration.
    ///
    /// # Errors
    /// When this crate does not speak it.
    pub fn version(&self) -> Result<Version, crate::types::TypesError> {
        self.conf.version()
    }

    /// The value of one key of `CNI_ARGS`.
    pub fn arg(&self, key: &str) -> Option<&str> {
        self.args.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}
