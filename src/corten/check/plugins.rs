//! Plugins of the Node Resource Interface: where they connect, those that are installed, those that are required.

use super::finding::Finding;
use super::host::Host;
use super::neighbours::{listener, same};
use crate::admin::{self, Plugin, StatusView};
use crate::config::Config;
use crate::{lock, status_cli};
use std::path::Path;

pub(super) fn check(host: &Host, config: &Config) -> Vec<Finding> {
    if !config.nri.enable {
        return Vec::new();
    }
    // A daemon that runs knows best.
    let runs = lock::holding(&config.state_dir).is_some();
    let status =
        runs.then(|| status_cli::get(&admin::socket(&config.state_dir), "/v1/status").ok()).flatten();
    let mut found: Vec<Finding> = socket(host, config, status.as_ref()).into_iter().collect();
    found.extend(match &status {
        Some(status) => of_daemon(status),
        None => of_directory(config),
    });
    found
}

/// Where plugins connect, where another runtime has that.
fn socket(host: &Host, config: &Config, status: Option<&StatusView>) -> Option<Finding> {
    let (settings, path) = (&config.nri, config.nri.socket_path.to_string_lossy());
    if !settings.enable || settings.disable_connections {
        return None;
    }
    let problem = if lock::holding(&config.state_dir).is_some() {
        status?.nri.problem.clone()?
    } else {
        let sockets = host.read("/proc/net/unix").unwrap_or_default();
        let is_it = |other: &str| other == path || same(other, &path) || same(&path, other);
        if !sockets.lines().filter_map(listener).any(is_it) {
            return None;
        }
        format!("another runtime listens for NRI plugins on {path}")
    };
    Some(
        Finding::warning("nri", problem)
            .costs("no plugin can connect until that ends; where one is required, no container is created")
            .mend("stop the other runtime, or its NRI; or set another nri.socket_path: docs/nri.md"),
    )
}

/// What a daemon says of plugins that are not there.
fn of_daemon(status: &StatusView) -> Vec<Finding> {
    let is_required =
        |name: &str| status.nri.missing.iter().any(|required| engine::is_nri_plugin_called(required, name));
    let installed = |plugin: &&Plugin| plugin.started_here || plugin.unfit;
    let absent = status.plugins.iter().filter(installed);
    let absent = absent.filter_map(|plugin| Some((plugin, plugin.why.as_ref()?)));
    let mut found: Vec<Finding> = absent
        .map(|(Plugin { name, unfit, .. }, why)| {
            let costs = if is_required(name) { REFUSED } else { WITHOUT };
            let is = if *unfit { "started" } else { "connected" };
            Finding::warning("nri", format!("plugin {name} is not {is}: {why}"))
                .costs(costs)
                .mend("what the message says; what the plugin said is in the daemon's log")
        })
        .collect();
    let elsewhere = |required: &&String| {
        !status.plugins.iter().any(|plugin| {
            installed(&plugin) && plugin.why.is_some() && engine::is_nri_plugin_called(required, &plugin.name)
        })
    };
    found.extend(status.nri.missing.iter().filter(elsewhere).map(|required| {
        Finding::warning("nri", format!("plugin {required} is required, and not connected"))
            .costs(REFUSED)
            .mend(START)
    }));
    found
}

const REFUSED: &str = "no container is created without it, but in pods whose annotation lets them do without";
const WITHOUT: &str = "pods start without what it does for them";
const START: &str = "start the plugin, or take it out of nri.default_validator.required_plugins: docs/nri.md";

/// What would be started, and what would be missing.
fn of_directory(config: &Config) -> Vec<Finding> {
    let nri = &config.nri;
    // One that is not there has none, and one that is no directory is told with the settings.
    let directory = engine::look_for_nri_plugins(&nri.plugin_path).unwrap_or_default();
    let mut found = Vec::new();
    if !directory.plugins.is_empty() {
        found.push(Finding::ok("nri", format!("installed: {}", directory.plugins.join(", "))));
    }
    found.extend(directory.unfit.iter().map(|unfit| {
        let path = nri.plugin_path.join(&unfit.file);
        Finding::warning("nri", format!("{} is not started as a plugin: {}", path.display(), unfit.why))
            .costs(WITHOUT)
            .mend("what the message says, or put it elsewhere")
    }));
    let judge = &nri.default_validator;
    let required = judge.required_plugins.iter().filter(|_| judge.enable);
    let is_there = |name: &&String| {
        directory.plugins.iter().any(|installed| engine::is_nri_plugin_called(name, installed))
    };
    let missing = required.filter(|name| !is_there(name));
    found.extend(missing.map(|name| {
        let (place, until) = (nri.plugin_path.display(), until(&nri.socket_path, nri.disable_connections));
        let said = format!("plugin {name} is required, and not installed in {place}");
        Finding::warning("nri", said).costs(format!("no container is created until {until}")).mend(START)
    }));
    found
}

fn until(socket: &Path, is_closed: bool) -> String {
    match is_closed {
        true => "it is: others cannot connect, as nri.disable_connections is true".to_owned(),
        false => format!("it connects at {}", socket.display()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn host(root: &Path, files: &[(&str, &str)]) -> Host {
        let host = Host { root: root.into(), selinux: false };
        for (path, text) in files {
            std::fs::create_dir_all(host.path(path).parent().unwrap()).unwrap();
            std::fs::write(host.path(path), text).unwrap();
        }
        host
    }

    #[test]
    fn a_socket_of_plugins_that_another_runtime_has_is_told() {
        let root = tempfile::tempdir().unwrap();
        let line = "0000: 00000002 00000000 00010000 0001 01 1 /run/nri/nri.sock\n";
        let host = host(root.path(), &[("/proc/net/unix", line)]);
        let mut config = Config { state_dir: root.path().into(), ..Config::default() };
        let finding = socket(&host, &config, None).unwrap();
        assert_eq!((finding.check, finding.level), ("nri", Level::Warning));
        assert!(finding.found.ends_with("/var/run/nri/nri.sock"), "{}", finding.found);
        config.nri.disable_connections = true;
        assert_eq!(socket(&host, &config, None), None);
        config.nri = engine::NriSettings { socket_path: "/run/corten/nri.sock".into(), ..Default::default() };
        assert_eq!(socket(&host, &config, None), None);
    }
}
