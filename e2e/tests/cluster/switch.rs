//! The chart has the kubelet of a node ask Corten, and containerd again.

use crate::chart::{self, Release};
use crate::stage::{PATIENCE, once};
use e2e::crictl::Crictl;
use e2e::ground::KUBELET;
use serde_json::{Value, json};
use std::path::Path;

/// Has the kubelet live in the host's root, as a unit there.
fn move_in(release: &mut Release) {
    let isolation = &release.cluster.node.world.isolation;
    let host = &release.host;
    let root = host.root().to_path_buf();
    for name in ["control", "logs", "r"] {
        host.share(&isolation.directory(name).unwrap()).unwrap();
    }
    host.share(Path::new(KUBELET)).unwrap();
    // The chart's volume is named as the machine sees it.
    host.share(&root).unwrap();
    let mut kubelet = release.cluster.node.kubelet.take().unwrap();
    kubelet.move_into(&root).unwrap();
    assert!(release.host.keep_kubelet(Some(kubelet)).is_none());
}

/// Waits until the node is ready on a runtime.
fn on(release: &Release, runtime: &str) {
    let asks = |node: &Value| {
        let version = node["status"]["nodeInfo"]["containerRuntimeVersion"].as_str()?;
        (version.starts_with(runtime) && e2e::cluster::condition(node, "Ready")).then(|| version.to_owned())
    };
    let line = ["get", "node/node1"];
    let version = release.cluster.kubectl.until("the node on its runtime", &line, PATIENCE, asks).unwrap();
    println!("node1 is ready on {version}");
}

/// A pod runs, by a runtime.
fn runs(release: &Release, name: &str, runtime: &str) {
    let kubectl = &release.cluster.kubectl;
    kubectl.create(&[once(name, "echo there")]).unwrap();
    let ended = |pod: &Value| (pod["status"]["phase"] == "Succeeded").then(|| pod["status"].clone());
    let object = format!("pod/{name}");
    let status = kubectl.until("the pod's end", &["get", &object], PATIENCE, ended).unwrap();
    let id = status["containerStatuses"][0]["containerID"].as_str().unwrap();
    assert!(id.starts_with(runtime), "{id}");
    assert_eq!(kubectl.run(&["logs", name]).unwrap(), "there\n");
}

#[test]
fn the_kubelet_of_a_node_is_switched_by_the_chart_and_back() {
    let Some(mut release) = chart::release("switch") else { return };
    move_in(&mut release);
    on(&release, "containerd://");
    release.helm(&["install", "corten"], &json!({}));
    release.rolled_out();
    let drop_in = Path::new(KUBELET).join("conf.d/90-corten.conf");
    assert!(!drop_in.exists());

    release.helm(&["upgrade", "corten"], &json!({"kubelet": {"switch": true}}));
    on(&release, "corten://");
    release.rolled_out();
    runs(&release, "first", "corten://");
    let revision = release.revision();
    let refused = release.try_helm(&["uninstall", "corten", "--timeout=75s"], &json!({}));
    assert!(!refused.status.success(), "pods run by it");
    on(&release, "corten://");

    release.helm(&["rollback", "corten", &revision, "--force-conflicts"], &json!({}));
    release.helm(&["upgrade", "corten"], &json!({"kubelet": {"switch": false}}));
    on(&release, "containerd://");
    release.rolled_out();
    assert!(!drop_in.exists());
    runs(&release, "second", "containerd://");
    let crictl = Crictl::new(&release.host.root().join("run/corten/corten.sock")).unwrap();
    println!("$ crictl rmp --force --all\n{}", crictl.run(&["rmp", "--force", "--all"]).unwrap());
    release.helm(&["uninstall", "corten", "--wait"], &json!({}));
    assert_eq!(release.host.pid(), 0);
    on(&release, "containerd://");
    runs(&release, "third", "containerd://");
    release.cluster.node.kubelet = release.host.keep_kubelet(None);
}
