//! The network side of a pod: which CNI configuration is in force, and the calls of its plugins.
//!
//! [`Network`] watches the configuration directory and falls back on a built-in bridge network while that has been
//! empty ever since. Plugins that the `cni` crate implements run in process, on a blocking thread; all others are
//! executed as the CNI specification says. An [`Attachment`] carries the exact configuration and result of
//! its ADD, so that DEL and CHECK work after restarts and after the configuration has changed or gone.

mod attachment;
mod bandwidth;
mod builtin;
mod call;
mod capabilities;
mod chain;
mod conf;
mod configured;
mod devices;
mod error;
mod exec;
#[cfg(any(test, feature = "test-support"))]
mod fake;
mod host;
mod host_ports;
mod in_process;
mod journal;
mod kept;
mod left;
mod metrics;
mod misplaced;
mod network;
mod obstacle;
mod parameters;
mod pod;
mod release;
mod settings;
mod slots;
mod stand_in;
mod status;
mod subnets;
mod trial;
mod upkeep;
mod watch;

#[cfg(test)]
mod tests;

pub use attachment::{Attachment, Configurations, Verbatim};
pub use devices::Devices;
pub use error::NetError;
pub use host::Namespace;
pub use network::Network;
pub use pod::PodNetwork;
pub use settings::NetworkSettings;
pub use slots::Slot;
pub use status::NetworkStatus;
pub use trial::{Chosen, remove_empty_tables, tables};
pub use watch::Watch;
#[cfg(any(test, feature = "test-support"))]
pub use {cni::types::Command, fake::FakeHost};

/// The name of the interface inside pods.
pub const IFNAME: &str = "eth0";

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, NetError>;
