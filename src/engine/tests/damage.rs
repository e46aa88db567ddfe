//! Records that are damaged, older than what happened, or of nobody: nothing that may be somebody's is taken down.

use super::{World, networked};
use crate::supervisor::fake::{Act, Verb};
use crate::{ContainerFilter, PodFilter};
use model::SandboxState;
use net::Command;
use std::path::{Path, PathBuf};
use wire::msg::ErrorCode;

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
fn one_record_that_cannot_be_used_keeps_everything_that_may_be_of_it() {
    for damage in ["pod", "container", "parent"] {
        let mut world = World::new();
        let pod =
            world.on(world.engine().pods().run_pod(networked("web"), String::new())).unwrap().to_string();
        let id = world.running(&pod, "app");
        world.kill();
        std::fs::remove_file(world.path("data/state.redb")).unwrap();
        let record = world.path(&format!("state/pods/{pod}/pod.json"));
        let path = match damage {
            "container" => world.path(&format!("state/pods/{pod}/containers/{id}.json")),
            _ => record,
        };
        let whole = std::fs::read_to_string(&path).unwrap();
        let mut parents = whole.split("\"cgroup_parent\":\"").filter_map(|rest| rest.split('"').next());
        let broken = match damage {
            "parent" => whole.replace(parents.find(|parent| parent.starts_with('/')).unwrap(), "/../out"),
            _ => "{".to_owned(),
        };
        std::fs::write(&path, broken).unwrap();
        world.start();
        assert_eq!(world.state(&id), "unknown", "{damage}");
        assert_eq!(path.with_extension("json.bad").exists(), damage != "parent", "{damage}");
        // As above.
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(world.path("data/containers").join(&id).exists(), "its layer is there: {damage}");
        assert!(world.network.attached().contains_key(&pod), "its network is there: {damage}");
        assert_eq!(world.node.containers().len(), 1, "it runs on: {damage}");
        world.kill();
        std::fs::write(&path, whole).unwrap();
        let _ = std::fs::remove_file(path.with_extension("json.bad"));
        world.start();
        assert_eq!(world.state(&id), "running", "{damage}");
    }
}

#[test]
fn a_durable_copy_that_was_used_is_a_record_from_then_on() {
    let mut world = World::new();
    let pod = world.pod("web");
    let id = world.running(&pod, "app");
    world.kill();
    for file in [format!("state/pods/{pod}/pod.json"), format!("state/pods/{pod}/containers/{id}.json")] {
        std::fs::write(world.path(&file), "{").unwrap();
    }
    world.start();
    world.kill();
    std::fs::remove_file(world.path("data/state.redb")).unwrap();
    world.start();
    assert_eq!((listed(&world), world.state(&id).as_str()), (vec![pod], "running"));
}

#[test]
fn a_durable_copy_that_is_damaged_is_dropped_and_the_others_are_used() {
    use redb::{ReadableDatabase, ReadableTable, TableDefinition};
    const PODS: TableDefinition<&str, &[u8]> = TableDefinition::new("pods");
    let mut world = World::new();
    let pod = world.pod("web");
    world.kill();
    let copies = world.path("data/state.redb");
    let database = redb::Database::open(&copies).unwrap();
    let writing = database.begin_write().unwrap();
    {
        let mut table = writing.open_table(PODS).unwrap();
        let mut damaged = table.get(pod.as_str()).unwrap().unwrap().value().to_owned();
        damaged.pop();
        table.insert("0123", damaged.as_slice()).unwrap();
    }
    writing.commit().unwrap();
    drop(database);
    // As after a reboot.
    std::fs::remove_dir_all(world.path("state")).unwrap();
    std::fs::create_dir(world.path("state")).unwrap();
    world.start();
    assert_eq!(listed(&world), [pod.as_str()]);
    world.kill();
    let database = redb::Database::open(&copies).unwrap();
    let table = database.begin_read().unwrap().open_table(PODS).unwrap();
    assert!(table.get("0123").unwrap().is_none());
    assert!(table.get(pod.as_str()).unwrap().is_some());
}

#[test]
fn a_directory_that_is_not_there_is_empty_and_one_that_cannot_be_read_is_left_aside() {
    let mut world = World::new();
    let pod = world.pod("web");
    let dir = world.path(&format!("state/pods/{pod}/containers"));
    world.kill();
    std::fs::remove_dir(&dir).unwrap();
    world.start();
    assert_eq!(listed(&world), [pod.as_str()]);
    world.kill();
    std::fs::write(&dir, "").unwrap();
    let nobodys = world.path("data/containers/0123");
    std::fs::create_dir(&nobodys).unwrap();
    world.start();
    assert_eq!(listed(&world), [pod]);
    // What belongs to nobody is taken down behind the start.
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert!(nobodys.exists(), "it may be of a container that is not listed");
    world.kill();
    std::fs::remove_file(&dir).unwrap();
    world.start();
    world.until("it is freed", || !nobodys.exists());
}

#[test]
fn a_removal_that_did_not_become_durable_holds_all_the_same_and_what_stays_is_there_after_a_reboot() {
    let mut world = World::new();
    let (gone, stays) = (world.pod("gone"), world.pod("stays"));
    world.container(&gone, "app");
    let (kept, removed) = (world.running(&stays, "app"), world.container(&stays, "removed"));
    world.kill();
    let copies = world.path("data/state.redb");
    let before = std::fs::read(&copies).unwrap();
    world.start();
    world.on(world.engine().pods().remove_pod(&gone)).unwrap();
    world.on(world.engine().containers().remove_container(&removed)).unwrap();
    world.kill();
    std::fs::write(&copies, before).unwrap();
    world.start();
    assert_eq!(listed(&world), [stays.as_str()]);
    world.reboot();
    assert_eq!(listed(&world), [stays.as_str()], "the copy of what was removed is gone, the other is not");
    assert_eq!(world.engine().pods().pod_status(&stays).unwrap().state, SandboxState::NotReady);
    assert_eq!((world.state(&kept).as_str(), world.state(&removed).as_str()), ("exited", "unknown"));
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
fn an_attachment_that_is_on_record_of_a_pod_that_was_stopped_is_released() {
    let mut world = World::new();
    let pod = world.on(world.engine().pods().run_pod(networked("web"), String::new())).unwrap().to_string();
    let attached = below(&world.path("network"));
    world.on(world.engine().pods().stop_pod(&pod)).unwrap();
    world.kill();
    let deletions = |world: &World| {
        let calls = world.network.calls();
        calls.iter().filter(|(command, id)| *command == Command::Del && *id == pod).count()
    };
    let before = deletions(&world);
    // A power loss has brought it back.
    for (path, bytes) in attached.into_iter().filter(|(path, _)| !path.exists()) {
        std::fs::write(path, bytes).unwrap();
    }
    world.start();
    world.until("it is released", || deletions(&world) > before);
}

/// The files below a directory.
fn below(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path());
    let found = entries.flat_map(|path| match std::fs::read(&path) {
        Ok(bytes) => vec![(path, bytes)],
        Err(_) => below(&path),
    });
    found.collect()
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

/// A pod with a network and a container that runs in it.
fn living(world: &World) -> (String, String) {
    let pod = world.on(world.engine().pods().run_pod(networked("web"), String::new())).unwrap().to_string();
    let id = world.running(&pod, "app");
    (pod, id)
}

#[test]
fn what_lives_whose_record_somebody_has_deleted_is_taken_over_as_its_copy_says() {
    let mut world = World::new();
    let (pod, id) = living(&world);
    for lost in [format!("{pod}/pod.json"), format!("{pod}/containers/{id}.json")] {
        let lost = world.path("state/pods").join(lost);
        world.kill();
        std::fs::remove_file(&lost).unwrap();
        world.start();
        assert!(lost.exists());
        let status = world.engine().pods().pod_status(&pod).unwrap();
        assert_eq!((status.state, world.state(&id).as_str()), (SandboxState::Ready, "running"), "{lost:?}");
    }
    assert_eq!(world.node.containers().len(), 1);
    world.on(world.engine().pods().remove_pod(&pod)).unwrap();
    world.nothing_left();
}

#[test]
fn a_pod_that_lives_and_whose_directory_somebody_has_deleted_is_listed_until_it_is_taken_down() {
    let mut world = World::new();
    let (pod, id) = living(&world);
    world.kill();
    std::fs::remove_dir_all(world.path("state/pods").join(&pod)).unwrap();
    // With it the socket of its supervisor is gone.
    world.node.on(Verb::Connect, Act::Refuse(ErrorCode::Io, 2));
    world.start();
    let status = world.engine().pods().pod_status(&pod).unwrap();
    assert_eq!((status.state, world.state(&id).as_str()), (SandboxState::NotReady, "exited"));
    assert!(world.node.living().is_empty());
    world.on(world.engine().pods().stop_pod(&pod)).unwrap();
    world.on(world.engine().pods().remove_pod(&pod)).unwrap();
    world.nothing_left();
    world.restart();
    assert!(listed(&world).is_empty());
}

#[test]
fn what_lives_and_nobody_has_a_record_of_is_taken_down() {
    for lost in ["state/pods/POD", "state/pods/POD/pod.json"] {
        let mut world = World::new();
        let (pod, id) = living(&world);
        world.kill();
        let lost = world.path(&lost.replace("POD", &pod));
        let _ = std::fs::remove_file(&lost).or_else(|_| std::fs::remove_dir_all(&lost));
        std::fs::remove_file(world.path("data/state.redb")).unwrap();
        if !lost.ends_with("pod.json") {
            world.node.on(Verb::Connect, Act::Refuse(ErrorCode::Io, 2));
        }
        world.start();
        assert!(listed(&world).is_empty(), "{lost:?}");
        world.until("it is taken down", || world.node.living().is_empty() && world.state(&id) == "unknown");
        world.nothing_left();
    }
}

#[test]
fn a_container_that_runs_is_taken_over_from_its_durable_copy_alone() {
    for lost in [&["json", "spec"][..], &["json"]] {
        let mut world = World::new();
        let (pod, id) = living(&world);
        world.kill();
        for ending in lost {
            std::fs::remove_file(world.path(&format!("state/pods/{pod}/containers/{id}.{ending}"))).unwrap();
        }
        world.start();
        assert_eq!(world.state(&id), "running", "{lost:?}");
        world.restart();
        assert_eq!(world.state(&id), "running", "{lost:?}");
        world.on(world.engine().pods().remove_pod(&pod)).unwrap();
        world.nothing_left();
    }
}

#[test]
fn a_container_that_only_its_supervisor_knows_is_ended() {
    let mut world = World::new();
    let (pod, id) = living(&world);
    world.kill();
    std::fs::remove_file(world.path("data/state.redb")).unwrap();
    for ending in ["json", "spec"] {
        std::fs::remove_file(world.path(&format!("state/pods/{pod}/containers/{id}.{ending}"))).unwrap();
    }
    world.start();
    assert_eq!(listed(&world), [pod.as_str()]);
    world.until("it is ended", || world.node.containers().is_empty());
    world.on(world.engine().pods().remove_pod(&pod)).unwrap();
    world.nothing_left();
}
