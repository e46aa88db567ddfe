//! What security modules of the kernel are asked for: AppArmor profiles and SELinux labels.

use super::{DecodeError, Field, is_set, text};
use crate::proto;
use model::{AppArmor, Selinux};
use proto::security_profile::ProfileType;

/// The AppArmor profile of the newer field of a security context, else of the older one.
pub(crate) fn apparmor(
    field: &Field<'_>,
    profile: Option<&proto::SecurityProfile>,
    older: &str,
) -> Result<Option<AppArmor>, DecodeError> {
    let older = apparmor_name(&field.child("apparmor_profile"), older)?;
    // Where both are set the kubelet means the newer.
    Ok(profile.map(|profile| apparmor_profile(&field.child("apparmor"), profile)).transpose()?.or(older))
}

fn apparmor_profile(field: &Field<'_>, profile: &proto::SecurityProfile) -> Result<AppArmor, DecodeError> {
    let reference = field.child("localhost_ref");
    let kind = field.child("profile_type").enumeration(profile.profile_type)?;
    if kind != ProfileType::Localhost && !profile.localhost_ref.is_empty() {
        return Err(reference.invalid("goes only with profile_type: Localhost"));
    }
    Ok(match kind {
        ProfileType::RuntimeDefault => AppArmor::RuntimeDefault,
        ProfileType::Unconfined => AppArmor::Unconfined,
        ProfileType::Localhost => localhost(&reference, &profile.localhost_ref)?,
    })
}

fn apparmor_name(field: &Field<'_>, name: &str) -> Result<Option<AppArmor>, DecodeError> {
    Ok(match name {
        "" => None,
        "runtime/default" => Some(AppArmor::RuntimeDefault),
        "unconfined" => Some(AppArmor::Unconfined),
        name if name.starts_with("localhost/") => Some(localhost(field, name)?),
        name => return Err(field.invalid(format!("{name:?} is no profile"))),
    })
}

/// The name of a loaded profile, which some clients put after a scheme in the newer field, too.
fn localhost(field: &Field<'_>, name: &str) -> Result<AppArmor, DecodeError> {
    let name = name.strip_prefix("localhost/").unwrap_or(name);
    if name.is_empty() {
        return Err(field.missing());
    }
    text::printable(field, name)?;
    Ok(AppArmor::Localhost(name.to_owned()))
}

/// A label's parts: none of them may reach into another.
pub(crate) fn selinux(
    field: &Field<'_>,
    message: Option<proto::SeLinuxOption>,
) -> Result<Option<Selinux>, DecodeError> {
    let Some(message) = message.filter(|message| is_set(Some(message))) else { return Ok(None) };
    for (name, part) in [("user", &message.user), ("role", &message.role), ("type", &message.r#type)] {
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if !part.chars().all(known) {
            return Err(field.child(name).invalid(format!("{part:?} is no part of a label")));
        }
    }
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | ',' | '.' | '-');
    if !message.level.chars().all(known) {
        return Err(field.child("level").invalid(format!("{:?} is no level", message.level)));
    }
    Ok(Some(Selinux { user: message.user, role: message.role, kind: message.r#type, level: message.level }))
}
