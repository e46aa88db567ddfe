//! End-to-end scenarios and benchmarks: they see a runtime through its sockets only, so that the same scenario runs
//! on Corten and on containerd (`RUNTIME=containerd`).
//!
//! A scenario enters an [`isolation::Isolation`] (mount and network namespaces of its own, a tmpfs for all state),
//! starts a [`registry::Registry`] and a [`runtime::Daemon`] in it, and compares [`baseline::Snapshot`]s.

pub mod baseline;
pub mod boot;
pub mod breakage;
pub mod certificates;
pub mod client;
pub mod cluster;
pub mod collector;
pub mod command;
pub mod crictl;
pub mod death;
pub mod error;
pub mod evidence;
pub mod ginkgo;
pub mod ground;
pub mod host;
pub mod http;
pub mod image;
pub mod installer;
pub mod interrupt;
pub mod invariants;
pub mod isolation;
pub mod kernel_trace;
pub mod layer;
pub mod logs;
pub mod network;
pub mod peer;
pub mod pipe;
pub mod place;
pub mod plugin;
pub mod pod;
pub mod pods;
pub mod process;
pub mod raw;
pub mod registry;
pub mod rootfs;
pub mod runtime;
pub mod stall;
pub mod standins;
pub mod tools;
pub mod wait;
pub mod world;

pub use error::Error;

/// The messages and clients of the Container Runtime Interface, v1.
pub use proto;
