//! What can go wrong with a pod's network.

use cni::types::{CniError, Command, TypesError};
use model::ErrorKind;
use std::path::PathBuf;

/// A failure of the network.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// No usable configuration.
    #[error("network not ready: {reason}")]
    NotReady {
        /// Why, naming the directory and its broken files.
        reason: String,
    },
    /// No plugin of that type in any plugin directory.
    #[error("cni {command} {plugin}: no such plugin in {dirs}")]
    PluginNotFound {
        /// The plugin's type.
        plugin: String,
        /// What it was to do.
        command: Command,
        /// The directories, separated by `:`.
        dirs: String,
    },
    /// The plugin reported an error.
    #[error("cni {command} {plugin}: {source}")]
    Plugin {
        /// The plugin's type.
        plugin: String,
        /// What it was to do.
        command: Command,
        /// Its code, message and details.
        source: CniError,
    },
    /// The plugin failed without an error of the specification's form.
    #[error("cni {command} {plugin}: {status}: {output}")]
    Exit {
        /// The plugin's type.
        plugin: String,
        /// What it was to do.
        command: Command,
        /// Its exit status.
        status: String,
        /// The start of what it printed.
        output: String,
    },
    /// The plugin ran past its deadline and was killed.
    #[error("cni {command} {plugin}: no answer within {seconds} s, killed")]
    Timeout {
        /// The plugin's type.
        plugin: String,
        /// What it was to do.
        command: Command,
        /// The deadline.
        seconds: u64,
    },
    /// The plugin printed too much and was killed.
    #[error("cni {command} {plugin}: more than {limit} bytes of output, killed")]
    OutputTooLarge {
        /// The plugin's type.
        plugin: String,
        /// What it was to do.
        command: Command,
        /// The limit in bytes.
        limit: usize,
    },
    /// The plugin succeeded and printed something that is not a result.
    #[error("cni {command} {plugin}: in its output {output:?}: {source}")]
    Garbage {
        /// The plugin's type.
        plugin: String,
        /// What it was to do.
        command: Command,
        /// The start of what it printed.
        output: String,
        /// What is wrong with it.
        source: TypesError,
    },
    /// The plugin in process panicked.
    #[error("cni {command} {plugin}: panicked: {message}")]
    Panicked {
        /// The plugin's type.
        plugin: String,
        /// What it was to do.
        command: Command,
        /// The panic's message.
        message: String,
    },
    /// Starting the plugin, or talking to it, failed.
    #[error("cni {command} {plugin}: {op} {}: {source}", path.display())]
    Io {
        /// The plugin's type.
        plugin: String,
        /// What it was to do.
        command: Command,
        /// What failed.
        op: &'static str,
        /// The plugin's file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The plugins succeeded and gave the pod's interface no address.
    #[error("network {network}: the plugins gave interface {ifname} no address")]
    NoAddress {
        /// The network.
        network: String,
        /// The interface.
        ifname: String,
    },
    /// A bandwidth annotation that is not a quantity between 1k and 1P.
    #[error("annotation {annotation}: {value:?} is not a quantity between 1k and 1P bits a second")]
    Bandwidth {
        /// The annotation's key.
        annotation: &'static str,
        /// Its value.
        value: String,
    },
    /// Something that `CNI_ARGS` cannot carry, or that is no CNI container id.
    #[error("{field} {value:?} cannot be passed to cni plugins")]
    Argument {
        /// What it is.
        field: &'static str,
        /// Its value.
        value: String,
    },
    /// A configuration or result that cannot be converted.
    #[error(transparent)]
    Types(#[from] TypesError),
    /// Own files.
    #[error("{op} {}: {source}", path.display())]
    State {
        /// What failed.
        op: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A system call.
    #[error(transparent)]
    Sys(#[from] sys::SysError),
    /// A metric of that name is registered already.
    #[error("register metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// ADD failed, and so did the DEL that was to clear up after it: detach must be tried again.
    #[error("{attach}; {}", after(attach, cleanup))]
    Residue {
        /// Why ADD failed.
        attach: Box<NetError>,
        /// Why DEL failed.
        cleanup: Box<NetError>,
    },
}

/// The operation that fails when a plugin's file is no program of this machine.
pub(crate) const EXECUTE: &str = "execute";

/// What is to be said of a failed clean-up after what led to it.
fn after(attach: &NetError, cleanup: &NetError) -> String {
    let reason = |error: &NetError| error.to_string().split_once(": ").map(|parts| parts.1.to_owned());
    if reason(attach).is_some() && reason(attach) == reason(cleanup) {
        let (NetError::Plugin { plugin, .. } | NetError::Exit { plugin, .. }) = cleanup else {
            return "and so does the clean-up".to_owned();
        };
        return format!("and so does cni DEL {plugin}");
    }
    format!("clearing up failed too: {cleanup}")
}

impl From<failpoint::Injected> for NetError {
    fn from(injected: failpoint::Injected) -> Self {
        sys::SysError::from(injected).into()
    }
}

impl NetError {
    /// The kind, from which the gRPC status follows.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotReady { .. } | Self::PluginNotFound { .. } => ErrorKind::Unavailable,
            Self::Plugin { source, .. } => source.kind(),
            Self::Timeout { .. } => ErrorKind::DeadlineExceeded,
            Self::Bandwidth { .. } | Self::Argument { .. } => ErrorKind::InvalidArgument,
            Self::Residue { attach, .. } => attach.kind(),
            Self::Exit { .. }
            | Self::OutputTooLarge { .. }
            | Self::Garbage { .. }
            | Self::Panicked { .. }
            | Self::Io { .. }
            | Self::NoAddress { .. }
            | Self::Types(_)
            | Self::State { .. }
            | Self::Sys(_)
            | Self::Metrics(_) => ErrorKind::Internal,
        }
    }

    /// Whether the same call must fail the same way until the configuration or the plugin's binary changes.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::PluginNotFound { .. } | Self::Types(_) => true,
            Self::Plugin { source, .. } => matches!(
                source.code,
                CniError::INCOMPATIBLE_VERSION
                    | CniError::UNSUPPORTED_FIELD
                    | CniError::DECODING_FAILURE
                    | CniError::INVALID_CONFIG
            ),
            Self::Io { op, .. } => *op == EXECUTE,
            _ => false,
        }
    }

    /// Whether a failed attach has left something behind, so that detach must be tried again.
    pub fn leaves_residue(&self) -> bool {
        matches!(self, Self::Residue { .. })
    }

    pub(crate) fn state(op: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::State { op, path, source }
    }
}
