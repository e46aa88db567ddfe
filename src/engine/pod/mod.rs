//! The verbs of pods.

mod cgroup;
mod dial;
mod files;
mod list;
mod release;
mod remove;
pub(crate) mod run;
mod stop;
pub(crate) mod sysctls;
mod update;

pub(crate) use cgroup::Tree;
pub(crate) use files::hostname;
pub(crate) use remove::{REMOVED, trash};
