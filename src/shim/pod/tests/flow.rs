//! Every order of what is written, read and left: the log gets everything, whoever reads does, too, and whoever does not is
//! waited for no longer than is said.

use std::time::Duration;

use proptest::prelude::*;
use wire::msg::{Request, Streams};

use super::super::client::LIMIT;
use super::clients::ROOM;
use super::fake::By;
use super::streams::{ALL, OUT, empty, running_with};
use super::world::World;
use crate::log::Stream;

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
