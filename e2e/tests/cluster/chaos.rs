//! A cluster on a node that is broken again and again.

use crate::rollout::{OnDrop, Web, ask, items};
use crate::stage;
use e2e::breakage;
use e2e::cluster::{Cluster, Options};
use e2e::runtime::Kind;
use e2e::world::World;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Pods that nobody touches, and pods that are replaced all the time.
const STILL: Web = Web { name: "still", pods: 25 };
const ROLLING: Web = Web { name: "rolling", pods: 25 };
/// How long the node is broken again and again, each time for so long, with so much between.
const LASTS: Duration = Duration::from_secs(60);
const BROKEN: Duration = Duration::from_secs(1);
const WELL: Duration = Duration::from_millis(1500);

#[derive(Debug, Clone, Copy)]
enum Fault {
    Kill,
    /// Again in the middle of the recovery.
    KillAgain,
    End,
    Network(&'static str),
    Disk,
    Registry,
}

const FAULTS: [Fault; 7] = [
    Fault::Kill,
    Fault::Network("fails"),
    Fault::Disk,
    Fault::KillAgain,
    Fault::Registry,
    Fault::End,
    Fault::Network("babbles"),
];

#[test]
fn a_node_that_breaks_again_and_again_loses_no_request_and_no_pod() {
    let mut options = Options { dns: false, ..Options::new("chaos") };
    // By default it evicts pods from a disk that is full.
    options.kubelet =
        json!({"evictionHard": {"memory.available": "1Mi"}, "imageGCHighThresholdPercent": 100});
    if options.kind != Kind::Corten {
        return need::skip(need::Need::Corten, "Corten's own promise");
    }
    let Some(mut cluster) = Cluster::start(&options).unwrap() else { return };
    let plugins = breakage::plugins(&cluster.node.world).unwrap();
    breakage::put_on_small_disk(&mut cluster.node.world, "1g", 200_000).unwrap();
    let empty = Node::look(&cluster.node.world);
    let kubectl = cluster.kubectl.clone();
    let addresses = [STILL, ROLLING].map(|web| web.serve(&kubectl));
    let before = running(&cluster, STILL.name);
    // Else the registry would not be asked while it is gone.
    let always =
        r#"[{"op": "add", "path": "/spec/template/spec/containers/0/imagePullPolicy", "value": "Always"}]"#;
    kubectl.run(&["patch", "deployment/rolling", "--type=json", "--patch", always]).unwrap();
    ROLLING.rolled_out(&kubectl);
    let over = AtomicBool::new(false);
    let (mut faults, mut version) = (0, 1);
    let seen = std::thread::scope(|scope| {
        let clients = addresses.map(|address| {
            scope.spawn({
                let over = &over;
                move || ask(address, over)
            })
        });
        // Ends the clients also where this thread panics.
        let _over = OnDrop(&over);
        let begin = Instant::now();
        while begin.elapsed() < LASTS {
            if ROLLING.is_rolled_out(&kubectl) {
                version += 1;
                ROLLING.update(&kubectl, &version.to_string());
            }
            break_and_mend(&mut cluster.node.world, &plugins, FAULTS[faults % FAULTS.len()]);
            faults += 1;
            std::thread::sleep(WELL);
        }
        ROLLING.rolled_out(&kubectl);
        // The last of the old pods end only now.
        std::thread::sleep(Duration::from_secs(5));
        over.store(true, Ordering::Relaxed);
        clients.map(|client| client.join().unwrap())
    });
    let failed: Vec<_> = seen.iter().flatten().filter_map(|page| page.as_ref().err()).collect();
    println!(
        "{faults} faults while {} pods were replaced {} times: {} requests, {} failed",
        ROLLING.pods,
        version - 1,
        seen.iter().map(Vec::len).sum::<usize>(),
        failed.len()
    );
    assert!(failed.is_empty(), "{failed:?}");
    // The first update began before the first fault, and each has come to its end.
    assert!(version > 1 && faults >= FAULTS.len(), "{version} versions, {faults} faults");
    assert_eq!(running(&cluster, STILL.name), before, "pods that nobody touched");
    nothing_is_left(&cluster, &empty, &[STILL, ROLLING]);
}

fn break_and_mend(world: &mut World, plugins: &Path, fault: Fault) {
    let data = world.daemon.place().data.clone();
    let rest = || std::thread::sleep(BROKEN);
    match fault {
        Fault::Kill => {
            world.daemon.kill().unwrap();
            rest();
            world.daemon.restart().unwrap();
        }
        Fault::KillAgain => {
            world.daemon.kill().unwrap();
            for moment in [5, 20, 60] {
                world.daemon.begin().unwrap();
                std::thread::sleep(Duration::from_millis(moment));
                world.daemon.kill().unwrap();
            }
            world.daemon.restart().unwrap();
        }
        Fault::End => {
            world.daemon.stop().unwrap();
            rest();
            world.daemon.restart().unwrap();
        }
        Fault::Network(manner) => {
            breakage::install_bridge(plugins, manner).unwrap();
            rest();
            breakage::install_bridge(plugins, "works").unwrap();
        }
        Fault::Disk => {
            breakage::fill(&data).unwrap();
            rest();
            breakage::empty(&data).unwrap();
        }
        Fault::Registry => {
            world.registry.kill().unwrap();
            rest();
            world.registry.restart().unwrap();
        }
    }
}

/// The containers of an app's pods, each with how often it was started again.
fn running(cluster: &Cluster, app: &str) -> BTreeMap<String, Value> {
    let pods = cluster.kubectl.get(&["get", "pods", "--selector", &format!("app={app}")]).unwrap();
    let status = |pod: &Value| pod["status"]["containerStatuses"][0].clone();
    items(&pods)
        .iter()
        .map(|pod| (status(pod)["containerID"].to_string(), status(pod)["restartCount"].clone()))
        .collect()
}

/// What pods leave on a node.
#[derive(Debug, PartialEq, Eq)]
struct Node {
    pods: Vec<String>,
    supervisors: Vec<String>,
    names: Vec<Vec<String>>,
}

impl Node {
    fn look(world: &World) -> Self {
        let listed = world.tokio.block_on(async {
            let cri = world.daemon.client().await?;
            let (pods, containers) = (cri.pods().await?, cri.containers().await?);
            let containers = containers.into_iter().map(|container| container.id);
            Ok::<_, e2e::Error>(pods.into_iter().map(|pod| pod.id).chain(containers).collect())
        });
        let place = world.daemon.place();
        let directories =
            [Path::new("/run/netns"), &place.state.join("pods"), &place.data.join("containers")];
        let names = |directory: &Path| {
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            let mut names: Vec<_> =
                entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names
        };
        let lines = world.isolation.processes().into_values();
        Self {
            pods: listed.unwrap(),
            supervisors: lines.filter(|line| line.contains("corten-shim")).collect(),
            names: directories.map(names).into(),
        }
    }
}

/// Once the pods are deleted, the node is as it was.
fn nothing_is_left(cluster: &Cluster, empty: &Node, webs: &[Web]) {
    for web in webs {
        cluster.kubectl.run(&["delete", &format!("deployment/{}", web.name)]).unwrap();
    }
    let world = &cluster.node.world;
    // The kubelet removes what has ended once a minute.
    let clean =
        e2e::wait::until("a node that is as it was", 2 * stage::PATIENCE, || Node::look(world) == *empty);
    if clean.is_err() {
        assert_eq!(Node::look(world), *empty);
    }
}
