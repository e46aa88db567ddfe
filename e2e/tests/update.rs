//! Limits that change while a container runs, as the kubelet's in-place resize changes them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::large_futures)]

use e2e::client::Cri;
use e2e::pods::{container, shell};
use e2e::proto::{
    LinuxContainerResources, PodSandboxConfig, UpdateContainerResourcesRequest,
    UpdatePodSandboxResourcesRequest, WindowsContainerResources,
};
use e2e::runtime::{Kind, Options};
use e2e::world::{BUSYBOX, World, wait_exited};
use std::time::Duration;
use tonic::Code;

const PATIENCE: Duration = Duration::from_secs(30);
const MIB: i64 = 1 << 20;

async fn update(cri: &Cri, id: &str, linux: LinuxContainerResources) -> Result<(), tonic::Status> {
    let request = UpdateContainerResourcesRequest {
        container_id: id.to_owned(),
        linux: Some(linux),
        annotations: [("note".to_owned(), "kept".to_owned())].into(),
        ..UpdateContainerResourcesRequest::default()
    };
    cri.runtime.clone().update_container_resources(request).await.map(drop)
}

async fn shown(cri: &Cri, id: &str) -> LinuxContainerResources {
    cri.container_status(id).await.unwrap().resources.unwrap().linux.unwrap()
}

async fn start(cri: &Cri, config: &PodSandboxConfig, script: &str) -> (String, String) {
    cri.pull(BUSYBOX, None).await.unwrap();
    let pod = cri.run_pod(config).await.unwrap();
    let id = cri.create(&pod, &shell("main", BUSYBOX, script), config).await.unwrap();
    cri.start(&id).await.unwrap();
    (pod, id)
}

#[test]
fn an_update_changes_what_it_names_and_survives_the_daemon() {
    let Some(mut world) = World::new().unwrap() else { return };
    if world.daemon.kind() == Kind::Containerd {
        need::skip(need::Need::Corten, "the peer shows what was asked for, and forgets annotations");
        return;
    }
    let config = world.pod("update").unwrap();
    let id = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let (_, id) = start(&cri, &config, "exec sleep 1000").await;
        let before = shown(&cri, &id).await;
        assert_eq!(
            (before.cpu_quota, before.cpu_shares, before.memory_limit_in_bytes),
            (100_000, 512, 128 * MIB)
        );
        let change = LinuxContainerResources {
            cpu_quota: 50_000,
            memory_limit_in_bytes: 96 * MIB,
            cpuset_cpus: "0".into(),
            ..LinuxContainerResources::default()
        };
        update(&cri, &id, change).await.unwrap();
        let pid = cri.container_info(&id).await.unwrap()["pid"].as_i64().unwrap();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(status.contains("Cpus_allowed_list:\t0\n"), "{status}");
        // Another process of the container is bound by it as well.
        let allowed = cri.shell(&id, "grep Cpus_allowed_list /proc/self/status").await.unwrap();
        assert_eq!(allowed.trim(), "Cpus_allowed_list:\t0");
        id
    });
    world.daemon.kill().unwrap();
    world.daemon.restart().unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let after = shown(&cri, &id).await;
        assert_eq!((after.cpu_quota, after.cpu_period, after.cpu_shares), (50_000, 100_000, 512));
        assert_eq!((after.memory_limit_in_bytes, after.cpuset_cpus.as_str()), (96 * MIB, "0"));
        let info = cri.container_info(&id).await.unwrap();
        assert_eq!(info["updateAnnotations"]["note"], "kept");
        assert_eq!(info["runtimeSpec"]["linux"]["resources"]["memory"]["limit"], 96 * MIB);
        cri.stop(&id, 0).await.unwrap();
        wait_exited(&cri, &id, PATIENCE).await.unwrap();
        let late = update(&cri, &id, LinuxContainerResources { cpu_shares: 2, ..Default::default() }).await;
        assert_eq!(late.unwrap_err().code(), Code::FailedPrecondition);
    });
}

#[test]
fn a_refused_update_changes_nothing() {
    let Some(world) = World::new().unwrap() else { return };
    if world.daemon.kind() == Kind::Containerd {
        need::skip(need::Need::Corten, "the peer lets the kernel kill what is over a lowered limit");
        return;
    }
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let config = world.pod("refused").unwrap();
        // 40 MiB on a tmpfs cannot be reclaimed without swap.
        let script =
            "dd if=/dev/zero of=/dev/shm/big bs=1M count=40 2>/dev/null; echo ready; exec sleep 1000";
        let (pod, id) = start(&cri, &config, script).await;
        let end = std::time::Instant::now() + PATIENCE;
        while !std::fs::read_to_string(world.log("refused", "main")).is_ok_and(|log| log.contains("ready")) {
            assert!(std::time::Instant::now() < end, "the memory is not taken");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let before = shown(&cri, &id).await;
        let lower = LinuxContainerResources {
            cpu_shares: 77,
            memory_limit_in_bytes: 20 * MIB,
            ..LinuxContainerResources::default()
        };
        let refused = update(&cri, &id, lower).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
        assert!(refused.message().contains("bytes in use"), "{refused}");
        assert_eq!(shown(&cri, &id).await, before);
        let bad = [
            LinuxContainerResources { cpu_period: 1, ..Default::default() },
            LinuxContainerResources { cpuset_cpus: "3-0".into(), ..Default::default() },
            // No machine for tests has so many.
            LinuxContainerResources { cpuset_cpus: "0,1023".into(), ..Default::default() },
            LinuxContainerResources { cpuset_mems: "0,63".into(), ..Default::default() },
            LinuxContainerResources { memory_limit_in_bytes: -2, ..Default::default() },
            LinuxContainerResources { memory_swap_limit_in_bytes: MIB, ..Default::default() },
            LinuxContainerResources { unified: [("../x.y".into(), "1".into())].into(), ..Default::default() },
        ];
        for change in bad {
            let error = update(&cri, &id, change.clone()).await.unwrap_err();
            assert_eq!(error.code(), Code::InvalidArgument, "{change:?}: {error}");
            assert!(error.message().starts_with("linux."), "{error}");
        }
        let windows = UpdateContainerResourcesRequest {
            container_id: id.clone(),
            windows: Some(WindowsContainerResources { cpu_count: 1, ..Default::default() }),
            ..Default::default()
        };
        let error = cri.runtime.clone().update_container_resources(windows).await.unwrap_err();
        assert!(error.message().starts_with("windows"), "{error}");
        assert_eq!(shown(&cri, &id).await, before);
        let missing = update(&cri, &"0".repeat(64), LinuxContainerResources::default()).await.unwrap_err();
        assert_eq!(missing.code(), Code::NotFound);
        cri.end_pod(&pod).await.unwrap();
    });
}

#[test]
fn a_pod_of_the_runtime_s_own_cgroup_has_the_limits_of_the_whole() {
    let mut parent = String::new();
    let world = World::with(|options| {
        let root = options.mirror.unwrap().port();
        parent = format!("/corten-update-{root}");
        Options { extra: format!("[runtime]\ncgroup_parent = {parent:?}\n"), ..options }
    });
    let Some(world) = world.unwrap() else { return };
    if world.daemon.kind() == Kind::Containerd {
        need::skip(need::Need::Corten, "the peer leaves a pod's cgroup alone");
        return;
    }
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let mut config = world.pod("whole").unwrap();
        let linux = config.linux.as_mut().unwrap();
        linux.cgroup_parent = String::new();
        let memory = |mib| LinuxContainerResources { memory_limit_in_bytes: mib * MIB, ..Default::default() };
        linux.resources = Some(memory(200));
        linux.overhead = Some(memory(8));
        let pod = cri.run_pod(&config).await.unwrap();
        let limit = |pod: &str| {
            let files = [
                format!("/sys/fs/cgroup/memory{parent}/{pod}/memory.limit_in_bytes"),
                format!("/sys/fs/cgroup{parent}/{pod}/memory.max"),
            ];
            let text = files.iter().find_map(|file| std::fs::read_to_string(file).ok());
            text.expect("the pod has no cgroup of its own").trim().parse::<i64>().unwrap()
        };
        assert_eq!(limit(&pod), 208 * MIB);
        let main =
            cri.create(&pod, &container("main", BUSYBOX, &["/bin/sleep", "1000"]), &config).await.unwrap();
        cri.start(&main).await.unwrap();
        let request = UpdatePodSandboxResourcesRequest {
            pod_sandbox_id: pod.clone(),
            overhead: None,
            resources: Some(memory(300)),
        };
        cri.runtime.clone().update_pod_sandbox_resources(request.clone()).await.unwrap();
        assert_eq!(limit(&pod), 308 * MIB);
        cri.stop_pod(&pod).await.unwrap();
        let late = cri.runtime.clone().update_pod_sandbox_resources(request).await.unwrap_err();
        assert_eq!(late.code(), Code::FailedPrecondition);
        cri.remove_pod(&pod).await.unwrap();
    });
}

#[test]
fn crictl_updates() {
    let Some(world) = World::new().unwrap() else { return };
    let id = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        start(&cri, &world.pod("crictl-update").unwrap(), "exec sleep 1000").await.1
    });
    let crictl = world.crictl().unwrap();
    crictl.run(&["update", "--cpu-share", "777", "--memory", "67108864", &id]).unwrap();
    let shown: serde_json::Value = serde_json::from_str(&crictl.run(&["inspect", &id]).unwrap()).unwrap();
    let limits = &shown["status"]["resources"]["linux"];
    assert_eq!((&limits["cpuShares"], &limits["memoryLimitInBytes"]), (&"777".into(), &"67108864".into()));
}
