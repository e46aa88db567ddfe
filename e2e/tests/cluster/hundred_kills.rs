//! Updates roll through a hundred pods while the runtime is killed a hundred times: they come to their end, every pod there is
//! runs once, and of what was replaced nothing is left.

use crate::stage::{PATIENCE, container, pod};
use e2e::cluster::{Cluster, Kubectl, Options};
use e2e::proto::PodSandboxState;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const PODS: usize = 100;
const KILLS: u32 = 100;
/// How long all of them may take to come, on a busy machine.
const ALL: &str = "--timeout=300s";

#[test]
fn updates_of_a_hundred_pods_come_to_their_end_through_a_hundred_kills() {
    let options = Options { dns: false, ..Options::new("hundred-kills") };
    let Some(mut cluster) = Cluster::start(&options).unwrap() else { return };
    let kubectl = cluster.kubectl.clone();
    kubectl.create(&[deployment()]).unwrap();
    rolled_out(&kubectl);
    let begin = Instant::now();
    let mut updates = 0;
    for kill in 0..KILLS {
        // As soon as one update is through, there is another.
        if kill % 10 == 0 && is_updated(&kubectl) {
            updates += 1;
            kubectl.run(&["set", "env", "deployment/crowd", &format!("UPDATE={updates}")]).unwrap();
        }
        // It lives for a time that is another one each time, long enough to start some pods, or too short for any.
        std::thread::sleep(Duration::from_millis(100 + u64::from(kill) * 377 % 1700));
        cluster.node.world.daemon.kill().unwrap();
        cluster.node.world.daemon.restart().unwrap();
    }
    let killed = begin.elapsed();
    rolled_out(&kubectl);
    println!(
        "{KILLS} kills in {killed:?}; {updates} updates, of which the last was through after {:?}",
        begin.elapsed()
    );
    each_pod_has_one_sandbox(&cluster);
    kubectl.run(&["delete", "deployment/crowd", "--wait=false"]).unwrap();
    nothing_is_left(&cluster);
}

fn is_updated(kubectl: &Kubectl) -> bool {
    let crowd = kubectl.get(&["get", "deployment/crowd"]).unwrap();
    let status = &crowd["status"];
    let has_all = |count: &str| status[count].as_u64() == Some(PODS as u64);
    status["observedGeneration"] == crowd["metadata"]["generation"]
        && has_all("updatedReplicas")
        && has_all("availableReplicas")
}

fn sandboxes(cluster: &Cluster) -> Vec<e2e::proto::PodSandbox> {
    let world = &cluster.node.world;
    world.tokio.block_on(async { world.daemon.client().await?.pods().await }).unwrap()
}

/// The kubelet removes old sandboxes behind what it does with pods.
fn each_pod_has_one_sandbox(cluster: &Cluster) {
    let list = cluster.kubectl.get(&["get", "pods", "--selector", "app=crowd"]).unwrap();
    let pods = list["items"].as_array().unwrap().iter();
    let pods = pods.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    let uids: BTreeSet<String> =
        pods.map(|pod| pod["metadata"]["uid"].as_str().unwrap().to_owned()).collect();
    assert_eq!(uids.len(), PODS);
    let ready = || {
        let sandboxes = sandboxes(cluster).into_iter();
        let ready = sandboxes.filter(|pod| pod.state() == PodSandboxState::SandboxReady);
        let mut found: Vec<String> = ready.filter_map(|pod| Some(pod.metadata?.uid)).collect();
        found.sort();
        found
    };
    let as_wanted = || ready().into_iter().eq(uids.iter().cloned());
    let alone = e2e::wait::until("one sandbox of each pod, and of nothing else", PATIENCE, as_wanted);
    assert!(alone.is_ok(), "{} sandboxes are ready", ready().len());
}

fn nothing_is_left(cluster: &Cluster) {
    let isolation = &cluster.node.world.isolation;
    let supervisors = || isolation.processes().values().filter(|line| line.contains("corten-shim")).count();
    let gone = || sandboxes(cluster).is_empty() && supervisors() == 0;
    let all = e2e::wait::until("the end of all pods", PATIENCE * 2, gone);
    assert!(all.is_ok(), "{:?}, and {} supervisors", sandboxes(cluster), supervisors());
    let namespaces = || std::fs::read_dir("/run/netns").map_or(0, Iterator::count);
    let none = e2e::wait::until("the end of their networks", PATIENCE, || namespaces() == 0);
    assert!(none.is_ok(), "{} network namespaces", namespaces());
}

fn rolled_out(kubectl: &Kubectl) {
    let mut status = kubectl.command(&["rollout", "status", "deployment/crowd", ALL]);
    if e2e::command::run(&mut status, Duration::from_secs(310)).is_err() {
        panic!("{}", kubectl.run(&["get", "pods", "--output=wide"]).unwrap());
    }
}

fn deployment() -> Value {
    let main = container("main", "trap 'exit 0' TERM; sleep 1000000 & wait");
    let template = pod("crowd", json!({"containers": [main], "terminationGracePeriodSeconds": 5}));
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "crowd"},
        "spec": {
            "replicas": PODS, "selector": {"matchLabels": {"app": "crowd"}},
            // Not more than a node takes, the old ones that are ending among them.
            "strategy": {"rollingUpdate": {"maxUnavailable": 10, "maxSurge": 0}},
            "template": {"metadata": {"labels": {"app": "crowd"}}, "spec": template["spec"]},
        },
    })
}
