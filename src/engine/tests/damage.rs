//! Records that are damaged, older than what happened, or of nobody: nothing that may be somebody's is taken down.

use super::{World, networked};
use crate::{ContainerFilter, PodFilter};
use model::SandboxState;
use net::Command;

fn listed(world: &World) -> Vec<String> {
    let pods = world.engine().pods().list_pods(&PodFilter::default());
    pods.into_iter().map(|pod| pod.id.to_string()).collect()
}

#[test]
fn what_a_damaged_record_without_a_copy_was_about_is_left_alone_until_it_is_mended() {
    let mut world = World::new();
    let (one, other) = (world.pod("one"), world.pod("other"));
    let (lost, kept) = (world.running(&one, "app"), world.running(&other, "app"));
    world.kill();
    let damaged = [
        world.path(&format!("state/pods/{one}/pod.json")),
        world.path(&format!("state/pods/{other}/containers/{kept}.json")),
    ];
    let whole = damaged.each_ref().map(|path| std::fs::read(path).unwrap());
    damaged.iter().for_each(|path| std::fs::write(path, "{").unwrap());
    std::fs::remove_file(world.path("data/state.redb")).unwrap();
    world.start();
    assert_eq!(listed(&world), [other.as_str()]);
    assert!(world.engine().containers().list_containers(&ContainerFilter::default()).is_empty());
    // What belongs to nobody is taken down behind the start.
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!(world.node.containers().len(), 2, "both run on");
    assert_eq!(world.node.living().len(), 2);
    for id in [&lost, &kept] {
        assert!(world.path("data/containers").join(id).exists(), "its layer is there");
    }
    world.kill();
    for (path, bytes) in damaged.iter().zip(whole) {
        std::fs::write(path, bytes).unwrap();
        std::fs::remove_file(path.with_extension("json.bad")).unwrap();
    }
    world.start();
    assert_eq!((world.state(&lost), world.state(&kept)), ("running".to_owned(), "running".to_owned()));
    assert_eq!(listed(&world).len(), 2);
}

#[test]
fn a_directory_that_is_not_there_is_empty_and_one_that_cannot_be_read_is_an_error() {
    let mut world = World::new();
    let pod = world.pod("web");
    let dir = world.path(&format!("state/pods/{pod}/containers"));
    world.kill();
    std::fs::remove_dir(&dir).unwrap();
    world.start();
    assert_eq!(listed(&world), [pod]);
    world.kill();
    std::fs::write(&dir, "").unwrap();
    let refused = world.try_start().unwrap_err();
    assert!(refused.to_string().contains("containers"), "{refused}");
    std::fs::remove_file(&dir).unwrap();
    world.start();
}

#[test]
fn a_removal_that_did_not_become_durable_holds_all_the_same_and_what_stays_is_there_after_a_reboot() {
    let mut world = World::new();
    let (gone, stays) = (world.pod("gone"), world.pod("stays"));
    world.container(&gone, "app");
    let kept = world.running(&stays, "app");
    world.kill();
    let copies = world.path("data/state.redb");
    let before = std::fs::read(&copies).unwrap();
    world.start();
    world.on(world.engine().pods().remove_pod(&gone)).unwrap();
    world.kill();
    std::fs::write(&copies, before).unwrap();
    world.start();
    assert_eq!(listed(&world), [stays.as_str()]);
    world.reboot();
    assert_eq!(listed(&world), [stays.as_str()], "the copy of what was removed is gone, the other is not");
    assert_eq!(world.engine().pods().pod_status(&stays).unwrap().state, SandboxState::NotReady);
    assert_eq!(world.state(&kept), "exited");
}

#[test]
fn attachments_of_nobody_are_released_and_those_of_pods_are_kept() {
    let mut world = World::new();
    let made = |world: &World, name: &str| {
        world.on(world.engine().pods().run_pod(networked(name), String::new())).unwrap().as_str().to_owned()
    };
    let (lost, kept) = (made(&world, "lost"), made(&world, "kept"));
    world.kill();
    world.node.kill(&lost);
    std::fs::remove_dir_all(world.path(&format!("state/pods/{lost}"))).unwrap();
    world.start();
    world.until("it is released", || !world.network.attached().contains_key(&lost));
    assert!(world.network.attached().contains_key(&kept));
    let is_del = |(command, id): &(Command, String)| *command == Command::Del && *id == kept;
    assert!(!world.network.calls().iter().any(is_del), "nobody asked for it");
    assert_eq!(listed(&world), [kept]);
}

#[test]
fn a_record_that_is_there_counts_more_than_its_durable_copy_also_where_nobody_knows_of_a_boot() {
    let mut world = World::new();
    let pod = world.pod("web");
    let id = world.running(&pod, "app");
    world.kill();
    let changed = |file: &str| {
        let path = world.path(file);
        let record = std::fs::read_to_string(&path).unwrap();
        let created = record.split("\"created_at\":").nth(1).unwrap().split(',').next().unwrap();
        std::fs::write(&path, record.replace(created, "7")).unwrap();
    };
    changed(&format!("state/pods/{pod}/pod.json"));
    changed(&format!("state/pods/{pod}/containers/{id}.json"));
    std::fs::remove_file(world.path("state/boot-id")).unwrap();
    world.start();
    let engine = world.engine();
    assert_eq!(engine.pods().pod_status(&pod).unwrap().created_at, 7);
    let container = engine.containers().container_status(&id).unwrap();
    assert_eq!((container.created_at, container.state.name()), (7, "running"));
}
