//! Which filter a container runs under.

use super::inputs::ContainerInputs;
use super::settings::UnsetSeccomp;
use crate::caps::CapSet;
use crate::error::OciResult;
use crate::seccomp;
use model::Seccomp;
use oci_spec::runtime::LinuxSeccomp;

/// A privileged container has none, whatever it asks for: a filter would take back what privilege grants.
pub(super) fn profile(inputs: &ContainerInputs<'_>, bounding: CapSet) -> OciResult<Option<LinuxSeccomp>> {
    let security = &inputs.container.security;
    if security.privileged {
        return Ok(None);
    }
    let wanted = match (&security.seccomp, inputs.settings.unset_seccomp) {
        (Some(wanted), _) => wanted,
        (None, UnsetSeccomp::Unconfined) => &Seccomp::Unconfined,
        (None, UnsetSeccomp::RuntimeDefault) => &Seccomp::RuntimeDefault,
    };
    match wanted {
        Seccomp::Unconfined => Ok(None),
        Seccomp::RuntimeDefault => seccomp::default_profile(bounding).map(Some),
        Seccomp::Localhost(path) => seccomp::localhost(path.as_path(), bounding).map(Some),
    }
}
