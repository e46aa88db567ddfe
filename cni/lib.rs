//! The built-in CNI plugins: `bridge`, `host-local`, `portmap` and `loopback`, as a library that the daemon
//! calls in process, and as the binaries of those names.
//!
//! They read the configuration and write the results of the standard plugins
//! (github.com/containernetworking/plugins), which can take their place and whose place they can take.
//! What differs: they talk to the kernel by netlink instead of running commands, and keep their packet
//! rules in nf_tables tables of their own, `corten_masquerade`, `corten_hostport` and `corten_macspoofchk`.
//!
//! [`Plugins`] carries calls out, and makes the interfaces of an attachment to come; [`validate`] says what a configuration's first ADD would refuse; [`understands`] says
//! beforehand whether a configuration holds anything that these plugins do not do, so that the caller can execute another
//! plugin of that name instead.

mod bridge;
mod delegate;
mod failure;
mod fields;
mod firewall;
pub mod fuzz;
mod host_local;
mod loopback;
mod portmap;
mod run;
pub mod standalone;
mod tag;
pub mod types;

pub use bridge::{READY, Ready};
pub use fields::{UnknownField, understands};
pub use firewall::{remove_empty_tables, tables};
pub use portmap::passes_on;
pub use run::{Plugins, validate};
