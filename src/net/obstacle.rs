//! What makes every ADD of a network fail, as far as that shows without calling a plugin; and what of the settings does
//! not fit this host.

use crate::chain::{network_invocation, with_network};
use crate::conf::{ConfDir, Loaded};
use crate::in_process::{self, Beyond};
use crate::metrics::Mode;
use crate::{NetworkSettings, exec};
use cni::types::{Command, PluginConfig};

/// How a plugin of a configuration is to run.
pub(crate) fn mode(settings: &NetworkSettings, conf: &PluginConfig, builtin: bool) -> Mode {
    if builtin || settings.in_process && in_process::supports(conf) {
        Mode::InProcess
    } else {
        Mode::Executed
    }
}

/// Why the binary of a plugin is executed that runs in the daemon mostly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exception {
    pub(crate) text: String,
    /// Perhaps nobody knows the key.
    pub(crate) is_suspect: bool,
}

/// The plugins of a configuration that are executed though there are built-in ones of their type.
pub(crate) fn exceptions(settings: &NetworkSettings, loaded: &Loaded) -> Vec<Exception> {
    if loaded.builtin || !settings.in_process {
        return Vec::new();
    }
    loaded.list.plugins.iter().filter_map(|plugin| exception(settings, plugin)).collect()
}

fn exception(settings: &NetworkSettings, plugin: &PluginConfig) -> Option<Exception> {
    let kind = plugin.plugin_type();
    let (why, is_suspect) = match in_process::beyond(plugin)? {
        Beyond::OtherPlugin => return None,
        Beyond::Ipam(ipam) => (format!("the built-in {kind} does not run IPAM plugin {ipam}"), false),
        Beyond::Field(unknown) if unknown.is_unknown() => {
            let meant = unknown.meant.map(|key| format!(" ({key} may be meant)")).unwrap_or_default();
            (format!("key {} is not known to the built-in {kind}{meant}", unknown.field), true)
        }
        Beyond::Field(unknown) => {
            (format!("the built-in {kind} does not do {} ({})", unknown.field, unknown.reason), false)
        }
    };
    let executed = match exec::find(kind, &settings.bin_dirs) {
        Some(path) => format!("{} is executed", path.display()),
        None => format!("a binary {kind} would be executed"),
    };
    Some(Exception { text: format!("{why}, so that {executed} instead"), is_suspect })
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
    let conf = loaded.list.plugins.iter().find(absent)?;
    let missing =
        format!("no CNI plugin {} in {}", conf.plugin_type(), exec::search_path(&settings.bin_dirs));
    let exception = settings.in_process.then(|| exception(settings, conf)).flatten();
    Some(match exception {
        Some(exception) => format!("{missing}: {}", exception.text),
        None => missing,
    })
}

impl NetworkSettings {
    /// What is wrong with the configurations of this host: files that are passed over for a mistake, why the one that
    /// would be in force cannot serve, and keys of it that the built-in plugins do not know. Nothing is called or made for it.
    pub fn check_host(&self) -> Vec<String> {
        let scan = match ConfDir::new(self.conf_dir.clone()).scan() {
            Ok(scan) => scan,
            Err(error) => return vec![format!("cannot read {}: {error}", self.conf_dir.display())],
        };
        let broken =
            scan.broken.iter().map(|broken| format!("{}: {}", broken.path.display(), broken.problem));
        let mut problems: Vec<String> = broken.collect();
        if let Some(loaded) = &scan.chosen {
            let file = loaded.path.display();
            let suspects = exceptions(self, loaded).into_iter().filter(|exception| exception.is_suspect);
            match obstacle(self, loaded) {
                Some(obstacle) => problems.push(obstacle),
                None => problems.extend(suspects.map(|exception| format!("{file}: {}", exception.text))),
            }
        }
        problems
    }
}
