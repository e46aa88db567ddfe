//! What is read of many pods: as often as there are pods, and with nothing held that others wait for.

use super::{World, container, pod};
use crate::in_memory::{Container, Pod};
use crate::record::{ContainerRecord, PodRecord};
use crate::{PodFilter, now};
use model::{ContainerId, ContainerState, CpuShares, Resources, Rootfs, SandboxId, SandboxState, Signal};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A pod with a running container, of which the cgroups count something and nothing else is there.
pub(super) fn add(world: &World, number: usize) -> (Arc<Pod>, Arc<Container>) {
    let engine = world.engine();
    let id = SandboxId::new(format!("{number:064x}"));
    let parent = format!("/stats/{id}");
    let mut record = PodRecord::new(&id, Arc::new(pod(&id)), String::new(), parent);
    record.state = SandboxState::Ready;
    let pod = Pod::new(record, &engine.core.paths).unwrap();
    engine.core.registry.add_pod(pod.clone());
    let record = ContainerRecord {
        id: ContainerId::new(format!("c{number:063x}")),
        sandbox_id: id,
        config: Arc::new(container("app")),
        state: ContainerState::Running { started_at: now() },
        created_at: now(),
        image_id: String::new(),
        image_ref: String::new(),
        rootfs: Rootfs::Layers(Vec::new()),
        image_volumes: Vec::new(),
        log_path: String::new(),
        uid: 0,
        gid: 0,
        groups: Vec::new(),
        stop_signal: Signal::TERM,
        updated: None,
    };
    let container = Container::new(record, pod.clone());
    container.publish();
    engine.core.registry.add_container(container.clone());
    for path in [pod.cgroup.parent(), &container.cgroup()] {
        let dir = world.path("cgroup").join(path.to_string().trim_start_matches('/'));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("cpuacct.usage"), "1000000\n").unwrap();
    }
    std::fs::create_dir_all(engine.core.paths.container(&container.id).join("upper")).unwrap();
    (pod, container)
}

/// As the kernel tells of memory.
fn memory(rss: u64, limit: u64) -> String {
    format!("total_rss {rss}\nhierarchical_memory_limit {limit}\n")
}

#[test]
fn what_sleeps_is_not_counted_anew_until_it_runs_or_its_limits_change() {
    let world = World::new();
    let engine = world.engine();
    let pod = engine.core.registry.pod(&world.pod("web")).unwrap();
    let container = engine.core.registry.container(&world.running(&pod.id, "app")).unwrap();
    let cgroups = [pod.cgroup.parent().to_string(), container.cgroup().to_string()];
    let write = |file: &str, text: &str| {
        for cgroup in &cgroups {
            let dir = world.path("cgroup").join(cgroup.trim_start_matches('/'));
            std::fs::write(dir.join(file), text).unwrap();
        }
    };
    let read = || {
        let pod = world.on(engine.stats().pod_stats(&pod.id)).unwrap();
        let alone = world.on(engine.stats().container_stats(&container.id)).unwrap().usage.unwrap().stats;
        let inner = pod.containers[0].usage.unwrap().stats;
        assert_eq!((inner.memory_rss, inner.memory_limit), (alone.memory_rss, alone.memory_limit));
        let outer = pod.usage.unwrap().stats;
        assert_eq!((inner.memory_rss, inner.memory_limit), (outer.memory_rss, outer.memory_limit));
        assert_eq!((pod.containers.len(), outer.cpu_usage_ns), (1, inner.cpu_usage_ns));
        (outer.memory_rss, outer.memory_limit.unwrap(), pod.usage.unwrap().timestamp)
    };
    write("cpuacct.usage", "1000000\n");
    write("cpu.shares", "900\n");
    write("memory.stat", &memory(1, 2));
    let first = read();
    assert_eq!((first.0, first.1), (1, 2));
    write("memory.stat", &memory(3, 4));
    let slept = read();
    assert_eq!((slept.0, slept.1), (1, 2));
    assert!(slept.2 > first.2, "it is known to be so now");
    write("cpuacct.usage", "1000001\n");
    let ran = read();
    assert_eq!((ran.0, ran.1), (3, 4));
    let change = || Resources { cpu_shares: CpuShares::new(512).ok(), ..Resources::default() };
    write("memory.stat", &memory(3, 5));
    let asked = engine.containers().update_container(&container.id, change(), BTreeMap::new());
    world.on(asked).unwrap();
    assert_eq!(read().1, 5);
    write("memory.stat", &memory(3, 6));
    world.on(engine.pods().update_pod(&pod.id, None, Some(change()))).unwrap();
    assert_eq!(read().1, 6);
}

#[test]
fn metrics_of_what_sleeps_are_those_of_the_last_reading_but_for_its_devices() {
    let world = World::new();
    let engine = world.engine();
    let pod = engine.core.registry.pod(&world.pod("web")).unwrap();
    let container = engine.core.registry.container(&world.running(&pod.id, "app")).unwrap();
    let cgroups = [pod.cgroup.parent().to_string(), container.cgroup().to_string()];
    let write = |file: &str, text: &str| {
        for cgroup in &cgroups {
            let dir = world.path("cgroup").join(cgroup.trim_start_matches('/'));
            std::fs::write(dir.join(file), text).unwrap();
        }
    };
    let read = || {
        let figures = world.on(engine.stats().pod_figures(Vec::push)).unwrap().concat().remove(0);
        let (outer, inner) = (&figures.detail, &figures.containers[0].detail);
        assert_eq!(outer, inner);
        (outer.limit_hits, outer.devices.first().and_then(|device| device.counter("rbytes")))
    };
    let shares = || {
        let figures = world.on(engine.stats().pod_figures(Vec::push)).unwrap().concat().remove(0);
        figures.containers[0].container.resources.cpu_shares
    };
    let devices = |bytes: u64| {
        write("blkio.throttle.io_service_bytes_recursive", &format!("8:0 Read {bytes}\nTotal {bytes}\n"));
    };
    write("cpuacct.usage", "1000000\n");
    write("memory.failcnt", "1\n");
    write("cpu.shares", "700\n");
    devices(4096);
    assert_eq!(read(), (1, Some(4096)));
    assert_eq!(shares(), CpuShares::new(700).ok());
    write("cpu.shares", "800\n");
    assert_eq!(shares(), CpuShares::new(700).ok());
    write("memory.failcnt", "2\n");
    devices(8192);
    assert_eq!(read(), (1, Some(8192)), "what was written before reaches the device later");
    write("cpuacct.usage", "1000001\n");
    assert_eq!(read(), (2, Some(8192)), "it has run");
    assert_eq!(shares(), CpuShares::new(800).ok(), "it has run");
    write("memory.failcnt", "3\n");
    let asked = Resources { cpu_shares: CpuShares::new(512).ok(), ..Resources::default() };
    write("cpu.shares", "900\n");
    world.on(engine.containers().update_container(&container.id, asked, BTreeMap::new())).unwrap();
    assert_eq!(read().0, 3, "its limits are new");
    assert_eq!(shares(), CpuShares::new(512).ok(), "its limits are new");
}

/// How long a list takes once the counters are open, at its best.
fn best(world: &World, pods: usize) -> Duration {
    let list = || {
        let begin = Instant::now();
        let lanes = world.on(world.engine().stats().list_pod_stats(PodFilter::default(), Vec::push)).unwrap();
        let took = begin.elapsed();
        let stats: Vec<_> = lanes.into_iter().flatten().collect();
        assert_eq!(stats.len(), pods);
        for stats in stats {
            assert_eq!(stats.containers.len(), 1);
            assert_eq!(stats.usage.unwrap().stats.cpu_usage_ns, 1_000_000);
        }
        took
    };
    list();
    (0..25).map(|_| list()).min().unwrap()
}

#[test]
fn a_list_of_stats_takes_as_long_as_there_are_pods() {
    let world = World::new();
    (0..100).for_each(|number| drop(add(&world, number)));
    let few = best(&world, 100);
    (100..800).for_each(|number| drop(add(&world, number)));
    let many = best(&world, 800);
    println!("ListPodSandboxStats: 100 pods {few:?}, 800 pods {many:?}");
    // Eight times as many; where each pod looks at all containers, it is 64.
    assert!(many < few * 24, "100 pods {few:?}, 800 pods {many:?}");
}

#[test]
fn the_containers_of_a_pod_are_found_by_the_pod_and_go_with_it() {
    let world = World::new();
    let engine = world.engine();
    let of = |pod: &str| {
        let mut ids: Vec<_> =
            engine.core.registry.containers_of(pod).iter().map(|found| found.id.to_string()).collect();
        ids.sort();
        ids
    };
    let (one, other) = (world.pod("one"), world.pod("other"));
    let mut of_one = [world.container(&one, "a"), world.container(&one, "b")];
    of_one.sort();
    let of_other = world.container(&other, "a");
    assert_eq!((of(&one), of(&other)), (of_one.to_vec(), vec![of_other.clone()]));
    let filter =
        |pod: &str| crate::ContainerFilter { sandbox_id: Some(pod.to_owned()), ..Default::default() };
    assert_eq!(engine.containers().list_containers(&filter(&other)).len(), 1);
    assert_eq!(
        engine.containers().list_containers(&filter(one.get(..12).unwrap())).len(),
        2,
        "a prefix is enough"
    );
    assert_eq!(engine.containers().list_containers(&filter("")).len(), 3);
    world.on(engine.containers().remove_container(&of_one[0])).unwrap();
    assert_eq!(of(&one), [of_one[1].clone()]);
    world.on(engine.pods().remove_pod(&one)).unwrap();
    assert_eq!((of(&one).len(), of(&other)), (0, vec![of_other]));
}

#[test]
fn events_of_one_pod_do_not_wait_for_another() {
    let world = World::new();
    let (slow, other) = (add(&world, 1).0, world.pod("other"));
    let mut events = world.engine().subscribe();
    let held = sys::sync::lock(&slow.telling);
    let id = world.container(&other, "app");
    assert_eq!(world.on(events.next()).unwrap().id(), id);
    drop(held);
}
