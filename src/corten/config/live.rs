//! Which settings a running daemon takes over when it reads its files again, and which take a restart.

use super::{Config, own_directories};
use toml::{Table, Value};

/// When a setting takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// As soon as it is read: for what begins from then on.
    Live,
    /// When the daemon starts.
    Restart,
}
use When::{Live, Restart};

/// Every key with its mark. `handlers` stands for all of its sections.
pub(super) const KEYS: &[(&str, When)] = &[
    ("socket", Restart),
    ("state_dir", Restart),
    ("data_dir", Restart),
    ("daemon.workers", Restart),
    ("daemon.drain_seconds", Live),
    ("daemon.max_request_bytes", Restart),
    ("log.level", Live),
    ("log.format", Restart),
    ("metrics.address", Restart),
    ("metrics.tls_cert_file", Restart),
    ("metrics.tls_key_file", Restart),
    ("metrics.token_file", Restart),
    ("tracing.endpoint", Restart),
    ("tracing.protocol", Restart),
    ("tracing.ca_file", Restart),
    ("tracing.samples_per_million", Restart),
    ("images.root", Restart),
    ("images.certs_dir", Live),
    ("images.parallel_layers", Live),
    ("images.resume_layer_bytes", Live),
    ("images.split_layer_bytes", Live),
    ("images.keep_unfinished_seconds", Live),
    ("images.keep_layer_blobs", Live),
    ("images.dial_timeout_seconds", Live),
    ("images.progress_timeout_seconds", Live),
    ("images.max_layer_bytes", Live),
    ("images.max_layer_entries", Live),
    ("images.pinned", Live),
    ("images.max_pulls", Live),
    ("images.registry_qps", Live),
    ("images.registry_burst", Live),
    ("images.require_digest", Live),
    ("images.refuse_tags", Live),
    ("network.conf_dir", Live),
    ("network.bin_dirs", Live),
    ("network.builtin_network", Restart),
    ("network.in_process", Restart),
    ("network.subnets", Restart),
    ("network.ipv6", Restart),
    ("network.mtu", Restart),
    ("network.plugin_timeout_seconds", Live),
    ("network.status_interval_seconds", Live),
    ("network.max_executing_plugins", Restart),
    ("network.warm_namespaces", Live),
    ("runtime.shim", Restart),
    ("runtime.pause", Restart),
    ("runtime.netns_dir", Restart),
    ("runtime.cgroup_driver", Restart),
    ("runtime.cgroup_parent", Restart),
    ("runtime.default_handler", Restart),
    ("runtime.default_capabilities", Live),
    ("runtime.default_sysctls", Live),
    ("runtime.rlimits", Live),
    ("runtime.cdi_spec_dirs", Live),
    ("runtime.blockio_config_file", Live),
    ("runtime.rdt_config_file", Live),
    ("runtime.ignore_blockio_not_enabled_errors", Live),
    ("runtime.ignore_rdt_not_enabled_errors", Live),
    ("runtime.device_ownership_from_security_context", Live),
    ("runtime.pids_limit", Live),
    ("runtime.seccomp_default", Live),
    ("runtime.selinux", Restart),
    ("runtime.shm_size", Live),
    ("runtime.exec_output_limit", Live),
    ("runtime.exec_drain_ms", Live),
    ("runtime.kill_timeout_seconds", Live),
    ("runtime.layer_usage_seconds", Live),
    ("runtime.keep_cpus_ready", Live),
    ("runtime.warm_supervisors", Live),
    ("stream.address", Restart),
    ("stream.tls_cert_file", Restart),
    ("stream.tls_key_file", Restart),
    ("stream.idle_timeout_seconds", Live),
    ("kubelet.cadvisor_socket", Restart),
    ("nri.enable", Live),
    ("nri.socket_path", Live),
    ("nri.plugin_path", Live),
    ("nri.plugin_config_path", Live),
    ("nri.plugin_registration_timeout_ms", Live),
    ("nri.plugin_request_timeout_ms", Live),
    ("nri.disable_connections", Live),
    ("nri.default_validator", Live),
    ("handlers", Live),
];

/// What comes of settings that were read again.
#[derive(Debug)]
pub(crate) struct Update {
    /// The settings to be in force: the new ones, but the old where it takes a restart.
    pub(crate) config: Config,
    /// Keys that change.
    pub(crate) changed: Vec<&'static str>,
    /// Keys that differ and wait for a restart.
    pub(crate) waiting: Vec<&'static str>,
}

/// Compares settings with those in force.
///
/// # Errors
/// Never for settings that were read from files.
pub(crate) fn update(current: &Config, new: &Config) -> Result<Update, toml::de::Error> {
    let (mut merged, wanted) = (table(current), table(new));
    let (mut changed, mut waiting) = (Vec::new(), Vec::new());
    for (key, when) in KEYS.iter().copied() {
        let value = get(&wanted, key);
        if get(&merged, key) == value {
            continue;
        }
        match when {
            Live => {
                set(&mut merged, key, value.cloned());
                changed.push(key);
            }
            Restart => waiting.push(key),
        }
    }
    let mut config: Config = merged.try_into()?;
    own_directories(&mut config);
    Ok(Update { config, changed, waiting })
}

/// The settings that are not the defaults.
pub(crate) fn differing(config: &Config) -> Vec<(String, Value)> {
    let (defaults, own) = (table(&Config::default()), table(config));
    let differs = |key: &&str| get(&own, key) != get(&defaults, key);
    let keys = KEYS.iter().map(|(key, _)| *key).filter(differs);
    keys.filter_map(|key| Some((key.to_owned(), get(&own, key)?.clone()))).collect()
}

/// Whether a setting of this name is true or false.
pub(super) fn is_switch(name: &str) -> bool {
    let name = name.rsplit('.').next().unwrap_or(name);
    let is_it = |section: &Value| section.get(name).is_some_and(Value::is_bool);
    table(&Config::default()).values().any(is_it)
}

pub(super) fn table(config: &Config) -> Table {
    // Its types have string keys and no number that TOML lacks.
    Table::try_from(config).unwrap_or_default()
}

fn get<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        None => table.get(key),
        Some((section, key)) => table.get(section)?.get(key),
    }
}

fn set(table: &mut Table, key: &str, value: Option<Value>) {
    let (table, key) = match key.split_once('.') {
        None => (Some(table), key),
        Some((section, key)) => (table.get_mut(section).and_then(Value::as_table_mut), key),
    };
    let Some(table) = table else { return };
    match value {
        Some(value) => drop(table.insert(key.to_owned(), value)),
        None => drop(table.remove(key)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::DEFAULT_TEXT;
    use std::collections::BTreeSet;

    #[test]
    fn every_key_has_a_mark_and_every_mark_a_key() {
        let mut keys = BTreeSet::new();
        for (section, value) in table(&Config::default()) {
            match value {
                Value::Table(entries) if section != "handlers" => {
                    keys.extend(entries.keys().map(|key| format!("{section}.{key}")));
                }
                _ => drop(keys.insert(section)),
            }
        }
        let marks: BTreeSet<String> = KEYS.iter().map(|(key, _)| (*key).to_owned()).collect();
        assert_eq!(marks, keys);
        assert_eq!(marks.len(), KEYS.len(), "a key is marked twice");
    }

    #[test]
    fn the_printed_defaults_name_what_takes_a_restart() {
        let head = DEFAULT_TEXT.split("\nsocket = ").next().unwrap().replace("\n# ", " ");
        let listed = head.split_once("take a restart: ").unwrap().1.split(". ").next().unwrap();
        let named: BTreeSet<&str> = listed.split(',').map(str::trim).collect();
        let wanted: BTreeSet<&str> =
            KEYS.iter().filter(|(_, when)| *when == Restart).map(|(key, _)| *key).collect();
        assert_eq!(named, wanted);
    }

    #[test]
    fn what_can_change_does_and_the_rest_waits() {
        let current = Config::default();
        let mut new = current.clone();
        new.log.level = "debug".to_owned();
        new.images.pinned = vec!["x".to_owned()];
        new.images.root = "/elsewhere".into();
        new.daemon.workers = 3;
        let Update { config, changed, waiting } = update(&current, &new).unwrap();
        assert_eq!(changed, ["log.level", "images.pinned"]);
        assert_eq!(waiting, ["daemon.workers", "images.root"]);
        assert_eq!((config.log.level.as_str(), config.daemon.workers), ("debug", 0));
        assert_eq!((config.images.pinned.len(), &config.images.root), (1, &current.images.root));
        assert_eq!(config.network.state_dir, current.state_dir.join("network"));
        let again = update(&config, &config).unwrap();
        assert!(again.changed.is_empty() && again.waiting.is_empty());
    }
}
