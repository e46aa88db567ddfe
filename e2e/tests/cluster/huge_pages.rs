//! Huge pages of the node as a volume, and what they are limited by.

use crate::stage::{IDLE, PATIENCE, container, pod};
use e2e::cluster::{Cluster, Options};
use serde_json::{Value, json};
use std::fs;

/// Pages of 2 MiB that the node is given.
const PAGES: u64 = 4;
const SIZE: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB";

/// More pages in the kernel's pool; dropping it takes them away again.
struct Pool(u64);

impl Pool {
    /// `None`, with the reason told, where the kernel has or gives none.
    fn fill() -> Option<Self> {
        let number =
            |file: &str| fs::read_to_string(format!("{SIZE}/{file}")).ok()?.trim().parse::<u64>().ok();
        let missing = |why: &str| need::skip(need::Need::Kernel, why);
        let Some(before) = number("nr_hugepages") else {
            missing("the kernel has no huge pages of 2 MiB");
            return None;
        };
        let pool = Self(before);
        // It gives no pages whose parts lie apart; the file is not in every kernel.
        let _ = fs::write("/proc/sys/vm/compact_memory", "1");
        if fs::write(format!("{SIZE}/nr_hugepages"), (before + PAGES).to_string()).is_err() {
            missing("the kernel's pool of huge pages may not be changed here");
            return None;
        }
        if number("free_hugepages") < Some(PAGES) {
            missing("the kernel finds no memory for huge pages");
            return None;
        }
        Some(pool)
    }

    fn free() -> u64 {
        fs::read_to_string(format!("{SIZE}/free_hugepages")).unwrap().trim().parse().unwrap()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let _ = fs::write(format!("{SIZE}/nr_hugepages"), self.0.to_string());
    }
}

#[test]
fn huge_pages_are_a_volume_and_are_free_again_after_the_pod() {
    if !need::root("namespaces and mounts need root") {
        return;
    }
    // Before the kubelet looks which there are.
    let Some(_pool) = Pool::fill() else { return };
    let options = Options { dns: false, ..Options::new("huge-pages") };
    let Some(cluster) = Cluster::start(&options).unwrap() else { return };
    let kubectl = &cluster.kubectl;
    let node = kubectl.get(&["get", "node/node1"]).unwrap();
    assert!(node["status"]["allocatable"]["hugepages-2Mi"] != "0", "{:#}", node["status"]);

    let free = Pool::free();
    let mut main = container("main", &format!("fallocate -l 4194304 /huge/file && touch /tmp/has; {IDLE}"));
    main["resources"] = json!({"limits": {"hugepages-2Mi": "4Mi", "memory": "64Mi", "cpu": "100m"}});
    main["volumeMounts"] = json!([{"name": "huge", "mountPath": "/huge"}]);
    main["readinessProbe"] =
        json!({"exec": {"command": ["cat", "/tmp/has"]}, "periodSeconds": 1, "timeoutSeconds": 20});
    let volumes = json!([{"name": "huge", "emptyDir": {"medium": "HugePages"}}]);
    kubectl.create(&[pod("huge", json!({"containers": [main], "volumes": volumes}))]).unwrap();
    let ready = |pod: &Value| e2e::cluster::condition(pod, "Ready").then_some(());
    kubectl.until("the pod is ready", &["get", "pod/huge"], PATIENCE, ready).unwrap();
    let mounted = kubectl.run(&["exec", "huge", "--", "grep", " /huge ", "/proc/mounts"]).unwrap();
    assert!(mounted.contains(" hugetlbfs rw,"), "{mounted}");
    assert_eq!(Pool::free(), free - 2);
    kubectl.run(&["delete", "pod/huge"]).unwrap();
    e2e::wait::until("the pages are free again", PATIENCE, || Pool::free() == free).unwrap();
}
