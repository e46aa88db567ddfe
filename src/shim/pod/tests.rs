#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
//! The pod in memory: single cases here, all orders of events in `orders`.

mod checks;
mod clients;
mod commands;
mod ends;
mod fake;
mod flow;
mod looks;
mod orders;
mod pause;
mod runtimes;
mod streams;
mod world;

use std::time::Duration;

use wire::msg::{ContainerState, ErrorCode, Reply, Request};
use wire::plan::PidNamespace;

use super::{Count, Event, Fact};
use fake::By;
use world::{World, failure, ids, plan};

fn is_error(reply: Option<&Reply>, wanted: ErrorCode) -> bool {
    matches!(reply, Some(Reply::Error { kind, .. }) if *kind == wanted)
}

#[test]
fn a_container_is_created_started_and_buried_in_order() {
    let mut world = World::new();
    let create = world.create(&plan("c"));
    assert_eq!(world.reply(create), None, "the builder has said nothing yet");
    world.ready("c");
    let pid = world.pid("c");
    assert_eq!(world.reply(create), Some(&Reply::Created { pid }));
    let start = world.ask(Request::Start { id: "c".to_owned() });
    assert_eq!(world.reply(start), None);
    world.exec("c");
    assert!(matches!(world.reply(start), Some(Reply::Started { started_at_ns: 1.., .. })));
    world.end("c", By::Itself(3));
    world.reap();
    let record = &world.announced[0];
    assert_eq!((record.id.as_str(), record.code, record.signal, record.oom), ("c", 3, None, false));
    let order = ["release c", "end clients c", "write exit c", "announce c"];
    assert_eq!(world.done.iter().filter(|one| order.contains(&one.as_str())).count(), order.len());
    let place = |wanted: &str| world.done.iter().position(|one| one == wanted);
    assert!(order.windows(2).all(|pair| place(pair[0]) < place(pair[1])), "{:?}", world.done);
}

#[test]
fn what_is_asked_in_the_wrong_state_is_refused() {
    let mut world = World::new();
    for id in ["", "../c", ".c", "a/c", "a\0c"] {
        let create = world.create(&plan(id));
        assert!(is_error(world.reply(create), ErrorCode::Invalid), "{id:?}");
    }
    let mut empty = plan("c");
    empty.process.argv.clear();
    let create = world.create(&empty);
    assert!(is_error(world.reply(create), ErrorCode::Invalid));
    let start = Request::Start { id: "c".to_owned() };
    let unknown = world.ask(start.clone());
    assert!(is_error(world.reply(unknown), ErrorCode::NotFound));
    world.create(&plan("c"));
    let early = world.ask(start.clone());
    assert!(is_error(world.reply(early), ErrorCode::BadState));
    let twice = world.create(&plan("c"));
    assert!(is_error(world.reply(twice), ErrorCode::BadState));
    world.ready("c");
    world.ask(start.clone());
    let again = world.ask(start.clone());
    assert!(is_error(world.reply(again), ErrorCode::BadState));
    world.exec("c");
    world.end("c", By::Itself(0));
    world.reap();
    let late = world.ask(start);
    assert!(is_error(world.reply(late), ErrorCode::BadState));
    let signal = world.ask(Request::Signal { id: "c".to_owned(), signal: 15, all: false });
    assert!(is_error(world.reply(signal), ErrorCode::BadState));
}

#[test]
fn a_pod_that_is_not_set_up_or_ends_takes_no_containers() {
    let mut world = World::bare();
    let create = world.create(&plan("c"));
    assert!(is_error(world.reply(create), ErrorCode::BadState));
    let mut world = World::new();
    world.ask(Request::Shutdown);
    let create = world.create(&plan("c"));
    assert!(is_error(world.reply(create), ErrorCode::BadState));
}

#[test]
fn a_builder_that_fails_answers_create_and_leaves_nothing() {
    let mut world = World::new();
    let create = world.create(&plan("c"));
    world.say("c", Fact::Failed(failure("mount /: no such file")));
    world.end("c", By::Itself(1));
    world.reap();
    assert!(is_error(world.reply(create), ErrorCode::Setup));
    assert!(world.announced.is_empty() && world.pod.snapshots().is_empty());
    assert!(world.done.contains(&"discard log c".to_owned()), "{:?}", world.done);
    let again = world.create(&plan("c"));
    world.ready("c");
    assert!(matches!(world.reply(again), Some(Reply::Created { .. })));
}

#[test]
fn a_program_that_cannot_be_run_answers_start_and_has_an_exit() {
    let mut world = World::new();
    world.create(&plan("c"));
    world.ready("c");
    let start = world.ask(Request::Start { id: "c".to_owned() });
    world.say("c", Fact::Failed(failure("exec /none: no such file")));
    world.end("c", By::Itself(1));
    world.reap();
    assert!(is_error(world.reply(start), ErrorCode::Setup));
    let record = &world.announced[0];
    assert_eq!((record.code, record.started_at_ns), (128, 0));
    assert_eq!(record.start_error.as_deref(), Some("exec /none: no such file"));
}

#[test]
fn a_kill_while_the_builder_hands_over_reaches_who_takes_its_place() {
    let mut world = World::new();
    let create = world.create(&wire::plan::ContainerPlan { ids: ids(), ..plan("c") });
    world.hand_over("c");
    let remove = world.ask(Request::Remove { id: "c".to_owned() });
    world.reap();
    assert!(is_error(world.reply(create), ErrorCode::Setup), "{:?}", world.done);
    assert_eq!(world.reply(remove), Some(&Reply::Ok));
}

#[test]
fn a_builder_s_sibling_that_ends_before_it_is_told_of_is_no_orphan() {
    let mut world = World::new();
    let create = world.create(&wire::plan::ContainerPlan { ids: ids(), ..plan("c") });
    world.hand_over("c");
    world.say("c", Fact::Failed(failure("mount /: not permitted")));
    world.end("c", By::Itself(1));
    world.reap_in(true);
    assert!(is_error(world.reply(create), ErrorCode::Setup), "{:?}", world.done);
}

#[test]
fn a_successor_is_the_first_process_and_its_builder_s_end_means_nothing() {
    let mut world = World::new();
    world.create(&wire::plan::ContainerPlan { pid_namespace: PidNamespace::Pod, ..plan("c") });
    world.ready("c");
    let builder = world.pid("c");
    let start = world.ask(Request::Start { id: "c".to_owned() });
    assert_eq!(world.pod.snapshots()[0].pid, 0, "a builder is nobody's first process any more");
    world.appear("c");
    assert_ne!(world.pid("c"), builder);
    world.end_process(builder, 0, None);
    world.reap();
    assert_eq!(world.pod.snapshots()[0].state, ContainerState::Running);
    // It ends while the builder's copy of the channel is open: Start is answered all the same.
    world.end("c", By::Itself(7));
    world.reap();
    assert!(matches!(world.reply(start), Some(Reply::Started { .. })));
    assert_eq!(world.announced[0].code, 7);
}

#[test]
fn orphans_are_reaped_without_a_trace() {
    let mut world = World::new();
    world.run("c");
    let before = world.done.len();
    world.feed(Event::Reaped(World::end_of(99_999, 9, None)));
    assert_eq!(world.done.len(), before, "{:?}", world.done);
}

#[test]
fn output_that_somebody_else_holds_is_waited_for_but_not_forever() {
    let mut world = World::new();
    world.run("c");
    world.fake("c").held = true;
    world.end("c", By::Itself(0));
    world.reap();
    assert!(world.announced.is_empty());
    world.advance(Duration::from_millis(1500));
    assert!(world.announced.is_empty());
    world.advance(Duration::from_millis(600));
    assert_eq!(world.announced.len(), 1);
}

#[test]
fn processes_that_fork_in_a_shared_pid_namespace_are_killed_until_none_is_left() {
    let mut world = World::new();
    world.create(&wire::plan::ContainerPlan { pid_namespace: PidNamespace::Host, ..plan("c") });
    world.ready("c");
    world.ask(Request::Start { id: "c".to_owned() });
    world.exec("c");
    world.fake("c").left = 3;
    world.end("c", By::Itself(0));
    world.reap();
    assert!(world.announced.is_empty());
    for _ in 0..3 {
        world.advance(Duration::from_millis(2));
    }
    assert_eq!(world.announced.len(), 1);
}

#[test]
fn an_oom_kill_is_the_container_s_only_if_it_died_of_it() {
    let cases: [(&str, bool); 5] =
        [("own", true), ("survived", false), ("last command", true), ("ours", false), ("theirs", false)];
    for (case, oom) in cases {
        let mut world = World::new();
        world.run("c");
        match case {
            "own" => world.end("c", By::Kernel),
            "survived" | "ours" | "theirs" => world.fake("c").kills += 1,
            _ => {
                world.fake("c").kills += 1;
                world.end("c", By::Itself(137));
            }
        }
        match case {
            "survived" => world.end("c", By::Itself(0)),
            "ours" => drop(world.ask(Request::Signal { id: "c".to_owned(), signal: 9, all: false })),
            "theirs" => {
                world.learn("c", Fact::OutOfMemory);
                world.advance(Duration::from_millis(101));
                world.end("c", By::Somebody);
            }
            _ => {}
        }
        world.reap();
        assert_eq!(world.announced[0].oom, oom, "{case}");
    }
}

#[test]
fn a_kill_that_comes_too_late_does_not_hide_an_oom_kill() {
    let mut world = World::new();
    world.run("c");
    // The kernel has killed it, and nobody has noticed yet.
    world.end("c", By::Kernel);
    world.ask(Request::Signal { id: "c".to_owned(), signal: 9, all: true });
    world.reap();
    assert!(world.announced[0].oom);
}

#[test]
fn stop_during_start_answers_both() {
    let mut world = World::new();
    world.create(&plan("c"));
    world.ready("c");
    let start = world.ask(Request::Start { id: "c".to_owned() });
    let signal = world.ask(Request::Signal { id: "c".to_owned(), signal: 9, all: true });
    assert_eq!(world.reply(signal), Some(&Reply::Ok));
    world.reap();
    // Nobody knows whether the program ran: killed in between, it has ended like one that did.
    assert!(matches!(world.reply(start), Some(Reply::Started { .. })));
    assert_eq!((world.announced[0].code, world.announced[0].oom), (137, false));
}

#[test]
fn a_shutdown_waits_for_the_pod_and_then_no_longer() {
    let mut world = World::new();
    world.run("c");
    world.fake("c").held = true;
    let shutdown = world.ask(Request::Shutdown);
    assert_eq!(world.pod.has_ended(world.now), None);
    world.reap();
    assert_eq!(world.pod.has_ended(world.now), None, "its output is waited for");
    world.advance(Duration::from_millis(2001));
    assert_eq!(world.pod.has_ended(world.now), Some(shutdown));
    let mut world = World::new();
    world.run("c");
    world.fake("c").immortal = true;
    let shutdown = world.ask(Request::Shutdown);
    world.advance(Duration::from_millis(4900));
    assert_eq!(world.pod.has_ended(world.now), None);
    world.advance(Duration::from_millis(200));
    assert_eq!(world.pod.has_ended(world.now), Some(shutdown));
}

#[test]
fn a_shutdown_that_nothing_else_ends_has_its_own_time() {
    let mut world = World::new();
    world.run("c");
    world.fake("c").immortal = true;
    assert_eq!(world.pod.deadline(), None);
    let shutdown = world.ask(Request::Shutdown);
    let by = world.pod.deadline().expect("nobody would wake the shim");
    assert_eq!(world.pod.has_ended(by), Some(shutdown));
}

#[test]
fn a_kill_of_ours_stays_ours_whatever_the_kernel_kills_before_the_end() {
    let mut world = World::new();
    world.run("c");
    world.ask(Request::Signal { id: "c".to_owned(), signal: 9, all: false });
    world.fake("c").kills += 1;
    world.reap();
    assert!(!world.announced[0].oom, "{:?}", world.announced);
}

#[test]
fn who_has_taken_the_builder_s_place_is_in_the_greeting_at_once() {
    let mut world = World::new();
    world.create(&wire::plan::ContainerPlan { pid_namespace: PidNamespace::Pod, ..plan("c") });
    world.ready("c");
    world.ask(Request::Start { id: "c".to_owned() });
    assert_eq!(world.pod.snapshots()[0].pid, 0, "the builder is nobody's first process any more");
    world.appear("c");
    let pid = world.pid("c");
    world.learn("c", Fact::Succeeded(pid));
    assert_eq!(world.pod.snapshots()[0].pid, pid);
}

#[test]
fn what_cannot_be_supervised_is_killed() {
    let mut world = World::new();
    let create = world.create(&plan("c"));
    world.learn("c", Fact::Broken(failure("epoll: no space")));
    assert_eq!(world.fakes["c"].by, Some(By::Us));
    world.reap();
    assert!(is_error(world.reply(create), ErrorCode::Setup));
}

#[test]
fn a_first_want_of_memory_is_looked_at_in_time_though_more_come() {
    let mut world = World::new();
    world.run("c");
    world.learn("c", Fact::OutOfMemory);
    let at = world.pod.deadline();
    assert!(at.is_some());
    world.advance(Duration::from_millis(60));
    world.learn("c", Fact::OutOfMemory);
    assert_eq!(world.pod.deadline(), at);
}

#[test]
fn a_signal_that_kills_is_meant_for_who_takes_the_builder_s_place_too() {
    let mut world = World::new();
    world.create(&wire::plan::ContainerPlan { ids: ids(), ..plan("c") });
    world.fake("c").immortal = true;
    world.ask(Request::Signal { id: "c".to_owned(), signal: 9, all: false });
    let fake = world.fake("c");
    assert_eq!(fake.by, None);
    (fake.immortal, fake.pid, fake.known) = (false, 500, 500);
    world.learn("c", Fact::HandedOver(500));
    assert_eq!(world.fakes["c"].by, Some(By::Us));
}

#[test]
fn memory_is_watched_where_it_is_counted() {
    for oom in [Some(b"/cgroup".to_vec()), None] {
        let mut world = World::new();
        let (mut plan, counted) = (plan("c"), oom.is_some());
        plan.cgroup.oom = oom;
        world.create(&plan);
        world.ready("c");
        world.ask(Request::Start { id: "c".to_owned() });
        world.exec("c");
        assert_eq!(world.done.contains(&"watch memory c".to_owned()), counted, "{:?}", world.done);
    }
}

#[test]
fn kills_that_were_survived_stay_so_where_the_count_cannot_be_read() {
    let mut world = World::new();
    world.run("c");
    for kills in [5, 0] {
        world.learn("c", Fact::Counted(Count { kills, dying: false, doomed: false }));
    }
    let fake = world.fake("c");
    (fake.kills, fake.outlived) = (5, 5);
    world.end("c", By::Itself(137));
    world.reap();
    assert!(!world.announced[0].oom);
}
