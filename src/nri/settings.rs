//! What an operator decides about plugins.

use crate::validator;
use std::path::PathBuf;
use std::time::Duration;

/// The defaults are the peers'.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whether there are plugins at all.
    pub enable: bool,
    /// Where plugins connect; its directory is made for root alone.
    pub socket: PathBuf,
    /// Whether plugins may connect there.
    pub external: bool,
    /// Plugins that are started with the runtime: executables named as `10-name`.
    pub plugins: PathBuf,
    /// Their configurations, `10-name.conf` or `name.conf`.
    pub configurations: PathBuf,
    /// A plugin that has not registered by then is dropped.
    pub registration_timeout: Duration,
    /// A request that is not answered by then goes on without the plugin.
    pub request_timeout: Duration,
    /// The same of telling a newcomer of everything, however many requests that takes: each has twice the former.
    pub synchronize_timeout: Duration,
    /// What plugins are told that they run under.
    pub runtime_version: String,
    /// What no plugin may change.
    pub validator: validator::Settings,
}

impl Settings {
    /// Without plugins nobody judges what they want.
    pub(crate) fn in_force(self) -> Self {
        if self.enable { self } else { Self { validator: validator::Settings::default(), ..self } }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enable: true,
            socket: PathBuf::from("/var/run/nri/nri.sock"),
            external: true,
            plugins: PathBuf::from("/opt/nri/plugins"),
            configurations: PathBuf::from("/etc/nri/conf.d"),
            registration_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(2),
            synchronize_timeout: Duration::from_secs(10),
            runtime_version: String::new(),
            validator: validator::Settings::default(),
        }
    }
}
