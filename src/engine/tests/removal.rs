//! Removal: what is told of it, and when.

use super::irregular::Damage;
use super::{World, networked};
use crate::events::EventKind;
use crate::supervisor::fake::{Act, Gate, Verb};
use std::time::Duration;

#[test]
fn a_container_is_listed_until_the_room_that_it_took_is_free() {
    let world = World::new();
    for whole_pod in [false, true] {
        let pod = world.pod("greedy");
        let id = world.container(&pod, "app");
        let upper = world.path("data/containers").join(&id).join("upper");
        for number in 0..4000 {
            std::fs::write(upper.join(number.to_string()), "").unwrap();
        }
        let (engine, container, of) = (world.engine(), id.clone(), pod.clone());
        let removal = world.spawn(async move {
            match whole_pod {
                false => engine.containers().remove_container(&container).await,
                true => engine.pods().remove_pod(&of).await,
            }
        });
        let details = || world.on(world.engine().containers().container_info(&id)).is_ok();
        assert!(details(), "it is listed, and has no details");
        world.until("it is listed no more", || {
            let (before, told) = (world.state(&id), details());
            assert!(told || world.state(&id) == "unknown", "it is {before}, and has no details");
            before == "unknown"
        });
        let left = std::fs::read_dir(world.path("data/containers")).unwrap().count();
        assert_eq!(left, 0, "its files are there still");
        world.on(removal).unwrap().unwrap();
        world.on(world.engine().pods().remove_pod(&pod)).unwrap();
    }
    world.nothing_left();
}

/// What the kubelet lists it asks about next, and takes a refusal for a fault; what it hears of as gone, it asks about no
/// more.
#[test]
fn what_is_listed_has_a_status_and_what_is_told_to_be_gone_has_neither() {
    let world = World::new();
    let (engine, pod) = (world.engine(), world.pod("web"));
    let id = world.running(&pod, "app");
    let seen = || {
        let listed = engine.containers().list_containers(&crate::ContainerFilter::default());
        let status = engine.containers().container_status(&id).is_ok();
        let of_pod = engine.containers().container_statuses(&pod).len() == 1;
        assert_eq!((listed.len() == 1, of_pod), (status, status), "lists and status differ");
        let listed = engine.pods().list_pods(&crate::PodFilter::default()).len() == 1;
        assert_eq!(listed, engine.pods().pod_status(&pod).is_ok(), "list and status of pods differ");
        (status, listed)
    };
    let mut told = engine.subscribe();
    for (verb, whole_pod) in [(Verb::Remove, false), (Verb::Shutdown, true)] {
        let gate = Gate::new();
        world.node.on(verb, Act::Wait(gate.clone()));
        let (remover, container, of) = (world.engine(), id.clone(), pod.clone());
        let removal = world.spawn(async move {
            match whole_pod {
                false => remover.containers().remove_container(&container).await,
                true => remover.pods().remove_pod(&of).await,
            }
        });
        world.on(gate.reached());
        assert_eq!(seen(), (!whole_pod, true));
        gate.open();
        let gone = loop {
            let event = world.on(told.next()).unwrap();
            if event.kind == EventKind::Deleted {
                break event;
            }
        };
        assert_eq!(seen(), (false, !whole_pod), "{} is there still", gone.id());
        assert!(gone.containers.is_empty(), "{:?}", gone.containers);
        world.on(removal).unwrap().unwrap();
    }
    world.nothing_left();
}

#[test]
fn a_container_that_two_remove_is_removed_once() {
    let world = World::new();
    let pod = world.pod("web");
    let id = world.container(&pod, "app");
    let mut told = world.engine().subscribe();
    let gate = Gate::new();
    world.node.on(Verb::Remove, Act::Wait(gate.clone()));
    let removals: Vec<_> = (0..2)
        .map(|_| {
            let (engine, id) = (world.engine(), id.clone());
            world.spawn(async move { engine.containers().remove_container(&id).await })
        })
        .collect();
    world.on(gate.reached());
    std::thread::sleep(Duration::from_millis(20));
    gate.open();
    for removal in removals {
        world.on(removal).unwrap().unwrap();
    }
    world.on(world.engine().pods().remove_pod(&pod)).unwrap();
    let mut ends = Vec::new();
    while ends.last() != Some(&pod) {
        let event = world.on(told.next()).unwrap();
        if event.kind == EventKind::Deleted {
            ends.push(event.id().to_owned());
        }
    }
    assert_eq!(ends, [id, pod]);
}

#[test]
fn a_pod_goes_whatever_has_become_of_its_state() {
    let world = World::new();
    let places = [
        "exits",
        "exits/<id>.exit",
        "containers",
        "containers/<id>.json",
        "containers/<id>.spec",
        "containers/<id>.bundle",
        "pod.json",
        "files",
        "shm",
        "shim.sock",
        "shim.log",
        "net-devices.json",
    ];
    for place in places {
        for damage in Damage::ALL {
            let pod = world.on(world.engine().pods().run_pod(networked("web"), String::new()));
            let pod = pod.unwrap().to_string();
            let id = world.running(&pod, "app");
            damage.make(&world.path(&format!("state/pods/{pod}")).join(place.replace("<id>", &id)));
            world
                .on(world.engine().pods().remove_pod(&pod))
                .unwrap_or_else(|error| panic!("{place}, {damage:?}: {}", crate::chain(&error)));
            world.nothing_left();
        }
    }
}

#[test]
fn a_container_goes_whatever_has_become_of_its_state() {
    let world = World::new();
    let pod = world.pod("web");
    for place in ["containers/<id>.json", "containers/<id>.spec", "exits/<id>.exit", "net-devices.json"] {
        for damage in Damage::ALL {
            let id = world.running(&pod, "app");
            damage.make(&world.path(&format!("state/pods/{pod}")).join(place.replace("<id>", &id)));
            world
                .on(world.engine().containers().remove_container(&id))
                .unwrap_or_else(|error| panic!("{place}, {damage:?}: {}", crate::chain(&error)));
            assert_eq!(world.state(&id), "unknown");
        }
    }
    world.on(world.engine().pods().remove_pod(&pod)).unwrap();
    world.nothing_left();
}

#[test]
fn the_next_daemon_starts_and_removes_it_too() {
    for place in ["exits", "exits/<id>.exit", "containers/<id>.json", "containers/<id>.spec", "pod.json"] {
        for damage in Damage::ALL {
            let mut world = World::new();
            let pod = world.pod("web");
            let id = world.running(&pod, "app");
            world.kill();
            damage.make(&world.path(&format!("state/pods/{pod}")).join(place.replace("<id>", &id)));
            world.start();
            world
                .on(world.engine().pods().remove_pod(&pod))
                .unwrap_or_else(|error| panic!("{place}, {damage:?}: {}", crate::chain(&error)));
            assert!(world.node.living().is_empty(), "{place}, {damage:?}");
        }
    }
}
