//! Ends that come early, or of which something comes late.

use std::time::Duration;

use wire::msg::{ErrorCode, Reply, Request};
use wire::plan::{ContainerPlan, PidNamespace};

use super::super::{Event, ExecFact, Fact, Ticket};
use super::fake::By;
use super::is_error;
use super::world::{World, ids, plan};

#[test]
fn nobody_takes_the_place_of_who_has_been_reaped() {
    let mut world = World::new();
    world.run("c");
    world.fake("c").held = true;
    world.end("c", By::Itself(0));
    world.reap();
    world.learn("c", Fact::Succeeded(900));
    let signal = world.ask(Request::Signal { id: "c".to_owned(), signal: 15, all: false });
    assert!(is_error(world.reply(signal), ErrorCode::BadState), "{:?}", world.reply(signal));
}

#[test]
fn a_program_that_ends_before_its_builder_has_been_started_whoever_holds_its_output() {
    let mut world = World::new();
    world.create(&ContainerPlan { pid_namespace: PidNamespace::Pod, ..plan("c") });
    world.ready("c");
    let start = world.ask(Request::Start { id: "c".to_owned() });
    world.appear("c");
    world.fake("c").held = true;
    world.end("c", By::Itself(3));
    world.reap();
    assert!(matches!(world.reply(start), Some(Reply::Started { .. })), "{:?}", world.reply(start));
    assert!(world.announced.is_empty(), "its output is waited for");
}

#[test]
fn who_is_killed_by_the_kernel_along_with_the_first_process_is_not_looked_for() {
    let mut world = World::new();
    world.run("c");
    world.fake("c").left = 1;
    world.end("c", By::Itself(0));
    world.reap();
    assert_eq!((world.announced.len(), world.fakes["c"].left), (1, 1));
}

#[test]
fn output_that_somebody_else_holds_is_not_asked_after_again_and_again() {
    let mut world = World::new();
    world.run("c");
    world.fake("c").held = true;
    world.end("c", By::Itself(0));
    world.reap();
    assert!(world.pod.deadline().is_some_and(|at| at > world.now + Duration::from_secs(1)));
}

#[test]
fn a_shell_whose_child_the_kernel_killed_says_so_though_a_kill_is_on_its_way() {
    let mut world = World::new();
    world.run("c");
    world.fake("c").immortal = true;
    world.ask(Request::Signal { id: "c".to_owned(), signal: 9, all: false });
    world.fake("c").kills = 1;
    world.end("c", By::Itself(137));
    world.reap();
    assert!(world.announced[0].oom);
}

#[test]
fn nothing_is_waited_for_behind_an_end() {
    let mut world = World::new();
    world.run("c");
    world.learn("c", Fact::OutOfMemory);
    world.end("c", By::Itself(0));
    world.reap();
    assert_eq!(world.pod.deadline(), None);
}

#[test]
fn what_never_came_to_be_holds_nothing() {
    let mut world = World::new();
    world.create(&plan("c"));
    world.end("c", By::Itself(1));
    world.reap();
    assert!(world.done.contains(&"release c".to_owned()), "{:?}", world.done);
}

/// A command of a container that runs, its program on its way.
fn command(world: &mut World, timeout_ms: u64) -> (Ticket, u64) {
    world.run("c");
    let (asked, number) = world.command("c", timeout_ms);
    let number = number.unwrap();
    world.run_exec(number);
    (asked, number)
}

#[test]
fn a_command_without_a_limit_takes_its_time() {
    let mut world = World::new();
    let (asked, _) = command(&mut world, 0);
    world.advance(Duration::from_secs(1000));
    assert_eq!(world.reply(asked), None);
}

#[test]
fn the_end_of_another_process_is_not_the_command_s() {
    let mut world = World::new();
    let (asked, number) = command(&mut world, 0);
    world.exec_fact(number, ExecFact::Ended(World::end_of(999, 0, None)));
    assert!(world.reply(asked).is_none() && world.pod.exec_process(number).is_some());
}

#[test]
fn a_command_that_was_killed_is_answered_when_it_is_reaped() {
    let mut world = World::new();
    let (asked, _) = command(&mut world, 50);
    world.advance(Duration::from_millis(60));
    assert_eq!(world.reply(asked), None, "it has been killed and not been reaped");
    world.reap();
    world.advance(Duration::from_millis(2));
    assert!(matches!(world.reply(asked), Some(Reply::Exec { timed_out: true, .. })));
}

#[test]
fn who_has_hung_up_before_its_start_has_ended_and_is_not_told() {
    let mut world = World::new();
    world.create(&plan("c"));
    world.ready("c");
    world.fake("c").has_hung_up = true;
    world.hear("c");
    let start = world.ask(Request::Start { id: "c".to_owned() });
    assert!(is_error(world.reply(start), ErrorCode::BadState), "{:?}", world.reply(start));
}

#[test]
fn an_orphan_is_looked_at_again_only_while_a_builder_may_hand_over() {
    let mut world = World::new();
    let mapped = |id: &str| ContainerPlan { ids: ids(), ..plan(id) };
    world.create(&mapped("built"));
    world.ready("built");
    world.create(&plan("plain"));
    let orphan = || Event::Reaped(World::end_of(99_999, 0, None));
    assert!(world.pod.on(world.now, orphan()).is_empty());
    world.create(&mapped("building"));
    assert!(!world.pod.on(world.now, orphan()).is_empty());
}

#[test]
fn nobody_watches_the_memory_of_what_has_ended() {
    let mut world = World::new();
    world.create(&plan("c"));
    world.ready("c");
    let start = world.ask(Request::Start { id: "c".to_owned() });
    world.end("c", By::Itself(0));
    // Somebody else has the channel.
    world.fake("c").has_hung_up = false;
    world.reap();
    assert!(matches!(world.reply(start), Some(Reply::Started { .. })), "{:?}", world.reply(start));
    assert!(!world.done.contains(&"watch memory c".to_owned()), "{:?}", world.done);
}

#[test]
fn what_closes_its_output_and_lives_is_left_alone() {
    let mut world = World::new();
    world.create(&ContainerPlan { pid_namespace: PidNamespace::Host, ..plan("c") });
    world.ready("c");
    world.ask(Request::Start { id: "c".to_owned() });
    world.exec("c");
    let actions = world.pod.on(world.now, Event::Container("c".to_owned(), Fact::OutputOver));
    assert!(actions.is_empty(), "{actions:?}");
}

#[test]
fn a_builder_that_said_nothing_is_told_by_how_it_ended() {
    for (by, how) in [(By::Itself(3), "exit code 3"), (By::Somebody, "signal 9")] {
        let mut world = World::new();
        let create = world.create(&plan("c"));
        world.end("c", by);
        world.reap();
        let Some(Reply::Error { message, .. }) = world.reply(create) else { panic!("it failed") };
        assert!(message.contains(how), "{message}");
    }
}

#[test]
fn what_was_killed_gets_time_to_die_before_it_is_killed_again() {
    let mut world = World::new();
    let (_, number) = command(&mut world, 50);
    world.execs.get_mut(&number).unwrap().immortal = true;
    world.now += Duration::from_millis(50);
    world.feed(Event::Timer);
    assert!(world.pod.deadline().is_some_and(|at| at > world.now));
}
