//! Plugins of the Node Resource Interface: what they are asked and told of pods and containers, and what they ask for.
//! Where none is connected no message is made.

mod adjust;
mod asked;
mod containers;
mod explained;
mod marks;
mod node;
mod pods;
mod settings;
mod updates;
mod view;

pub use asked::AskedByPlugins;
pub(crate) use marks::{Changers, ContainerMarks, PodMarks, Turn};
pub use settings::{NriSettings, NriValidatorSettings};

use crate::Engine;
use std::sync::Arc;
use std::time::Duration;

/// A plugin is told of everything that there is: that may take longer than a request.
const SYNCHRONIZE: Duration = Duration::from_secs(10);

impl Engine {
    /// Lets plugins connect, and starts those that are installed. They are told of the pods that are here: who opens an
    /// engine for something else than to run pods does not call this.
    pub fn serve_plugins(&self) {
        let settings = self.core.live().settings.nri.in_force();
        for container in self.core.registry.all_containers() {
            if matches!(container.state(), model::ContainerState::Exited { .. }) {
                container.nri.has_ended_before();
            }
        }
        let node = Arc::new(node::EngineNode(Arc::downgrade(&self.containers)));
        self.core.nri.start(settings, node);
    }

    /// How the socket is that plugins connect to, where they may.
    pub fn plugin_socket(&self) -> Option<nri::ListenStatus> {
        self.core.nri.listening()
    }

    /// Plugins that no container is created without and that are not there; `None` where none is required.
    pub fn missing_plugins(&self) -> Option<Vec<String>> {
        self.core.nri.missing()
    }

    /// Takes over other settings of plugins; what those that are as before lead to may be another all the same.
    pub(crate) fn reconfigure_plugins(&self, former: &NriSettings, new: &NriSettings) -> nri::NriResult<()> {
        if former == new {
            self.core.nri.look_again();
            return Ok(());
        }
        self.core.nri.apply(new.in_force())
    }

    /// The plugins, in the order in which they are asked.
    pub fn plugins(&self) -> Vec<nri::PluginStatus> {
        self.core.nri.plugins()
    }

    /// Tells plugins that the runtime goes, and ends those that it started.
    pub async fn leave_plugins(&self) {
        self.core.nri.shutdown().await;
    }
}

impl NriSettings {
    fn in_force(&self) -> nri::Settings {
        let request_timeout = Duration::from_millis(self.plugin_request_timeout_ms);
        nri::Settings {
            enable: self.enable,
            socket: self.socket_path.clone(),
            external: !self.disable_connections,
            plugins: self.plugin_path.clone(),
            configurations: self.plugin_config_path.clone(),
            registration_timeout: Duration::from_millis(self.plugin_registration_timeout_ms),
            request_timeout,
            synchronize_timeout: SYNCHRONIZE.max(request_timeout),
            runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
            validator: self.default_validator.in_force(),
        }
    }
}
