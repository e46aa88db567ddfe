//! `corten wipe`: everything that is Corten's goes, and nothing of anybody else's.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use e2e::client::Cri;
use e2e::command::{self, Finished};
use e2e::network::{self, Network};
use e2e::runtime::{Daemon, Kind, Options};
use e2e::world::{self, BUSYBOX, World};
use e2e::{isolation, peer, pods, tools};
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);

fn wipe(world: &World, arguments: &[&str]) -> Command {
    let (program, config) = world.daemon.invocation();
    let mut command = Command::new(program);
    command.arg("wipe").arg("--config").arg(config).args(arguments);
    command
}

fn run(command: &mut Command) -> Finished {
    command::finish(command, PATIENCE).unwrap()
}

fn shell(script: &str) {
    command::run(Command::new("sh").args(["-ec", script]), PATIENCE).unwrap();
}

fn is_corten() -> bool {
    let is_it = Kind::from_environment() == Kind::Corten;
    if !is_it {
        need::skip(need::Need::Corten, "Corten's own command");
    }
    is_it
}

/// Another runtime beside the one that is wiped.
fn neighbour(world: &World, kind: Kind) -> Daemon {
    world.registry.push(peer::PAUSE_REPOSITORY, peer::PAUSE_TAG, &world::pause_image().unwrap()).unwrap();
    let options = Options {
        kind,
        network: Network::List(network::bridge(
            "1.0.0",
            "foreign0",
            "10.99.0.0/16",
            &world.isolation.directory("n").unwrap(),
        )),
        mirror: Some(world.registry.address()),
        metrics: None,
        extra: String::new(),
        programs: tools::dist(),
    };
    Daemon::start(&world.isolation.directory("n").unwrap(), &options).unwrap()
}

/// A pod with a container that runs; their ids.
async fn running(world: &World, cri: &Cri, name: &str) -> [String; 2] {
    cri.pull(BUSYBOX, None).await.unwrap();
    let config = world.pod(name).unwrap();
    let pod = cri.run_pod(&config).await.unwrap();
    let container = cri.create(&pod, &pods::shell("main", BUSYBOX, "sleep 100000"), &config).await.unwrap();
    cri.start(&container).await.unwrap();
    [pod, container]
}

/// What of these pods and containers is on the host.
fn traces(world: &World, ids: &[[String; 2]]) -> Vec<String> {
    let names = |id: &str, text: &str| text.contains(id);
    let ids: Vec<&str> = ids.iter().flatten().map(String::as_str).collect();
    let mut found = Vec::new();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    for id in &ids {
        found.extend(mounts.lines().filter(|line| names(id, line)).map(|line| format!("mount {line}")));
        let cgroups = isolation::cgroup_directories(&world.isolation.cgroup_parent());
        let of_it = cgroups.iter().filter(|path| names(id, &path.to_string_lossy()));
        found.extend(of_it.map(|path| format!("cgroup {}", path.display())));
    }
    for pid in world.isolation.processes().into_keys() {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        found.extend(ids.iter().filter(|id| names(id, &line)).map(|_| format!("process {pid} {line}")));
    }
    found
}

fn link_exists(name: &str) -> bool {
    command::finish(Command::new("ip").args(["link", "show", name]), PATIENCE).unwrap().status.success()
}

#[test]
fn everything_of_corten_s_goes_and_what_is_beside_it_stays() {
    if !is_corten() {
        return;
    }
    let Some(mut world) = World::with(|options| Options { network: Network::BuiltIn, ..options }).unwrap()
    else {
        return;
    };
    let other = neighbour(&world, Kind::Containerd);
    let (ids, theirs) = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let ids =
            [Box::pin(running(&world, &cri, "one")).await, Box::pin(running(&world, &cri, "two")).await];
        let theirs = Box::pin(running(&world, &other.client().await.unwrap(), "theirs")).await;
        (ids, theirs)
    });
    assert!(!traces(&world, &ids).is_empty());
    let bridges = || (0..4).map(|number| format!("corten{number}")).filter(|name| link_exists(name)).count();
    assert_eq!(bridges(), 1);
    let refused = run(&mut wipe(&world, &["--yes"]));
    assert!(!refused.status.success());
    let daemon =
        format!("the daemon runs, and would lose its pods: process {} (corten) has ", world.daemon.pid());
    assert!(
        refused.stderr.contains(&daemon) && refused.stderr.contains("stop it first"),
        "{}",
        refused.stderr
    );

    world.daemon.kill().unwrap();
    let (state, data) = (world.daemon.place().state.clone(), world.daemon.place().data.clone());
    let before = traces(&world, &ids).len();
    let planned = run(&mut wipe(&world, &["--dry-run", "--images"]));
    assert!(planned.status.success(), "{}", planned.stderr);
    for wanted in [
        "pod test/one ",
        "(corten-shim)",
        "cgroup /sys/fs/cgroup",
        "network namespace ",
        "bridge corten",
        "nftables corten_masquerade, once",
        "files ",
    ] {
        assert!(planned.stdout.contains(wanted), "no {wanted} in\n{}", planned.stdout);
    }
    assert_eq!(traces(&world, &ids).len(), before, "it was only asked");
    let unasked = run(&mut wipe(&world, &[]));
    assert!(unasked.stderr.contains("--yes"), "{}", unasked.stderr);
    assert_eq!(traces(&world, &ids).len(), before);

    // An operator's disk, and a bridge that looks like one of ours.
    let disk = data.join("disk");
    shell(&format!(
        "mkdir {0}; mount -t tmpfs disk {0}; echo precious > {0}/file; ip link add corten9 type bridge",
        disk.display()
    ));
    let wiped = run(&mut wipe(&world, &["--yes"]));
    assert_eq!(traces(&world, &ids), [""; 0], "{}{}", wiped.stdout, wiped.stderr);
    assert_eq!(std::fs::read_to_string(disk.join("file")).unwrap(), "precious\n");
    assert!(
        !wiped.status.success() && wiped.stdout.contains("is a mount of somebody else"),
        "{}",
        wiped.stdout
    );
    assert_eq!(bridges(), 0, "{}", wiped.stdout);
    assert!(link_exists("corten9") && link_exists("foreign0"));
    assert!(data.join("images").is_dir(), "images were not asked for");

    shell(&format!("umount {}", disk.display()));
    let wiped = run(&mut wipe(&world, &["--yes", "--images"]));
    assert!(wiped.status.success(), "{}{}", wiped.stdout, wiped.stderr);
    assert!(!state.exists() && !data.exists());
    assert!(run(&mut wipe(&world, &["--yes", "--images"])).status.success(), "a node that is wiped stays so");
    world.tokio.block_on(async {
        let cri = other.client().await.unwrap();
        let answer = cri.exec(&theirs[1], &["echo", "alive"], 10).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer.stdout), "alive\n");
        cri.end_pod(&theirs[0]).await.unwrap();
    });
}

#[test]
fn one_that_is_killed_in_the_middle_is_run_again() {
    if !is_corten() {
        return;
    }
    // A plugin that is installed, leaves a mark each time that it is started, and goes with the daemon.
    let plugins = tempfile::tempdir().unwrap();
    let (marks, socket) = (plugins.path().join("marks"), plugins.path().join("nri.sock"));
    let program = plugins.path().join("10-marks");
    std::fs::write(&program, format!("#!/bin/sh\necho $$ >> {}\nexec cat <&3\n", marks.display())).unwrap();
    shell(&format!("chmod 755 {}", program.display()));
    let lines = format!("[nri]\nplugin_path = {:?}\nsocket_path = {socket:?}\n", plugins.path());
    let world = World::with(|options| Options { extra: options.extra.clone() + &lines, ..options });
    let Some(mut world) = world.unwrap() else { return };
    let ids = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let mut ids = Vec::new();
        for number in 0..4 {
            ids.push(Box::pin(running(&world, &cri, &format!("pod{number}"))).await);
        }
        ids
    });
    // Of one pod nothing but its directory's name is known.
    let record = world.daemon.place().state.join("pods").join(&ids[0][0]).join("pod.json");
    world.daemon.kill().unwrap();
    std::fs::write(&record, "damaged").unwrap();
    let started = std::fs::read_to_string(&marks).unwrap();
    assert!(socket.exists(), "the daemon has served plugins");
    let planned = run(&mut wipe(&world, &["--dry-run"]));
    assert!(planned.stdout.contains(&format!("socket {}", socket.display())), "{}", planned.stdout);
    [20, 60, 120, 250].into_iter().for_each(|milliseconds| kill_in_the_middle(&world, milliseconds));
    let wiped = run(&mut wipe(&world, &["--yes", "--images"]));
    assert!(wiped.status.success(), "{}{}", wiped.stdout, wiped.stderr);
    assert_eq!(traces(&world, &ids), [""; 0]);
    assert_eq!(std::fs::read_to_string(&marks).unwrap(), started, "it has started a plugin");
    assert!(!socket.exists());
    assert!(!world.daemon.place().state.exists() && !world.daemon.place().data.exists());
}

fn kill_in_the_middle(world: &World, milliseconds: u64) {
    let mut child = wipe(world, &["--yes", "--images"]).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(milliseconds));
    let _ = child.kill();
    let _ = child.wait();
}

/// A world on the built-in network with so many pods, whose daemon is gone.
fn abandoned(pods: usize) -> Option<(World, Vec<[String; 2]>)> {
    if !is_corten() {
        return None;
    }
    let mut world = World::with(|options| Options { network: Network::BuiltIn, ..options }).unwrap()?;
    let ids = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let mut ids = Vec::new();
        for number in 0..pods {
            ids.push(Box::pin(running(&world, &cri, &format!("pod{number}"))).await);
        }
        ids
    });
    world.daemon.kill().unwrap();
    Some((world, ids))
}

/// It succeeds, leaves nothing of these pods, links and namespaces of so many others alone, and says this.
fn assert_wiped(world: &World, ids: &[[String; 2]], others: usize, said: &str) {
    let wiped = run(&mut wipe(world, &["--yes", "--images"]));
    assert!(wiped.status.success() && wiped.stdout.contains(said), "{}{}", wiped.stdout, wiped.stderr);
    assert_eq!(traces(world, ids), [""; 0], "{}", wiped.stdout);
    let links = command::run(Command::new("ip").args(["-o", "link"]), PATIENCE).unwrap();
    // Another daemon makes some ahead.
    let links: String = links.lines().filter(|line| !line.contains("waits for a pod")).collect();
    assert!(links.matches(" veth").count() == others && !links.contains(" corten"), "{links}");
    let pins = std::fs::read_dir("/run/netns").unwrap().flatten().map(|entry| entry.file_name());
    let pins: Vec<_> = pins.filter(|name| name.to_string_lossy().starts_with("cni-")).collect();
    assert_eq!(pins.len(), others, "{pins:?}");
    assert!(!world.daemon.place().state.exists() && !world.daemon.place().data.exists());
}

#[test]
fn pods_of_which_no_record_is_whole_go_as_others_do() {
    let Some((world, ids)) = abandoned(3) else { return };
    let pods = world.daemon.place().state.join("pods");
    std::fs::write(world.daemon.place().data.join("state.redb"), "junk").unwrap();
    for [pod, _] in &ids {
        std::fs::remove_file(pods.join(pod).join("pod.json")).unwrap();
    }
    let [pod, container] = &ids[0];
    shell(&format!(
        "cd {0}/{pod}; mkfifo pod.json; rm containers/{container}.json; mkfifo containers/{container}.json; \
         cd {1}/network/attachments; rm {pod}-*; mkfifo {pod}-eth0.json; mkdir {0}/a",
        pods.display(),
        world.daemon.place().state.display()
    ));
    let planned = run(&mut wipe(&world, &["--dry-run"]));
    assert_eq!(planned.stdout.matches("(its record cannot be read)").count(), 3, "{}", planned.stdout);
    assert_eq!(planned.stdout.matches("network namespace /run/netns/cni-").count(), 3, "{}", planned.stdout);
    assert_wiped(&world, &ids, 0, "without a record, taken down by its id");
}

#[test]
fn pods_without_records_are_found_again_after_one_that_was_killed() {
    let Some((world, ids)) = abandoned(4) else { return };
    std::fs::write(world.daemon.place().data.join("state.redb"), "junk").unwrap();
    for [pod, _] in &ids {
        std::fs::remove_file(world.daemon.place().state.join("pods").join(pod).join("pod.json")).unwrap();
    }
    for milliseconds in [30, 60, 90, 120, 180, 250] {
        kill_in_the_middle(&world, milliseconds);
    }
    assert_wiped(&world, &ids, 0, "wiped");
}

#[test]
fn a_cgroup_that_was_made_for_a_pod_without_a_record_goes_with_it() {
    let Some((world, ids)) = abandoned(2) else { return };
    std::fs::remove_file(world.daemon.place().state.join("pods").join(&ids[0][0]).join("pod.json")).unwrap();
    assert_wiped(&world, &ids, 0, "taken down");
    let left = isolation::cgroup_directories(&world.isolation.cgroup_parent());
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn pods_of_which_only_their_supervisors_tell_go_and_those_of_another_daemon_stay() {
    let Some((world, ids)) = abandoned(2) else { return };
    // In the same cgroup, and with the same program.
    let other = neighbour(&world, Kind::Corten);
    let theirs = world
        .tokio
        .block_on(async { Box::pin(running(&world, &other.client().await.unwrap(), "theirs")).await });
    shell(&format!(
        "for m in $(cut -d' ' -f5 /proc/self/mountinfo | grep -E '^({0}|{1})/' | sort -r); do umount -l $m; done; \
         rm -rf {0}/* {1}/*",
        world.daemon.place().state.display(),
        world.daemon.place().data.display()
    ));
    let planned = run(&mut wipe(&world, &["--dry-run"]));
    assert_eq!(planned.stdout.matches("(corten-shim)").count(), 2, "{}", planned.stdout);
    assert_wiped(&world, &ids, 1, "wiped");
    world.tokio.block_on(async {
        let cri = other.client().await.unwrap();
        let answer = cri.exec(&theirs[1], &["echo", "alive"], 10).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer.stdout), "alive\n");
        cri.end_pod(&theirs[0]).await.unwrap();
    });
}

#[test]
fn supervisors_that_do_not_answer_are_not_waited_for() {
    let Some((world, ids)) = abandoned(3) else { return };
    for (pid, _) in world.isolation.processes() {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if ids.iter().any(|[pod, _]| line == format!("corten-shim\0{pod}\0").into_bytes()) {
            shell(&format!("kill -STOP {pid}"));
        }
    }
    let begin = std::time::Instant::now();
    assert_wiped(&world, &ids, 0, "does not answer: killed");
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
}
