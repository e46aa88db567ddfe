//! Users, namespaces and profiles. A sandbox and a container have almost the same fields in two messages.

use super::{DecodeError, Field, capability, labels, text, userns};
use crate::proto;
use model::{AbsPath, NamespaceMode, NamespaceOptions, Seccomp, SecurityContext, User};
use proto::SupplementalGroupsPolicy;
use proto::security_profile::ProfileType;

/// Whose namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Sandbox,
    Container,
}

/// The security of a sandbox.
#[allow(deprecated)]
pub(crate) fn sandbox(
    field: &Field<'_>,
    message: Option<proto::LinuxSandboxSecurityContext>,
) -> Result<SecurityContext, DecodeError> {
    let message = message.unwrap_or_default();
    let child = |name| field.child(name);
    let ids = Ids {
        user: message.run_as_user,
        user_name: String::new(),
        group: message.run_as_group,
        groups: message.supplemental_groups,
        policy: message.supplemental_groups_policy,
    };
    Ok(SecurityContext {
        privileged: message.privileged,
        namespaces: namespaces(&child("namespace_options"), message.namespace_options, Owner::Sandbox)?,
        readonly_rootfs: message.readonly_rootfs,
        seccomp: seccomp(field, message.seccomp, &message.seccomp_profile_path)?,
        apparmor: labels::apparmor(field, message.apparmor.as_ref(), "")?,
        selinux: labels::selinux(&child("selinux_options"), message.selinux_options)?,
        ..ids.decode(field)?
    })
}

/// The security of a container.
#[allow(deprecated)]
pub(crate) fn container(
    field: &Field<'_>,
    message: Option<proto::LinuxContainerSecurityContext>,
) -> Result<SecurityContext, DecodeError> {
    let message = message.unwrap_or_default();
    let child = |name| field.child(name);
    let ids = Ids {
        user: message.run_as_user,
        user_name: message.run_as_username,
        group: message.run_as_group,
        groups: message.supplemental_groups,
        policy: message.supplemental_groups_policy,
    };
    Ok(SecurityContext {
        privileged: message.privileged,
        namespaces: namespaces(&child("namespace_options"), message.namespace_options, Owner::Container)?,
        readonly_rootfs: message.readonly_rootfs,
        capabilities: capability::capabilities(&child("capabilities"), message.capabilities)?,
        no_new_privs: message.no_new_privs,
        masked_paths: paths(&child("masked_paths"), message.masked_paths)?,
        readonly_paths: paths(&child("readonly_paths"), message.readonly_paths)?,
        seccomp: seccomp(field, message.seccomp, &message.seccomp_profile_path)?,
        apparmor: labels::apparmor(field, message.apparmor.as_ref(), &message.apparmor_profile)?,
        selinux: labels::selinux(&child("selinux_options"), message.selinux_options)?,
        ..ids.decode(field)?
    })
}

fn paths(field: &Field<'_>, paths: Vec<String>) -> Result<Vec<AbsPath>, DecodeError> {
    let paths = paths.into_iter().enumerate();
    paths.map(|(index, path)| text::absolute(&field.item(index), path)).collect()
}

/// The identity part of both messages.
struct Ids {
    user: Option<proto::Int64Value>,
    user_name: String,
    group: Option<proto::Int64Value>,
    groups: Vec<i64>,
    policy: i32,
}

impl Ids {
    fn decode(self, field: &Field<'_>) -> Result<SecurityContext, DecodeError> {
        let name_field = field.child("run_as_username");
        let user = match (self.user, self.user_name) {
            (None, name) if name.is_empty() => None,
            (Some(uid), name) if name.is_empty() => {
                Some(User::Uid(id(&field.child("run_as_user"), uid.value)?))
            }
            (None, name) => {
                text::word(&name_field, &name)?;
                if name.contains(':') {
                    return Err(name_field.invalid("must be a user name alone"));
                }
                Some(User::Name(name))
            }
            (Some(_), _) => return Err(name_field.invalid("excludes run_as_user")),
        };
        let group_field = field.child("run_as_group");
        if self.group.is_some() && user.is_none() {
            return Err(group_field.invalid("needs run_as_user or run_as_username beside it"));
        }
        let group = self.group.map(|gid| id(&group_field, gid.value)).transpose()?;
        let groups_field = field.child("supplemental_groups");
        let groups = self.groups.iter().enumerate();
        let supplemental_groups =
            groups.map(|(index, gid)| id(&groups_field.item(index), *gid)).collect::<Result<_, _>>()?;
        let policy: SupplementalGroupsPolicy =
            field.child("supplemental_groups_policy").enumeration(self.policy)?;
        Ok(SecurityContext {
            user,
            group,
            supplemental_groups,
            strict_groups: policy == SupplementalGroupsPolicy::Strict,
            ..SecurityContext::default()
        })
    }
}

/// An id that fits the kernel's 32 bits; the highest means "none" there.
fn id(field: &Field<'_>, value: i64) -> Result<u32, DecodeError> {
    match u32::try_from(value) {
        Ok(id) if id != u32::MAX => Ok(id),
        _ => Err(field.invalid(format!("{value} is not within 0 to {}", u32::MAX - 1))),
    }
}

/// The kernel lets nobody in a user namespace mount a procfs of a PID namespace outside of it.
pub(super) const NO_HOST_PIDS: &str =
    "the node's PID namespace does not go with a user namespace of the pod's own";

fn namespaces(
    field: &Field<'_>,
    message: Option<proto::NamespaceOption>,
    owner: Owner,
) -> Result<NamespaceOptions, DecodeError> {
    let message = message.unwrap_or_default();
    let asks_for_nodes = |one: &proto::UserNamespace| one.mode() == proto::NamespaceMode::Node;
    // In a pod it is the same as nothing; in a container it may contradict the pod.
    let node_users = owner == Owner::Container && message.userns_options.as_ref().is_some_and(asks_for_nodes);
    let users = userns::user_namespace(&field.child("userns_options"), message.userns_options)?;
    let options = NamespaceOptions {
        network: shared(&field.child("network"), message.network)?,
        pid: mode(&field.child("pid"), message.pid)?,
        ipc: shared(&field.child("ipc"), message.ipc)?,
        target_id: (!message.target_id.is_empty()).then_some(message.target_id),
        users,
        node_users,
    };
    if owner == Owner::Sandbox && options.users.is_some() && options.pid == NamespaceMode::Node {
        return Err(field.child("pid").invalid(NO_HOST_PIDS));
    }
    let target = field.child("target_id");
    match (options.pid == NamespaceMode::Target, &options.target_id) {
        (true, _) if owner == Owner::Sandbox => {
            Err(field.child("pid").invalid("a sandbox cannot use a container's namespace"))
        }
        (true, None) => Err(target.missing()),
        (false, Some(_)) => Err(target.invalid("goes only with pid: TARGET")),
        _ => Ok(options),
    }
}

fn mode(field: &Field<'_>, value: i32) -> Result<NamespaceMode, DecodeError> {
    Ok(match field.enumeration(value)? {
        proto::NamespaceMode::Pod => NamespaceMode::Pod,
        proto::NamespaceMode::Container => NamespaceMode::Container,
        proto::NamespaceMode::Node => NamespaceMode::Node,
        proto::NamespaceMode::Target => NamespaceMode::Target,
    })
}

/// A namespace that a pod's containers cannot have each for itself.
fn shared(field: &Field<'_>, value: i32) -> Result<NamespaceMode, DecodeError> {
    match mode(field, value)? {
        mode @ (NamespaceMode::Pod | NamespaceMode::Node) => Ok(mode),
        NamespaceMode::Container | NamespaceMode::Target => Err(field.invalid("must be POD or NODE")),
    }
}

/// The filter of the newer field, else of the older one; they must not contradict each other.
fn seccomp(
    field: &Field<'_>,
    profile: Option<proto::SecurityProfile>,
    older: &str,
) -> Result<Option<Seccomp>, DecodeError> {
    let new_field = field.child("seccomp");
    let profile = profile.map(|profile| seccomp_profile(&new_field, profile)).transpose()?;
    let old_field = field.child("seccomp_profile_path");
    let older = seccomp_name(&old_field, older)?;
    match (profile, older) {
        (Some(profile), Some(older)) if profile != older => Err(old_field.invalid("contradicts seccomp")),
        (profile, older) => Ok(profile.or(older)),
    }
}

fn seccomp_profile(field: &Field<'_>, profile: proto::SecurityProfile) -> Result<Seccomp, DecodeError> {
    let kind = field.child("profile_type").enumeration(profile.profile_type)?;
    let reference = field.child("localhost_ref");
    if kind != ProfileType::Localhost && !profile.localhost_ref.is_empty() {
        return Err(reference.invalid("goes only with profile_type: Localhost"));
    }
    Ok(match kind {
        ProfileType::RuntimeDefault => Seccomp::RuntimeDefault,
        ProfileType::Unconfined => Seccomp::Unconfined,
        ProfileType::Localhost => Seccomp::Localhost(text::absolute(&reference, profile.localhost_ref)?),
    })
}

fn seccomp_name(field: &Field<'_>, name: &str) -> Result<Option<Seccomp>, DecodeError> {
    Ok(match name {
        "" => None,
        "runtime/default" | "docker/default" => Some(Seccomp::RuntimeDefault),
        "unconfined" => Some(Seccomp::Unconfined),
        other => {
            let Some(path) = other.strip_prefix("localhost/") else {
                return Err(field.invalid(format!("{other:?} is no profile")));
            };
            Some(Seccomp::Localhost(text::absolute(field, path.to_owned())?))
        }
    })
}
