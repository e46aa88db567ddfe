//! A node that is shut down: the kubelet holds logind back until its pods have ended.

use crate::stage::{self, PATIENCE, container, pod};
use e2e::cluster::{Cluster, Logind, Options};
use serde_json::{Value, json};
use std::path::Path;

/// Who ends says so, the ordinary pod only a while after it was asked to.
fn says(name: &str, last_words: &str, directory: &Path) -> Value {
    let script = format!("trap '{last_words}; exit 0' TERM; while :; do sleep 0.1; done");
    let mut main = container("main", &script);
    main["volumeMounts"] = json!([{"name": "seen", "mountPath": "/seen"}]);
    let volumes = json!([{"name": "seen", "hostPath": {"path": directory}}]);
    pod(name, json!({"containers": [main], "volumes": volumes, "terminationGracePeriodSeconds": 10}))
}

#[test]
fn a_node_that_is_shut_down_ends_its_pods_in_order_and_lets_go_then() {
    if !need::root("namespaces and mounts need root") {
        return;
    }
    let bus = tempfile::tempdir().unwrap();
    let logind = Logind::start(bus.path()).unwrap();
    let mut options = Options { dns: false, bus: Some(logind.address()), ..Options::new("shutdown") };
    options.kubelet = json!({"shutdownGracePeriod": "40s", "shutdownGracePeriodCriticalPods": "20s"});
    let Some(cluster) = Cluster::start(&options).unwrap() else { return };
    let seen = cluster.node.world.isolation.directory("seen").unwrap();
    let mut critical = says("critical", "echo critical >>/seen/all", &seen);
    critical["spec"]["priorityClassName"] = json!("system-node-critical");
    let ordinary = says("ordinary", "sleep 2; echo ordinary >>/seen/all", &seen);
    cluster.kubectl.create(&[critical, ordinary]).unwrap();
    for name in ["critical", "ordinary"] {
        let object = format!("pod/{name}");
        let ready = |pod: &Value| e2e::cluster::condition(pod, "Ready").then_some(());
        cluster.kubectl.until("the pod is ready", &["get", &object], PATIENCE, ready).unwrap();
    }
    assert!(logind.is_delayed(), "the kubelet does not hold logind back");

    logind.announce_shutdown().unwrap();
    e2e::wait::until("the kubelet lets go", PATIENCE, || !logind.is_delayed()).unwrap();
    // At once: a machine that is let go is gone.
    assert_eq!(std::fs::read_to_string(seen.join("all")).unwrap(), "ordinary\ncritical\n");
    let crictl = cluster.node.world.crictl().unwrap();
    assert_eq!(crictl.run(&["ps", "--quiet"]).unwrap(), "", "containers run still");
    for name in ["critical", "ordinary"] {
        let object = format!("pod/{name}");
        let ended = |pod: &Value| {
            let told = e2e::cluster::condition(pod, "DisruptionTarget");
            let end = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
            (told && end.is_object()).then(|| end.clone())
        };
        let end = cluster.kubectl.until("the pod's end is told", &["get", &object], PATIENCE, ended).unwrap();
        assert_eq!(end["exitCode"], 0, "{end:#}");
    }
    let shut = |node: &Value| (!e2e::cluster::condition(node, "Ready")).then_some(());
    cluster.kubectl.until("the node is not ready", &["get", "node/node1"], PATIENCE, shut).unwrap();
    // Nothing starts any more.
    cluster.kubectl.create(&[stage::once("late", "true")]).unwrap();
    let refused = |pod: &Value| (pod["status"]["phase"] == "Pending").then_some(());
    cluster.kubectl.until("the late pod waits", &["get", "pod/late"], PATIENCE, refused).unwrap();
}
