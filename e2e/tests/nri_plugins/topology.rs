//! topology-aware: it gives containers their CPUs, when they are made, when it joins late, and again after each death.

use crate::stage::{Pod, Stage};
use crate::table::same;
use e2e::client::Cri;
use e2e::plugin::{self, Plugin};
use e2e::proto::{LinuxContainerResources, PodSandboxConfig, UpdateContainerResourcesRequest};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

const POLICY: &str = "apiVersion: config.nri/v1alpha1\nkind: TopologyAwarePolicy\nmetadata:\n  name: default\nspec:\n  \
                      pinCPU: true\n  pinMemory: true\n  reservedResources:\n    cpu: 500m\n";

/// By its configuration file, which takes the place of its agent in a cluster.
fn start(stage: &Stage) -> Plugin {
    let directory = stage.directory("topology-aware");
    let path = |name: &str| directory.join(name).display().to_string();
    let config = stage.file("policy.yaml", POLICY);
    let mut command = Command::new(plugin::program("topology-aware").unwrap());
    command.args(["-config-file", &config, "-state-dir", &path("state"), "-pid-file", &path("pid")]);
    command.args(["-nri-plugin-index", "90", "-nri-plugin-name", "topology-aware"]);
    stage.start(command, &["90-topology-aware"])
}

/// CPUs but the first, which is set aside for the system.
fn shared() -> String {
    let count = thread::available_parallelism().unwrap().get();
    if count < 3 { "1".to_owned() } else { format!("1-{}", count - 1) }
}

fn all() -> String {
    format!("0-{}", thread::available_parallelism().unwrap().get() - 1)
}

fn cpus(stage: &Stage, cri: &Cri, pod: &Pod) -> String {
    stage.inside(cri, pod, "awk '/Cpus_allowed_list/ { print $2 }' /proc/1/status")
}

fn named(stage: &Stage, name: &str, namespace: &str) -> PodSandboxConfig {
    let mut config = stage.world.pod(name).unwrap();
    config.metadata.get_or_insert_default().namespace = namespace.to_owned();
    config
}

#[test]
fn cpus_of_containers() {
    let pool = shared();
    let wanted = [("CPUs of a container", pool.as_str()), ("CPUs of kube-system's", "0")];
    same("topology-aware", &wanted, |stage| {
        let _plugin = start(stage);
        let cri = stage.cri();
        let [one, system] = [("one", "test"), ("system", "kube-system")]
            .map(|(name, namespace)| stage.run_as(&cri, &named(stage, name, namespace)).unwrap());
        let seen = [cpus(stage, &cri, &one), cpus(stage, &cri, &system)];
        stage.end(&cri, &one);
        stage.end(&cri, &system);
        let [one, system] = seen;
        vec![("CPUs of a container", one), ("CPUs of kube-system's", system)]
    });
}

/// The in-place resize of the kubelet.
fn resize(stage: &Stage, cri: &Cri, pod: &Pod) {
    let request = UpdateContainerResourcesRequest {
        container_id: pod.main.clone(),
        linux: Some(LinuxContainerResources {
            cpu_period: 100_000,
            cpu_quota: 50_000,
            cpu_shares: 256,
            ..LinuxContainerResources::default()
        }),
        ..UpdateContainerResourcesRequest::default()
    };
    stage.world.tokio.block_on(cri.runtime.clone().update_container_resources(request)).unwrap();
}

const QUOTA: &str =
    "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cut -d ' ' -f 1 /sys/fs/cgroup/cpu.max";

#[test]
fn cpus_of_containers_that_run_already() {
    let (pool, all) = (shared(), all());
    let resized = format!("{pool}, quota 50000");
    let wanted = [
        ("CPUs before it joins", all.as_str()),
        ("CPUs when it has joined", pool.as_str()),
        ("CPUs behind a resize", resized.as_str()),
        ("CPUs of what came while it was dead", pool.as_str()),
        ("CPUs while the runtime is dead", pool.as_str()),
        ("CPUs of what came behind that", pool.as_str()),
    ];
    same("topology-aware", &wanted, |stage| {
        let (cri, pool) = (stage.cri(), shared());
        let first = stage.run_as(&cri, &named(stage, "first", "test")).unwrap();
        let before = cpus(stage, &cri, &first);
        let plugin = start(stage);
        let joined = stage.until(&pool, || cpus(stage, &cri, &first));
        resize(stage, &cri, &first);
        let resized = format!("{}, quota {}", cpus(stage, &cri, &first), stage.inside(&cri, &first, QUOTA));
        drop(plugin);
        let second = stage.run_as(&cri, &named(stage, "second", "test")).unwrap();
        let mut plugin = start(stage);
        let meanwhile = stage.until(&pool, || cpus(stage, &cri, &second));
        // There is one CPU to share on a small machine.
        stage.end(&cri, &second);
        stage.world.daemon.kill().unwrap();
        let since = Instant::now();
        while !plugin.has_ended() && since.elapsed() < Duration::from_secs(10) {
            thread::sleep(Duration::from_millis(20));
        }
        assert!(plugin.has_ended(), "it ends when it has lost its connection");
        stage.world.daemon.restart().unwrap();
        let cri = stage.cri();
        let kept = cpus(stage, &cri, &first);
        let _plugin = start(stage);
        let third = stage.run_as(&cri, &named(stage, "third", "test")).unwrap();
        let behind = cpus(stage, &cri, &third);
        for pod in [&first, &third] {
            stage.end(&cri, pod);
        }
        vec![
            ("CPUs before it joins", before),
            ("CPUs when it has joined", joined),
            ("CPUs behind a resize", resized),
            ("CPUs of what came while it was dead", meanwhile),
            ("CPUs while the runtime is dead", kept),
            ("CPUs of what came behind that", behind),
        ]
    });
}
