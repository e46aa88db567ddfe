//! Output and who is attached to it: single cases; every order is tried in `flow`.

use std::time::Duration;

use wire::msg::{ErrorCode, Reply, Request, Streams};

use super::super::client::{LIMIT, PATIENCE};
use super::clients::ROOM;
use super::fake::By;
use super::is_error;
use super::world::{World, plan};
use crate::log::Stream;

pub(super) const ALL: Streams = Streams { stdin: true, stdout: true, stderr: true };
pub(super) const OUT: Streams = Streams { stdin: false, stdout: true, stderr: false };
const MOMENT: Duration = Duration::from_millis(1);

fn running() -> World {
    running_with(false)
}

pub(super) fn running_with(stdin_once: bool) -> World {
    let mut world = World::new();
    run(&mut world, "c", stdin_once);
    world
}

fn run(world: &mut World, id: &str, stdin_once: bool) {
    let mut plan = plan(id);
    plan.stdio.stdin_once = stdin_once;
    world.create(&plan);
    world.streaming.renew(id);
    world.ready(id);
    world.ask(Request::Start { id: id.to_owned() });
    world.exec(id);
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
pub(super) fn empty(world: &mut World, at: usize) {
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
    let old = client(&mut world, ALL);
    world.write("c", Stream::Out, ROOM + 100);
    world.read("c");
    world.end("c", By::Itself(0));
    world.reap();
    world.ask(Request::Remove { id: "c".to_owned() });
    run(&mut world, "c", true);
    assert!(!world.pod.is_held("c"));
    let new = client(&mut world, OUT);
    world.write("c", Stream::Out, ROOM + 50);
    world.read("c");
    world.take(new, ROOM);
    world.turn(new);
    assert!(!world.pod.is_held("c"), "the old one is waited for");
    world.take(old, ROOM);
    world.close_reader(old);
    world.turn(old);
    assert!(!world.is_attached(old) && world.streaming.stdin_closed.is_empty());
    assert_eq!(world.streaming.clients[old].got[0].len(), ROOM);
}

#[test]
fn an_old_client_gets_the_old_container_s_output_and_no_other() {
    let mut world = running();
    let old = client(&mut world, OUT);
    world.write("c", Stream::Out, ROOM + 100);
    world.read("c");
    world.end("c", By::Itself(0));
    world.reap();
    world.ask(Request::Remove { id: "c".to_owned() });
    run(&mut world, "c", false);
    world.write("c", Stream::Out, 50);
    world.read("c");
    empty(&mut world, old);
    assert_eq!(world.streaming.clients[old].got[0].len(), ROOM + 100);
    assert!(!world.is_attached(old));
}

#[test]
fn clients_of_two_containers_have_nothing_to_do_with_each_other() {
    let mut world = running();
    run(&mut world, "d", false);
    let of_c = client(&mut world, OUT);
    let (_, of_d) = world.attach(7, "d", OUT);
    let of_d = of_d.unwrap();
    write(&mut world, Stream::Out, ROOM + 100);
    assert!(world.pod.is_held("c") && !world.pod.is_held("d"));
    world.write("d", Stream::Out, ROOM + 50);
    world.read("d");
    assert!(world.pod.is_held("d"));
    world.take(of_d, ROOM);
    world.turn(of_d);
    assert!(world.pod.is_held("c") && !world.pod.is_held("d"), "one waits for the other's client");
    world.end("d", By::Itself(0));
    world.reap();
    assert!(world.is_attached(of_c) && !world.is_attached(of_d));
    empty(&mut world, of_c);
    empty(&mut world, of_d);
    assert!(world.has_all(of_c) && world.has_all(of_d));
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
