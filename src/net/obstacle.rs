//! What makes every ADD of a network fail, as far as that shows without calling a plugin; and what of the settings does
//! not fit this host.

use crate::chain::{network_invocation, with_network};
use crate::conf::{ConfDir, Loaded};
use crate::metrics::Mode;
use crate::{NetworkSettings, exec, in_process};
use cni::types::{Command, PluginConfig};

/// How a plugin of a configuration is to run.
pub(crate) fn mode(settings: &NetworkSettings, conf: &PluginConfig, builtin: bool) -> Mode {
    if builtin || settings.in_process && in_process::supports(conf) {
        Mode::InProcess
    } else {
        Mode::Executed
    }
}

/// A configuration that a plugin in process refuses, or a plugin that would have to be executed and is not there.
pub(crate) fn obstacle(settings: &NetworkSettings, loaded: &Loaded) -> Option<String> {
    refused(settings, loaded).or_else(|| missing(settings, loaded))
}

fn refused(settings: &NetworkSettings, loaded: &Loaded) -> Option<String> {
    let plugins = loaded.list.plugins.iter();
    let mut own = plugins.filter(|plugin| mode(settings, plugin, loaded.builtin) == Mode::InProcess);
    own.find_map(|plugin| {
        let call = network_invocation(Command::Status, with_network(&loaded.list, plugin));
        let problem = cni::validate(&call).err()?.msg;
        Some(format!("{}: {problem}", loaded.path.display()))
    })
}

fn missing(settings: &NetworkSettings, loaded: &Loaded) -> Option<String> {
    let absent = |conf: &&PluginConfig| {
        mode(settings, conf, loaded.builtin) == Mode::Executed
            && exec::find(conf.plugin_type(), &settings.bin_dirs).is_none()
    };
    let plugin = loaded.list.plugins.iter().find(absent)?.plugin_type();
    Some(format!("no CNI plugin {plugin} in {}", exec::search_path(&settings.bin_dirs)))
}

impl NetworkSettings {
    /// What is wrong with the configurations of this host: files that are passed over for a mistake, and why the one that
    /// would be in force cannot serve. Nothing is called or made for it.
    pub fn check_host(&self) -> Vec<String> {
        let scan = match ConfDir::new(self.conf_dir.clone()).scan() {
            Ok(scan) => scan,
            Err(error) => return vec![format!("cannot read {}: {error}", self.conf_dir.display())],
        };
        let broken =
            scan.broken.iter().map(|broken| format!("{}: {}", broken.path.display(), broken.problem));
        let obstacle = scan.chosen.as_ref().and_then(|loaded| obstacle(self, loaded));
        broken.chain(obstacle).collect()
    }
}
