//! A daemon that comes back: what it adopts, restores and takes down.

use super::{World, container, networked};
use crate::supervisor::fake::{Act, Gate, Verb};
use model::SandboxState;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

fn pod_state(world: &World, id: &str) -> Option<SandboxState> {
    world.engine().pods().pod_status(id).ok().map(|pod| pod.state)
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
    world.on(world.engine().containers().start_container(&created)).unwrap();
    world.on(world.engine().pods().remove_pod(&pod)).unwrap();
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
    let state = world.engine().containers().container_status(&app).unwrap().state;
    assert!(matches!(state, model::ContainerState::Exited { exit, .. } if exit.code == 9));
    assert_eq!(pod_state(&world, &ended), Some(SandboxState::Ready));
    assert_eq!(pod_state(&world, &lost), Some(SandboxState::NotReady));
    assert_eq!(world.state(&gone), "exited");
    for pod in [ended, lost] {
        world.on(world.engine().pods().remove_pod(&pod)).unwrap();
    }
    world.nothing_left();
}

#[test]
fn a_pod_that_was_being_made_is_taken_down() {
    let mut world = World::new();
    for (verb, act) in [(Verb::Connect, Act::Wait(Gate::new())), (Verb::Sandbox, Act::Hang)] {
        world.node.on(verb, act);
        let (engine, asked) = (world.engine(), world.node.count(verb));
        world.spawn(async move { engine.pods().run_pod(networked("web"), String::new()).await });
        world.until("it hangs", || world.node.count(verb) > asked);
        world.restart();
        world.nothing_left();
    }
    world.on(world.engine().pods().run_pod(networked("web"), String::new())).unwrap();
}

#[test]
fn a_container_that_was_being_made_is_taken_down_and_its_pod_stays() {
    let mut world = World::new();
    let pod = world.pod("web");
    for act in [Act::Hang, Act::Late(Gate::new())] {
        world.node.on(Verb::Create, act);
        let (engine, held, asked) = (world.engine(), pod.clone(), world.node.count(Verb::Create));
        world.spawn(async move { engine.containers().create_container(&held, container("app"), None).await });
        world.until("it hangs", || world.node.count(Verb::Create) > asked);
        std::thread::sleep(std::time::Duration::from_millis(20));
        world.restart();
        assert!(world.engine().containers().list_containers(&crate::ContainerFilter::default()).is_empty());
        assert!(world.node.containers().is_empty(), "{:?}", world.node.containers());
        assert_eq!(pod_state(&world, &pod), Some(SandboxState::Ready));
    }
    world.running(&pod, "app");
}

#[test]
fn a_reboot_leaves_what_was_there_listed_as_ended() {
    let mut world = World::new();
    let pod = world.on(world.engine().pods().run_pod(networked("web"), String::new())).unwrap();
    let id = world.running(pod.as_str(), "app");
    world.reboot();
    assert_eq!(pod_state(&world, pod.as_str()), Some(SandboxState::NotReady));
    assert_eq!(world.state(&id), "exited");
    assert!(
        !world.network.attached().is_empty(),
        "what a reboot leaves of a network is still to be released"
    );
    world.on(world.engine().pods().remove_pod(pod.as_str())).unwrap();
    world.nothing_left();
}

#[test]
fn what_a_reboot_has_ended_is_listed_after_the_next_one_too() {
    let mut world = World::new();
    let pod = world.pod("web");
    let id = world.running(&pod, "app");
    world.reboot();
    world.restart();
    world.reboot();
    assert_eq!(pod_state(&world, &pod), Some(SandboxState::NotReady));
    assert_eq!(world.state(&id), "exited");
}

#[test]
fn what_was_removed_does_not_come_back_after_a_reboot() {
    let mut world = World::new();
    let pod = world.pod("web");
    world.container(&pod, "app");
    world.on(world.engine().pods().remove_pod(&pod)).unwrap();
    world.reboot();
    assert!(world.engine().pods().list_pods(&crate::PodFilter::default()).is_empty());
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

#[test]
fn what_a_supervisor_says_counts_more_than_what_was_written_last() {
    let mut world = World::new();
    let pod = world.pod("web");
    let (started, forgotten) = (world.container(&pod, "started"), world.running(&pod, "forgotten"));
    let gate = Gate::new();
    world.node.on(Verb::Start, Act::Late(gate.clone()));
    let (engine, id) = (world.engine(), started.clone());
    world.spawn(async move { engine.containers().start_container(&id).await });
    world.on(gate.reached());
    world.kill();
    world.node.forget(&forgotten);
    world.start();
    assert_eq!(world.state(&started), "running", "the answer was lost, the start was not");
    let state = world.engine().containers().container_status(&forgotten).unwrap().state;
    assert!(matches!(state, model::ContainerState::Exited { exit, .. } if exit.code == 137));
    world.on(world.engine().containers().exec_sync(&started, super::command("true"), None)).unwrap();
    assert_eq!(world.node.commands().len(), 1, "how it runs was read from its spec");
    world.on(world.engine().pods().remove_pod(&pod)).unwrap();
    world.nothing_left();
}

#[test]
fn a_supervisor_of_another_release_is_left_alone_and_the_daemon_does_not_serve() {
    let mut world = World::new();
    let pod = world.pod("web");
    let id = world.running(&pod, "app");
    world.kill();
    let before = world.left();
    world.node.on(Verb::Connect, Act::Foreign);
    let refused = world.try_start().unwrap_err();
    assert!(refused.to_string().contains("speaks version"), "{refused}");
    assert_eq!(world.left(), before, "nothing is changed");
    world.start();
    assert_eq!(world.state(&id), "running");
}

#[test]
fn a_silent_supervisor_keeps_nobody_waiting_but_its_own_pod() {
    let mut world = World::new();
    let pods = [world.pod("one"), world.pod("other")];
    let ids = [world.running(&pods[0], "app"), world.running(&pods[1], "app")];
    world.kill();
    let gate = Gate::new();
    world.node.on(Verb::Connect, Act::Wait(gate.clone()));
    world.start();
    assert!(ids.iter().all(|id| world.state(id) == "running"), "both are listed");
    let answers = |id: &String| {
        let engine = world.engine();
        let exec = engine.containers().exec_sync(id, super::command("true"), None);
        world.on(async {
            tokio::time::timeout(Duration::from_millis(300), exec).await.is_ok_and(|ran| ran.is_ok())
        })
    };
    world.until("the other pod's supervisor answers", || ids.iter().filter(|id| answers(id)).count() == 1);
    gate.open();
    world.until("both are taken over", || ids.iter().all(answers));
}

#[test]
fn a_half_made_pod_goes_also_without_its_supervisor_and_stays_listed_where_it_cannot() {
    let mut world = World::new();
    for unmounts in [true, false] {
        world.node.on(Verb::Sandbox, Act::Hang);
        let (engine, asked) = (world.engine(), world.node.count(Verb::Sandbox));
        world.spawn(async move { engine.pods().run_pod(networked("web"), String::new()).await });
        world.until("it hangs", || world.node.count(Verb::Sandbox) > asked);
        world.kill();
        world.node.living().iter().for_each(|pod| world.node.kill(pod));
        if !unmounts {
            world.host.fail(super::host::Step::Unmount);
        }
        world.start();
        if unmounts {
            world.nothing_left();
        }
    }
    let listed = || world.engine().pods().list_pods(&crate::PodFilter::default());
    world.until("it is listed", || listed().len() == 1);
    assert_eq!(listed()[0].state, SandboxState::NotReady);
    world.on(world.engine().pods().remove_pod(&listed()[0].id)).unwrap();
    world.nothing_left();
}

#[test]
fn a_pod_that_was_stopped_is_stopped_still_and_what_has_no_record_is_nobodys() {
    let mut world = World::new();
    let pod = world.pod("web");
    let id = world.running(&pod, "app");
    world.on(world.engine().pods().stop_pod(&pod)).unwrap();
    world.kill();
    for left in ["state/pods/0123", "state/pods/.removed-4567", "data/containers/89ab"] {
        std::fs::create_dir_all(world.path(left)).unwrap();
    }
    let connected = world.node.count(Verb::Connect);
    world.start();
    assert_eq!(world.node.count(Verb::Connect), connected, "there is nobody to talk to");
    assert_eq!(pod_state(&world, &pod), Some(SandboxState::NotReady));
    assert_eq!(world.state(&id), "exited");
    assert_eq!(world.engine().pods().list_pods(&crate::PodFilter::default()).len(), 1);
    let layers = world.path("data/containers");
    world.until("a layer of nobody is deleted", || !layers.join("89ab").exists());
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert!(layers.join(&id).exists(), "and one of a container is not");
    world.on(world.engine().pods().remove_pod(&pod)).unwrap();
    world.nothing_left();
}

#[test]
fn a_pods_directory_that_others_may_enter_is_closed() {
    let mut world = World::new();
    let pod = world.pod("web");
    let dir = world.path("state/pods").join(&pod);
    world.kill();
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    world.start();
    assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn ranges_of_pods_are_known_to_every_later_daemon() {
    let mut world = World::new();
    let ranges: Vec<ipnet::IpNet> = vec!["10.99.0.0/24".parse().unwrap()];
    world.engine().update_runtime_config(&ranges).unwrap();
    world.restart();
    world.restart();
    let pod = world.on(world.engine().pods().run_pod(networked("web"), String::new())).unwrap();
    let attachment = world.engine().core.registry.pod(pod.as_str()).unwrap().record().attachment.unwrap();
    assert!(format!("{attachment:?}").contains("10.99.0.0/24"), "{attachment:?}");
}

#[test]
fn packet_rules_are_kept_for_the_pods_that_have_a_network_in_the_order_in_which_they_were_made() {
    let mut world = World::new();
    let mut made = Vec::new();
    for name in ["one", "two", "three", "four", "stopped", "removed"] {
        let pod = world.on(world.engine().pods().run_pod(networked(name), String::new())).unwrap();
        made.push(pod.as_str().to_owned());
    }
    world.pod("of-the-host");
    let removed = made.pop().unwrap();
    world.on(world.engine().pods().remove_pod(&removed)).unwrap();
    let stopped = made.pop().unwrap();
    world.on(world.engine().pods().stop_pod(&stopped)).unwrap();
    world.until("the others are kept", || world.network.kept().as_ref() == Some(&made));
    world.kill();
    world.network.forget_kept();
    world.start();
    world.until("they are looked after", || world.network.kept().is_some());
    assert_eq!(world.network.kept(), Some(made), "and so they are by the next daemon");
}

#[test]
fn a_level_that_a_pod_has_is_nobody_elses_under_the_next_daemon() {
    let mut world = World::new();
    let (labelled, other) = (world.pod("labelled"), world.pod("other"));
    world.kill();
    let path = world.path(&format!("state/pods/{labelled}/pod.json"));
    let record = std::fs::read_to_string(&path).unwrap();
    let with_level = record.replace("\"selinux_level\":\"\"", "\"selinux_level\":\"s0:c1,c2\"");
    assert_ne!(record, with_level);
    std::fs::write(&path, with_level).unwrap();
    world.start();
    let engine = world.engine();
    let level = |pod: &str| {
        let pod = engine.core.registry.pod(pod).unwrap();
        pod.level.get().map(|reserved| reserved.level().to_owned())
    };
    assert_eq!((level(&labelled).as_deref(), level(&other)), (Some("s0:c1,c2"), None));
}
