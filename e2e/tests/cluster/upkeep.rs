//! A node's upkeep, under running pods: restarts, an upgrade, static pods, logs and images that grow old.

use crate::stage::{self, IDLE, PATIENCE, container, pod};
use e2e::cluster::{Cluster, Options};
use e2e::runtime::Kind;
use e2e::tools;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[test]
fn restarts_and_upgrades_of_a_node_are_not_seen_by_its_pods() {
    let Some(mut cluster) = stage::cluster("restarts") else { return };
    let script = "n=0; while :; do n=$((n + 1)); echo $n; sleep 0.1; done";
    let mut main = container("main", script);
    main["readinessProbe"] = json!({"exec": {"command": ["true"]}, "periodSeconds": 1, "timeoutSeconds": 20});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "counts"},
        "spec": {
            "replicas": 3, "selector": {"matchLabels": {"app": "counts"}},
            "template": {"metadata": {"labels": {"app": "counts"}}, "spec": {"containers": [main], "terminationGracePeriodSeconds": 1}},
        },
    });
    cluster.kubectl.create(&[deployment]).unwrap();
    cluster.kubectl.run(&["rollout", "status", "deployment/counts", "--timeout=100s"]).unwrap();
    let before = lives(&cluster);
    assert_eq!(before.len(), 3);

    cluster.node.kubelet.as_mut().unwrap().restart().unwrap();
    goes_on(&cluster, &before);
    cluster.node.world.daemon.stop().unwrap();
    cluster.node.world.daemon.restart().unwrap();
    goes_on(&cluster, &before);
    if let (Kind::Corten, Some(other)) = (cluster.node.world.daemon.kind(), tools::previous()) {
        // Down to the release before, and up again.
        for programs in [other, tools::dist()] {
            cluster.node.world.daemon.stop().unwrap();
            cluster.node.world.daemon.install(&programs);
            cluster.node.world.daemon.restart().unwrap();
            goes_on(&cluster, &before);
        }
    }
    cluster.node.world.daemon.kill().unwrap();
    cluster.node.world.daemon.restart().unwrap();
    cluster.node.kubelet.as_mut().unwrap().restart().unwrap();
    goes_on(&cluster, &before);
}

/// Which containers run, since when.
fn lives(cluster: &Cluster) -> Vec<(String, String)> {
    let pods = cluster.kubectl.get(&["get", "pods"]).unwrap();
    let mut lives: Vec<_> = pods["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pod| {
            let status = &pod["status"]["containerStatuses"][0];
            (status["containerID"].to_string(), status["state"]["running"]["startedAt"].to_string())
        })
        .collect();
    lives.sort();
    lives
}

/// The same containers as before count on, answer, and a new pod starts beside them.
fn goes_on(cluster: &Cluster, before: &[(String, String)]) {
    let ready = |node: &Value| e2e::cluster::condition(node, "Ready").then_some(());
    cluster.kubectl.until("the node is ready", &["get", "node/node1"], PATIENCE, ready).unwrap();
    let main = json!({"restartPolicy": "Never", "containers": [container("main", "echo fine")]});
    cluster.kubectl.create(&[pod("beside", main)]).unwrap();
    let done = |pod: &Value| (pod["status"]["phase"] == "Succeeded").then_some(());
    cluster.kubectl.until("a pod beside", &["get", "pod/beside"], PATIENCE, done).unwrap();
    cluster.kubectl.run(&["delete", "pod/beside"]).unwrap();
    assert_eq!(lives(cluster), before);
    let last = || -> u64 {
        let text = cluster.kubectl.run(&["logs", "deployment/counts", "--tail=1"]).unwrap();
        text.trim().parse().unwrap()
    };
    let (first, end) = (last(), Instant::now() + PATIENCE);
    while last() <= first {
        assert!(Instant::now() < end, "the log stands still at {first}");
    }
    let said = cluster.kubectl.run(&["exec", "deployment/counts", "--", "echo", "there"]).unwrap();
    assert_eq!(said, "there\n");
}

#[test]
fn static_pods_come_with_their_files_and_go_with_them() {
    let options = Options { dns: false, ..Options::new("static") };
    let Some(cluster) = Cluster::start(&options).unwrap() else { return };
    let of = |version: &str| {
        let mut made =
            pod("fixed", json!({"containers": [container("main", &format!("echo {version}; {IDLE}"))]}));
        made["metadata"]["namespace"] = json!("default");
        made
    };
    for version in ["one", "two"] {
        cluster.node.add_static("fixed", &of(version)).unwrap();
        let end = Instant::now() + PATIENCE;
        while cluster.kubectl.run(&["logs", "fixed-node1"]).ok().as_deref() != Some(&format!("{version}\n")) {
            assert!(Instant::now() < end, "it never says {version}");
            std::thread::sleep(Duration::from_millis(300));
        }
    }
    cluster.node.remove_static("fixed").unwrap();
    let none = |list: &Value| list["items"].as_array()?.is_empty().then_some(());
    cluster.kubectl.until("it is gone", &["get", "pods"], PATIENCE, none).unwrap();
}

/// Every line is in one of the files.
#[test]
fn logs_are_cut_at_their_size_and_lose_no_line() {
    let mut options = Options { dns: false, ..Options::new("logs") };
    options.kubelet = json!({"containerLogMaxSize": "20Ki", "containerLogMaxFiles": 10, "containerLogMonitorInterval": "3s"});
    let Some(cluster) = Cluster::start(&options).unwrap() else { return };
    let script =
        format!("n=0; while [ $n -lt 3000 ]; do echo number $n; n=$((n + 1)); usleep 3000; done; {IDLE}");
    cluster.kubectl.create(&[pod("talks", json!({"containers": [container("main", &script)]}))]).unwrap();
    let end = Instant::now() + PATIENCE;
    loop {
        let (files, numbers) = talked(&cluster.node.world.logs);
        if files >= 3 && numbers.last() == Some(&2999) {
            assert_eq!(numbers, (0..3000).collect::<Vec<_>>(), "lines are lost or doubled");
            break;
        }
        assert!(Instant::now() < end, "{files} files, {} lines", numbers.len());
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Images that nobody uses go when they are old; the kubelet looks every five minutes. Of a container's former lives it keeps
/// the last; for them it looks every minute.
#[test]
fn images_that_nobody_uses_grow_old_and_go() {
    let mut options = Options::new("images");
    options.kubelet = json!({"imageMinimumGCAge": "1s", "imageMaximumGCAge": "2s"});
    let Some(cluster) = Cluster::start(&options).unwrap() else { return };
    let unused = json!({"name": "main", "image": e2e::cluster::AGNHOST, "command": ["true"]});
    let unused = pod("unused", json!({"restartPolicy": "Never", "containers": [unused]}));
    let used = pod("used", json!({"containers": [container("main", IDLE)]}));
    let script = "n=$(cat /data/n 2>/dev/null || echo 0); echo $((n + 1)) >/data/n; [ $n -lt 3 ] || exec sleep 1000000";
    let mut often = container("main", script);
    often["volumeMounts"] = json!([{"name": "work", "mountPath": "/data"}]);
    let often = pod("often", json!({"containers": [often], "volumes": [{"name": "work", "emptyDir": {}}]}));
    cluster.kubectl.create(&[unused, used, often]).unwrap();
    let done = |pod: &Value| (pod["status"]["phase"] == "Succeeded").then_some(());
    cluster.kubectl.until("the pod's end", &["get", "pod/unused"], PATIENCE, done).unwrap();
    cluster.kubectl.run(&["delete", "pod/unused"]).unwrap();
    let end = Instant::now() + Duration::from_secs(400);
    while images(&cluster).iter().any(|name| name.contains("agnhost")) {
        assert!(Instant::now() < end, "the image is there still");
        std::thread::sleep(Duration::from_secs(1));
    }
    assert!(images(&cluster).iter().any(|name| name.contains("busybox")));
    let often = cluster.kubectl.get(&["get", "pod/often"]).unwrap();
    assert_eq!(often["status"]["containerStatuses"][0]["restartCount"], 3, "{often:#}");
    let crictl = cluster.node.world.crictl().unwrap();
    let lives = crictl.run(&["ps", "--all", "--quiet", "--label", "io.kubernetes.pod.name=often"]).unwrap();
    assert_eq!(lives.lines().count(), 2, "the one that runs, and the one before it: {lives}");
}

/// The containers of a pod that the runtime knows, dead ones too.
fn known(cluster: &Cluster, pod: &str) -> Vec<String> {
    let label = format!("io.kubernetes.pod.name={pod}");
    let list = cluster.node.world.crictl().unwrap().run(&["ps", "--all", "--quiet", "--label", &label]);
    list.unwrap().lines().map(str::to_owned).collect()
}

/// The kubelet keeps one dead container of each that runs again, and those of a pod that has come to its end.
#[test]
fn dead_containers_stay_and_go_as_the_kubelet_asks() {
    let mut options = Options { dns: false, ..Options::new("dead") };
    options.kubelet = json!({"crashLoopBackOff": {"maxContainerRestartPeriod": "1s"}});
    let Some(mut cluster) = Cluster::start(&options).unwrap() else { return };
    let script = "n=$(cat /data/n 2>/dev/null || echo 0); n=$((n + 1)); echo $n >/data/n; echo run $n; \
        [ $n -gt 4 ] || exit 1; exec sleep 1000000";
    let mut fails = container("main", script);
    fails["volumeMounts"] = json!([{"name": "work", "mountPath": "/data"}]);
    let fails = pod("fails", json!({"containers": [fails], "volumes": [{"name": "work", "emptyDir": {}}]}));
    cluster.kubectl.create(&[fails, stage::once("ends", "echo the end")]).unwrap();
    let often = |pod: &Value| (pod["status"]["containerStatuses"][0]["restartCount"] == 4).then_some(());
    cluster.kubectl.until("four restarts", &["get", "pod/fails"], PATIENCE, often).unwrap();
    let few = || {
        std::thread::sleep(Duration::from_millis(300));
        known(&cluster, "fails").len() == 2
    };
    e2e::wait::until("one that runs and one that is dead", PATIENCE, few).unwrap();
    assert_eq!(cluster.kubectl.run(&["logs", "fails", "--previous"]).unwrap(), "run 4\n");

    // It looks for what nobody needs when it starts, and every minute.
    let before = (known(&cluster, "fails"), known(&cluster, "ends"));
    assert_eq!(before.1.len(), 1);
    cluster.node.kubelet.as_mut().unwrap().restart().unwrap();
    let ready = |node: &Value| e2e::cluster::condition(node, "Ready").then_some(());
    cluster.kubectl.until("the node is ready", &["get", "node/node1"], PATIENCE, ready).unwrap();
    cluster.kubectl.create(&[stage::once("beside", "true")]).unwrap();
    let done = |pod: &Value| (pod["status"]["phase"] == "Succeeded").then_some(());
    cluster.kubectl.until("a pod beside", &["get", "pod/beside"], PATIENCE, done).unwrap();
    assert_eq!((known(&cluster, "fails"), known(&cluster, "ends")), before);
    assert_eq!(cluster.kubectl.run(&["logs", "ends"]).unwrap(), "the end\n");

    cluster.kubectl.run(&["delete", "pod/fails", "pod/ends", "pod/beside"]).unwrap();
    let crictl = cluster.node.world.crictl().unwrap();
    let nothing = || {
        std::thread::sleep(Duration::from_millis(300));
        crictl.run(&["pods", "--quiet"]).unwrap().is_empty()
    };
    e2e::wait::until("nothing is left with the runtime", PATIENCE, nothing).unwrap();
    assert_eq!(crictl.run(&["ps", "--all", "--quiet"]).unwrap(), "");
}

/// The names of images that the node has.
pub(crate) fn images(cluster: &Cluster) -> Vec<String> {
    let crictl = cluster.node.world.crictl().unwrap();
    let list: Value = serde_json::from_str(&crictl.run(&["images", "-o", "json"]).unwrap()).unwrap();
    let tags = list["images"].as_array().into_iter().flatten().flat_map(|image| image["repoTags"].as_array());
    tags.flatten().filter_map(|tag| tag.as_str().map(str::to_owned)).collect()
}

/// How many files hold the log of the pod that talks, and the numbers in them.
fn talked(logs: &std::path::Path) -> (usize, Vec<u32>) {
    let pods = std::fs::read_dir(logs).unwrap().flatten();
    let pod = pods.map(|entry| entry.path()).find(|path| path.to_string_lossy().contains("default_talks_"));
    let Some(pod) = pod else { return (0, Vec::new()) };
    let files: Vec<_> = std::fs::read_dir(pod.join("main")).into_iter().flatten().flatten().collect();
    let mut numbers = Vec::new();
    for file in &files {
        let mut text = String::new();
        let bytes = std::fs::read(file.path()).unwrap_or_default();
        if file.path().extension().is_some_and(|kind| kind == "gz") {
            let _ =
                std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(bytes.as_slice()), &mut text);
        } else {
            text = String::from_utf8_lossy(&bytes).into_owned();
        }
        numbers.extend(text.lines().filter_map(|line| line.split(' ').next_back()?.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    (files.len(), numbers)
}
