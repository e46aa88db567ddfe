//! Pods: what stands after each step, failure and order of things.

use super::host::Step;
use super::{World, networked, pod};
use crate::supervisor::fake::{Act, Gate, Verb};
use model::SandboxState;
use net::Command;
use wire::msg::ErrorCode;

#[test]
fn a_pod_runs_stops_and_is_removed_without_a_trace() {
    let world = World::new();
    let id = world.on(world.engine().pods().run_pod(networked("web"), String::new())).unwrap();
    let view = world.engine().pods().pod_status(id.as_str()).unwrap();
    assert_eq!((view.state, view.ips.len()), (SandboxState::Ready, 1));
    world.on(world.engine().pods().stop_pod(id.as_str())).unwrap();
    assert_eq!(world.engine().pods().pod_status(id.as_str()).unwrap().state, SandboxState::NotReady);
    assert!(world.node.living().is_empty() && world.network.attached().is_empty(), "{:?}", world.left());
    world.on(world.engine().pods().stop_pod(id.as_str())).unwrap();
    world.on(world.engine().pods().remove_pod(id.as_str())).unwrap();
    assert!(world.engine().pods().pod_status(id.as_str()).is_err());
    world.on(world.engine().pods().remove_pod(id.as_str())).unwrap();
    world.nothing_left();
}

#[test]
fn whatever_step_of_a_pod_fails_nothing_is_left_and_the_name_is_free() {
    let world = World::new();
    let supervisor = [
        (Verb::Spawn, Act::Refuse(ErrorCode::Setup, 12)),
        (Verb::Connect, Act::Die),
        (Verb::Sandbox, Act::Refuse(ErrorCode::Setup, 22)),
        (Verb::Sandbox, Act::Die),
        (Verb::Sandbox, Act::DieAfter),
        (Verb::Sandbox, Act::WrongReply),
        (Verb::Sandbox, Act::HangUp),
    ];
    for (verb, act) in supervisor {
        world.node.on(verb, act.clone());
        let made = world.on(world.engine().pods().run_pod(networked("web"), String::new()));
        assert!(made.is_err(), "{verb:?} {act:?}");
        world.nothing_left();
    }
    for step in [Step::Give, Step::Mount] {
        world.host.fail(step);
        let made = world.on(world.engine().pods().run_pod(networked("web"), String::new()));
        assert!(made.is_err(), "{step:?}");
        world.nothing_left();
    }
    world.network.fail(Command::Add, "scripted");
    let error = world.on(world.engine().pods().run_pod(networked("web"), String::new())).unwrap_err();
    assert!(error.to_string().contains("scripted"), "{error}");
    world.network.mend(Command::Add);
    world.nothing_left();
    world.on(world.engine().pods().run_pod(networked("web"), String::new())).unwrap();
}

#[test]
fn a_failed_pod_that_cannot_be_undone_is_listed_until_it_is_removed() {
    let world = World::new();
    world.node.on(Verb::Sandbox, Act::Refuse(ErrorCode::Setup, 22));
    world.host.fail(Step::Unmount);
    assert!(world.on(world.engine().pods().run_pod(networked("web"), String::new())).is_err());
    let listed = world.engine().pods().list_pods(&crate::PodFilter::default());
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].state, SandboxState::NotReady);
    let again = world.on(world.engine().pods().run_pod(networked("web"), String::new())).unwrap_err();
    assert!(again.to_string().contains(listed[0].id.as_str()), "{again}");
    world.on(world.engine().pods().remove_pod(&listed[0].id)).unwrap();
    world.nothing_left();
}

#[test]
fn identical_requests_are_one_and_different_ones_hear_of_the_holder() {
    let world = World::new();
    let gate = Gate::new();
    world.node.on(Verb::Sandbox, Act::Wait(gate.clone()));
    let (engine, again) = (world.engine(), world.engine());
    let first = world.spawn(async move { engine.pods().run_pod(pod("web"), String::new()).await });
    world.on(gate.reached());
    assert!(world.engine().pods().list_pods(&crate::PodFilter::default()).is_empty(), "nobody sees it yet");
    let second = world.spawn(async move { again.pods().run_pod(pod("web"), String::new()).await });
    let mut other = pod("web");
    other.hostname = "elsewhere".to_owned();
    let refused = world.on(world.engine().pods().run_pod(other, String::new())).unwrap_err();
    assert_eq!(refused.kind(), model::ErrorKind::AlreadyExists);
    assert!(refused.to_string().contains("which is being made with another configuration"), "{refused}");
    gate.open();
    let (first, second) = (world.on(first).unwrap().unwrap(), world.on(second).unwrap().unwrap());
    assert_eq!(first.as_str(), second.as_str());
    assert_eq!(world.pod("web"), first.as_str(), "and so is one that comes later");
    assert_eq!(world.node.count(Verb::Spawn), 1);
}

#[test]
fn a_client_that_leaves_cancels_nothing() {
    let world = World::new();
    let gate = Gate::new();
    world.node.on(Verb::Sandbox, Act::Wait(gate.clone()));
    let engine = world.engine();
    let asked = world.spawn(async move { engine.pods().run_pod(pod("web"), String::new()).await });
    world.on(gate.reached());
    asked.abort();
    assert!(world.on(asked).is_err());
    gate.open();
    let id = world.pod("web");
    assert_eq!(world.node.count(Verb::Spawn), 1, "the retry joins");
    assert_eq!(world.engine().pods().pod_status(&id).unwrap().state, SandboxState::Ready);
}

#[test]
fn a_pod_whose_supervisor_is_killed_is_not_ready_and_its_containers_have_ended() {
    let world = World::new();
    let pod = world.pod("web");
    let (created, running) = (world.container(&pod, "created"), world.running(&pod, "running"));
    world.node.kill(&pod);
    world.await_state(&running, "exited");
    world.await_state(&created, "exited");
    let ready = || world.engine().pods().pod_status(&pod).unwrap().state == SandboxState::Ready;
    world.until("the pod is not ready", || !ready());
    let status = world.engine().containers().container_status(&running).unwrap();
    assert!(format!("{:?}", status.state).contains("supervisor was killed"), "{:?}", status.state);
    world.on(world.engine().pods().remove_pod(&pod)).unwrap();
    world.nothing_left();
}

#[test]
fn a_supervisor_that_only_hangs_up_is_connected_to_again() {
    let world = World::new();
    let pod = world.pod("web");
    let id = world.running(&pod, "app");
    world.node.hang_up(&pod);
    world.until("it is connected to again", || world.node.count(Verb::Connect) == 2);
    let engine = world.engine();
    world.until("it answers", || {
        world.on(engine.containers().exec_sync(&id, super::command("true"), None)).is_ok()
    });
    assert_eq!(engine.pods().pod_status(&pod).unwrap().state, SandboxState::Ready);
    world.node.exit(&id, 3);
    world.await_state(&id, "exited");
}

#[test]
fn stops_of_the_same_pod_are_one_and_what_is_being_made_in_it_is_given_up() {
    let world = World::new();
    let pod = world.pod("web");
    world.node.on(Verb::Create, Act::Hang);
    let (engine, held) = (world.engine(), pod.clone());
    let making = world.spawn(async move {
        engine.containers().create_container(&held, super::container("slow"), None).await
    });
    world.until("it is being made", || world.node.count(Verb::Create) == 1);
    let stop = || {
        let (engine, pod) = (world.engine(), pod.clone());
        world.spawn(async move { engine.pods().stop_pod(&pod).await })
    };
    for stopped in [stop(), stop(), stop()] {
        world.on(stopped).unwrap().unwrap();
    }
    assert_eq!(world.node.count(Verb::Shutdown), 1);
    assert!(world.on(making).unwrap().is_err());
    world.on(world.engine().pods().remove_pod(&pod)).unwrap();
    world.nothing_left();
}

#[test]
fn a_stop_that_fails_says_so_and_the_next_one_goes_on() {
    let world = World::new();
    let id = world.on(world.engine().pods().run_pod(networked("web"), String::new())).unwrap();
    world.host.fail(Step::Unmount);
    let error = world.on(world.engine().pods().stop_pod(id.as_str())).unwrap_err();
    assert!(error.to_string().contains("do as scripted"), "{error}");
    assert_eq!(world.engine().pods().pod_status(id.as_str()).unwrap().state, SandboxState::NotReady);
    world.on(world.engine().pods().stop_pod(id.as_str())).unwrap();
    assert!(world.host.left().is_empty());
}

#[test]
fn a_supervisor_that_does_not_end_is_killed() {
    let world = World::new();
    let pod = world.pod("web");
    world.node.on(Verb::Shutdown, Act::Hang);
    world.on(world.engine().pods().stop_pod(&pod)).unwrap();
    assert!(world.node.living().is_empty());
}

#[test]
fn the_network_and_the_supervisor_are_made_side_by_side() {
    let world = World::new();
    world.network.hold(Command::Add);
    let engine = world.engine();
    let made = world.spawn(async move { engine.pods().run_pod(networked("web"), String::new()).await });
    world.until("the supervisor stands", || world.node.count(Verb::Sandbox) == 1);
    let adds = |(command, _): &(Command, String)| *command == Command::Add;
    world.until("the network is asked", || world.network.calls().iter().any(adds));
    assert!(!made.is_finished());
    world.network.let_go(Command::Add);
    assert!(world.on(made).unwrap().is_ok());
}
