//! What an operator can set for plugins; the `[nri]` section of the configuration.

use crate::settings::HostProblem;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Settings of the Node Resource Interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NriSettings {
    /// Plugins are served.
    pub enable: bool,
    /// The Unix socket that plugins connect to.
    pub socket_path: PathBuf,
    /// Where the executables are that the daemon starts.
    pub plugin_path: PathBuf,
    /// Where their configurations are.
    pub plugin_config_path: PathBuf,
    /// Milliseconds for which a plugin may take to say who it is.
    pub plugin_registration_timeout_ms: u64,
    /// Milliseconds for which a plugin may take over a request.
    pub plugin_request_timeout_ms: u64,
    /// Only plugins that the daemon has started are served.
    pub disable_connections: bool,
    /// The built-in plugin that judges what others do.
    pub default_validator: NriValidatorSettings,
}

impl Default for NriSettings {
    fn default() -> Self {
        Self {
            enable: true,
            socket_path: "/var/run/nri/nri.sock".into(),
            plugin_path: "/opt/nri/plugins".into(),
            plugin_config_path: "/etc/nri/conf.d".into(),
            plugin_registration_timeout_ms: 5000,
            plugin_request_timeout_ms: 2000,
            disable_connections: false,
            default_validator: NriValidatorSettings::default(),
        }
    }
}

/// What the built-in validator refuses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NriValidatorSettings {
    /// It is asked at all.
    pub enable: bool,
    /// Hooks that plugins add.
    pub reject_oci_hook_adjustment: bool,
    /// Changes of the runtime's own seccomp profile.
    pub reject_runtime_default_seccomp_adjustment: bool,
    /// Changes where a container has no seccomp profile.
    pub reject_unconfined_seccomp_adjustment: bool,
    /// Changes of a seccomp profile that the node has.
    pub reject_custom_seccomp_adjustment: bool,
    /// Changes of namespaces.
    pub reject_namespace_adjustment: bool,
    /// Changes of kernel parameters.
    pub reject_sysctl_adjustment: bool,
    /// Plugins without which no container is made.
    pub required_plugins: Vec<String>,
    /// The annotation by which a pod does without them; empty: none.
    pub tolerate_missing_plugins_annotation: String,
}

impl NriValidatorSettings {
    /// What of it does not do what it seems to.
    pub(crate) fn problem(&self) -> Option<HostProblem> {
        let is_idle = !self.enable && !self.required_plugins.is_empty();
        is_idle.then(|| {
            let problem = "has no effect, as `nri.default_validator.enable` is false: containers are created without them";
            HostProblem::tolerated("nri.default_validator.required_plugins", problem)
        })
    }

    /// As the interface takes them.
    pub(super) fn in_force(&self) -> nri::validator::Settings {
        nri::validator::Settings {
            enable: self.enable,
            oci_hooks: self.reject_oci_hook_adjustment,
            runtime_default_seccomp: self.reject_runtime_default_seccomp_adjustment,
            unconfined_seccomp: self.reject_unconfined_seccomp_adjustment,
            custom_seccomp: self.reject_custom_seccomp_adjustment,
            namespaces: self.reject_namespace_adjustment,
            sysctls: self.reject_sysctl_adjustment,
            required_plugins: self.required_plugins.clone(),
            tolerate_missing_plugins_annotation: self.tolerate_missing_plugins_annotation.clone(),
        }
    }
}
