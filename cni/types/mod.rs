//! The nouns of the Container Network Interface, version 1.1.0 and every version before it: configurations,
//! results, errors, and the call of a plugin. Source: the CNI specification (SPEC.md of its version 1.1.0)
//! and, where it is silent, what its reference library libcni does.

mod conf;
mod error;
mod invocation;
mod result;
mod version;

#[cfg(test)]
mod tests;

pub use conf::{NetworkConfigList, PluginConfig, valid_interface_name, valid_name};
pub use error::{CniError, TypesError};
pub use invocation::{Command, Invocation, NetnsRef, ValidAttachment};
pub use result::{CniResult, Dns, Interface, IpConfig, Route};
pub use version::Version;
