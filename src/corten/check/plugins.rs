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
        return vec![Finding::ok("nri", "off, as nri.enable is false")];
    }
    // A daemon that runs knows best.
    let runs = lock::holding(&config.state_dir).is_some();
    let status =
        runs.then(|| status_cli::get(&admin::socket(&config.state_dir), "/v1/status").ok()).flatten();
    let mut found: Vec<Finding> = socket(host, config, status.as_ref()).into_iter().collect();
    found.extend(match &status {
        Some(status) => of_daemon(config, status),
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

/// What a daemon says of its plugins.
fn of_daemon(config: &Config, status: &StatusView) -> Vec<Finding> {
    let connected = status.plugins.iter().filter(|plugin| plugin.connected);
    let connected: Vec<&str> = connected.map(|plugin| plugin.name.as_str()).collect();
    let said = if connected.is_empty() {
        "no plugin".to_owned()
    } else {
        format!("connected: {}", connected.join(", "))
    };
    let mut found = vec![Finding::ok("nri", said)];
    let is_required =
        |name: &str| status.nri.missing.iter().any(|required| engine::is_nri_plugin_called(required, name));
    let absent = status.plugins.iter().filter_map(|plugin| Some((plugin, plugin.why.as_ref()?)));
    found.extend(absent.map(|(plugin, why)| {
        let Plugin { name, unfit, started_here, .. } = plugin;
        let costs = if is_required(name) { REFUSED } else { WITHOUT };
        let (is, mend) = match (unfit, started_here) {
            (true, _) => ("is not started", SAID),
            (false, true) => ("is not connected", SAID),
            (false, false) => ("was connected, and is gone", AGAIN),
        };
        Finding::warning("nri", format!("plugin {name} {is}: {why}")).costs(costs).mend(mend)
    }));
    let is_told = |required: &String| {
        let called = |plugin: &&Plugin| engine::is_nri_plugin_called(required, &plugin.name);
        status.plugins.iter().filter(called).any(|plugin| plugin.why.is_some())
    };
    found.extend(status.nri.missing.iter().filter(|required| !is_told(required)).map(|required| {
        let is_joining = status.plugins.iter().any(|one| engine::is_nri_plugin_called(required, &one.name));
        let why = if is_joining { "it is being told of every pod".to_owned() } else { elsewhere(config) };
        Finding::warning("nri", format!("plugin {required} is required, and not connected: {why}"))
            .costs(REFUSED)
            .mend(START)
    }));
    found
}

/// Why one is not there of which nothing is known.
fn elsewhere(config: &Config) -> String {
    let (directory, socket) = (config.nri.plugin_path.display(), config.nri.socket_path.display());
    match config.nri.disable_connections {
        true => format!("it is not in {directory}, and others cannot connect (nri.disable_connections)"),
        false => format!("it is not in {directory}, and has not connected to {socket}"),
    }
}

const SAID: &str = "what the message says; what the plugin said is in the daemon's log";
const AGAIN: &str = "start it again; where it was taken off this node, this is told for a day";
const REFUSED: &str = "no container is created without it, but in pods whose annotation lets them do without";
const WITHOUT: &str = "pods start without what it does for them";
const START: &str = "start the plugin, or take it out of nri.default_validator.required_plugins: docs/nri.md";

/// What would be started, and what would be missing.
fn of_directory(config: &Config) -> Vec<Finding> {
    let nri = &config.nri;
    // One that is not there has none, and one that is no directory is told with the settings.
    let directory = engine::look_for_nri_plugins(&nri.plugin_path).unwrap_or_default();
    let mut found = Vec::new();
    let installed = match directory.plugins.as_slice() {
        [] => format!("on, no plugin is installed in {}", nri.plugin_path.display()),
        plugins => format!("installed: {}", plugins.join(", ")),
    };
    found.push(Finding::ok("nri", installed));
    found.extend(directory.unfit.iter().map(|unfit| {
        let path = nri.plugin_path.join(&unfit.file);
        Finding::warning("nri", format!("{} is not started as a plugin: {}", path.display(), unfit.why))
            .costs(WITHOUT)
            .mend(match unfit.why {
                engine::NriUnfitness::Dangling(_) => "put there what it leads to, or remove the link",
                _ => "what the message says, or put it elsewhere",
            })
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

    fn plugin(name: &str, started_here: bool, why: Option<&str>) -> serde_json::Value {
        serde_json::json!({
            "name": name, "started_here": started_here, "unfit": false, "pid": null, "connected": why.is_none(),
            "since": 0, "why": why, "again_in_seconds": null, "restarts": 0, "last_end": null, "requests": 0,
            "adjustments": 0, "failures": 0, "waits_for": null,
        })
    }

    /// What a daemon answers that has these plugins, of which none is called as one that is required.
    fn status(plugins: &[serde_json::Value], missing: &[&str]) -> StatusView {
        let none: [u8; 0] = [];
        serde_json::from_value(serde_json::json!({
            "version": "", "commit": "", "pid": 1, "started_at": 0, "uptime_seconds": 0, "conditions": none,
            "config": {"files": none, "read_at": 0, "waiting_for_restart": none, "refused": null},
            "settings": none, "network": null, "info": {}, "handlers": none, "disks": none, "image_bytes": 0,
            "images": 0, "pods": {"ready": 0, "not_ready": 0},
            "containers": {"created": 0, "running": 0, "exited": 0}, "records_not_durable": 0, "recovery": null,
            "operations": none, "plugins": plugins,
            "nri": {"enabled": true, "socket": null, "problem": null, "missing": missing},
        }))
        .unwrap()
    }

    #[test]
    fn what_a_daemon_knows_of_plugins_that_are_not_there_is_told_with_why() {
        let found = |plugins: &[serde_json::Value], missing: &[&str]| {
            let found = of_daemon(&Config::default(), &status(plugins, missing)).into_iter();
            found.map(|finding| finding.found).collect::<Vec<_>>()
        };
        assert_eq!(found(&[], &[]), ["no plugin"]);
        let plugins = [
            plugin("10-here", true, None),
            plugin("20-policy", false, Some("its connection has ended")),
            plugin("30-own", true, Some("it exited with code 1")),
        ];
        let expected = [
            "connected: 10-here",
            "plugin 20-policy was connected, and is gone: its connection has ended",
            "plugin 30-own is not connected: it exited with code 1",
        ];
        assert_eq!(found(&plugins, &[]), expected);
        let more = "plugin other is required, and not connected: it is not in /opt/nri/plugins, and has not connected to \
                    /var/run/nri/nri.sock";
        assert_eq!(found(&plugins, &["policy", "other"]), [&expected[..], &[more]].concat());
        assert_eq!(of_daemon(&Config::default(), &status(&plugins, &["policy"]))[1].costs, REFUSED);
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
