//! Usage and figures of pods and containers in every state.

use super::stats::add;
use super::{World, networked};
use crate::events::EventKind;
use crate::supervisor::fake::{Act, Gate, Verb};
use crate::{ContainerFilter, EngineError, PodFilter};
use model::{CpuShares, ErrorKind, Resources};
use std::path::PathBuf;

/// Has the cgroup of a container count something.
fn count(world: &World, container: &str) -> PathBuf {
    let cgroup = world.engine().core.registry.container(container).unwrap().cgroup().to_string();
    let file = world.path("cgroup").join(cgroup.trim_start_matches('/')).join("cpuacct.usage");
    std::fs::write(&file, "1000000\n").unwrap();
    file
}

#[test]
fn what_has_ended_uses_nothing_and_keeps_its_layer() {
    let world = World::new();
    let engine = world.engine();
    let pod = world.on(engine.pods().run_pod(networked("web"), String::new())).unwrap();
    let (running, ended) = (world.running(pod.as_str(), "running"), world.running(pod.as_str(), "ended"));
    let counters = [&running, &ended].map(|id| count(&world, id));
    assert!(world.on(engine.stats().container_stats(&ended)).unwrap().usage.is_some());
    world.node.exit(&ended, 0);
    world.await_state(&ended, "exited");
    let all = world
        .on(engine.stats().list_container_stats(ContainerFilter::default(), Vec::push))
        .unwrap()
        .concat();
    let usage = |id: &str| all.iter().find(|stats| stats.id == id).unwrap().usage;
    assert_eq!((all.len(), usage(&running).is_some(), usage(&ended).is_some()), (2, true, false));
    assert!(all.iter().all(|stats| stats.layer.counted.is_some()));
    let pods = world.on(engine.stats().list_pod_stats(PodFilter::default(), Vec::push)).unwrap().concat();
    assert_eq!((pods.len(), pods[0].containers.len()), (1, 2));
    assert_eq!(pods[0].interfaces.as_ref().unwrap().len(), 1);
    let figures = world.on(engine.stats().pod_figures(Vec::push)).unwrap().concat();
    assert_eq!((figures.len(), figures[0].containers.len()), (1, 1), "of what runs");
    let one = &figures[0].containers[0];
    assert_eq!((one.stats.id.as_str(), one.processes.count), (running.as_str(), 0));
    assert!(one.filesystem.size > 0 && one.cgroup.contains(&running));
    counters.into_iter().for_each(|file| std::fs::remove_file(file).unwrap());
    world.on(engine.pods().stop_pod(pod.as_str())).unwrap();
    assert!(
        world.on(engine.stats().list_pod_stats(PodFilter::default(), Vec::push)).unwrap().concat().is_empty()
    );
    assert_eq!(
        world.on(engine.stats().pod_stats(pod.as_str())).unwrap_err().kind(),
        ErrorKind::FailedPrecondition
    );
    assert_eq!(world.on(engine.stats().pod_stats("absent")).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(world.on(engine.stats().container_stats("absent")).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_pod_that_is_being_made_has_no_stats_and_no_status() {
    let world = World::new();
    let gate = Gate::new();
    world.node.on(Verb::Sandbox, Act::Wait(gate.clone()));
    let engine = world.engine();
    let making = world.spawn(async move { engine.pods().run_pod(networked("web"), String::new()).await });
    world.on(gate.reached());
    let (engine, id) = (world.engine(), world.engine().core.registry.pods()[0].id.clone());
    let outcomes = [
        world.on(engine.stats().pod_stats(&id)).map(drop),
        engine.pods().pod_status(&id).map(drop),
        engine.pods().ready_pod(&id, "look at").map(drop),
        world.try_container(&id, "app").map(drop),
    ];
    for outcome in outcomes {
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::NotFound);
    }
    gate.open();
    assert!(world.on(making).unwrap().is_ok());
}

#[test]
fn a_layer_that_grows_is_counted_again_behind_the_scenes() {
    let world = World::with(|settings, _| settings.layer_usage_seconds = 0);
    let (_, container) = add(&world, 1);
    let engine = world.engine();
    let layer = || world.on(engine.stats().container_stats(&container.id)).unwrap().layer.counted.unwrap();
    assert_eq!(layer().1, 1, "the directory alone");
    let upper = world.path("data/containers").join(container.id.as_str()).join("upper");
    std::fs::write(upper.join("file"), [7; 9000]).unwrap();
    world.until("it is counted", || layer().1 == 2);
    assert!(layer().0 >= 9000);
    let layers = || world.on(engine.images().image_fs()).unwrap().1;
    world.until("all together are counted", || layers().bytes >= 9000);
    assert!(layers().inodes >= 3);
    std::fs::remove_dir_all(&upper).unwrap();
    assert_eq!(layer().1, 2, "what cannot be counted keeps its last count");
}

#[test]
fn what_the_host_counts_is_told() {
    let world = World::new();
    let counted = world.on(world.engine().stats().counted()).unwrap();
    assert!(!format!("{counted:?}").is_empty());
    let figures = world.on(world.engine().stats().pod_figures(Vec::push)).unwrap().concat();
    assert!(figures.is_empty());
}

#[test]
fn a_subscriber_that_is_too_far_behind_is_cut_off_and_told_by_how_much() {
    let world = World::new();
    let (pod, _) = add(&world, 1);
    let engine = world.engine();
    let mut events = engine.subscribe();
    for _ in 0..1030 {
        engine.core.events.tell_pod(&pod, EventKind::Started);
    }
    let cut = world.on(events.next()).unwrap_err();
    assert!(matches!(cut, EngineError::Lagging { missed } if missed > 0), "{cut}");
    assert_eq!(cut.kind(), ErrorKind::ResourceExhausted);
    assert!(matches!(world.on(events.next()), Err(EngineError::Ending)), "nothing comes after it");
}

#[test]
fn a_supervisor_that_keeps_its_pods_accounts_is_asked_in_the_place_of_the_host() {
    let world = World::new();
    world.node.keep_accounts();
    let engine = world.engine();
    let pod = world.pod("web");
    let id = world.running(&pod, "app");
    let cgroup = engine.core.registry.container(&id).unwrap().cgroup().to_string();
    let stats = world.on(engine.stats().pod_stats(&pod)).unwrap();
    assert_eq!(stats.containers[0].usage.unwrap().stats.cpu_usage_ns, cgroup.len() as u64);
    assert!(stats.usage.is_some());
    assert_eq!(stats.processes, 2);
    assert_eq!(
        world.on(engine.stats().pod_figures(Vec::push)).unwrap().concat()[0].containers[0].processes.count,
        2
    );
    let shares = |shares| Resources { cpu_shares: CpuShares::new(shares).ok(), ..Resources::default() };
    world.on(engine.containers().update_container(&id, shares(300), Default::default())).unwrap();
    world.on(engine.pods().update_pod(&pod, None, Some(shares(400)))).unwrap();
    let shown = engine.containers().container_status(&id).unwrap().resources;
    assert_eq!(shown.cpu_shares.map(CpuShares::get), Some(300));
    let files = std::fs::read_dir(world.path("cgroup").join(cgroup.trim_start_matches('/'))).unwrap();
    assert_eq!(files.count(), 0, "the host's cgroup has no limit");
}
