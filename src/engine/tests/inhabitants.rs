//! What is told of a cgroup by its name.

use super::{World, container, pod};
use crate::FirstProcess;
use crate::names::Claim;
use crate::supervisor::fake::{Act, Gate, Verb};
use model::{ContainerId, SandboxId};
use std::sync::Arc;
use std::time::Duration;

#[test]
fn a_container_is_known_by_its_whole_id_as_long_as_it_is_there() {
    let world = World::new();
    let engine = world.engine();
    let sandbox = world.pod("web");
    let id = world.container(&sandbox, "app");
    let found = world.on(engine.inhabitant(&id)).unwrap();
    assert_eq!(found.sandbox_id, sandbox);
    assert_eq!(found.pod.metadata.name, "web");
    assert_eq!(found.container.unwrap().metadata.name, "app");
    let Some(FirstProcess::Waits(pid)) = found.process else { panic!("{:?}", found.process) };
    assert!(pid > 0);
    world.on(engine.containers().start_container(&id)).unwrap();
    let process = |id: &str| world.on(engine.inhabitant(id)).unwrap().process;
    assert_eq!(process(&id), Some(FirstProcess::Runs(pid)));
    let spec = world.on(engine.written_spec(&id)).unwrap().unwrap();
    let spec: serde_json::Value = serde_json::from_slice(&spec).unwrap();
    assert!(spec["process"]["env"].is_array(), "{spec}");

    assert!(world.on(engine.inhabitant(&id[..63])).is_none(), "a prefix is no name of a cgroup");
    world.on(engine.containers().stop_container(&id, Duration::ZERO)).unwrap();
    assert!(matches!(process(&id), Some(FirstProcess::Ended(exit)) if exit.code == 137));
    world.on(engine.containers().remove_container(&id)).unwrap();
    assert!(world.on(engine.inhabitant(&id)).is_none());
    assert_eq!(world.on(engine.written_spec(&id)).unwrap(), None);
}

#[test]
fn a_pod_has_a_process_while_it_is_ready() {
    let world = World::new();
    let engine = world.engine();
    let gate = Gate::new();
    world.node.on(Verb::Sandbox, Act::Wait(gate.clone()));
    let making = world.spawn({
        let engine = engine.clone();
        async move { engine.pods().run_pod(pod("web"), String::new()).await }
    });
    world.on(gate.reached());
    let id = engine.core.registry.pods()[0].id.clone();
    let found = world.on(engine.inhabitant(&id)).unwrap();
    assert!(found.container.is_none() && found.process.is_none(), "{:?}", found.process);
    gate.open();
    world.on(making).unwrap().unwrap();
    let process = || world.on(engine.inhabitant(&id)).unwrap().process;
    assert!(matches!(process(), Some(FirstProcess::Runs(pid)) if pid > 0));
    world.on(engine.pods().stop_pod(&id)).unwrap();
    assert_eq!(process(), None);
}

/// Its cgroup can stand before anything but its name is known; cAdvisor asks once.
#[test]
fn a_container_that_is_on_its_way_is_waited_for() {
    let world = World::new();
    let engine = world.engine();
    let sandbox = world.pod("web");
    let (config, id) = (Arc::new(container("app")), ContainerId::new("f".repeat(64)));
    let name = (SandboxId::new(sandbox), config.metadata.clone());
    let Claim::New(ticket) = engine.containers.names.claim(&name, config, &id) else { panic!("it is free") };
    let asking = world.spawn({
        let (engine, id) = (engine.clone(), id.clone());
        async move { engine.inhabitant(&id).await }
    });
    std::thread::sleep(Duration::from_millis(50));
    assert!(!asking.is_finished());
    drop(ticket);
    assert!(world.on(asking).unwrap().is_none());
}

/// A pod as the kubelet makes it; its id and the cgroup by which it is known.
fn kubelets_pod(world: &World, name: &str) -> (String, std::path::PathBuf) {
    let mut config = pod(name);
    config.linux.cgroup_parent = format!("/kubepods/pod-{name}");
    let id = world.on(world.engine().pods().run_pod(config, String::new())).unwrap().to_string();
    let cgroup = world.path("cgroup").join(format!("kubepods/pod-{name}")).join(&id);
    (id, cgroup)
}

#[test]
fn a_ready_pod_has_a_cgroup_by_its_id_once_somebody_wants_it() {
    let world = World::new();
    let (asked, cgroup) = kubelets_pod(&world, "asked");
    let (quiet, none) = kubelets_pod(&world, "quiet");
    world.running(&asked, "app");
    assert!(!cgroup.exists(), "nobody has asked for it");
    world.on(async { world.engine().name_pod(&asked) });
    world.until("the pod has its cgroup", || cgroup.is_dir());
    assert!(!none.exists());
    world.on(world.engine().pods().stop_pod(&asked)).unwrap();
    assert!(!cgroup.exists());
    for id in [&asked, &quiet] {
        world.on(world.engine().pods().remove_pod(id)).unwrap();
    }
    world.nothing_left();
}

#[test]
fn a_pod_that_leaves_before_its_cgroup_is_made_gets_none() {
    let world = World::new();
    let (gone, cgroup) = kubelets_pod(&world, "gone");
    let (later, seen) = kubelets_pod(&world, "later");
    world.on(async { world.engine().name_pod(&gone) });
    world.on(world.engine().pods().stop_pod(&gone)).unwrap();
    world.on(async { world.engine().name_pods() });
    world.until("the other pod has its cgroup", || seen.is_dir());
    assert!(!cgroup.exists());
    for id in [&gone, &later] {
        world.on(world.engine().pods().remove_pod(id)).unwrap();
    }
    world.nothing_left();
}

/// Nobody asks the next daemon again, and it may be one that nobody is to ask.
#[test]
fn the_cgroup_of_a_pod_goes_with_it_whoever_made_it_and_whatever_became_of_the_pod() {
    let mut world = World::new();
    let pods = ["lives", "dies", "dies-unseen"].map(|name| kubelets_pod(&world, name));
    world.on(async { world.engine().name_pods() });
    world.until("all pods have cgroups", || pods.iter().all(|(_, cgroup)| cgroup.is_dir()));
    world.node.kill(&pods[1].0);
    world.kill();
    world.node.kill(&pods[2].0);
    world.start();
    assert!(pods.iter().all(|(_, cgroup)| cgroup.is_dir()));
    for (id, cgroup) in &pods {
        world.on(world.engine().pods().remove_pod(id)).unwrap();
        assert!(!cgroup.exists());
    }
    world.nothing_left();
}
