//! What plugins have agreed on, put into a container's spec: every field is honoured or refused by its name.

mod asked;
mod classes;
mod devices;
mod error;
mod limits;
mod linux;
mod mounts;
mod native;
mod process;
mod seccomp;
#[cfg(test)]
mod tests;

pub use asked::for_field;
pub use error::ApplyError;

use crate::api::{ContainerAdjustment, LinuxContainerAdjustment};
use oci_spec::runtime::{Linux, Process, Spec};
use std::path::PathBuf;

/// What of the host an adjustment needs.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// Devices by name.
    pub devices: &'a oci::cdi::Registry,
    /// Classes of block I/O and of cache.
    pub classes: &'a oci::classes::Classes,
    /// The highest limits that processes can be given.
    pub ceilings: &'a oci::rlimits::Ceilings,
    /// The shim makes the container itself.
    pub native: bool,
}

/// What is to be done beside the spec.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Paths of the host that are to get the container's label (SELinux).
    pub relabel: Vec<PathBuf>,
}

/// Changes a spec. What fails leaves it half changed: no container is to be made of it.
///
/// # Errors
/// [`ApplyError`] for what the host or the handler cannot do.
pub fn apply(
    spec: &mut Spec,
    adjustment: &ContainerAdjustment,
    context: &Context<'_>,
) -> Result<Applied, ApplyError> {
    let mut applied = Applied::default();
    process::annotations(spec, &adjustment.annotations);
    process::environment(process_of(spec)?, &adjustment.env)?;
    process::arguments(process_of(spec)?, &adjustment.args)?;
    if let Some(hooks) = &adjustment.hooks {
        process::hooks(spec, hooks)?;
    }
    devices::by_name(spec, &adjustment.cdi_devices, context.devices)?;
    if let Some(linux) = &adjustment.linux {
        apply_linux(spec, linux, context)?;
    }
    mounts::apply(spec, &adjustment.mounts, &mut applied)?;
    process::rlimits(process_of(spec)?, &adjustment.rlimits, context.ceilings)?;
    if context.native {
        native::check(spec)?;
    }
    Ok(applied)
}

fn apply_linux(
    spec: &mut Spec,
    asked: &LinuxContainerAdjustment,
    context: &Context<'_>,
) -> Result<(), ApplyError> {
    devices::nodes(linux_of(spec)?, &asked.devices)?;
    linux::cgroups_path(linux_of(spec)?, &asked.cgroups_path)?;
    process::oom_score(process_of(spec)?, asked.oom_score_adj.as_ref());
    process::io_priority(process_of(spec)?, asked.io_priority.as_ref())?;
    process::scheduler(process_of(spec)?, asked.scheduler.as_ref())?;
    seccomp::policy(linux_of(spec)?, asked.seccomp_policy.as_ref())?;
    linux::namespaces(linux_of(spec)?, &asked.namespaces, context.native)?;
    linux::sysctls(linux_of(spec)?, &asked.sysctl)?;
    linux::net_devices(linux_of(spec)?, &asked.net_devices)?;
    linux::memory_policy(linux_of(spec)?, asked.memory_policy.as_ref())?;
    if let Some(resources) = &asked.resources {
        limits::apply(linux_of(spec)?, resources)?;
        classes::block_io(linux_of(spec)?, resources.blockio_class.as_ref(), context.classes)?;
        classes::rdt_class(linux_of(spec)?, resources.rdt_class.as_ref(), context.classes)?;
    }
    classes::rdt(linux_of(spec)?, asked.rdt.as_ref(), context.classes)
}

fn process_of(spec: &mut Spec) -> Result<&mut Process, ApplyError> {
    let missing = || ApplyError::refused("process", "the spec has none");
    spec.process_mut().as_mut().ok_or_else(missing)
}

fn linux_of(spec: &mut Spec) -> Result<&mut Linux, ApplyError> {
    let missing = || ApplyError::refused("linux", "the spec has none");
    spec.linux_mut().as_mut().ok_or_else(missing)
}

/// What the kernel's strings cannot hold.
fn without_nul(field: &str, text: &str) -> Result<(), ApplyError> {
    if text.contains('\0') { Err(ApplyError::refused(field, "contains a NUL byte")) } else { Ok(()) }
}
