//! A daemon that comes back: what it adopts, restores and takes down.

use super::{World, container, networked};
use crate::supervisor::fake::{Act, Gate, Verb};
use model::SandboxState;

fn pod_state(world: &World, id: &str) -> Option<SandboxState> {
    world.engine().pod_status(id).ok().map(|pod| pod.state)
}

#[test]
fn pods_and_containers_are_adopted_as_they_are() {
    let mut world = World::new();
    let pod = world.pod("web");
    let created = world.container(&pod, "created");
    let running = world.running(&pod, "running");
    let exited = world.running(&pod, "exited");
    world.node.exit(&exited, 4);
    world.await_state(&exited, "exited");
    world.restart();
    assert_eq!(pod_state(&world, &pod), Some(SandboxState::Ready));
    let states = [&created, &running, &exited].map(|id| world.state(id));
    assert_eq!(states, ["created", "running", "exited"]);
    assert_eq!(world.pod("web"), pod, "the names are held as before");
    assert_eq!(world.container(&pod, "created"), created);
    world.on(world.engine().start_container(&created)).unwrap();
    world.on(world.engine().remove_pod(&pod)).unwrap();
    world.nothing_left();
}

#[test]
fn what_happens_while_no_daemon_is_there_is_known_to_the_next() {
    let mut world = World::new();
    let (ended, lost) = (world.pod("ended"), world.pod("lost"));
    let (app, gone) = (world.running(&ended, "app"), world.running(&lost, "app"));
    world.kill();
    world.node.exit(&app, 9);
    world.node.kill(&lost);
    world.start();
    let state = world.engine().container_status(&app).unwrap().state;
    assert!(matches!(state, model::ContainerState::Exited { exit, .. } if exit.code == 9));
    assert_eq!(pod_state(&world, &ended), Some(SandboxState::Ready));
    assert_eq!(pod_state(&world, &lost), Some(SandboxState::NotReady));
    assert_eq!(world.state(&gone), "exited");
    for pod in [ended, lost] {
        world.on(world.engine().remove_pod(&pod)).unwrap();
    }
    world.nothing_left();
}

#[test]
fn a_pod_that_was_being_made_is_taken_down() {
    let mut world = World::new();
    for (verb, act) in [(Verb::Connect, Act::Wait(Gate::new())), (Verb::Sandbox, Act::Hang)] {
        world.node.on(verb, act);
        let (engine, asked) = (world.engine(), world.node.count(verb));
        world.spawn(async move { engine.run_pod(networked("web"), String::new()).await });
        world.until("it hangs", || world.node.count(verb) > asked);
        world.restart();
        world.nothing_left();
    }
    world.on(world.engine().run_pod(networked("web"), String::new())).unwrap();
}

#[test]
fn a_container_that_was_being_made_is_taken_down_and_its_pod_stays() {
    let mut world = World::new();
    let pod = world.pod("web");
    for act in [Act::Hang, Act::Late(Gate::new())] {
        world.node.on(Verb::Create, act);
        let (engine, held, asked) = (world.engine(), pod.clone(), world.node.count(Verb::Create));
        world.spawn(async move { engine.create_container(&held, container("app"), None).await });
        world.until("it hangs", || world.node.count(Verb::Create) > asked);
        std::thread::sleep(std::time::Duration::from_millis(20));
        world.restart();
        assert!(world.engine().list_containers(&crate::ContainerFilter::default()).is_empty());
        assert!(world.node.containers().is_empty(), "{:?}", world.node.containers());
        assert_eq!(pod_state(&world, &pod), Some(SandboxState::Ready));
    }
    world.running(&pod, "app");
}

#[test]
fn a_reboot_leaves_what_was_there_listed_as_ended() {
    let mut world = World::new();
    let pod = world.on(world.engine().run_pod(networked("web"), String::new())).unwrap();
    let id = world.running(pod.as_str(), "app");
    world.reboot();
    assert_eq!(pod_state(&world, pod.as_str()), Some(SandboxState::NotReady));
    assert_eq!(world.state(&id), "exited");
    assert!(
        !world.network.attached().is_empty(),
        "what a reboot leaves of a network is still to be released"
    );
    world.on(world.engine().remove_pod(pod.as_str())).unwrap();
    world.nothing_left();
}

#[test]
fn what_was_removed_does_not_come_back_after_a_reboot() {
    let mut world = World::new();
    let pod = world.pod("web");
    world.container(&pod, "app");
    world.on(world.engine().remove_pod(&pod)).unwrap();
    world.reboot();
    assert!(world.engine().list_pods(&crate::PodFilter::default()).is_empty());
    world.nothing_left();
}

#[test]
fn a_damaged_record_is_set_aside_and_its_durable_copy_takes_its_place() {
    let mut world = World::new();
    let pod = world.pod("web");
    let id = world.running(&pod, "app");
    world.kill();
    for file in [format!("state/pods/{pod}/pod.json"), format!("state/pods/{pod}/containers/{id}.json")] {
        std::fs::write(world.path(&file), "{").unwrap();
    }
    world.start();
    assert_eq!(pod_state(&world, &pod), Some(SandboxState::Ready));
    assert_eq!(world.state(&id), "running");
}
