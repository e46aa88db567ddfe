//! What a pod may ask of its node: probes, hooks, identity, limits.

use crate::stage::{self, IDLE, Scenario, Stage, container, once, pod};
use e2e::cluster::AGNHOST;
use serde_json::{Value, json};

const SCENARIOS: &[Scenario] = &[
    ("probes", probes),
    ("failing-probe", failing_probe),
    ("hooks", hooks),
    ("failing-hook", failing_hook),
    ("identity", identity),
    ("names", names),
    ("sysctls", sysctls),
    ("resize", resize),
    ("resize-with-a-restart", resize_with_a_restart),
    ("resize-of-a-pod", resize_of_a_pod),
    ("user-namespace", user_namespace),
    ("memory", memory),
    ("shared-processes", shared_processes),
];

#[test]
fn pods_have_what_they_ask_for() {
    let Some(cluster) = stage::cluster("pods") else { return };
    stage::play(&cluster, SCENARIOS);
}

/// The cluster again with the feature gates of which a node may have either.
#[test]
fn pods_have_what_they_ask_for_with_events_and_statistics_of_the_runtime() {
    let mut options = e2e::cluster::Options::new("gates");
    options.kubelet = json!({"featureGates": {"EventedPLEG": true, "PodAndContainerStatsFromCRI": true}});
    let Some(cluster) = e2e::cluster::Cluster::start(&options).unwrap() else { return };
    stage::play(&cluster, SCENARIOS);
    stage::play(&cluster, &[("statistics", statistics)]);
}

fn probe(mut of: Value) -> Value {
    of["periodSeconds"] = json!(1);
    of["timeoutSeconds"] = json!(10);
    of
}

/// Readiness by all four kinds, each of a container of its own.
fn probes(stage: &Stage<'_>) {
    let server = |port: u16| {
        format!("mkdir /tmp/www; echo fine >/tmp/www/index.html; exec httpd -f -p {port} -h /tmp/www")
    };
    let mut exec = container("exec", &format!("touch /tmp/ready; {IDLE}"));
    exec["readinessProbe"] = probe(json!({"exec": {"command": ["cat", "/tmp/ready"]}}));
    exec["livenessProbe"] = probe(json!({"exec": {"command": ["true"]}}));
    let mut http = container("http", &server(8080));
    http["startupProbe"] = probe(json!({"httpGet": {"port": 8080, "path": "/"}}));
    http["readinessProbe"] = probe(json!({"httpGet": {"port": 8080, "path": "/index.html"}}));
    let mut tcp = container("tcp", &server(8081));
    tcp["readinessProbe"] = probe(json!({"tcpSocket": {"port": 8081}}));
    let mut grpc = json!({"name": "grpc", "image": AGNHOST, "args": ["grpc-health-checking", "--port", "5000", "--http-port", "5001"]});
    grpc["readinessProbe"] = probe(json!({"grpc": {"port": 5000}}));
    stage.create(pod("probes", json!({"containers": [exec, http, tcp, grpc]})));
    let pod = stage.ready("probes");
    let statuses = pod["status"]["containerStatuses"].as_array().unwrap();
    assert!(statuses.iter().all(|it| it["ready"] == true && it["restartCount"] == 0), "{statuses:#?}");
}

/// A container that fails its liveness probe is restarted, and one that fails its startup probe too.
fn failing_probe(stage: &Stage<'_>) {
    let mut alive = container("alive", "touch /tmp/alive; sleep 3; rm /tmp/alive; exec sleep 1000000");
    alive["livenessProbe"] =
        probe(json!({"exec": {"command": ["cat", "/tmp/alive"]}, "failureThreshold": 1}));
    let mut slow = container("slow", IDLE);
    slow["startupProbe"] = probe(json!({"exec": {"command": ["false"]}, "failureThreshold": 2}));
    stage.create(pod("failing", json!({"containers": [alive, slow]})));
    let pod = stage.until("both are restarted", "failing", |pod| {
        let statuses = pod["status"]["containerStatuses"].as_array()?;
        statuses.iter().all(|it| it["restartCount"].as_u64() >= Some(1)).then(|| pod.clone())
    });
    let last = |index: usize| pod["status"]["containerStatuses"][index]["lastState"]["terminated"].clone();
    // sleep takes no heed of SIGTERM as process 1; the other one does.
    assert_eq!(last(0)["exitCode"], 137, "{}", last(0));
    assert_eq!(last(1)["exitCode"], 0, "{}", last(1));
}

/// The one after the start is over before the container counts as started, the one before the end before SIGTERM.
fn hooks(stage: &Stage<'_>) {
    let directory = stage.cluster.node.world.isolation.directory("hooks").unwrap();
    let script = "trap 'echo term >>/seen/all; exit 0' TERM; while :; do sleep 0.1; done";
    let mut main = container("main", script);
    main["lifecycle"] = json!({
        "postStart": {"exec": {"command": ["sh", "-c", "sleep 1; echo started >>/seen/all"]}},
        "preStop": {"exec": {"command": ["sh", "-c", "sleep 1; echo stopping >>/seen/all"]}},
    });
    main["volumeMounts"] = json!([{"name": "seen", "mountPath": "/seen"}]);
    let volumes = json!([{"name": "seen", "hostPath": {"path": directory}}]);
    let spec = json!({"containers": [main], "volumes": volumes, "terminationGracePeriodSeconds": 30});
    stage.create(pod("hooks", spec));
    stage.ready("hooks");
    let seen = || std::fs::read_to_string(directory.join("all")).unwrap();
    assert_eq!(seen(), "started\n");
    stage.kubectl.run(&["delete", "pod/hooks"]).unwrap();
    assert_eq!(seen(), "started\nstopping\nterm\n");
}

fn failing_hook(stage: &Stage<'_>) {
    let mut main = container("main", "exec sleep 1000000");
    main["lifecycle"] = json!({"postStart": {"exec": {"command": ["sh", "-c", "exit 3"]}}});
    stage.create(pod("hook", json!({"restartPolicy": "Never", "containers": [main]})));
    let status = stage.ended("hook");
    assert_eq!(status["phase"], "Failed");
    let events =
        stage.kubectl.get(&["get", "events", "--field-selector", "reason=FailedPostStartHook"]).unwrap();
    assert_eq!(events["items"].as_array().map(Vec::len), Some(1), "{events:#}");
}

fn identity(stage: &Stage<'_>) {
    let mut main = container("main", "id -u; id -g; id -G; stat -c %g /data; grep NoNewPrivs /proc/1/status");
    main["securityContext"] = json!({"allowPrivilegeEscalation": false});
    main["volumeMounts"] = json!([{"name": "work", "mountPath": "/data"}]);
    let output = stage.output(pod(
        "identity",
        json!({
            "restartPolicy": "Never", "containers": [main], "volumes": [{"name": "work", "emptyDir": {}}],
            "securityContext": {
                "runAsUser": 1000, "runAsGroup": 2000, "fsGroup": 3000, "supplementalGroups": [4000],
            },
        }),
    ));
    let lines: Vec<_> = output.lines().collect();
    assert_eq!(lines[0..2], ["1000", "2000"]);
    let mut groups: Vec<_> = lines[2].split(' ').collect();
    groups.sort_unstable();
    // The image's own supplementary group of this user is merged in.
    assert_eq!(groups, ["2000", "3000", "4000", "50000"]);
    assert_eq!(lines[3..], ["3000", "NoNewPrivs:\t1"]);
}

fn names(stage: &Stage<'_>) {
    let script = "hostname; cat /etc/hosts; cat /etc/resolv.conf; echo $POD $NODE $ADDRESS";
    let mut main = container("main", script);
    let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});
    main["env"] = json!([
        {"name": "POD", "valueFrom": field("metadata.name")},
        {"name": "NODE", "valueFrom": field("spec.nodeName")},
        {"name": "ADDRESS", "valueFrom": field("status.podIP")},
    ]);
    let output = stage.output(pod(
        "names",
        json!({
            "restartPolicy": "Never", "containers": [main], "hostname": "other", "subdomain": "below",
            "hostAliases": [{"ip": "192.0.2.1", "hostnames": ["alias.test"]}],
            "dnsConfig": {"options": [{"name": "ndots", "value": "3"}]},
        }),
    ));
    assert_eq!(output.lines().next(), Some("other"));
    for expected in [
        "other.below.names.svc.cluster.local",
        "192.0.2.1\talias.test",
        "ndots:3",
        "nameserver 10.215.0.10",
        "names node1 10.214.1.",
    ] {
        assert!(output.contains(expected), "{expected} is not in\n{output}");
    }
}

fn sysctls(stage: &Stage<'_>) {
    let mut pod = once("sysctls", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start");
    pod["spec"]["securityContext"] =
        json!({"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "23"}]});
    assert_eq!(stage.output(pod), "23\n");
}

/// New limits reach a running container, which is not restarted, and its status tells them.
fn resize(stage: &Stage<'_>) {
    let mut main = container("main", IDLE);
    main["resources"] =
        json!({"requests": {"cpu": "50m", "memory": "32Mi"}, "limits": {"cpu": "100m", "memory": "64Mi"}});
    stage.create(pod("resize", json!({"containers": [main]})));
    stage.ready("resize");
    let wanted =
        json!({"requests": {"cpu": "50m", "memory": "32Mi"}, "limits": {"cpu": "200m", "memory": "96Mi"}});
    let patch = json!({"spec": {"containers": [{"name": "main", "resources": wanted}]}}).to_string();
    stage.kubectl.run(&["patch", "pod/resize", "--subresource", "resize", "--patch", &patch]).unwrap();
    let status = stage.until("the new limits are told", "resize", |pod| {
        let status = &pod["status"]["containerStatuses"][0];
        (status["resources"]["limits"] == wanted["limits"]).then(|| status.clone())
    });
    assert_eq!(status["restartCount"], 0);
    let limits = stage.shell(
        "resize",
        "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us 2>/dev/null || cat memory.max cpu.max",
    );
    let numbers: Vec<_> = limits.split_whitespace().take(2).collect();
    assert_eq!(numbers, ["100663296", "20000"]);
}

/// Where a container wants to be restarted for it, it is, once, and has the new limit then.
fn resize_with_a_restart(stage: &Stage<'_>) {
    let mut main = container("main", IDLE);
    main["resources"] = json!({"requests": {"memory": "32Mi"}, "limits": {"memory": "64Mi"}});
    main["resizePolicy"] = json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"}]);
    stage.create(pod("resize", json!({"containers": [main]})));
    stage.ready("resize");
    let wanted = json!({"requests": {"memory": "32Mi"}, "limits": {"memory": "96Mi"}});
    let patch = json!({"spec": {"containers": [{"name": "main", "resources": wanted}]}}).to_string();
    stage.kubectl.run(&["patch", "pod/resize", "--subresource", "resize", "--patch", &patch]).unwrap();
    stage.until("it was restarted for the new limit", "resize", |pod| {
        let status = &pod["status"]["containerStatuses"][0];
        (status["restartCount"] == 1 && status["resources"]["limits"] == wanted["limits"]).then_some(())
    });
    stage.ready("resize");
    let script = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes 2>/dev/null || cat memory.max";
    assert_eq!(stage.shell("resize", script), "100663296\n");
}

/// The limits of a whole pod change under its containers, which have none of their own.
fn resize_of_a_pod(stage: &Stage<'_>) {
    let spec = json!({
        "resources": {"requests": {"cpu": "50m", "memory": "32Mi"}, "limits": {"cpu": "100m", "memory": "64Mi"}},
        "containers": [container("main", IDLE)],
    });
    stage.create(pod("resize", spec));
    let uid = stage.ready("resize")["metadata"]["uid"].as_str().unwrap().to_owned();
    assert_eq!(limits_of_pod(&uid), ["67108864", "10000"]);
    let wanted =
        json!({"requests": {"cpu": "50m", "memory": "32Mi"}, "limits": {"cpu": "200m", "memory": "96Mi"}});
    let patch = json!({"spec": {"resources": wanted}}).to_string();
    stage.kubectl.run(&["patch", "pod/resize", "--subresource", "resize", "--patch", &patch]).unwrap();
    let status = stage.until("the new limits are told", "resize", |pod| {
        (pod["status"]["resources"]["limits"] == wanted["limits"]).then(|| pod["status"].clone())
    });
    assert_eq!(limits_of_pod(&uid), ["100663296", "20000"]);
    assert_eq!(status["containerStatuses"][0]["restartCount"], 0);
    assert_eq!(stage.shell("resize", "echo there"), "there\n");
}

/// Memory and quota of a pod's own cgroup, which is the kubelet's.
fn limits_of_pod(uid: &str) -> Vec<String> {
    let trees = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup/cpu", "/sys/fs/cgroup"];
    let find = trees.map(|tree| format!("find {tree} -type d -name pod{uid} 2>/dev/null"));
    let script = format!(
        "for dir in $({{ {}; }} | sort -u); do cat $dir/memory.limit_in_bytes $dir/memory.max; done 2>/dev/null | head -n 1;
         for dir in $({{ {}; }} | sort -u); do cat $dir/cpu.cfs_quota_us $dir/cpu.max; done 2>/dev/null | head -n 1",
        find.join("; "),
        find.join("; ")
    );
    let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

/// Root of the pod is nobody of the node's, and files of its volumes are its own all the same.
fn user_namespace(stage: &Stage<'_>) {
    let script = "id -u; awk '{ print ($2 > 0) }' /proc/self/uid_map; touch /data/own; stat -c %u /data/own";
    let mut main = container("main", script);
    main["volumeMounts"] = json!([{"name": "work", "mountPath": "/data"}]);
    let spec = json!({
        "restartPolicy": "Never", "hostUsers": false, "containers": [main],
        "volumes": [{"name": "work", "emptyDir": {}}],
    });
    assert_eq!(stage.output(pod("users", spec)), "0\n1\n0\n");
}

/// The end for lack of memory has its own reason.
fn memory(stage: &Stage<'_>) {
    let mut main = container("main", "dd if=/dev/zero of=/dev/null bs=128M count=1");
    main["resources"] = json!({"limits": {"memory": "32Mi"}});
    stage.create(pod("memory", json!({"restartPolicy": "Never", "containers": [main]})));
    let status = stage.ended("memory");
    let end = &status["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((&end["reason"], &end["exitCode"]), (&json!("OOMKilled"), &json!(137)), "{end:#}");
}

/// A container sees, and may signal, the processes of another one of its pod.
fn shared_processes(stage: &Stage<'_>) {
    let mounts = json!([{"name": "work", "mountPath": "/data"}]);
    // Kubernetes makes one dollar of two.
    let mut victim =
        container("victim", "trap 'exit 9' USR1; echo $$$$ >/data/pid; while :; do sleep 0.1; done");
    let mut killer = container("killer", "until kill -USR1 $(cat /data/pid); do sleep 0.1; done");
    for it in [&mut victim, &mut killer] {
        it["volumeMounts"] = mounts.clone();
    }
    let spec = json!({
        "restartPolicy": "Never", "shareProcessNamespace": true, "containers": [victim, killer],
        "volumes": [{"name": "work", "emptyDir": {}}],
    });
    stage.create(pod("shared", spec));
    let status = stage.ended("shared");
    let statuses = status["containerStatuses"].as_array().unwrap();
    let victim = statuses.iter().find(|it| it["name"] == "victim").unwrap();
    assert_eq!(victim["state"]["terminated"]["exitCode"], 9, "{status:#}");
}

/// What the kubelet tells of a pod comes from the runtime here.
fn statistics(stage: &Stage<'_>) {
    stage.create(pod("busy", json!({"containers": [container("main", "while :; do :; done")]})));
    stage.ready("busy");
    let path = "/api/v1/nodes/node1/proxy/stats/summary";
    let end = std::time::Instant::now() + stage::PATIENCE;
    loop {
        let text = stage.kubectl.run(&["get", "--raw", path]).unwrap();
        let summary: Value = serde_json::from_str(&text).unwrap();
        let pods = summary["pods"].as_array().unwrap();
        let busy = pods.iter().find(|pod| pod["podRef"]["name"] == "busy");
        let complete = busy.is_some_and(|pod| {
            let container = &pod["containers"][0];
            [
                &pod["cpu"]["usageNanoCores"],
                &container["memory"]["workingSetBytes"],
                &pod["network"]["rxBytes"],
            ]
            .iter()
            .all(|figure| figure.as_u64().is_some())
                && container["cpu"]["usageCoreNanoSeconds"].as_u64() > Some(0)
                && container["rootfs"]["usedBytes"].as_u64().is_some()
        });
        if complete {
            return;
        }
        assert!(std::time::Instant::now() < end, "{busy:#?}");
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
}
