//! The Helm chart as it is rendered, and values that it refuses.

use crate::stage::PATIENCE;
use e2e::command::{self, Finished};
use e2e::tools;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What helm takes the cluster's version for where it asks none.
const KUBERNETES: [&str; 2] = ["--kube-version", "1.36.2"];

fn chart() -> PathBuf {
    tools::repository().join("charts/corten")
}

/// helm, with everything of its own below a directory.
fn helm(own: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(tools::go_tool("helm", "cluster").unwrap());
    for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(name, own.join(name));
    }
    command.args(arguments);
    command
}

/// The chart rendered with some values.
fn render(own: &Path, values: &Value) -> Finished {
    let file = own.join("values.json");
    fs::write(&file, values.to_string()).unwrap();
    let mut command = helm(own, &["template", "node", chart().to_str().unwrap(), "--values"]);
    command.arg(&file).args(KUBERNETES);
    command::finish(&mut command, PATIENCE).unwrap()
}

/// Values that have everything made.
fn everything() -> Value {
    json!({
        "metrics": {"monitor": "service"}, "dashboard": {"enabled": true}, "alerts": {"enabled": true},
        "runtimeClasses": [{"name": "corten", "handler": "native", "scheduling": {"nodeSelector": {"a": "b"}}}],
        "certsD": {"registry.test:5000": "server = \"http://registry.test:5000\"\n"}, "config": "[log]\nlevel = \"info\"\n",
        "kubelet": {"switch": true}, "tolerations": [{"operator": "Exists"}],
        "priorityClassName": "system-node-critical", "imagePullSecrets": [{"name": "pull"}],
    })
}

#[test]
fn the_chart_renders_and_refuses_values_that_are_none() {
    let own = tempfile::tempdir().unwrap();
    let mut lint = helm(own.path(), &["lint", "--strict", chart().to_str().unwrap()]);
    command::run(lint.args(KUBERNETES), PATIENCE).unwrap();
    let kinds = |values: &Value| {
        let rendered = render(own.path(), values);
        assert!(rendered.status.success(), "{}", rendered.stderr);
        let kinds = rendered.stdout.lines().filter_map(|line| line.strip_prefix("kind: "));
        let mut kinds: Vec<_> = kinds.map(str::to_owned).collect();
        kinds.sort();
        (kinds, rendered.stdout)
    };
    let (plain, text) = kinds(&json!({}));
    assert_eq!(plain, ["ConfigMap", "DaemonSet", "ServiceAccount"]);
    assert!(!text.contains("--switch") && !text.contains("Role"), "{text}");
    let (all, text) = kinds(&everything());
    let wanted = [
        "ConfigMap",
        "ConfigMap",
        "DaemonSet",
        "PrometheusRule",
        "RuntimeClass",
        "Service",
        "ServiceAccount",
        "ServiceMonitor",
    ];
    assert_eq!(all, wanted);
    for part in ["- --switch\n", "alert: CortenDown", "etc/corten/certs.d/registry.test:5000/hosts.toml"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(kinds(&json!({"metrics": {"monitor": "pod"}})).0[2], "PodMonitor");

    for (values, key) in [
        (json!({"kubelet": {"swich": true}}), "swich"),
        (json!({"kubelet": {"switch": "yes"}}), "/kubelet/switch"),
        (json!({"hostRoot": "host"}), "/hostRoot"),
        (json!({"certsD": {"../../etc": "x"}}), "../../etc"),
        (json!({"runtimeClasses": [{"name": "x"}]}), "handler"),
        (json!({"metrics": {"monitor": "both"}}), "/metrics/monitor"),
        (json!({"maxUnavailable": 0}), "/maxUnavailable"),
        (json!({"image": {"pullPolicy": "Sometimes"}}), "/image/pullPolicy"),
    ] {
        let refused = render(own.path(), &values);
        assert!(!refused.status.success() && refused.stderr.contains(key), "{values}: {}", refused.stderr);
    }
}
