//! What a daemon that was killed had half made, where its supervisor lives, is gone, or is out of reach.

use super::{World, container, directories, networked};
use crate::supervisor::fake::{Act, Gate, Verb};
use model::{ErrorKind, SandboxState};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;
use wire::msg::ErrorCode;

/// Kills the daemon over a container whose supervisor has not answered; the container's id.
fn half_made(world: &mut World, pod: &str, act: Act) -> String {
    let (engine, held, asked) = (world.engine(), pod.to_owned(), world.node.count(Verb::Create));
    world.node.on(Verb::Create, act);
    world.spawn(async move { engine.containers().create_container(&held, container("app"), None).await });
    world.until("it is asked for", || world.node.count(Verb::Create) > asked);
    world.kill();
    let specs =
        records(world, pod).into_iter().filter_map(|name| Some(name.strip_suffix(".spec")?.to_owned()));
    let found: Vec<String> = specs.collect();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(!cgroups(world, &found[0]).is_empty(), "its cgroup is there");
    found.into_iter().next().unwrap()
}

/// Kills the daemon over a pod whose supervisor has not answered.
fn half_made_pod(world: &mut World) {
    let (engine, asked) = (world.engine(), world.node.count(Verb::Sandbox));
    world.node.on(Verb::Sandbox, Act::Hang);
    world.spawn(async move { engine.pods().run_pod(networked("web"), String::new()).await });
    world.until("it is asked for", || world.node.count(Verb::Sandbox) > asked);
    world.kill();
}

/// What is on record of a pod's containers.
fn records(world: &World, pod: &str) -> Vec<String> {
    let dir = world.path("state/pods").join(pod).join("containers");
    let entries = std::fs::read_dir(dir).unwrap().flatten();
    entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

fn cgroups(world: &World, id: &str) -> Vec<String> {
    directories(&world.path("cgroup")).into_iter().filter(|dir| dir.contains(id)).collect()
}

#[test]
fn a_half_made_container_leaves_no_record_and_no_cgroup_whether_its_pod_lives_or_not() {
    for (act, lives) in [(Act::Hang, true), (Act::Late(Gate::new()), true), (Act::Hang, false)] {
        let mut world = World::new();
        let pod = world.pod("web");
        let id = half_made(&mut world, &pod, act);
        if !lives {
            world.node.kill(&pod);
        }
        world.start();
        assert_eq!((records(&world, &pod), cgroups(&world, &id)), (Vec::new(), Vec::new()), "{lives}");
        world.on(world.engine().pods().remove_pod(&pod)).unwrap();
        world.nothing_left();
    }
}

#[test]
fn a_process_of_a_half_made_container_is_killed() {
    let mut world = World::new();
    let pod = world.pod("web");
    let id = half_made(&mut world, &pod, Act::Hang);
    let mut process = Process(Command::new("sleep").arg("60").spawn().unwrap());
    let lists: Vec<_> = cgroups(&world, &id).iter().map(|dir| Path::new(dir).join("cgroup.procs")).collect();
    lists.iter().for_each(|list| std::fs::write(list, process.0.id().to_string()).unwrap());
    world.start();
    let mut ended = None;
    world.until("it has ended", || {
        ended = process.0.try_wait().unwrap();
        ended.is_some()
    });
    assert_eq!(ended.unwrap().signal(), Some(9));
    // Files do not keep a cgroup of the kernel's from going.
    lists.iter().for_each(|list| drop(std::fs::remove_file(list)));
    world.restart();
    assert_eq!((records(&world, &pod), cgroups(&world, &id)), (Vec::new(), Vec::new()));
}

/// It ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_supervisor_that_is_out_of_reach_is_killed_with_what_it_supervised() {
    let mut world = World::new();
    let pod = world.pod("made");
    let id = world.running(&pod, "app");
    world.kill();
    world.node.on(Verb::Connect, Act::Refuse(ErrorCode::Io, 5));
    world.start();
    assert!(world.node.living().is_empty(), "{:?}", world.node.living());
    assert_eq!(world.engine().pods().pod_status(&pod).unwrap().state, SandboxState::NotReady);
    assert_eq!(world.state(&id), "exited");
    world.on(world.engine().pods().remove_pod(&pod)).unwrap();
    half_made_pod(&mut world);
    world.node.on(Verb::Connect, Act::Refuse(ErrorCode::Io, 5));
    world.start();
    world.nothing_left();
}

#[test]
fn a_pod_that_is_asked_for_while_a_half_of_it_goes_is_asked_for_too_early() {
    let mut world = World::new();
    half_made_pod(&mut world);
    let (gate, connected) = (Gate::new(), world.node.count(Verb::Connect));
    world.node.on(Verb::Connect, Act::Wait(gate.clone()));
    world.start();
    world.until("it is connected to", || world.node.count(Verb::Connect) > connected);
    let again = || world.on(world.engine().pods().run_pod(networked("web"), String::new()));
    let early = again().unwrap_err();
    assert_eq!(early.kind(), ErrorKind::Unavailable, "{early}");
    assert!(early.to_string().contains("half made and is being taken down"), "{early}");
    gate.open();
    world.until("the name is free", || again().is_ok());
}

#[test]
fn a_half_made_pod_of_another_release_waits_for_a_daemon_that_can_speak_with_it() {
    let mut world = World::new();
    half_made_pod(&mut world);
    let connected = world.node.count(Verb::Connect);
    world.node.on(Verb::Connect, Act::Foreign);
    world.start();
    world.until("it is connected to", || world.node.count(Verb::Connect) > connected);
    // It would be taken down behind the start.
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(world.node.living().len(), 1, "it is left alone");
    world.restart();
    world.nothing_left();
}

#[test]
fn a_half_made_pod_of_another_release_is_listed_as_not_ready_until_it_is_removed() {
    let mut world = World::new();
    half_made_pod(&mut world);
    world.node.on(Verb::Connect, Act::Foreign);
    world.start();
    let listed = || world.engine().pods().list_pods(&crate::PodFilter::default());
    world.until("it is listed", || listed().len() == 1);
    let pod = listed().remove(0);
    assert_eq!(pod.state, SandboxState::NotReady);
    assert_eq!(world.engine().pods().pod_status(&pod.id).unwrap().state, SandboxState::NotReady);
    assert_eq!(world.node.living().len(), 1, "its supervisor is left alone");
    let again = || world.on(world.engine().pods().run_pod(networked("web"), String::new()));
    let taken = again().unwrap_err().to_string();
    assert!(taken.contains(pod.id.as_str()) && taken.contains("not ready"), "{taken}");
    world.on(world.engine().pods().remove_pod(&pod.id)).unwrap();
    world.nothing_left();
    again().unwrap();
}

#[test]
fn a_removal_that_was_cut_short_is_one_whatever_of_it_is_left() {
    let mut world = World::new();
    let (pod, gone) = (world.pod("web"), world.pod("gone"));
    let id = world.running(&pod, "app");
    world.on(world.engine().pods().stop_pod(&gone)).unwrap();
    world.kill();
    // A supervisor is the first to forget what is removed.
    world.node.forget(&id);
    let pods = world.path("state/pods");
    std::fs::remove_file(pods.join(&pod).join("containers").join(format!("{id}.json"))).unwrap();
    let aside = pods.join(format!("{}{gone}", crate::room::REMOVED));
    std::fs::rename(pods.join(&gone), &aside).unwrap();
    let written = pods.join(&pod).join("containers/x.json.17.tmp");
    std::fs::write(&written, "{").unwrap();
    world.start();
    let listed = world.engine().pods().list_pods(&crate::PodFilter::default());
    assert_eq!(listed.into_iter().map(|pod| pod.id.to_string()).collect::<Vec<_>>(), [pod.as_str()]);
    assert_eq!(world.state(&id), "unknown", "its durable copy brings it not back");
    assert!(records(&world, &pod).is_empty() && !written.exists(), "{:?}", records(&world, &pod));
    world.until("its files are deleted", || !aside.exists());
    world.on(world.engine().pods().remove_pod(&pod)).unwrap();
    world.nothing_left();
}

#[test]
fn the_parent_of_pods_that_a_daemon_made_for_none_goes() {
    let mut world = World::new();
    let before = directories(&world.path("cgroup"));
    let pod = world.pod("web");
    let made = directories(&world.path("cgroup")).into_iter().filter(|dir| !before.contains(dir));
    let parents: Vec<String> = made.filter(|dir| !dir.contains(&pod)).collect();
    assert!(!parents.is_empty());
    world.on(world.engine().pods().remove_pod(&pod)).unwrap();
    world.nothing_left();
    world.kill();
    parents.iter().for_each(|dir| std::fs::create_dir_all(dir).unwrap());
    world.start();
    world.nothing_left();
}
