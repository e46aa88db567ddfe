//! Containers that a runtime makes: its commands come and go, and leave the first process behind.

use std::time::Duration;

use wire::msg::{ContainerState, ErrorCode, Reply, Request};
use wire::plan::{ContainerPlan, RuntimePlan};

use super::super::{End, Fact, Ticket};
use super::fake::By;
use super::is_error;
use super::world::{World, failure, plan};

impl World {
    pub(super) fn run_start(&mut self, id: &str) {
        if std::mem::take(&mut self.no_forks) {
            return self.learn(id, Fact::NotTold(World::no_fork()));
        }
        let (pid, at_ns) = (self.next_pid(), self.wall());
        let fake = self.fake(id);
        // It has a channel of its own.
        (fake.helper, fake.has_hung_up, fake.channel_closed) = (pid, false, false);
        self.learn(id, Fact::HelperRuns(at_ns, pid));
    }

    pub(super) fn adopt(&mut self, id: &str, end: End) {
        let fake = self.fake(id);
        let fact = match fake.leaves.take() {
            Some(pid) => {
                (fake.pid, fake.known) = (pid, pid);
                Fact::Adopted(pid)
            }
            None => Fact::NotAdopted(failure("read pid file: no such file"), end),
        };
        self.learn(id, fact);
    }

    /// What is answered where a fork fails.
    pub(super) fn no_fork() -> Reply {
        Reply::Error { kind: ErrorCode::Setup, errno: 11, message: "fork: try again".to_owned() }
    }
}

fn foreign() -> ContainerPlan {
    ContainerPlan { runtime: Some(RuntimePlan::default()), ..plan("c") }
}

/// A container whose `create` is under way.
fn begin(world: &mut World) -> (Ticket, i32) {
    let create = world.create(&foreign());
    (create, world.pid("c"))
}

/// One that waits to be started.
fn created(world: &mut World) -> Ticket {
    let (create, command) = begin(world);
    world.fake("c").leaves = Some(500);
    world.end_process(command, 0, None);
    world.reap();
    create
}

fn start(world: &mut World) -> (Ticket, i32) {
    let start = world.ask(Request::Start { id: "c".to_owned() });
    (start, world.fake("c").helper)
}

#[test]
fn what_create_leaves_behind_is_the_first_process() {
    let mut world = World::new();
    let create = created(&mut world);
    assert_eq!(world.reply(create), Some(&Reply::Created { pid: 500 }));
    let (start, helper) = start(&mut world);
    assert_eq!(world.reply(start), None);
    world.fake("c").has_hung_up = true;
    world.hear("c");
    assert_eq!(world.reply(start), None, "the command runs, which is not the program");
    assert!(world.fakes["c"].channel_closed);
    world.end_process(helper, 0, None);
    world.reap();
    assert!(matches!(world.reply(start), Some(Reply::Started { started_at_ns: 1.., pid: 0 })));
    world.end("c", By::Itself(6));
    world.reap();
    assert_eq!(world.announced[0].code, 6);
}

#[test]
fn create_and_start_have_a_channel_each_and_both_are_closed() {
    let mut world = World::new();
    let (_, command) = begin(&mut world);
    world.fake("c").leaves = Some(500);
    world.fake("c").has_hung_up = true;
    world.hear("c");
    assert!(world.fakes["c"].channel_closed, "that of create");
    world.end_process(command, 0, None);
    world.reap();
    start(&mut world);
    assert!(!world.fakes["c"].channel_closed);
    world.fake("c").has_hung_up = true;
    world.hear("c");
    assert!(world.fakes["c"].channel_closed, "that of start");
}

#[test]
fn a_create_that_fails_or_leaves_nothing_is_refused() {
    for (code, leaves) in [(1, Some(500)), (0, None)] {
        let mut world = World::new();
        let (create, command) = begin(&mut world);
        world.fake("c").leaves = leaves;
        world.end_process(command, code, None);
        world.reap();
        assert!(is_error(world.reply(create), ErrorCode::Setup), "{code}: {:?}", world.reply(create));
        assert!(world.pod.snapshots().is_empty() && world.announced.is_empty());
    }
    let mut world = World::new();
    let (create, command) = begin(&mut world);
    world.say("c", Fact::Failed(failure("mount: no such file")));
    world.end_process(command, 1, None);
    world.reap();
    let Some(Reply::Error { message, .. }) = world.reply(create) else { panic!("created") };
    assert_eq!(message, "mount: no such file", "the child's own words come first");
}

#[test]
fn a_start_that_fails_ends_what_waits() {
    let mut world = World::new();
    created(&mut world);
    let (start, helper) = start(&mut world);
    world.end_process(helper, 1, None);
    world.reap();
    assert!(is_error(world.reply(start), ErrorCode::Exec), "{:?}", world.reply(start));
    assert_eq!((world.announced[0].code, world.announced[0].started_at_ns), (128, 0));
}

#[test]
fn a_start_that_cannot_be_run_may_be_tried_again() {
    let mut world = World::new();
    created(&mut world);
    world.no_forks = true;
    let refused = start(&mut world).0;
    assert!(is_error(world.reply(refused), ErrorCode::Setup));
    assert_eq!(world.pod.snapshots()[0].state, ContainerState::Created);
    let (start, helper) = start(&mut world);
    world.end_process(helper, 0, None);
    world.reap();
    assert!(matches!(world.reply(start), Some(Reply::Started { .. })));
}

#[test]
fn a_start_that_hangs_holds_up_the_burial_but_not_forever() {
    let mut world = World::new();
    created(&mut world);
    let (start, helper) = start(&mut world);
    world.end("c", By::Itself(0));
    world.reap();
    world.advance(Duration::from_millis(1900));
    assert!(world.announced.is_empty());
    world.advance(Duration::from_millis(200));
    assert_eq!(world.announced.len(), 1);
    assert!(matches!(world.reply(start), Some(Reply::Started { .. })), "{:?}", world.reply(start));
    world.end_process(helper, 0, None);
    world.reap();
    world.advance(Duration::from_secs(3));
    assert_eq!(world.announced.len(), 1, "its end is told once");
}

#[test]
fn a_removal_reaches_what_create_leaves_behind() {
    let mut world = World::new();
    let (create, command) = begin(&mut world);
    world.fake("c").leaves = Some(500);
    world.end_process(command, 0, None);
    // The command has ended well, which nobody has noticed yet.
    world.fake("c").immortal = true;
    let remove = world.ask(Request::Remove { id: "c".to_owned() });
    world.fake("c").immortal = false;
    world.reap();
    assert_eq!(world.reply(create), Some(&Reply::Created { pid: 500 }));
    assert_eq!(world.reply(remove), Some(&Reply::Ok), "{:?}", world.done);
}

#[test]
fn what_is_left_of_a_runtime_s_container_is_killed_before_its_end_is_told() {
    let mut world = World::new();
    created(&mut world);
    let (_, helper) = start(&mut world);
    world.end_process(helper, 0, None);
    world.reap();
    world.fake("c").left = 1;
    world.end("c", By::Itself(0));
    world.reap();
    assert!(world.announced.is_empty(), "the kernel kills nobody along with its first process");
    world.advance(Duration::from_millis(2));
    assert_eq!(world.announced.len(), 1);
}

#[test]
fn nothing_of_a_container_is_killed_while_a_command_of_its_runtime_is_under_way() {
    let mut world = World::new();
    created(&mut world);
    start(&mut world);
    world.fake("c").left = 1;
    world.end("c", By::Itself(0));
    world.reap();
    assert_eq!(world.fakes["c"].left, 1);
}
