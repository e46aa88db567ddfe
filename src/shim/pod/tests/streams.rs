//! Output and who is attached to it: single cases, and every order of what is written, read and left.

use std::time::Duration;

use proptest::prelude::*;
use wire::msg::{ErrorCode, Reply, Request, Streams};

use super::super::client::{LIMIT, PATIENCE};
use super::clients::ROOM;
use super::fake::By;
use super::is_error;
use super::world::{World, plan};
use crate::log::Stream;

const ALL: Streams = Streams { stdin: true, stdout: true, stderr: true };
const OUT: Streams = Streams { stdin: false, stdout: true, stderr: false };
const MOMENT: Duration = Duration::from_millis(1);

fn running() -> World {
    running_with(false)
}

fn running_with(stdin_once: bool) -> World {
    let mut world = World::new();
    run(&mut world, stdin_once);
    world
}

fn run(world: &mut World, stdin_once: bool) {
    let mut plan = plan("c");
    plan.stdio.stdin_once = stdin_once;
    world.create(&plan);
    world.ready("c");
    world.ask(Request::Start { id: "c".to_owned() });
    world.exec("c");
}

fn client(world: &mut World, streams: Streams) -> usize {
    let (ticket, at) = world.attach(7, "c", streams);
    assert!(matches!(world.reply(ticket), Some(Reply::Opened { .. })), "{:?}", world.reply(ticket));
    at.unwrap()
}

fn write(world: &mut World, stream: Stream, count: usize) {
    world.write("c", stream, count);
    world.read("c");
    world.check_clients();
}

/// The reader takes everything, for as long as there is something.
fn empty(world: &mut World, at: usize) {
    for _ in 0..20_000 {
        let before: usize = world.streaming.clients[at].got.iter().map(Vec::len).sum();
        world.take(at, ROOM);
        world.turn(at);
        world.read("c");
        if world.streaming.clients[at].got.iter().map(Vec::len).sum::<usize>() == before {
            return;
        }
    }
    panic!("it has no end");
}

#[test]
fn who_attaches_to_what_does_not_run_is_refused() {
    let mut world = World::new();
    let (unknown, _) = world.attach(7, "c", ALL);
    assert!(is_error(world.reply(unknown), ErrorCode::NotFound));
    world.create(&plan("c"));
    world.ready("c");
    let (early, _) = world.attach(7, "c", ALL);
    assert!(is_error(world.reply(early), ErrorCode::BadState));
    world.ask(Request::Start { id: "c".to_owned() });
    world.exec("c");
    world.streaming.no_pipes = true;
    let (broken, at) = world.attach(7, "c", ALL);
    assert!(is_error(world.reply(broken), ErrorCode::Setup) && at.is_none());
    client(&mut world, ALL);
    assert!(world.streaming.stdin_closed.is_empty(), "one that has never come has left nothing");
    world.end("c", By::Itself(0));
    world.reap();
    let (late, _) = world.attach(7, "c", ALL);
    assert!(is_error(world.reply(late), ErrorCode::BadState));
}

#[test]
fn a_client_with_both_pipes_full_loses_nothing_when_both_have_room_at_once() {
    let mut world = running();
    let at = client(&mut world, ALL);
    world.fake("c").held = true;
    world.write("c", Stream::Out, ROOM + 300);
    world.write("c", Stream::Err, ROOM + 300);
    world.end("c", By::Itself(0));
    world.reap();
    world.take(at, ROOM);
    world.turn(at);
    assert!(world.is_attached(at), "{:?}", world.done);
    write(&mut world, Stream::Out, 100);
    empty(&mut world, at);
    assert!(world.has_all(at));
}

#[test]
fn a_client_that_does_not_read_holds_the_log_up_for_a_moment_once() {
    let mut world = running();
    let (lazy, eager) = (client(&mut world, OUT), client(&mut world, OUT));
    write(&mut world, Stream::Out, 2 * ROOM);
    assert!(world.pod.is_held("c"));
    world.advance(PATIENCE - MOMENT);
    assert!(world.pod.is_held("c") && world.is_attached(lazy));
    empty(&mut world, eager);
    world.advance(MOMENT);
    assert!(!world.pod.is_held("c") && !world.is_attached(lazy) && world.is_attached(eager));
    for _ in 0..5 {
        write(&mut world, Stream::Out, ROOM / 2);
        empty(&mut world, eager);
    }
    assert!(world.has_all(eager) && !world.has_all(lazy));
    assert_eq!(world.streaming.logged["c"], world.streaming.written["c"]);
    // What is in its pipe it may still read.
    empty(&mut world, lazy);
    world.check_clients();
    assert_eq!(world.streaming.clients[lazy].got[0].len(), ROOM);
}

#[test]
fn a_client_that_is_a_little_late_is_waited_for_every_time() {
    let mut world = running();
    let at = client(&mut world, OUT);
    for _ in 0..5 {
        write(&mut world, Stream::Out, ROOM + 100);
        assert!(world.pod.is_held("c"));
        world.advance(PATIENCE - MOMENT);
        empty(&mut world, at);
        assert!(!world.pod.is_held("c"));
    }
    world.advance(PATIENCE * 3);
    assert!(world.is_attached(at) && world.has_all(at));
}

#[test]
fn one_of_two_that_catches_up_does_not_speak_for_the_other() {
    let mut world = running();
    let (first, second) = (client(&mut world, OUT), client(&mut world, OUT));
    write(&mut world, Stream::Out, ROOM + 100);
    world.take(first, ROOM);
    world.turn(first);
    assert!(world.pod.is_held("c"), "the other one is behind");
    world.take(second, ROOM);
    world.turn(second);
    assert!(!world.pod.is_held("c"));
}

#[test]
fn no_more_is_kept_for_a_client_than_is_said() {
    let mut world = running();
    let (at, other) = (client(&mut world, OUT), client(&mut world, OUT));
    world.fake("c").held = true;
    world.write("c", Stream::Out, ROOM + LIMIT);
    world.end("c", By::Itself(0));
    world.reap();
    world.check_clients();
    assert!(world.is_attached(at), "that much is kept");
    world.close_reader(other);
    world.turn(other);
    world.write("c", Stream::Out, 1);
    world.read_all("c");
    assert!(!world.is_attached(at) && world.streaming.clients[at].was_given_up);
    assert!(!world.streaming.clients[other].was_given_up, "it has gone by itself");
}

#[test]
fn the_last_of_the_output_reaches_who_is_behind_and_nobody_else_s() {
    let mut world = running();
    let (behind, done) = (client(&mut world, ALL), client(&mut world, OUT));
    world.write("c", Stream::Out, ROOM + 100);
    world.read("c");
    world.take(done, ROOM);
    world.turn(done);
    world.end("c", By::Itself(0));
    world.reap();
    assert!(world.is_attached(behind) && !world.is_attached(done));
    world.ask(Request::Remove { id: "c".to_owned() });
    assert!(world.is_attached(behind), "it has yet to read");
    empty(&mut world, behind);
    assert!(!world.is_attached(behind) && world.has_all(behind));
}

#[test]
fn the_next_container_of_a_name_is_none_of_an_old_client_s_business() {
    let mut world = running();
    let at = client(&mut world, ALL);
    world.write("c", Stream::Out, ROOM + 100);
    world.read("c");
    world.end("c", By::Itself(0));
    world.reap();
    world.ask(Request::Remove { id: "c".to_owned() });
    run(&mut world, true);
    assert!(!world.pod.is_held("c"));
    world.close_reader(at);
    world.turn(at);
    assert!(!world.is_attached(at) && world.streaming.stdin_closed.is_empty());
}

#[test]
fn stdin_that_is_for_one_client_ends_with_the_first_that_has_it() {
    for once in [true, false] {
        let mut world = running_with(once);
        let (watcher, writer) = (client(&mut world, OUT), client(&mut world, ALL));
        world.close_reader(watcher);
        world.turn(watcher);
        assert!(!world.is_attached(watcher) && world.streaming.stdin_closed.is_empty());
        world.close_reader(writer);
        world.turn(writer);
        assert_eq!(world.streaming.stdin_closed.contains("c"), once);
    }
}

#[test]
fn clients_leave_with_their_daemon_and_with_no_other() {
    let mut world = running();
    let (_, first) = world.attach(1, "c", ALL);
    let (_, second) = world.attach(2, "c", OUT);
    write(&mut world, Stream::Out, ROOM + 1);
    world.take(second.unwrap(), ROOM);
    world.turn(second.unwrap());
    assert!(world.pod.is_held("c"));
    world.hang_up(1);
    assert!(!world.pod.is_held("c"), "who was waited for is gone");
    assert!(!world.is_attached(first.unwrap()) && world.is_attached(second.unwrap()));
}

#[test]
fn who_wants_no_output_hears_of_the_end() {
    let mut world = running();
    let at = client(&mut world, Streams { stdin: true, stdout: false, stderr: false });
    write(&mut world, Stream::Out, 3 * ROOM);
    assert!(world.is_attached(at) && !world.pod.is_held("c"));
    world.end("c", By::Itself(0));
    world.reap();
    assert!(!world.is_attached(at));
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Attach { conn: u64, streams: Streams },
    NoPipes,
    Write(Stream, usize),
    Read,
    Take(usize, usize),
    Turn(usize),
    Close(usize),
    HangUp(u64),
    Outside(bool),
    End,
    Reap,
    Pass(u64),
    Remove,
}

fn step() -> impl Strategy<Value = Step> {
    let client = || 0..5_usize;
    let conn = || 1..4_u64;
    let streams = prop_oneof![
        3 => Just(ALL),
        2 => Just(OUT),
        1 => Just(Streams { stdin: true, stdout: false, stderr: true }),
        1 => Just(Streams { stdin: true, stdout: false, stderr: false }),
    ];
    let size = prop_oneof![4 => 1..300_usize, 3 => 300..3 * ROOM, 1 => Just(LIMIT / 2)];
    let stream = prop_oneof![Just(Stream::Out), Just(Stream::Err)];
    prop_oneof![
        3 => (conn(), streams).prop_map(|(conn, streams)| Step::Attach { conn, streams }),
        1 => Just(Step::NoPipes),
        6 => (stream, size).prop_map(|(stream, size)| Step::Write(stream, size)),
        4 => Just(Step::Read),
        6 => (client(), prop_oneof![1..200_usize, Just(ROOM)]).prop_map(|(at, count)| Step::Take(at, count)),
        6 => client().prop_map(Step::Turn),
        1 => client().prop_map(Step::Close),
        1 => conn().prop_map(Step::HangUp),
        1 => any::<bool>().prop_map(Step::Outside),
        1 => Just(Step::End),
        1 => Just(Step::Reap),
        2 => prop_oneof![Just(1), Just(60), Just(99), Just(100), Just(2100)].prop_map(Step::Pass),
        1 => Just(Step::Remove),
    ]
}

fn take(world: &mut World, step: Step) {
    match step {
        Step::Attach { conn, streams } => drop(world.attach(conn, "c", streams)),
        Step::NoPipes => world.streaming.no_pipes = true,
        Step::Write(stream, count) => world.write("c", stream, count),
        Step::Read => world.read("c"),
        Step::Take(at, count) => world.take(at, count),
        Step::Turn(at) => world.turn(at),
        Step::Close(at) => world.close_reader(at),
        Step::HangUp(conn) => world.hang_up(conn),
        Step::Outside(held) => {
            if let Some(fake) = world.fakes.get_mut("c") {
                fake.held = held;
            }
        }
        Step::End => {
            if world.fakes.contains_key("c") {
                world.end("c", By::Itself(0));
            }
        }
        Step::Reap => world.reap(),
        Step::Pass(millis) => world.advance(Duration::from_millis(millis)),
        Step::Remove => drop(world.ask(Request::Remove { id: "c".to_owned() })),
    }
}

/// Everybody reads who still does, and the container ends.
fn settle(world: &mut World) {
    let count = world.streaming.clients.len();
    for _ in 0..2 {
        for at in (0..count).cycle().take(count * 4) {
            empty(world, at);
        }
        world.read("c");
        take(world, Step::Outside(false));
        take(world, Step::End);
        world.reap();
    }
    world.advance(Duration::from_secs(3));
    for at in 0..count {
        empty(world, at);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_written_reaches_the_log_and_who_reads_in_order_and_once(
        once in any::<bool>(),
        steps in prop::collection::vec(step(), 1..100),
    ) {
        let mut world = running_with(once);
        for step in steps {
            take(&mut world, step);
            world.check_clients();
        }
        settle(&mut world);
        world.check_clients();
        let logged = world.streaming.logged.get("c").cloned().unwrap_or_default();
        prop_assert_eq!(logged, world.streaming.written.get("c").cloned().unwrap_or_default());
        for at in 0..world.streaming.clients.len() {
            prop_assert!(!world.is_attached(at), "client {} is still there", at);
            prop_assert!(!world.has_stayed(at) || world.has_all(at), "client {} lacks something", at);
        }
    }
}
