//! What containers and pods use, as the kubelet and crictl ask for it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::large_futures)]

use e2e::client::Cri;
use e2e::pods::shell;
use e2e::proto::{
    ContainerStats, ContainerStatsFilter, ContainerStatsRequest, ListContainerStatsRequest,
    ListMetricDescriptorsRequest, ListPodSandboxMetricsRequest, ListPodSandboxStatsRequest, Metric, Mount,
    PodSandboxConfig, PodSandboxStats, PodSandboxStatsRequest, StreamContainerStatsRequest,
    StreamPodSandboxMetricsRequest, StreamPodSandboxStatsRequest, UInt64Value,
};
use e2e::runtime::Kind;
use e2e::world::{BUSYBOX, World, wait_exited};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);
const MIB: u64 = 1 << 20;

/// A pod in a cgroup of its own, as the kubelet makes them.
fn config(world: &World, name: &str) -> PodSandboxConfig {
    let mut config = world.pod(name).unwrap();
    config.linux.as_mut().unwrap().cgroup_parent += &format!("/{name}");
    config.labels.insert("app".into(), name.into());
    config
}

fn number(value: Option<&UInt64Value>) -> u64 {
    value.expect("a number is missing").value
}

async fn stats(cri: &Cri, id: &str) -> ContainerStats {
    let request = ContainerStatsRequest { container_id: id.to_owned() };
    cri.runtime.clone().container_stats(request).await.unwrap().into_inner().stats.unwrap()
}

async fn pod_stats(cri: &Cri, id: &str) -> PodSandboxStats {
    let request = PodSandboxStatsRequest { pod_sandbox_id: id.to_owned() };
    cri.runtime.clone().pod_sandbox_stats(request).await.unwrap().into_inner().stats.unwrap()
}

/// Asks until the answer fits: counters lag behind, and layers are counted from time to time.
async fn until<T, F: Future<Output = T>>(ask: impl Fn() -> F, fits: impl Fn(&T) -> bool, what: &str) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        let answer = ask().await;
        if fits(&answer) {
            return answer;
        }
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

const BUSY: &str = "dd if=/dev/zero of=/big bs=1M count=9 2>/dev/null; mkdir /d; touch /d/1 /d/2; \
    echo ready; while :; do :; done";

#[test]
fn usage_is_what_a_container_and_its_pod_really_use() {
    let Some(world) = World::with(|options| e2e::runtime::Options {
        extra: "[runtime]\nlayer_usage_seconds = 1\n".into(),
        ..options
    })
    .unwrap() else {
        return;
    };
    if world.daemon.kind() == Kind::Containerd {
        need::skip(need::Need::Corten, "the peer counts layers every ten seconds, and swap not at all");
        return;
    }
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let config = config(&world, "usage");
        let pod = cri.run_pod(&config).await.unwrap();
        let mut busy = shell("busy", BUSYBOX, BUSY);
        busy.labels.insert("role".into(), "busy".into());
        let busy = cri.create(&pod, &busy, &config).await.unwrap();
        cri.start(&busy).await.unwrap();
        let counts = |stats: &ContainerStats| {
            let layer = stats.writable_layer.as_ref().unwrap();
            let cpu = number(stats.cpu.as_ref().unwrap().usage_core_nano_seconds.as_ref());
            cpu > 50_000_000 && layer.used_bytes.as_ref().is_some_and(|bytes| bytes.value >= 9 * MIB)
        };
        let found = until(|| stats(&cri, &busy), counts, "neither CPU time nor layer grow").await;
        check_container(&found, &busy);
        let layer = found.writable_layer.as_ref().unwrap();
        assert!(number(layer.inodes_used.as_ref()) >= 5, "{layer:?}");
        assert!(number(layer.used_bytes.as_ref()) < 20 * MIB, "{layer:?}");
        check_pod(&cri, &pod, &busy).await;
        check_lists(&cri, &pod, &busy).await;

        cri.stop(&busy, 0).await.unwrap();
        wait_exited(&cri, &busy, PATIENCE).await.unwrap();
        let ended = stats(&cri, &busy).await;
        assert!(ended.cpu.is_none() && ended.memory.is_none(), "{ended:?}");
        assert!(number(ended.writable_layer.unwrap().used_bytes.as_ref()) >= 9 * MIB);
        cri.stop_pod(&pod).await.unwrap();
        let request = PodSandboxStatsRequest { pod_sandbox_id: pod.clone() };
        let refused = cri.runtime.clone().pod_sandbox_stats(request).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
        cri.remove_pod(&pod).await.unwrap();
        let request = ContainerStatsRequest { container_id: busy.clone() };
        let gone = cri.runtime.clone().container_stats(request).await.unwrap_err();
        assert_eq!(gone.code(), tonic::Code::NotFound);
    });
}

fn check_container(stats: &ContainerStats, id: &str) {
    let attributes = stats.attributes.as_ref().unwrap();
    assert_eq!((attributes.id.as_str(), attributes.labels["role"].as_str()), (id, "busy"));
    assert_eq!(attributes.metadata.as_ref().unwrap().name, "busy");
    let (cpu, memory) = (stats.cpu.as_ref().unwrap(), stats.memory.as_ref().unwrap());
    assert!(cpu.timestamp > 0 && memory.timestamp > 0);
    assert!(number(cpu.usage_nano_cores.as_ref()) > 0);
    let (usage, working) = (number(memory.usage_bytes.as_ref()), number(memory.working_set_bytes.as_ref()));
    assert!(working > 0 && working <= usage && usage < 128 * MIB, "{memory:?}");
    assert!(number(memory.rss_bytes.as_ref()) <= usage, "{memory:?}");
    assert_eq!(number(memory.available_bytes.as_ref()), 128 * MIB - working);
    assert!(number(memory.page_faults.as_ref()) > 0, "{memory:?}");
    let layer = stats.writable_layer.as_ref().unwrap();
    let mountpoint = &layer.fs_id.as_ref().unwrap().mountpoint;
    assert!(std::path::Path::new(mountpoint).is_dir() && layer.timestamp > 0, "{layer:?}");
}

async fn check_pod(cri: &Cri, pod: &str, container: &str) {
    let moved = |stats: &PodSandboxStats| {
        let network = stats.linux.as_ref().unwrap().network.as_ref().unwrap();
        network.default_interface.as_ref().is_some_and(|one| {
            [&one.rx_bytes, &one.tx_bytes].into_iter().all(|bytes| number(bytes.as_ref()) > 0)
        })
    };
    let ip = cri.pod_ip(pod).await.unwrap();
    let gateway = format!("{}.1", ip.rsplit_once('.').unwrap().0);
    // Refused, which is traffic both ways.
    cri.shell(container, &format!("nc -w 1 {gateway} 9")).await.unwrap();
    let found = until(|| pod_stats(cri, pod), moved, "no traffic is seen").await;
    assert_eq!(found.attributes.as_ref().unwrap().labels["app"], "usage");
    let linux = found.linux.unwrap();
    let (cpu, memory) = (linux.cpu.unwrap(), linux.memory.unwrap());
    assert_eq!(linux.containers.len(), 1);
    let inner = &linux.containers[0];
    let inner_memory = inner.memory.as_ref().unwrap();
    assert!(number(cpu.usage_core_nano_seconds.as_ref()) > 0);
    assert!(number(memory.usage_bytes.as_ref()) >= number(inner_memory.rss_bytes.as_ref()), "{memory:?}");
    assert_eq!(number(linux.process.unwrap().process_count.as_ref()), 1, "the shell");
    let network = linux.network.unwrap();
    let default = network.default_interface.unwrap();
    assert_eq!(default.name, "eth0");
    assert!(network.interfaces.iter().all(|one| one.name != "eth0" && one.name != "lo"));
}

async fn check_lists(cri: &Cri, pod: &str, container: &str) {
    let list = async |filter: ContainerStatsFilter| {
        let request = ListContainerStatsRequest { filter: Some(filter) };
        let reply = cri.runtime.clone().list_container_stats(request).await.unwrap().into_inner();
        reply.stats.into_iter().map(|one| one.attributes.unwrap().id).collect::<Vec<_>>()
    };
    let all = ContainerStatsFilter::default();
    assert_eq!(list(all.clone()).await, [container]);
    let labelled = |role: &str| ContainerStatsFilter {
        label_selector: [("role".to_owned(), role.to_owned())].into(),
        ..all.clone()
    };
    assert_eq!(list(labelled("busy")).await, [container]);
    assert!(list(labelled("idle")).await.is_empty());
    assert_eq!(
        list(ContainerStatsFilter { pod_sandbox_id: pod.to_owned(), ..all.clone() }).await,
        [container]
    );
    assert!(list(ContainerStatsFilter { id: "0".repeat(64), ..all }).await.is_empty());

    let request = StreamContainerStatsRequest { filter: None };
    let mut stream = cri.runtime.clone().stream_container_stats(request).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap();
    assert_eq!(first.container_stats[0].attributes.as_ref().unwrap().id, container);
    assert!(stream.message().await.unwrap().is_none());
    let request = ListPodSandboxStatsRequest { filter: None };
    let listed = cri.runtime.clone().list_pod_sandbox_stats(request).await.unwrap().into_inner().stats;
    assert_eq!(listed[0].attributes.as_ref().unwrap().id, pod);
    let request = StreamPodSandboxStatsRequest { filter: None };
    let mut stream = cri.runtime.clone().stream_pod_sandbox_stats(request).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap();
    assert_eq!(first.pod_sandbox_stats[0].attributes.as_ref().unwrap().id, pod);
}

#[test]
fn crictl_shows_usage() {
    let Some(world) = World::new().unwrap() else { return };
    let (pod, container) = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let config = config(&world, "shown");
        let pod = cri.run_pod(&config).await.unwrap();
        let main = shell("main", BUSYBOX, "exec sleep 1000");
        let container = cri.create(&pod, &main, &config).await.unwrap();
        cri.start(&container).await.unwrap();
        (pod, container)
    });
    let crictl = world.crictl().unwrap();
    let shown: serde_json::Value =
        serde_json::from_str(&crictl.run(&["stats", "-o", "json", &container]).unwrap()).unwrap();
    assert_eq!(shown["stats"][0]["attributes"]["id"], container, "{shown}");
    assert!(shown["stats"][0]["memory"]["workingSetBytes"]["value"].is_string(), "{shown}");
    let table = crictl.run(&["stats"]).unwrap();
    assert!(table.contains("main"), "{table}");
    let table = crictl.run(&["statsp"]).unwrap();
    assert!(table.contains("shown"), "{table}");
    let shown: serde_json::Value =
        serde_json::from_str(&crictl.run(&["statsp", "-o", "json"]).unwrap()).unwrap();
    assert_eq!(shown["stats"][0]["attributes"]["id"], pod, "{shown}");
    crictl.run(&["rmp", "-f", &pod]).unwrap();
}

#[test]
fn metrics_are_those_of_cadvisor() {
    let Some(world) = World::new().unwrap() else { return };
    if world.daemon.kind() == Kind::Containerd {
        need::skip(need::Need::Corten, "the peer has fewer families, and no cgroup under id");
        return;
    }
    let crictl = world.crictl().unwrap();
    let (pod, container) = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let config = config(&world, "measured");
        let pod = cri.run_pod(&config).await.unwrap();
        let container = cri.create(&pod, &shell("main", BUSYBOX, "exec sleep 1000"), &config).await.unwrap();
        cri.start(&container).await.unwrap();
        let request = StreamPodSandboxMetricsRequest {};
        let mut stream = cri.runtime.clone().stream_pod_sandbox_metrics(request).await.unwrap().into_inner();
        assert_eq!(stream.message().await.unwrap().unwrap().pod_sandbox_metrics[0].pod_sandbox_id, pod);
        let descriptors =
            cri.runtime.clone().list_metric_descriptors(ListMetricDescriptorsRequest {}).await.unwrap();
        let labels: BTreeMap<String, Vec<String>> =
            descriptors.into_inner().descriptors.into_iter().map(|one| (one.name, one.label_keys)).collect();
        let request = ListPodSandboxMetricsRequest {};
        let listed = cri.runtime.clone().list_pod_sandbox_metrics(request).await.unwrap().into_inner();
        let found = &listed.pod_metrics[0];
        assert_eq!(found.pod_sandbox_id, pod);
        let of = |metrics: &[Metric], name: &str| {
            let metric = metrics.iter().find(|one| one.name == name).unwrap_or_else(|| panic!("no {name}"));
            let labels: BTreeMap<_, _> =
                labels[name].iter().cloned().zip(metric.label_values.iter().cloned()).collect();
            (labels, metric.value.unwrap().value)
        };
        let (network, _) = of(&found.metrics, "container_network_receive_bytes_total");
        assert_eq!((network["interface"].as_str(), network["pod"].as_str()), ("eth0", "measured"));
        let inner = &found.container_metrics[0];
        assert_eq!(inner.container_id, container);
        let (memory, bytes) = of(&inner.metrics, "container_memory_working_set_bytes");
        assert_eq!((memory["container"].as_str(), memory["namespace"].as_str()), ("main", "test"));
        assert_eq!((memory["name"].as_str(), memory["image"].as_str()), (container.as_str(), BUSYBOX));
        assert!(
            memory["id"].starts_with('/') && memory["id"].ends_with(&container) && bytes > 0,
            "{memory:?}"
        );
        assert_eq!(of(&inner.metrics, "container_spec_memory_limit_bytes").1, 128 * MIB);
        assert_eq!(of(&inner.metrics, "container_spec_cpu_shares").1, 512);
        assert_eq!(of(&inner.metrics, "container_processes").1, 1);
        assert!(of(&inner.metrics, "container_file_descriptors").1 >= 3);
        assert_eq!(of(&inner.metrics, "container_oom_events_total").1, 0);
        assert!(of(&inner.metrics, "container_fs_limit_bytes").1 > 0);
        // A client that looks for what is listed finds it; a container that used no device has no counters of one.
        let all: Vec<&str> =
            found.metrics.iter().chain(&inner.metrics).map(|metric| metric.name.as_str()).collect();
        let of_devices = ["container_fs_reads_", "container_fs_writes_", "container_blkio_"];
        let missing: Vec<&String> = labels
            .keys()
            .filter(|name| !all.contains(&name.as_str()))
            .filter(|name| !of_devices.iter().any(|prefix| name.starts_with(prefix)))
            .filter(|name| *name != "container_spec_cpu_quota")
            .collect();
        assert!(missing.is_empty(), "listed and not there: {missing:?}");
        (pod, container)
    });
    let shown = crictl.run(&["metricdescs"]).unwrap();
    assert!(shown.contains("container_memory_working_set_bytes"), "{shown}");
    let shown = crictl.run(&["metricsp"]).unwrap();
    assert!(shown.contains(&pod) && shown.contains(&container), "{shown}");
}

/// Cgroups below a world's parent that are called by an id.
fn called(world: &World, id: &str) -> usize {
    let found = e2e::isolation::cgroup_directories(&world.isolation.cgroup_parent());
    found.iter().filter(|path| path.ends_with(id)).count()
}

#[test]
fn pods_have_cgroups_by_their_ids_only_while_cadvisor_is_answered() {
    let Some(mut world) = World::new().unwrap() else { return };
    if world.daemon.kind() == Kind::Containerd {
        need::skip(need::Need::Corten, "the peer's pauses have cgroups of their own");
        return;
    }
    if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        need::skip(need::Need::System, "on cgroup v2 the supervisor's cgroup has the pod's name");
        return;
    }
    // Another daemon is there at the end.
    let baseline = world.baseline().unwrap().without("process").without("fd");
    let pods = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let mut pods = Vec::new();
        for name in ["kept", "orphaned"] {
            let config = config(&world, name);
            let pod = cri.run_pod(&config).await.unwrap();
            let id = cri.create(&pod, &shell("main", BUSYBOX, "exec sleep 1000"), &config).await.unwrap();
            cri.start(&id).await.unwrap();
            pods.push(pod);
        }
        // Longer than they would take.
        tokio::time::sleep(Duration::from_secs(4)).await;
        pods
    });
    assert!(pods.iter().all(|pod| called(&world, pod) == 0), "nobody asks for them");

    let root = world.daemon.place().root.clone();
    let setting = root.join("conf.d/cadvisor.toml");
    let text =
        format!("[kubelet]\ncadvisor_socket = {:?}\n", root.join("cadvisor.sock").display().to_string());
    std::fs::write(&setting, text).unwrap();
    world.daemon.kill().unwrap();
    world.daemon.restart().unwrap();
    world.tokio.block_on(async {
        let all = async || pods.iter().all(|pod| called(&world, pod) >= 3);
        until(all, |all| *all, "pods get no cgroups by their ids").await;
    });
    let is_shim = |line: &str| line.split(' ').next().is_some_and(|word| word.ends_with("corten-shim"));
    let processes = world.isolation.processes();
    let mut shims = processes.iter().filter(|(_, line)| is_shim(line)).map(|(pid, _)| *pid);
    let shim = nix::unistd::Pid::from_raw(shims.next().unwrap());
    nix::sys::signal::kill(shim, nix::sys::signal::Signal::SIGKILL).unwrap();

    // The next daemon answers nobody, and knows of them all the same.
    std::fs::remove_file(&setting).unwrap();
    world.daemon.kill().unwrap();
    world.daemon.restart().unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        for pod in &pods {
            cri.stop_pod(pod).await.unwrap();
            assert_eq!(called(&world, pod), 0);
            cri.remove_pod(pod).await.unwrap();
        }
    });
    baseline.settle(&world.isolation, &world.daemon).unwrap();
}

#[test]
fn a_java_virtual_machine_sizes_its_heap_by_its_limit() {
    let java = std::path::Path::new("/usr/bin/java");
    if !java.exists() {
        return need::skip(need::Need::System, "java is not installed");
    }
    let Some(world) = World::new().unwrap() else { return };
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let pod_config = world.pod("java").unwrap();
        let pod = cri.run_pod(&pod_config).await.unwrap();
        let mut config = shell("main", BUSYBOX, "exec sleep 1000");
        config.linux.as_mut().unwrap().resources.as_mut().unwrap().memory_limit_in_bytes = 512 << 20;
        for path in ["/usr", "/lib", "/lib64", "/etc"] {
            if std::path::Path::new(path).is_dir() {
                config.mounts.push(Mount {
                    host_path: path.to_owned(),
                    container_path: path.to_owned(),
                    readonly: true,
                    ..Mount::default()
                });
            }
        }
        let id = cri.create(&pod, &config, &pod_config).await.unwrap();
        cri.start(&id).await.unwrap();
        let flags = cri.shell(&id, "exec /usr/bin/java -XX:+PrintFlagsFinal -version").await.unwrap();
        let line = flags.lines().find(|line| line.contains(" MaxHeapSize ")).expect(&flags);
        let heap: u64 = line.split_whitespace().nth(3).unwrap().parse().unwrap();
        assert!(heap <= 512 << 20, "{line}");
        cri.end_pod(&pod).await.unwrap();
    });
}
