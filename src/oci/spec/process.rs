//! What runs in a container, and as whom.

use super::env::{environment, refuse_nul};
use super::inputs::{ContainerInputs, ImageConfig};
use crate::caps::{self, ProcessCaps};
use crate::error::{OciError, OciResult};
use crate::rootfs::clean;
use model::{Argv, ContainerConfig, Signal, ValueError};
use oci_spec::runtime::{LinuxCapabilities, Process, User};
use std::path::PathBuf;

/// The process, complete.
pub(super) fn process(inputs: &ContainerInputs<'_>, caps: ProcessCaps) -> OciResult<Process> {
    let mut user = User::default();
    user.set_uid(inputs.user.uid)
        .set_gid(inputs.user.gid)
        .set_additional_gids((!inputs.user.groups.is_empty()).then(|| inputs.user.groups.clone()));
    let mut process = Process::default();
    process
        .set_terminal(Some(inputs.container.tty))
        .set_console_size(None)
        .set_user(user)
        .set_args(Some(arguments(inputs)?.into_words()))
        .set_env(Some(environment(inputs)?))
        .set_cwd(working_dir(inputs)?)
        .set_capabilities(Some(capabilities(caps)))
        .set_rlimits((!inputs.rlimits.is_empty()).then(|| inputs.rlimits.to_vec()))
        .set_no_new_privileges(Some(inputs.container.security.no_new_privs))
        .set_apparmor_profile(apparmor(inputs)?)
        .set_selinux_label((!inputs.labels.process.is_empty()).then(|| inputs.labels.process.clone()))
        .set_oom_score_adj(Some(inputs.container.resources.oom_score_adj.get_i32()));
    Ok(process)
}

/// What asks a container to end: the request's choice, else the image's, else SIGTERM.
///
/// # Errors
/// [`OciError::Invalid`] for an image that names none that exists.
pub fn stop_signal(container: &ContainerConfig, image: &ImageConfig) -> OciResult<Signal> {
    match container.stop_signal {
        Some(signal) => Ok(signal),
        None if image.stop_signal.is_empty() => Ok(Signal::TERM),
        None => image.stop_signal.parse().map_err(OciError::value("image config StopSignal")),
    }
}

fn apparmor(inputs: &ContainerInputs<'_>) -> OciResult<Option<String>> {
    let security = &inputs.container.security;
    crate::apparmor::profile(security.apparmor.as_ref(), security.privileged)
}

/// The kubelet's rules: a command replaces the image's entrypoint and its cmd; arguments replace its cmd.
fn arguments(inputs: &ContainerInputs<'_>) -> OciResult<Argv> {
    let (container, image) = (inputs.container, inputs.image);
    let (program, arguments) = match (container.command.is_empty(), container.args.is_empty()) {
        (false, _) => (&container.command, &container.args),
        (true, false) => (&image.entrypoint, &container.args),
        (true, true) => (&image.entrypoint, &image.cmd),
    };
    let words: Vec<String> = program.iter().chain(arguments).cloned().collect();
    let is_there = !words.is_empty();
    Argv::new(words).map_err(|error| match error {
        ValueError::Empty if is_there => OciError::invalid("command", "the program's name is empty"),
        ValueError::Empty => OciError::NoCommand,
        error => OciError::invalid("command", error.to_string()),
    })
}

fn working_dir(inputs: &ContainerInputs<'_>) -> OciResult<PathBuf> {
    if let Some(requested) = &inputs.container.working_dir {
        return Ok(clean(requested.as_str()));
    }
    refuse_nul("image config WorkingDir", &inputs.image.working_dir)?;
    Ok(clean(&inputs.image.working_dir))
}

/// Inheritable is what ambient needs and nothing else: any other inheritable capability would come back through a
/// file that carries it.
pub(super) fn capabilities(caps: ProcessCaps) -> LinuxCapabilities {
    let granted = caps.granted.to_spec();
    let ambient = caps.ambient.to_spec();
    let mut sets = LinuxCapabilities::default();
    sets.set_bounding(Some(granted.clone()))
        .set_permitted(Some(granted.clone()))
        .set_effective(Some(granted))
        .set_inheritable(Some(ambient.clone()))
        .set_ambient(Some(ambient));
    sets
}

/// The capabilities that a request makes of the setting.
pub(super) fn granted(inputs: &ContainerInputs<'_>) -> OciResult<ProcessCaps> {
    let security = &inputs.container.security;
    let settings = inputs.settings;
    caps::resolve(
        &security.capabilities,
        security.privileged,
        settings.default_capabilities,
        settings.available_capabilities,
    )
}
