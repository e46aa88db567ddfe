//! What runs in a container, and as whom.

use super::env::{environment, refuse_nul};
use super::inputs::ContainerInputs;
use crate::caps::{self, ProcessCaps};
use crate::error::{OciError, OciResult};
use crate::rootfs::clean;
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
        .set_args(Some(arguments(inputs)?))
        .set_env(Some(environment(inputs)?))
        .set_cwd(working_dir(inputs)?)
        .set_capabilities(Some(capabilities(caps)))
        .set_rlimits((!inputs.rlimits.is_empty()).then(|| inputs.rlimits.to_vec()))
        .set_no_new_privileges(Some(inputs.container.security.no_new_privs))
        .set_apparmor_profile(apparmor(inputs)?)
        .set_selinux_label((!inputs.labels.process.is_empty()).then(|| inputs.labels.process.clone()))
        .set_oom_score_adj(Some(oom_score_adj(inputs.container.resources.oom_score_adj)?));
    Ok(process)
}

fn apparmor(inputs: &ContainerInputs<'_>) -> OciResult<Option<String>> {
    let security = &inputs.container.security;
    crate::apparmor::profile(security.apparmor.as_ref(), security.privileged)
}

/// The kubelet's rules: a command replaces the image's entrypoint and its cmd; arguments replace its cmd.
fn arguments(inputs: &ContainerInputs<'_>) -> OciResult<Vec<String>> {
    let (container, image) = (inputs.container, inputs.image);
    let (program, arguments) = match (container.command.is_empty(), container.args.is_empty()) {
        (false, _) => (&container.command, &container.args),
        (true, false) => (&image.entrypoint, &container.args),
        (true, true) => (&image.entrypoint, &image.cmd),
    };
    let argv: Vec<String> = program.iter().chain(arguments).cloned().collect();
    match argv.first() {
        None => return Err(OciError::NoCommand),
        Some(program) if program.is_empty() => {
            return Err(OciError::invalid("command", "the program's name is empty"));
        }
        Some(_) => {}
    }
    argv.iter().try_for_each(|argument| refuse_nul("command", argument))?;
    Ok(argv)
}

fn working_dir(inputs: &ContainerInputs<'_>) -> OciResult<PathBuf> {
    let requested = &inputs.container.working_dir;
    if !requested.is_empty() && !requested.starts_with('/') {
        return Err(OciError::invalid("working_dir", format!("{requested:?} is not an absolute path")));
    }
    let chosen = if requested.is_empty() { &inputs.image.working_dir } else { requested };
    refuse_nul("working_dir", chosen)?;
    Ok(clean(chosen))
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

fn oom_score_adj(value: i64) -> OciResult<i32> {
    i32::try_from(value).ok().filter(|value| (-1000..=1000).contains(value)).ok_or_else(|| {
        OciError::invalid("linux.resources.oom_score_adj", format!("{value} is not within ±1000"))
    })
}
