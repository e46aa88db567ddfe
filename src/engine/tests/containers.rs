//! Containers: every verb in every state, and answers that are late, wrong or missing.

use super::{World, container};
use crate::events::EventKind;
use crate::supervisor::fake::{Act, Gate, Verb};
use model::{ContainerEvent, ErrorKind, Exit};
use std::time::Duration;
use wire::msg::ErrorCode;

/// A container of a new pod in a state.
fn in_state(world: &World, state: &str) -> (String, String) {
    let pod = world.pod(state);
    let id = world.container(&pod, "app");
    if state != "created" {
        world.on(world.engine().containers().start_container(&id)).unwrap();
    }
    if state == "exited" {
        world.node.exit(&id, 3);
        world.await_state(&id, state);
    }
    assert_eq!(world.state(&id), state);
    (pod, id)
}

#[test]
fn every_verb_in_every_state_does_what_the_kubelet_counts_on() {
    let world = World::new();
    let engine = world.engine();
    let short = Duration::from_millis(10);
    // Of start, stop, exec, reopen, update: the state after it, or the kind of its failure.
    let failed = ErrorKind::FailedPrecondition;
    let table = [
        ("created", ["running", "created", "", "", "created"]),
        ("running", ["running", "exited", "running", "running", "running"]),
        ("exited", ["", "exited", "", "", ""]),
    ];
    for (state, after) in table {
        for (verb, after) in ["start", "stop", "exec", "reopen", "update"].into_iter().zip(after) {
            let (pod, id) = in_state(&world, state);
            let resources =
                model::Resources { oom_score_adj: model::OomScore::new(5).unwrap(), ..Default::default() };
            let outcome = world.on(async {
                match verb {
                    "start" => engine.containers().start_container(&id).await,
                    "stop" => engine.containers().stop_container(&id, short).await,
                    "exec" => {
                        engine.containers().exec_sync(&id, super::command("true"), None).await.map(drop)
                    }
                    "reopen" => engine.containers().reopen_log(&id).await,
                    _ => engine.containers().update_container(&id, resources, Default::default()).await,
                }
            });
            match (after, outcome) {
                ("", outcome) => assert_eq!(outcome.unwrap_err().kind(), failed, "{verb} of a {state} one"),
                (after, outcome) => {
                    outcome.unwrap_or_else(|error| panic!("{verb} of a {state} one: {error}"));
                    assert_eq!(world.state(&id), after, "{verb} of a {state} one");
                }
            }
            world.on(engine.containers().remove_container(&id)).unwrap();
            assert_eq!(world.state(&id), "unknown");
            world.on(engine.pods().remove_pod(&pod)).unwrap();
        }
    }
    world.nothing_left();
}

#[test]
fn verbs_on_what_is_not_there_are_fine_where_they_take_away_and_not_found_elsewhere() {
    let world = World::new();
    let engine = world.engine();
    world.on(engine.containers().stop_container("absent", Duration::ZERO)).unwrap();
    world.on(engine.containers().remove_container("absent")).unwrap();
    let outcomes = [
        world.on(engine.containers().start_container("absent")),
        world.on(engine.containers().reopen_log("absent")),
        world.on(engine.containers().exec_sync("absent", super::command("true"), None)).map(drop),
        world.try_container("absent", "app").map(drop),
    ];
    for outcome in outcomes {
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::NotFound);
    }
}

#[test]
fn whatever_becomes_of_a_create_that_fails_nothing_is_left_of_it() {
    let world = World::new();
    for act in [
        Act::Refuse(ErrorCode::Setup, 22),
        Act::Refuse(ErrorCode::Invalid, 0),
        Act::WrongReply,
        Act::HangUp,
        Act::Die,
        Act::DieAfter,
    ] {
        let pod = world.pod("web");
        world.node.on(Verb::Create, act.clone());
        assert!(world.try_container(&pod, "app").is_err(), "{act:?}");
        assert!(
            world.engine().containers().list_containers(&crate::ContainerFilter::default()).is_empty(),
            "{act:?}"
        );
        let layers = std::fs::read_dir(world.path("data/containers")).unwrap().count();
        world.until("its layer is gone", || {
            layers == 0 || world.left().iter().all(|left| !left.contains("data/"))
        });
        world.on(world.engine().pods().remove_pod(&pod)).unwrap();
        world.nothing_left();
    }
}

#[test]
fn a_create_whose_cgroups_cannot_be_taken_back_says_first_why_it_failed() {
    let world = World::new();
    let pod = world.pod("web");
    let cgroups = world.path("cgroup");
    let before = super::directories(&cgroups);
    // Looking at so many paths takes longer than to notice the cgroup, and to leave something in it.
    let path = model::AbsPath::new(world.path("data").display().to_string()).unwrap();
    let mount = model::Mount { host_path: Some(path.clone()), container_path: path, ..Default::default() };
    let mut config = container("app");
    config.mounts = vec![mount; 20_000];
    config.security.seccomp = Some(model::Seccomp::Localhost(model::AbsPath::new("/no/profile").unwrap()));
    let plant = || {
        let mut planted = None;
        world.until("the cgroup is there", || {
            let made = super::directories(&cgroups).into_iter().find(|made| !before.contains(made));
            planted = made.map(|made| std::path::PathBuf::from(made).join("busy"));
            planted.as_ref().is_some_and(|file| std::fs::write(file, "").is_ok())
        });
        planted.unwrap()
    };
    let (engine, id) = (world.engine(), pod.clone());
    let made = world.spawn(async move { engine.containers().create_container(&id, config, None).await });
    let planted = plant();
    let error = world.on(made).unwrap().unwrap_err();
    let text = crate::chain(&error);
    let (first, left) = text.split_once("; taking back what was done failed too: ").unwrap();
    assert!(first.contains("/no/profile") && left.contains("is still busy"), "{text}");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{text}");
    std::fs::remove_file(planted).unwrap();
    world.on(world.engine().pods().remove_pod(&pod)).unwrap();
}

#[test]
fn what_is_asked_of_a_container_that_has_ended_is_told_how_it_ended() {
    let world = World::new();
    let (_, id) = in_state(&world, "exited");
    let engine = world.engine();
    let errors = [
        world.on(engine.containers().start_container(&id)).unwrap_err(),
        world.on(engine.containers().exec_sync(&id, super::command("true"), None)).map(drop).unwrap_err(),
        world.on(engine.containers().reopen_log(&id)).unwrap_err(),
    ];
    for error in errors {
        assert!(error.to_string().ends_with(": it is exited (Error, exit code 3)"), "{error}");
    }
}

#[test]
fn an_answer_of_another_kind_to_a_start_is_no_success() {
    let world = World::new();
    let (_, id) = in_state(&world, "created");
    world.node.on(Verb::Start, Act::WrongReply);
    let error = world.on(world.engine().containers().start_container(&id)).unwrap_err();
    assert!(error.to_string().contains("answered something else"), "{error}");
    assert!(error.to_string().contains(&id), "{error}");
}

#[test]
fn an_exit_that_overtakes_the_answer_to_the_start_is_told_in_order() {
    let world = World::new();
    let (_, id) = in_state(&world, "created");
    let mut events = world.engine().subscribe();
    world.node.on(Verb::Start, Act::ExitFirst(7));
    world.on(world.engine().containers().start_container(&id)).unwrap();
    world.await_state(&id, "exited");
    let told = [world.on(events.next()).unwrap(), world.on(events.next()).unwrap()];
    assert_eq!(told.each_ref().map(|event| event.kind), [EventKind::Started, EventKind::Stopped]);
    assert!(told[0].timestamp < told[1].timestamp);
    let state = world.engine().containers().container_status(&id).unwrap().state;
    assert!(matches!(state, model::ContainerState::Exited { exit, .. } if exit.code == 7));
}

#[test]
fn a_program_that_cannot_be_run_leaves_an_exit_before_the_error() {
    let world = World::new();
    let (_, id) = in_state(&world, "created");
    world.node.on(Verb::Start, Act::Refuse(ErrorCode::Exec, 2));
    let (node, held) = (world.node.clone(), id.clone());
    world.spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        node.exit(&held, 128);
    });
    let error = world.on(world.engine().containers().start_container(&id)).unwrap_err();
    assert_eq!(error.command_exit_code(), Some(127));
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "the node is not to blame");
    assert_eq!(world.state(&id), "exited");
}

#[test]
fn a_container_that_ignores_its_signal_is_killed_after_the_grace() {
    let world = World::new();
    let (_, id) = in_state(&world, "running");
    world.node.ignore(15);
    world.on(world.engine().containers().stop_container(&id, Duration::from_millis(30))).unwrap();
    let state = world.engine().containers().container_status(&id).unwrap().state;
    assert!(matches!(state, model::ContainerState::Exited { exit, .. } if exit.signal == Some(9)));
}

#[test]
fn several_stops_send_the_signal_once() {
    let world = World::new();
    let (_, id) = in_state(&world, "running");
    world.node.ignore(15);
    let stop = |grace| {
        let (engine, id) = (world.engine(), id.clone());
        world.spawn(async move { engine.containers().stop_container(&id, grace).await })
    };
    let waiting = stop(Duration::from_secs(60));
    world.until("the signal is sent", || world.node.count(Verb::Signal) == 1);
    world.on(stop(Duration::from_millis(10))).unwrap().unwrap();
    world.on(waiting).unwrap().unwrap();
    assert_eq!(world.node.count(Verb::Signal), 2, "SIGTERM once, SIGKILL once");
}

#[test]
fn a_stop_that_overtakes_a_start_stops_what_is_started() {
    let world = World::new();
    let (_, id) = in_state(&world, "created");
    let gate = Gate::new();
    world.node.on(Verb::Start, Act::Wait(gate.clone()));
    let (engine, held) = (world.engine(), id.clone());
    let start = world.spawn(async move { engine.containers().start_container(&held).await });
    world.on(gate.reached());
    let (engine, held) = (world.engine(), id.clone());
    let stop =
        world.spawn(async move { engine.containers().stop_container(&held, Duration::from_secs(60)).await });
    std::thread::sleep(Duration::from_millis(20));
    assert!(!stop.is_finished(), "it is answered though it has stopped nothing");
    gate.open();
    world.on(start).unwrap().unwrap();
    world.on(stop).unwrap().unwrap();
    assert_eq!(world.state(&id), "exited");
}

#[test]
fn what_never_comes_to_run_is_killed_when_the_grace_is_over() {
    let world = World::new();
    let (_, id) = in_state(&world, "created");
    world.node.on(Verb::Start, Act::Hang);
    let (engine, held) = (world.engine(), id.clone());
    let start = world.spawn(async move { engine.containers().start_container(&held).await });
    world.until("the start is asked for", || world.node.count(Verb::Start) == 1);
    world.on(world.engine().containers().stop_container(&id, Duration::from_millis(30))).unwrap();
    assert_eq!(world.state(&id), "exited");
    start.abort();
}

#[test]
fn a_stop_leaves_what_was_never_started() {
    let world = World::new();
    let (_, id) = in_state(&world, "created");
    world.on(world.engine().containers().stop_container(&id, Duration::ZERO)).unwrap();
    assert_eq!((world.state(&id), world.node.count(Verb::Signal)), ("created".to_owned(), 0));
}

#[test]
fn a_supervisor_that_does_not_signal_does_not_keep_a_removal_from_its_end() {
    let world = World::new();
    for act in [Act::Refuse(ErrorCode::BadState, 0), Act::Refuse(ErrorCode::Io, 5), Act::HangUp, Act::Die] {
        let (pod, id) = in_state(&world, "running");
        world.node.on(Verb::Signal, act.clone());
        // What cannot be killed this time is at the next.
        let _ = world.on(world.engine().containers().remove_container(&id));
        world.on(world.engine().pods().remove_pod(&pod)).unwrap();
        world.nothing_left();
    }
}

#[test]
fn identical_creates_are_one_and_a_client_that_leaves_cancels_nothing() {
    let world = World::new();
    let pod = world.pod("web");
    let gate = Gate::new();
    world.node.on(Verb::Create, Act::Late(gate.clone()));
    let create = || {
        let (engine, pod) = (world.engine(), pod.clone());
        world.spawn(async move { engine.containers().create_container(&pod, container("app"), None).await })
    };
    let (first, second) = (create(), create());
    world.on(gate.reached());
    first.abort();
    gate.open();
    let id = match world.on(second) {
        Ok(id) => id.unwrap(),
        Err(_) => panic!("it was not aborted"),
    };
    assert_eq!(world.node.count(Verb::Create), 1);
    assert_eq!(world.container(&pod, "app"), id.as_str());
    let mut other = container("app");
    other.args = vec!["other".to_owned()];
    let refused = world.on(world.engine().containers().create_container(&pod, other, None)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
    let told = "which is created and was asked for with another configuration: remove it first";
    assert!(refused.to_string().ends_with(told), "{refused}");
}

#[test]
fn a_command_hears_of_its_end_or_of_why_there_is_none() {
    let world = World::new();
    let (_, id) = in_state(&world, "running");
    let run = |limit| world.on(world.engine().containers().exec_sync(&id, super::command("true"), limit));
    assert_eq!(run(None).unwrap().stdout, b"out");
    assert_eq!(run(Some(Duration::from_millis(1))).unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    world.node.on(Verb::Exec, Act::Refuse(ErrorCode::Exec, 2));
    assert_eq!(run(None).unwrap_err().command_exit_code(), Some(127));
    world.node.on(Verb::Exec, Act::WrongReply);
    assert!(run(None).unwrap_err().to_string().contains("answered something else"));
    world.node.on(Verb::Exec, Act::Die);
    assert!(run(None).unwrap_err().to_string().contains("is gone while"));
}

#[test]
fn an_exit_that_is_heard_of_after_the_removal_brings_nothing_back() {
    let mut world = World::new();
    let (pod, id) = in_state(&world, "created");
    let container = world.engine().core.registry.container(&id).unwrap();
    let mut events = world.engine().subscribe();
    // What its end is told by comes late.
    world.node.forget(&id);
    world.on(world.engine().containers().remove_container(&id)).unwrap();
    let exit = Exit {
        code: 137,
        signal: Some(9),
        oom_killed: false,
        finished_at: crate::now(),
        reason: "Error".to_owned(),
        message: String::new(),
    };
    world.engine().containers().publish(&container, ContainerEvent::Exited(exit));
    let heard = world.on(events.next()).unwrap();
    assert_eq!((heard.id(), heard.kind), (id.as_str(), EventKind::Deleted));
    drop(container);
    assert!(
        world.on(async { tokio::time::timeout(Duration::from_millis(50), events.next()).await }).is_err()
    );
    drop(events);
    world.restart();
    assert!(world.engine().containers().list_containers(&crate::ContainerFilter::default()).is_empty());
    world.reboot();
    assert!(world.engine().containers().list_containers(&crate::ContainerFilter::default()).is_empty());
    world.on(world.engine().pods().remove_pod(&pod)).unwrap();
    world.nothing_left();
}

#[test]
fn what_is_under_way_is_finished_before_the_daemon_ends() {
    let world = World::new();
    let pod = world.pod("web");
    let gate = Gate::new();
    world.node.on(Verb::Create, Act::Wait(gate.clone()));
    let (engine, held) = (world.engine(), pod.clone());
    let asked =
        world.spawn(async move { engine.containers().create_container(&held, container("app"), None).await });
    world.on(gate.reached());
    asked.abort();
    let engine = world.engine();
    let settled = world.spawn(async move { engine.settled().await });
    assert_eq!(world.engine().operations().len(), 1);
    std::thread::sleep(Duration::from_millis(20));
    assert!(!settled.is_finished());
    gate.open();
    world.on(settled).unwrap();
    assert_eq!(world.engine().containers().list_containers(&crate::ContainerFilter::default()).len(), 1);
}
