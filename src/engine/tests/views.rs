//! What clients are shown, and what they are told as it happens.

use super::{World, command, networked};
use crate::events::EventKind;
use crate::{ContainerFilter, EngineError, OpenExec, PodFilter, StateKind, Streams};
use model::{CpuShares, ErrorKind, Resources, SandboxState};
use std::collections::BTreeMap;

#[test]
fn lists_show_what_fits_newest_first() {
    let world = World::new();
    let engine = world.engine();
    let (one, other) = (world.pod("one"), world.pod("other"));
    let (created, running) = (world.container(&one, "created"), world.running(&other, "running"));
    world.on(engine.pods().stop_pod(&one)).unwrap();
    let pods = |filter| {
        engine.pods().list_pods(&filter).into_iter().map(|pod| pod.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(pods(PodFilter::default()), [other.clone(), one.clone()]);
    assert_eq!(
        pods(PodFilter { state: Some(SandboxState::Ready), ..PodFilter::default() }),
        std::slice::from_ref(&other)
    );
    assert_eq!(pods(PodFilter { id: Some(one.clone()), ..PodFilter::default() }), [one]);
    let labels = BTreeMap::from([("no".to_owned(), "where".to_owned())]);
    assert!(pods(PodFilter { labels: labels.clone(), ..PodFilter::default() }).is_empty());
    let containers = |filter| {
        let found = engine.containers().list_containers(&filter);
        found.into_iter().map(|container| container.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(containers(ContainerFilter::default()), [running.clone(), created.clone()]);
    let state = Some(StateKind::Running);
    assert_eq!(containers(ContainerFilter { state, ..Default::default() }), std::slice::from_ref(&running));
    assert_eq!(containers(ContainerFilter { id: Some(created.clone()), ..Default::default() }), [created]);
    assert!(containers(ContainerFilter { labels, ..Default::default() }).is_empty());
    let gauges = engine.gauges();
    assert_eq!((gauges.pods_ready, gauges.pods_not_ready, gauges.shims), (1, 1, 1));
    assert_eq!((gauges.containers_running, gauges.containers_exited), (1, 1));
}

#[test]
fn ids_are_found_by_a_prefix_that_only_one_has() {
    let world = World::new();
    let pod = world.pod("web");
    let id = world.running(&pod, "app");
    let engine = world.engine();
    assert_eq!(engine.containers().container_status(&id[..13]).unwrap().id, id);
    assert_eq!(engine.pods().pod_status(&pod[..13]).unwrap().id, pod);
    assert!(engine.containers().container_status("").is_err());
    // More pods than there are first digits.
    let pods: Vec<String> = (0..17).map(|number| world.pod(&format!("p{number}"))).collect();
    let twice = |first: &str| pods.iter().filter(|id| id.starts_with(first)).count() > 1;
    let first = pods.iter().map(|id| &id[..1]).find(|first| twice(first)).unwrap();
    let refused = engine.pods().pod_status(first).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    let mut fitting: Vec<&String> = pods.iter().chain([&pod]).filter(|id| id.starts_with(first)).collect();
    fitting.sort();
    for id in fitting.iter().take(5) {
        assert!(refused.to_string().contains(id.as_str()), "{refused}");
    }
}

#[test]
fn details_are_one_document_each() {
    let world = World::new();
    let pod = world.on(world.engine().pods().run_pod(networked("web"), String::new())).unwrap();
    let id = world.running(pod.as_str(), "app");
    let engine = world.engine();
    let json = |info: BTreeMap<String, String>| -> serde_json::Value {
        serde_json::from_str(&info["info"]).unwrap()
    };
    let info = json(engine.pods().pod_info(pod.as_str()).unwrap());
    assert_eq!((&info["processStatus"], &info["netNamespaceClosed"]), (&"running".into(), &false.into()));
    let info = json(world.on(engine.containers().container_info(&id)).unwrap());
    assert_eq!(info["sandboxID"], pod.as_str());
    assert!(info["runtimeSpec"]["process"]["args"][0] == "/bin/true", "{info}");
    let identity = engine.container_identity(&id).unwrap();
    assert_eq!(identity.pod, "test/web");
    assert_eq!(identity.container.unwrap().name, "app");
    assert_eq!(engine.status().handlers[0].name, "");
    let stats = world.on(engine.stats().container_stats(&id)).unwrap();
    assert!(stats.usage.is_none(), "the cgroup counts nothing here");
    assert!(stats.layer.counted.is_some());
    let stats = world.on(engine.stats().pod_stats(pod.as_str())).unwrap();
    assert_eq!((stats.containers.len(), stats.interfaces.unwrap()[0].name.as_str()), (1, net::IFNAME));
    let (images, layers) = world.on(engine.images().image_fs()).unwrap();
    assert!(images.inodes > 0 && layers.inodes > 0);
}

#[test]
fn a_pods_life_is_told_in_order_and_each_event_shows_the_state_after_it() {
    let world = World::new();
    let engine = world.engine();
    let mut events = engine.subscribe();
    let pod = world.pod("web");
    let id = world.running(&pod, "app");
    world.node.exit(&id, 2);
    world.await_state(&id, "exited");
    world.on(engine.containers().remove_container(&id)).unwrap();
    world.on(engine.pods().remove_pod(&pod)).unwrap();
    engine.end_subscriptions();
    let (mut told, mut last) = (Vec::new(), 0);
    while let Ok(event) = world.on(events.next()) {
        assert!(event.timestamp > last);
        last = event.timestamp;
        let shown = event.containers.iter().find(|shown| shown.id == event.id());
        if let Some(shown) = shown {
            let state = match event.kind {
                EventKind::Created => "created",
                EventKind::Started => "running",
                EventKind::Stopped | EventKind::Deleted => "exited",
            };
            assert_eq!(shown.state.name(), state, "{:?}", event.kind);
        }
        told.push((event.id().to_owned(), event.kind));
    }
    use EventKind::{Created, Deleted, Started, Stopped};
    let of = |id: &String, kinds: [EventKind; 4]| kinds.map(|kind| (id.clone(), kind));
    let all = [Created, Started, Stopped, Deleted];
    let (pods, containers): (Vec<_>, Vec<_>) = told.into_iter().partition(|(told, _)| *told == pod);
    assert_eq!((pods, containers), (of(&pod, all).to_vec(), of(&id, all).to_vec()));
    assert!(matches!(world.on(events.next()), Err(EngineError::Ending)));
}

#[test]
fn a_command_with_streams_ends_with_its_exit_code_and_a_terminal_needs_a_terminal() {
    let world = World::new();
    let pod = world.pod("web");
    let id = world.running(&pod, "app");
    let engine = world.engine();
    let streams = Streams { stdin: true, stdout: true, stderr: true };
    let exec = OpenExec { command: command("cat"), tty: false, streams, size: None };
    let session = world.on(engine.containers().open_exec(&id, exec.clone())).unwrap();
    assert!(session.stdin.is_some() && session.stdout.is_some() && session.stderr.is_some());
    assert_eq!(world.on(session.end.wait()).unwrap(), 0);
    let attached = world.on(engine.containers().open_attach(&id, streams)).unwrap();
    assert!(attached.stdin.is_none(), "it has none");
    assert!(attached.stdout.is_some() && attached.stderr.is_some());
    world.on(attached.shared.close()).unwrap();
    world.on(attached.shared.closed());
    world.node.kill(&pod);
    world.await_state(&id, "exited");
    assert_eq!(
        world.on(engine.containers().open_exec(&id, exec)).err().unwrap().kind(),
        ErrorKind::FailedPrecondition
    );
}

#[test]
fn limits_that_the_kernel_refuses_are_not_recorded_and_those_that_it_takes_are() {
    let world = World::new();
    let pod = world.pod("web");
    let id = world.running(&pod, "app");
    let engine = world.engine();
    let update = |shares| {
        let change = Resources { cpu_shares: CpuShares::new(shares).ok(), ..Resources::default() };
        world.on(engine.containers().update_container(&id, change, BTreeMap::new()))
    };
    let shares =
        || engine.containers().container_status(&id).unwrap().resources.cpu_shares.map(CpuShares::get);
    assert!(update(2048).is_err(), "there is no such file");
    assert_eq!(shares(), None);
    let cgroup = engine.core.registry.container(&id).unwrap().cgroup();
    let file = world.path("cgroup").join(cgroup.to_string().trim_start_matches('/')).join("cpu.shares");
    std::fs::write(&file, "1024").unwrap();
    update(2048).unwrap();
    assert_eq!((shares(), std::fs::read_to_string(&file).unwrap().as_str()), (Some(2048), "2048"));
    std::fs::remove_file(&file).unwrap();
    world.on(engine.pods().remove_pod(&pod)).unwrap();
    world.nothing_left();
}

#[test]
fn a_change_that_cannot_be_recorded_leaves_cgroup_and_spec_as_they_were() {
    let world = World::new();
    let pod = world.pod("web");
    let id = world.running(&pod, "app");
    let engine = world.engine();
    let cgroup = engine.core.registry.container(&id).unwrap().cgroup();
    let shares = world.path("cgroup").join(cgroup.to_string().trim_start_matches('/')).join("cpu.shares");
    std::fs::write(&shares, "1024").unwrap();
    let files = crate::record::PodFiles::new(&engine.core.paths, &pod);
    // Where a record is written before it takes the other's place.
    let blocked = files.containers().join(format!("{id}.json.{}.tmp", std::process::id()));
    std::fs::create_dir(&blocked).unwrap();
    let spec = std::fs::read(files.spec(&id)).unwrap();
    let change = Resources { cpu_shares: CpuShares::new(2048).ok(), ..Resources::default() };
    assert!(world.on(engine.containers().update_container(&id, change, BTreeMap::new())).is_err());
    assert_eq!(std::fs::read_to_string(&shares).unwrap(), "1024");
    assert!(std::fs::read(files.spec(&id)).unwrap() == spec, "the spec has changed");
    std::fs::remove_dir(&blocked).unwrap();
    std::fs::remove_file(shares).unwrap();
    world.on(engine.pods().remove_pod(&pod)).unwrap();
    world.nothing_left();
}

#[test]
fn ports_are_dialled_in_ready_pods_only() {
    let world = World::new();
    let pod = world.pod("web");
    let engine = world.engine();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    assert!(world.on(engine.pods().dial(&pod, port)).is_ok());
    drop(listener);
    assert_eq!(world.on(engine.pods().dial(&pod, port)).unwrap_err().kind(), ErrorKind::Unavailable);
    world.on(engine.pods().stop_pod(&pod)).unwrap();
    assert_eq!(world.on(engine.pods().dial(&pod, port)).unwrap_err().kind(), ErrorKind::FailedPrecondition);
    world.on(engine.pods().pod_left(&pod));
}
