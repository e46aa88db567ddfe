//! What differs between ways of running containers: by the shim itself, or by an OCI runtime under its eyes.

use super::bundle::ExecFile;
use crate::error::EngineError;
use model::{Argv, SandboxConfig};
use oci_spec::runtime::Spec;
use std::fmt::Debug;
use std::path::Path;
use wire::plan::ContainerPlan;

/// A container as a handler sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Home<'a> {
    /// Its id.
    pub(crate) id: &'a str,
    /// The directory that is the handler's.
    pub(crate) bundle: &'a Path,
}

/// A command that is to be run in a container.
#[derive(Debug, Clone)]
pub(crate) struct CommandLine {
    pub(crate) argv: Argv,
    /// In a terminal.
    pub(crate) tty: bool,
    /// Columns and rows of the terminal, where they are known.
    pub(crate) size: Option<(u16, u16)>,
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

/// One way of running containers. All of this blocks.
pub(crate) trait Handler: Debug + Send + Sync {
    /// Refuses a pod whose containers it cannot run.
    fn check_pod(&self, config: &SandboxConfig) -> Result<(), EngineError>;

    /// Refuses a container that it cannot run.
    fn check_container(&self, pod: &SandboxConfig, spec: &Spec) -> Result<(), EngineError>;

    /// A program that is not the shim reads the pod's files, as root of the pod.
    fn is_foreign(&self) -> bool;

    /// Makes what it needs to find of a container, and puts into the plan what the shim needs to know of it.
    fn furnish(&self, home: Home<'_>, spec: &Spec, plan: &mut ContainerPlan) -> Result<(), EngineError>;

    /// The container's program runs.
    fn started(&self, home: Home<'_>, pid: Option<i32>);

    /// What it needs to run a command; for handlers that are foreign.
    fn command(
        &self,
        home: Home<'_>,
        spec: &Spec,
        command: &CommandLine,
    ) -> Result<Option<ExecFile>, EngineError>;

    /// Deletes what it keeps of a container without processes, and the bundle.
    fn discard(&self, home: Home<'_>) -> Result<(), EngineError>;

    /// What it can do; `native` is what the shim can.
    fn info(&self, name: &str, native: &HandlerInfo) -> HandlerInfo;
}
