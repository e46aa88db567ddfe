//! A node moved from containerd to Corten and back, by the commands of docs/from-containerd.md.

use crate::stage::{self, IDLE, PATIENCE, container};
use e2e::cluster::{Cluster, Options};
use e2e::command;
use e2e::crictl::Crictl;
use e2e::ground::KUBELET;
use e2e::network::Network;
use e2e::runtime::{self, Daemon, Kind};
use e2e::tools;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

const PODS: usize = 4;

fn deployment() -> Value {
    let mut main = container("main", IDLE);
    main["readinessProbe"] = json!({"exec": {"command": ["true"]}, "periodSeconds": 1, "timeoutSeconds": 20});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": PODS, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [main], "terminationGracePeriodSeconds": 1}},
        },
    })
}

/// kubectl, with what it printed.
fn kubectl(cluster: &Cluster, line: &str) -> String {
    let words: Vec<_> = line.split(' ').collect();
    let said = cluster.kubectl.run(&words).unwrap();
    println!("$ kubectl {line}\n{said}");
    said
}

/// Another command, with what it printed on both.
fn run(shown: &str, command: &mut Command) -> String {
    let finished = command::finish(command, PATIENCE).unwrap();
    println!("$ {shown}\n{}{}", finished.stdout, finished.stderr);
    assert!(finished.status.success(), "{shown}: {}", finished.stderr);
    finished.stdout
}

/// Requests for blobs and manifests that registry of the node has answered.
fn requests(cluster: &Cluster) -> usize {
    let log = fs::read_to_string(cluster.node.world.isolation.root().join("registry/log")).unwrap();
    log.lines().filter(|line| line.contains("GET /v2/") || line.contains("HEAD /v2/")).count()
}

/// The settings of containerd, as far as they are not where it keeps its own things.
fn imported(theirs: &Path, ours: &Path) -> String {
    let line = format!("corten config import --from containerd {}", theirs.display());
    let mut import = Command::new(tools::corten("corten").unwrap());
    import.args(["config", "import", "--from", "containerd"]).arg(theirs);
    let text = run(&line, &mut import);
    fs::write(ours, &text).unwrap();
    let mut check = Command::new(tools::corten("corten").unwrap());
    run("corten config check", check.args(["config", "check", "--no-host", "--config"]).arg(ours));
    text
}

/// Empties a node and stops its kubelet; nothing of a pod is left with the runtime.
fn leave(cluster: &mut Cluster, socket: &Path) {
    kubectl(cluster, "drain node1 --ignore-daemonsets --delete-emptydir-data --force --timeout=90s");
    cluster.node.kubelet.as_mut().unwrap().stop().unwrap();
    let crictl = Crictl::new(socket).unwrap();
    println!("$ crictl rmp --force --all\n{}", crictl.run(&["rmp", "--force", "--all"]).unwrap());
    assert_eq!(crictl.run(&["pods", "--quiet"]).unwrap(), "");
}

/// Has the kubelet ask another runtime, and the node take pods; until all of them are ready there.
fn arrive(cluster: &mut Cluster, from: &Path, to: &Path, runtime: &str) {
    let file = Path::new(KUBELET).join("config.json");
    let text = fs::read_to_string(&file).unwrap();
    let [old, new] = [from, to].map(|socket| format!("unix://{}\"", socket.display()));
    assert!(text.contains(&old), "{text}");
    fs::write(&file, text.replace(&old, &new)).unwrap();
    let begin = Instant::now();
    cluster.node.kubelet.as_mut().unwrap().start_again().unwrap();
    let annotation = format!(
        "annotate node node1 --overwrite kubeadm.alpha.kubernetes.io/cri-socket=unix://{}",
        to.display()
    );
    kubectl(cluster, &annotation);
    let ready = |node: &Value| {
        let version = node["status"]["nodeInfo"]["containerRuntimeVersion"].as_str()?;
        (version.starts_with(runtime) && e2e::cluster::condition(node, "Ready")).then_some(())
    };
    cluster
        .kubectl
        .until("the node is ready on the other runtime", &["get", "node/node1"], PATIENCE, ready)
        .unwrap();
    kubectl(cluster, "uncordon node1");
    kubectl(cluster, "rollout status deployment/web --timeout=100s");
    kubectl(cluster, "get node node1 -o wide");
    println!("ready with all pods {:.1} s after the kubelet's start", begin.elapsed().as_secs_f64());
}

/// The runtimes of the containers that run, by the prefix of their ids.
fn runtimes(cluster: &Cluster) -> Vec<String> {
    let pods = cluster.kubectl.get(&["get", "pods", "--selector", "app=web"]).unwrap();
    let running =
        pods["items"].as_array().unwrap().iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    let ids = running.map(|pod| {
        pod["status"]["containerStatuses"][0]["containerID"].as_str().unwrap_or_default().to_owned()
    });
    ids.map(|id| id.split("://").next().unwrap().to_owned()).collect()
}

#[test]
fn a_node_moves_from_containerd_to_corten_and_back_and_pulls_no_image_twice() {
    let options = Options { kind: Kind::Containerd, ..Options::new("migration") };
    let Some(mut cluster) = Cluster::start(&options).unwrap() else { return };
    cluster.kubectl.create(&[deployment()]).unwrap();
    kubectl(&cluster, "rollout status deployment/web --timeout=100s");
    assert_eq!(runtimes(&cluster), ["containerd"; PODS]);
    let pulled = requests(&cluster);
    assert!(pulled > 0);
    let theirs = cluster.node.world.daemon.place().clone();

    let root = cluster.node.world.isolation.directory("k").unwrap();
    let text = imported(&theirs.root.join("containerd.toml"), &root.join("imported.toml"));
    for carried in [&theirs.certs, &theirs.cni] {
        assert!(text.contains(carried.to_str().unwrap()), "{text}");
    }
    leave(&mut cluster, &theirs.socket);
    cluster.node.world.daemon.stop().unwrap();
    let network: Value =
        serde_json::from_slice(&fs::read(theirs.cni.join("10-test.conflist")).unwrap()).unwrap();
    let settings = runtime::Options {
        kind: Kind::Corten,
        network: Network::List(network),
        mirror: Some(cluster.node.world.registry.address()),
        metrics: None,
        extra: String::new(),
        programs: tools::dist(),
    };
    let mut corten = Daemon::start(&root, &settings).unwrap();
    let (program, config) = corten.invocation();
    let mut adopt = Command::new(program);
    adopt.args(["adopt", "images", "--from", "containerd", "--root"]).arg(&theirs.data);
    adopt.arg("--config").arg(config);
    run("corten adopt images --from containerd", &mut adopt);
    let ours = corten.place().socket.clone();
    arrive(&mut cluster, &theirs.socket, &ours, "corten://");
    assert_eq!(runtimes(&cluster), ["corten"; PODS]);
    assert_eq!(requests(&cluster), pulled, "an image was pulled twice");
    let said = cluster.kubectl.run(&["exec", "deployment/web", "--", "echo", "there"]).unwrap();
    assert_eq!(said, "there\n");

    leave(&mut cluster, &ours);
    corten.stop().unwrap();
    cluster.node.world.daemon.restart().unwrap();
    arrive(&mut cluster, &ours, &theirs.socket, "containerd://");
    assert_eq!(runtimes(&cluster), ["containerd"; PODS]);
    assert_eq!(requests(&cluster), pulled, "an image was pulled twice on the way back");
    let ready = stage::PATIENCE;
    cluster
        .kubectl
        .until("the Deployment is whole", &["get", "deployment/web"], ready, |it| {
            (it["status"]["readyReplicas"] == PODS).then_some(())
        })
        .unwrap();
}
