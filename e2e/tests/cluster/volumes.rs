//! Volumes of the kinds that need no driver.

use crate::stage::{self, IDLE, Scenario, Stage, container, pod};
use e2e::cluster::AGNHOST;
use serde_json::{Value, json};
use std::fs;

#[test]
fn volumes_hold_what_they_promise() {
    let Some(cluster) = stage::cluster("volumes") else { return };
    const SCENARIOS: &[Scenario] = &[
        ("empty", empty),
        ("memory-volume", memory),
        ("host-path", host_path),
        ("read-only", read_only),
        ("sub-path", sub_path),
        ("projected", projected),
        ("updated", updated),
        ("image-volume", image),
        ("propagation", propagation),
        ("too-much", too_much),
    ];
    stage::play(&cluster, SCENARIOS);
}

/// Those of a node that has set some aside.
#[test]
fn huge_pages_are_a_volume_of_what_was_asked_for() {
    let free = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";
    let free = fs::read_to_string(free).ok().and_then(|text| text.trim().parse::<u64>().ok());
    if free < Some(4) {
        return need::skip(need::Need::Kernel, "no huge pages of 2 MiB are set aside");
    }
    let unified = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    if !fs::exists("/sys/fs/cgroup/hugetlb").unwrap() && !unified.contains("hugetlb") {
        return need::skip(need::Need::Kernel, "cgroups here have no controller of huge pages");
    }
    let Some(cluster) = stage::cluster("huge-pages") else { return };
    stage::play(&cluster, &[("huge-pages", huge_pages)]);
}

/// Not a page more than the limit.
fn huge_pages(stage: &Stage<'_>) {
    let script = "awk '$2 == \"/data\" { print $3 }' /proc/mounts; fallocate -l 4194304 /data/all && echo fits; fallocate -l 2097152 /data/more 2>/dev/null || echo no more; \
        cd /sys/fs/cgroup; cat hugetlb/hugetlb.2MB.limit_in_bytes 2>/dev/null || cat hugetlb.2MB.max";
    let volumes = json!([{"name": "work", "emptyDir": {"medium": "HugePages"}}]);
    let mut pod = once(script, &json!([{"name": "work", "mountPath": "/data"}]), &volumes);
    pod["spec"]["containers"][0]["resources"] =
        json!({"limits": {"hugepages-2Mi": "4Mi", "memory": "64Mi", "cpu": "100m"}});
    assert_eq!(stage.output(pod), "hugetlbfs\nfits\nno more\n4194304\n");
}

fn once(script: &str, mounts: &Value, volumes: &Value) -> Value {
    let mut main = container("main", script);
    main["volumeMounts"] = mounts.clone();
    pod("reader", json!({"restartPolicy": "Never", "containers": [main], "volumes": volumes}))
}

/// It outlives its containers, and two share it.
fn empty(stage: &Stage<'_>) {
    let mounts = json!([{"name": "work", "mountPath": "/data"}]);
    let mut writer = container("writer", "echo told >/data/file.new; mv /data/file.new /data/file");
    writer["volumeMounts"] = mounts.clone();
    let mut pod = once(
        "until [ -e /data/file ]; do sleep 0.1; done; cat /data/file",
        &mounts,
        &json!([{"name": "work", "emptyDir": {}}]),
    );
    pod["spec"]["containers"].as_array_mut().unwrap().push(writer);
    stage.create(pod);
    assert_eq!(stage.ended("reader")["phase"], "Succeeded");
    assert_eq!(stage.kubectl.run(&["logs", "reader", "--container=main"]).unwrap(), "told\n");
}

fn memory(stage: &Stage<'_>) {
    let script = "awk '$2 == \"/data\" { print $3 }' /proc/mounts; df -k /data | awk 'NR == 2 { print $2 }'";
    let volumes = json!([{"name": "work", "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}}]);
    let output = stage.output(once(script, &json!([{"name": "work", "mountPath": "/data"}]), &volumes));
    assert_eq!(output, "tmpfs\n8192\n");
}

fn host_path(stage: &Stage<'_>) {
    let directory = stage.cluster.node.world.isolation.directory("volume").unwrap();
    fs::write(directory.join("there"), "of the node\n").unwrap();
    let volumes = json!([
        {"name": "all", "hostPath": {"path": directory, "type": "Directory"}},
        {"name": "one", "hostPath": {"path": directory.join("there"), "type": "File"}},
        {"name": "new", "hostPath": {"path": directory.join("made/here"), "type": "DirectoryOrCreate"}},
    ]);
    let mounts = json!([
        {"name": "all", "mountPath": "/all"}, {"name": "one", "mountPath": "/one"}, {"name": "new", "mountPath": "/new"},
    ]);
    let script = "cat /all/there /one; echo of the pod >/all/back; touch /new/file";
    assert_eq!(stage.output(once(script, &mounts, &volumes)), "of the node\nof the node\n");
    assert_eq!(fs::read_to_string(directory.join("back")).unwrap(), "of the pod\n");
    assert!(directory.join("made/here/file").exists());
}

fn read_only(stage: &Stage<'_>) {
    let directory = stage.cluster.node.world.isolation.directory("sealed").unwrap();
    let mut main =
        container("main", "touch /sealed/x /y 2>&1 | sed 's/.*: //'; touch /tmp/z && echo written");
    main["securityContext"] = json!({"readOnlyRootFilesystem": true});
    main["volumeMounts"] = json!([
        {"name": "sealed", "mountPath": "/sealed", "readOnly": true}, {"name": "tmp", "mountPath": "/tmp"},
    ]);
    let volumes =
        json!([{"name": "sealed", "hostPath": {"path": directory}}, {"name": "tmp", "emptyDir": {}}]);
    let output = stage
        .output(pod("sealed", json!({"restartPolicy": "Never", "containers": [main], "volumes": volumes})));
    assert_eq!(output, "Read-only file system\nRead-only file system\nwritten\n");
}

fn sub_path(stage: &Stage<'_>) {
    let mut first = container("first", "mkdir -p /data/deep/er; echo below >/data/deep/er/file");
    first["volumeMounts"] = json!([{"name": "work", "mountPath": "/data"}]);
    let mounts = json!([
        {"name": "work", "mountPath": "/er", "subPath": "deep/er"},
        {"name": "work", "mountPath": "/file", "subPath": "deep/er/file"},
        {"name": "work", "mountPath": "/own", "subPathExpr": "$(WHO)"},
    ]);
    let mut pod = once("cat /er/file /file; ls -d /own", &mounts, &json!([{"name": "work", "emptyDir": {}}]));
    pod["spec"]["initContainers"] = json!([first]);
    pod["spec"]["containers"][0]["env"] = json!([{"name": "WHO", "value": "me"}]);
    assert_eq!(stage.output(pod), "below\nbelow\n/own\n");
}

/// A token of the pod's own, its labels, a ConfigMap, all in one directory.
fn projected(stage: &Stage<'_>) {
    stage.kubectl.run(&["create", "configmap", "config", "--from-literal=color=brown"]).unwrap();
    let sources = json!([
        {"serviceAccountToken": {"path": "token", "audience": "somebody", "expirationSeconds": 600}},
        {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        {"configMap": {"name": "config", "items": [{"key": "color", "path": "deep/color"}]}},
    ]);
    let script = "tr -cd . </all/token; echo; cat /all/labels; echo; cat /all/deep/color";
    let volumes = json!([{"name": "all", "projected": {"sources": sources}}]);
    let output = stage.output(once(script, &json!([{"name": "all", "mountPath": "/all"}]), &volumes));
    assert_eq!(output, "..\napp=\"reader\"\nbrown");
}

/// A change of a ConfigMap reaches the running container.
fn updated(stage: &Stage<'_>) {
    stage.kubectl.run(&["create", "configmap", "config", "--from-literal=color=brown"]).unwrap();
    let mut main = container("main", IDLE);
    main["volumeMounts"] = json!([{"name": "config", "mountPath": "/config"}]);
    let volumes = json!([{"name": "config", "configMap": {"name": "config"}}]);
    stage.create(pod("reader", json!({"containers": [main], "volumes": volumes})));
    stage.ready("reader");
    stage.kubectl.run(&["patch", "configmap/config", "--patch", r#"{"data": {"color": "red"}}"#]).unwrap();
    // The kubelet looks again when the pod changes.
    stage.kubectl.run(&["annotate", "pod/reader", "look=again"]).unwrap();
    let seen = stage.shell("reader", "n=0; until grep -q red /config/color || [ $n = 1000 ]; do sleep 0.1; n=$((n + 1)); done; cat /config/color");
    assert_eq!(seen, "red");
}

/// The files of an image, which no container runs.
fn image(stage: &Stage<'_>) {
    let volumes = json!([{"name": "image", "image": {"reference": AGNHOST, "pullPolicy": "IfNotPresent"}}]);
    let script = "ls /image/agnhost; touch /image/x 2>&1 | sed 's/.*: //'";
    let mounts = json!([{"name": "image", "mountPath": "/image"}]);
    assert_eq!(stage.output(once(script, &mounts, &volumes)), "/image/agnhost\nRead-only file system\n");
}

/// What one pod mounts, another one sees.
fn propagation(stage: &Stage<'_>) {
    let directory = stage.cluster.node.world.isolation.directory("mounts").unwrap();
    let volumes = json!([{"name": "all", "hostPath": {"path": directory}}]);
    let with = |name: &str, script: &str, propagation: &str, privileged: bool| {
        let mut main = container("main", script);
        main["securityContext"] = json!({"privileged": privileged});
        main["volumeMounts"] = json!([{"name": "all", "mountPath": "/all", "mountPropagation": propagation}]);
        pod(name, json!({"containers": [main], "volumes": volumes}))
    };
    stage.create(with("sees", IDLE, "HostToContainer", false));
    stage.ready("sees");
    let script = "mkdir -p /all/new; mount -t tmpfs new /all/new; touch /all/new/file; trap 'umount /all/new; exit 0' TERM; while :; do sleep 0.1; done";
    stage.create(with("mounts", script, "Bidirectional", true));
    stage.ready("mounts");
    let seen = stage.shell(
        "sees",
        "n=0; until [ -e /all/new/file ] || [ $n = 300 ]; do sleep 0.1; n=$((n + 1)); done; ls /all/new",
    );
    assert_eq!(seen, "file\n");
    stage.kubectl.run(&["delete", "pod/mounts", "--grace-period=20"]).unwrap();
    assert_eq!(stage.shell("sees", "ls /all/new"), "");
}

/// Who writes more than the limit is evicted: the kubelet knows by the runtime's statistics.
fn too_much(stage: &Stage<'_>) {
    let mut main = container("main", "head -c 20000000 /dev/zero >/big; exec sleep 1000000");
    main["resources"] = json!({"limits": {"ephemeral-storage": "5Mi"}});
    stage.create(pod("big", json!({"containers": [main]})));
    let status = stage.ended("big");
    assert_eq!(status["reason"], "Evicted", "{status:#}");
}
