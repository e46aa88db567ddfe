//! Plugins of the Node Resource Interface: they are told of pods and containers, and change what containers get.
//!
//! A plugin and the runtime ask each other over one socket. Every verb of the engine that changes a pod or a container
//! opens a [`Section`] right before it asks the plugins, and commits it once the change can be seen from outside; a
//! plugin that joins in between is told then what it has missed.

pub mod api;
pub mod apply;
mod bounds;
mod counters;
mod error;
mod installed;
mod join;
mod link;
mod listen;
pub mod merge;
mod node;
mod plugin;
mod quiet;
mod required;
mod roster;
mod runtime;
#[cfg(test)]
mod scenarios;
mod section;
mod settings;
mod status;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod trunk;
pub mod ttrpc;
pub mod validator;
pub mod view;

pub use error::{Error, NriResult};
pub use installed::{Directory, Unfit, Unfitness, look as look_for_plugins};
pub use node::{Node, Reply};
pub use plugin::method;
pub use runtime::Nri;
pub use section::{Section, Verdict};
pub use settings::Settings;
pub use status::{Absence, Calls, LATENCY, ListenStatus, Origin, PluginStatus};
pub use validator::{is_called, may_be_annotation, may_be_called};
