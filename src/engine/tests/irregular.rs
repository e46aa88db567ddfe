//! Things of the wrong kind in the places of the state: the daemon starts and serves, and nothing that may be somebody's is
//! taken down.

use super::{World, networked};
use crate::supervisor::fake::{Act, Verb};
use crate::{ContainerFilter, PodFilter};
use model::SandboxState;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::path::Path;
use wire::msg::ErrorCode;

/// What is done to a path of the state.
#[derive(Debug, Clone, Copy)]
pub(super) enum Damage {
    File,
    Directory,
    LinkToNothing,
    LinkToItself,
    LinkToADevice,
    Fifo,
    Socket,
}

impl Damage {
    pub(super) const ALL: [Self; 7] = [
        Self::File,
        Self::Directory,
        Self::LinkToNothing,
        Self::LinkToItself,
        Self::LinkToADevice,
        Self::Fifo,
        Self::Socket,
    ];

    pub(super) fn make(self, path: &Path) {
        sys::tree::remove(path).unwrap();
        match self {
            Self::File => std::fs::write(path, "{").unwrap(),
            Self::Directory => std::fs::create_dir_all(path.join("full")).unwrap(),
            Self::LinkToNothing => std::os::unix::fs::symlink("/nowhere/at/all", path).unwrap(),
            Self::LinkToItself => std::os::unix::fs::symlink(path, path).unwrap(),
            Self::LinkToADevice => std::os::unix::fs::symlink("/dev/zero", path).unwrap(),
            Self::Fifo => make_node(path, FileType::Fifo),
            Self::Socket => make_node(path, FileType::Socket),
        }
    }
}

fn make_node(path: &Path, kind: FileType) {
    mknodat(CWD, path, kind, Mode::RWXU, 0).unwrap();
}

/// A pod with a network, and a container that runs in it; the daemon is dead.
fn left(world: &mut World) -> (String, String) {
    let pod = world.on(world.engine().pods().run_pod(networked("web"), String::new())).unwrap().to_string();
    let id = world.running(&pod, "app");
    world.kill();
    (pod, id)
}

fn listed(world: &World) -> Vec<String> {
    let pods = world.engine().pods().list_pods(&PodFilter::default());
    pods.into_iter().map(|pod| pod.id.to_string()).collect()
}

fn start(world: &mut World, what: &str) {
    world.try_start().unwrap_or_else(|error| panic!("{what}: {}", crate::chain(&error)));
}

fn remove(world: &World, pod: &str, what: &str) {
    let told = |error| panic!("{what}: {}", crate::chain(&error));
    world.on(world.engine().pods().stop_pod(pod)).unwrap_or_else(told);
    world.on(world.engine().pods().remove_pod(pod)).unwrap_or_else(told);
}

fn records(pod: &str, id: &str) -> [String; 2] {
    [format!("state/pods/{pod}/pod.json"), format!("state/pods/{pod}/containers/{id}.json")]
}

#[test]
fn what_is_no_directory_among_those_of_pods_is_left_alone() {
    for damage in Damage::ALL.into_iter().filter(|damage| !matches!(damage, Damage::Directory)) {
        let mut world = World::new();
        let (pod, id) = left(&mut world);
        let stray = world.path("state/pods/foo");
        damage.make(&stray);
        start(&mut world, &format!("{damage:?}"));
        assert_eq!((listed(&world), world.state(&id).as_str()), (vec![pod.clone()], "running"), "{damage:?}");
        assert!(stray.symlink_metadata().is_ok(), "{damage:?}");
        remove(&world, &pod, &format!("{damage:?}"));
    }
}

#[test]
fn a_durable_copy_takes_the_place_of_a_record_that_is_no_file() {
    for damage in Damage::ALL {
        let mut world = World::new();
        let (pod, id) = left(&mut world);
        let places = records(&pod, &id).map(|place| world.path(&place));
        places.iter().for_each(|path| damage.make(path));
        start(&mut world, &format!("{damage:?}"));
        assert_eq!((listed(&world), world.state(&id).as_str()), (vec![pod.clone()], "running"), "{damage:?}");
        for path in places {
            assert!(path.is_file(), "{damage:?}");
            assert!(path.with_extension("json.bad").symlink_metadata().is_ok(), "{damage:?}");
        }
        remove(&world, &pod, &format!("{damage:?}"));
        world.nothing_left();
    }
}

#[test]
fn without_a_copy_nothing_that_may_be_of_it_is_taken_down() {
    for damage in Damage::ALL {
        for place in 0..2 {
            let mut world = World::new();
            let (pod, id) = left(&mut world);
            std::fs::remove_file(world.path("data/state.redb")).unwrap();
            damage.make(&world.path(&records(&pod, &id)[place]));
            for _ in 0..2 {
                start(&mut world, &format!("{damage:?}"));
                assert_eq!(world.state(&id), "unknown", "{damage:?}");
                assert_eq!(listed(&world).len(), place, "{damage:?}");
                assert_eq!(world.node.containers().len(), 1, "it runs on: {damage:?}");
                assert!(world.network.attached().contains_key(&pod), "{damage:?}");
                assert!(world.path("data/containers").join(&id).exists(), "its layer is there: {damage:?}");
                world.kill();
            }
        }
    }
}

#[test]
fn a_pod_whose_containers_cannot_be_listed_is_served_without_them() {
    for damage in Damage::ALL.into_iter().filter(|damage| !matches!(damage, Damage::Directory)) {
        let mut world = World::new();
        let (pod, id) = left(&mut world);
        let dir = world.path(&format!("state/pods/{pod}/containers"));
        let kept = world.path("kept");
        std::fs::rename(&dir, &kept).unwrap();
        damage.make(&dir);
        start(&mut world, &format!("{damage:?}"));
        assert_eq!(listed(&world), [pod.as_str()], "{damage:?}");
        assert!(world.engine().containers().list_containers(&ContainerFilter::default()).is_empty());
        let other = world.pod("other");
        world.running(&other, "app");
        assert_eq!(world.node.containers().len(), 2, "both run: {damage:?}");
        assert!(world.path("data/containers").join(&id).exists(), "its layer is there: {damage:?}");
        world.kill();
        std::fs::remove_file(&dir).unwrap();
        std::fs::rename(&kept, &dir).unwrap();
        start(&mut world, &format!("{damage:?}"));
        assert_eq!(world.state(&id), "running", "{damage:?}");
        world.kill();
        damage.make(&dir);
        start(&mut world, &format!("{damage:?}"));
        remove(&world, &pod, &format!("{damage:?}"));
        assert!(!world.node.living().contains(&pod), "{damage:?}");
    }
}

#[test]
fn a_link_in_the_place_of_a_pod_or_its_containers_is_not_followed() {
    for containers in [false, true] {
        let mut world = World::new();
        let (pod, _) = left(&mut world);
        let theirs = world.path("theirs");
        std::fs::create_dir(&theirs).unwrap();
        for name in ["precious.spec", "precious.1.tmp"] {
            std::fs::write(theirs.join(name), "").unwrap();
        }
        let dir = world.path(&format!("state/pods/{pod}{}", if containers { "/containers" } else { "" }));
        std::fs::rename(&dir, world.path("kept")).unwrap();
        std::os::unix::fs::symlink(&theirs, &dir).unwrap();
        start(&mut world, "a link");
        remove(&world, &pod, "a link");
        assert_eq!(std::fs::read_dir(&theirs).unwrap().count(), 2);
    }
}

#[test]
fn a_pod_whose_directory_is_replaced_is_not_ready_and_is_removed() {
    for damage in Damage::ALL.into_iter().filter(|damage| !matches!(damage, Damage::Directory)) {
        let mut world = World::new();
        let (pod, _) = left(&mut world);
        let dir = world.path(&format!("state/pods/{pod}"));
        damage.make(&dir);
        // With it the socket of its supervisor is gone.
        world.node.on(Verb::Connect, Act::Refuse(ErrorCode::Io, 2));
        start(&mut world, &format!("{damage:?}"));
        let status = world.engine().pods().pod_status(&pod).unwrap();
        assert_eq!(status.state, SandboxState::NotReady, "{damage:?}");
        assert!(sys::aside::name(&dir).symlink_metadata().is_ok(), "{damage:?}");
        remove(&world, &pod, &format!("{damage:?}"));
        std::fs::remove_file(sys::aside::name(&dir)).unwrap();
        world.nothing_left();
    }
}

#[test]
fn what_the_daemon_makes_itself_it_makes_again() {
    let places = ["state/boot-id", "data/state.reserve", "data/empty"];
    for place in places {
        for damage in Damage::ALL {
            let mut world = World::new();
            let (pod, id) = left(&mut world);
            damage.make(&world.path(place));
            start(&mut world, &format!("{place}, {damage:?}"));
            assert_eq!(world.state(&id), "running", "{place}, {damage:?}");
            let other = world.pod("other");
            world.running(&other, "app");
            remove(&world, &other, place);
            remove(&world, &pod, place);
        }
    }
}

#[test]
fn directories_of_all_pods_are_made_again() {
    for place in ["state/pods", "data/containers"] {
        for damage in Damage::ALL.into_iter().filter(|damage| !matches!(damage, Damage::Directory)) {
            let mut world = World::new();
            left(&mut world);
            let dir = world.path(place);
            damage.make(&dir);
            start(&mut world, &format!("{place}, {damage:?}"));
            assert!(dir.is_dir() && sys::aside::name(&dir).symlink_metadata().is_ok(), "{place}, {damage:?}");
            let other = world.pod("other");
            world.running(&other, "app");
        }
    }
}

#[test]
fn a_record_that_somebody_replaces_meanwhile_is_written_again() {
    for damage in Damage::ALL {
        let mut world = World::new();
        let pod = world.pod("web");
        let id = world.running(&pod, "app");
        records(&pod, &id).iter().for_each(|place| damage.make(&world.path(place)));
        world.on(world.engine().pods().stop_pod(&pod)).unwrap();
        world.kill();
        std::fs::remove_file(world.path("data/state.redb")).unwrap();
        start(&mut world, &format!("{damage:?}"));
        assert_eq!(world.engine().pods().pod_status(&pod).unwrap().state, SandboxState::NotReady);
        assert_eq!(world.state(&id), "exited", "{damage:?}");
    }
}
