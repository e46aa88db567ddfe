//! A disk that fills: the kubelet goes by what the runtime tells of it, and of who has filled it.

use crate::stage::{IDLE, PATIENCE, container, pod};
use crate::upkeep::images;
use e2e::cluster::{AGNHOST, Cluster, Options};
use serde_json::{Value, json};

/// What the images' file system, of 4 GiB, has to have left; an idle node leaves 300 MiB more.
const LEFT: &str = "3400Mi";

#[test]
fn a_disk_that_fills_costs_unused_images_and_the_pod_that_fills_it() {
    let mut options = Options { dns: false, ..Options::new("pressure") };
    options.kubelet = json!({
        "evictionHard": {"imagefs.available": LEFT}, "evictionPressureTransitionPeriod": "5s",
        "imageMinimumGCAge": "1s",
    });
    let Some(mut cluster) = Cluster::start(&options).unwrap() else { return };
    let kubectl = cluster.kubectl.clone();
    let pressed = |wanted: bool| {
        let is = |node: &Value| (e2e::cluster::condition(node, "DiskPressure") == wanted).then_some(());
        kubectl.until("the node's condition", &["get", "node/node1"], PATIENCE, is).unwrap();
    };
    let ended = |name: &str| {
        let object = format!("pod/{name}");
        let ended = |pod: &Value| {
            matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
                .then(|| pod["status"].clone())
        };
        kubectl.until("the pod's end", &["get", &object], PATIENCE, ended).unwrap()
    };
    let unused = json!({"name": "main", "image": AGNHOST, "command": ["true"]});
    let modest = pod("modest", json!({"containers": [container("main", IDLE)]}));
    let unused = pod("unused", json!({"restartPolicy": "Never", "containers": [unused]}));
    kubectl.create(&[modest, unused]).unwrap();
    ended("unused");
    kubectl.run(&["delete", "pod/unused"]).unwrap();
    assert!(images(&cluster).iter().any(|name| name.contains("agnhost")));
    // It looks which images there are when it starts, and every five minutes.
    cluster.node.kubelet.as_mut().unwrap().restart().unwrap();
    pressed(false);

    // Figures of what containers have written are some seconds old: by them it is known who writes before it is too much.
    let script = "dd if=/dev/zero of=/big bs=1M count=200 2>/dev/null; sleep 40; \
        dd if=/dev/zero of=/bigger bs=1M count=400 2>/dev/null; exec sleep 1000000";
    kubectl.create(&[pod("greedy", json!({"containers": [container("main", script)]}))]).unwrap();
    let status = ended("greedy");
    assert_eq!(status["reason"], "Evicted", "{status:#}");
    assert!(status["message"].as_str().unwrap().contains("ephemeral-storage"), "{status:#}");
    assert!(
        !images(&cluster).iter().any(|name| name.contains("agnhost")),
        "a pod went before what nobody uses"
    );
    pressed(false);
    let modest = kubectl.get(&["get", "pod/modest"]).unwrap();
    assert!(e2e::cluster::condition(&modest, "Ready"), "{modest:#}");
    assert_eq!(modest["status"]["containerStatuses"][0]["restartCount"], 0);
    kubectl.create(&[crate::stage::once("after", "true")]).unwrap();
    assert_eq!(ended("after")["phase"], "Succeeded");
}
