//! Plugins of the Node Resource Interface, as `corten status` tells of them.

use super::Lines;
use crate::admin::{self, Plugin, StatusView};
use engine::counted;

pub(super) fn tell(status: &StatusView, lines: &mut Lines) {
    for line in node(&status.nri, !status.plugins.is_empty()) {
        lines.add("nri", &line);
    }
    for plugin in &status.plugins {
        lines.add("nri plugin", &one(plugin));
    }
}

/// Whether there are plugins at all, where they connect, and which are required and missing.
fn node(nri: &admin::Nri, has_plugins: bool) -> Vec<String> {
    let admin::Nri { enabled, socket, problem, missing } = nri;
    if !*enabled {
        return vec!["off, as nri.enable is false".to_owned()];
    }
    let connect = match (socket, problem) {
        (None, _) => "no plugin can connect by itself, as nri.disable_connections is true".to_owned(),
        (Some(socket), None) => format!("plugins connect to {}", socket.display()),
        (Some(_), Some(problem)) => format!("no plugin can connect, which is tried again: {problem}"),
    };
    let mut lines = vec![if has_plugins { connect } else { format!("on, no plugin; {connect}") }];
    if !missing.is_empty() {
        lines.push(format!("no container is created without {}, not connected", missing.join(", ")));
    }
    lines
}

fn one(plugin: &Plugin) -> String {
    if let (true, Some(why)) = (plugin.unfit, &plugin.why) {
        return format!("{} is not started: {why}", plugin.name);
    }
    let again = plugin.again_in_seconds.map(|seconds| format!(", starts again in {seconds:.0} s"));
    let again = again.unwrap_or_default();
    let state = match &plugin.why {
        Some(why) => format!("not connected ({why}{again})"),
        None if plugin.connected => "connected".to_owned(),
        None => "is being told of every pod".to_owned(),
    };
    let process = plugin.pid.map(|pid| format!(", process {pid}")).unwrap_or_default();
    let from = if plugin.started_here { ", started here" } else { "" };
    let came = if plugin.started_here { "started again" } else { "came back" };
    let mut restarts = match plugin.restarts {
        0 => String::new(),
        1 => format!(", {came} once"),
        restarts => format!(", {came} {restarts} times"),
    };
    // While it is not there, that is why.
    if let (Some(end), None) = (&plugin.last_end, &plugin.why) {
        restarts += &format!(" ({end})");
    }
    let waits = plugin.waits_for.as_ref().map(|waits| {
        format!("; is asked {} and has not answered for {:.3} s", waits.stage, waits.age_seconds)
    });
    format!(
        "{} {state}{process}{from}{restarts}: {}, {} adjusted, {} failed{}",
        plugin.name,
        counted(plugin.requests, "request"),
        plugin.adjustments,
        plugin.failures,
        waits.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin() -> Plugin {
        Plugin {
            name: "10-a".to_owned(),
            started_here: true,
            unfit: false,
            pid: Some(7),
            connected: true,
            since: 0,
            why: None,
            again_in_seconds: None,
            restarts: 1,
            last_end: Some("it exited with code 1 (last line: no licence)".to_owned()),
            requests: 2,
            adjustments: 1,
            failures: 0,
            waits_for: None,
        }
    }

    #[test]
    fn what_is_turned_off_is_told_with_its_setting() {
        let mut nri = admin::Nri::default();
        assert_eq!(node(&nri, false), ["off, as nri.enable is false"]);
        nri.enabled = true;
        let closed = "no plugin can connect by itself, as nri.disable_connections is true";
        assert_eq!(node(&nri, true), [closed]);
        assert_eq!(node(&nri, false), [format!("on, no plugin; {closed}")]);
        nri.socket = Some("/run/nri.sock".into());
        assert_eq!(node(&nri, true), ["plugins connect to /run/nri.sock"]);
    }

    #[test]
    fn how_a_plugin_ended_is_told_whether_it_is_back_or_not() {
        assert_eq!(
            one(&plugin()),
            "10-a connected, process 7, started here, started again once (it exited with code 1 (last line: no licence)): 2 requests, \
             1 adjusted, 0 failed"
        );
        let away = Plugin {
            pid: None,
            connected: false,
            why: plugin().last_end,
            again_in_seconds: Some(4.2),
            ..plugin()
        };
        assert_eq!(
            one(&away),
            "10-a not connected (it exited with code 1 (last line: no licence), starts again in 4 s), started here, started again once: \
             2 requests, 1 adjusted, 0 failed"
        );
        let why = Some("it is a directory".to_owned());
        let unfit = Plugin { started_here: false, unfit: true, connected: false, why, ..plugin() };
        assert_eq!(one(&unfit), "10-a is not started: it is a directory");
    }
}
