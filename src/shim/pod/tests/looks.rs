//! What the shim looks up in the pod, to carry out what it is told.

use wire::msg::Request;

use super::super::{Course, Event, Ticket};
use super::commands::exec_plan;
use super::fake::By;
use super::world::{World, plan};

#[test]
fn a_pod_is_set_up_when_its_namespaces_stand() {
    let mut world = World::bare();
    assert!(!world.pod.is_set_up());
    world.feed(Event::SandboxUp(None));
    assert!(world.pod.is_set_up());
}

#[test]
fn what_a_builder_says_of_itself_counts_until_it_has_built() {
    let mut world = World::new();
    assert!(world.pod.container("c").is_none());
    world.create(&plan("c"));
    assert!(!world.pod.container("c").unwrap().is_built());
    world.ready("c");
    assert!(world.pod.container("c").unwrap().is_built());
}

#[test]
fn the_commands_of_a_container_are_those_that_have_not_ended_and_no_others() {
    let mut world = World::new();
    let mut of = |id: &str| {
        world.run(id);
        [(); 2].map(|()| {
            let number = world.command(id, 0).1.unwrap();
            world.run_exec(number);
            (number, world.execs[&number].pid)
        })
    };
    let (own, others) = (of("c"), of("d"));
    assert_eq!((world.pod.execs_of("c"), world.pod.execs_of("d")), (own.to_vec(), others.to_vec()));
    assert_eq!(world.pod.exec_process(own[0].0), Some(own[0].1));
    world.end_exec(own[0].0, 0, None);
    world.reap();
    assert_eq!((world.pod.execs_of("c"), world.pod.exec_process(own[0].0)), (vec![own[1]], None));
}

#[test]
fn a_command_joins_the_first_process_of_its_container() {
    let mut world = World::new();
    world.run("c");
    let (first, ticket) = (world.pid("c"), Ticket { conn: 7, id: 1000 });
    assert_eq!(world.pod.container("c").unwrap().running(), Some(first));
    let course = world.pod.asked(world.now, ticket, &Request::Exec(exec_plan("c", 0)));
    assert!(matches!(course, Course::Run { first: joined, .. } if joined == first), "{course:?}");
    world.end("c", By::Itself(0));
    world.reap();
    assert_eq!(world.pod.container("c").unwrap().running(), None);
}
