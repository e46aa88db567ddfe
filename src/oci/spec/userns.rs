//! The pod's user namespace, in the spec's terms.

use crate::error::{OciError, OciResult};
use crate::users::ResolvedUser;
use model::{IdMapping, SandboxConfig, UserNamespace};
use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder};

/// The mapping of users or groups; `None` with the host's ids.
pub(super) fn mappings(
    pod: &SandboxConfig,
    which: impl Fn(&UserNamespace) -> IdMapping,
) -> OciResult<Option<Vec<LinuxIdMapping>>> {
    let Some(users) = &pod.linux.security.namespaces.users else { return Ok(None) };
    let range = which(users);
    let mapping = LinuxIdMappingBuilder::default()
        .container_id(range.container_id)
        .host_id(range.host_id)
        .size(range.length)
        .build()?;
    Ok(Some(vec![mapping]))
}

/// A process can only be somebody who exists in its user namespace.
pub(super) fn check(pod: &SandboxConfig, user: &ResolvedUser) -> OciResult<()> {
    let Some(users) = &pod.linux.security.namespaces.users else { return Ok(()) };
    let missing = |what: &str, id: u32| {
        let field = format!("linux.security_context.{what}");
        Err(OciError::invalid(field, format!("{id} is not mapped in the pod's user namespace")))
    };
    if users.uids.on_host(user.uid).is_none() {
        return missing("run_as_user", user.uid);
    }
    match user.groups.iter().chain([&user.gid]).find(|gid| users.gids.on_host(**gid).is_none()) {
        Some(gid) => missing("supplemental_groups", *gid),
        None => Ok(()),
    }
}
