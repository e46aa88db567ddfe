//! The pause, without which there is no pod where containers share a PID namespace.

use wire::msg::Request;

use super::super::Event;
use super::fake::By;
use super::world::World;

#[test]
fn a_pod_lives_for_as_long_as_its_pause() {
    let mut world = World::bare();
    world.feed(Event::SandboxUp(Some(50)));
    assert_eq!(world.pod.pause(), Some(50));
    let shutdown = world.ask(Request::Shutdown);
    assert!(world.done.contains(&"kill the pause".to_owned()), "{:?}", world.done);
    assert_eq!(world.pod.has_ended(world.now), None);
    world.end_process(50, 137, Some(9));
    world.reap();
    assert_eq!((world.pod.pause(), world.pod.has_ended(world.now)), (None, Some(shutdown)));
}

#[test]
fn a_pod_whose_pause_ends_by_itself_is_over_once_its_containers_are_buried() {
    let mut world = World::bare();
    world.feed(Event::SandboxUp(Some(50)));
    world.run("stays");
    world.run("c");
    world.fake("stays").immortal = true;
    world.end_process(50, 137, Some(9));
    world.reap();
    assert_eq!((world.announced[0].id.as_str(), world.announced[0].signal), ("c", Some(9)));
    assert!(!world.pod.has_fallen(world.now), "a container lives");
    let by = world.pod.deadline().expect("nobody would wake the shim");
    assert!(world.pod.has_fallen(by));
    world.fake("stays").immortal = false;
    world.end("stays", By::Us);
    world.reap();
    assert!(world.pod.has_fallen(world.now));
    assert_eq!(world.pod.has_ended(world.now), None, "nobody asked");
    let shutdown = world.ask(Request::Shutdown);
    assert_eq!((world.pod.has_ended(world.now), world.pod.has_fallen(world.now)), (Some(shutdown), false));
}
