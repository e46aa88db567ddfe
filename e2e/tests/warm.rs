//! Supervisors and network namespaces that are made ahead: pods get them, nothing is left of them when the daemon ends, and
//! without them everything is as it would be anyway.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::large_futures)]

use e2e::client::Cri;
use e2e::pods::shell;
use e2e::runtime::{Kind, Options};
use e2e::world::{BUSYBOX, World};
use e2e::{command, wait};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const SOON: Duration = Duration::from_secs(20);
/// As many wait on an idle node.
const IDLE: usize = 2;
/// As many wait at most where no setting says otherwise.
const MOST: usize = 8;
const BURST: usize = 100;

fn world(setting: &str) -> Option<World> {
    if Kind::from_environment() == Kind::Containerd {
        need::skip(need::Need::Corten, "Corten's own supervisors");
        return None;
    }
    World::with(|options| Options { extra: setting.to_owned(), ..options }).unwrap()
}

/// Those that wait for the daemon's pods.
fn waiting(world: &World) -> BTreeSet<i32> {
    let of_daemon = |daemon: &Option<i32>| *daemon == Some(world.daemon.pid());
    world
        .isolation
        .waiting()
        .into_iter()
        .filter(|(_, daemon)| of_daemon(daemon))
        .map(|(pid, _)| pid)
        .collect()
}

fn until_waiting(world: &World, count: usize) -> BTreeSet<i32> {
    let come = wait::until("as many supervisors that wait", SOON, || waiting(world).len() == count);
    assert!(come.is_ok(), "{:?}, and not {count}", waiting(world));
    waiting(world)
}

/// The supervisor of a pod, which is to be known by its arguments.
fn supervisor(world: &World, pod: &str) -> i32 {
    let line = format!("corten-shim {pod}");
    let mut found = world.isolation.processes().into_iter().filter(|(_, seen)| *seen == line);
    found.next().expect("the pod has no supervisor").0
}

/// How many pods had a supervisor that waited, and how many one that was started for them.
fn starts(world: &World) -> [u64; 2] {
    counted(world, "corten_shim_starts_total")
}

/// How many network namespaces with their interfaces wait.
fn ports() -> usize {
    let links = command::run(Command::new("ip").args(["-o", "link"]), SOON).unwrap();
    links.lines().filter(|line| line.contains("waits for a pod")).count()
}

fn until_ports(count: usize) {
    let come = wait::until("as many interfaces that wait", SOON, || ports() == count);
    assert!(come.is_ok(), "{} wait, and not {count}", ports());
}

/// How often pods had what waited, and how often what was made for them.
fn counted(world: &World, metric: &str) -> [u64; 2] {
    let mut client = UnixStream::connect(world.daemon.place().root.join("metrics.sock")).unwrap();
    client.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    ["warm", "cold"].map(|start| {
        let name = format!("{metric}{{start=\"{start}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
    })
}

async fn run(world: &World, cri: &Cri, name: &str) -> String {
    let config = world.pod(name).unwrap();
    let pod = cri.run_pod(&config).await.unwrap();
    let container = cri.create(&pod, &shell("main", BUSYBOX, "exec sleep 1000"), &config).await.unwrap();
    cri.start(&container).await.unwrap();
    assert_eq!(cri.shell(&container, "echo well").await.unwrap(), "well\n");
    pod
}

#[test]
fn pods_get_supervisors_that_waited_and_a_killed_daemon_leaves_none() {
    let Some(mut world) = world("") else { return };
    let baseline = world.baseline().unwrap();
    let waited = until_waiting(&world, IDLE);
    let [warm, cold] = starts(&world);
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let mut used = BTreeSet::new();
        for number in 0..IDLE {
            used.insert(supervisor(&world, &run(&world, &cri, &format!("warm-{number}")).await));
        }
        assert!(used.intersection(&waited).count() >= 1, "{used:?} of {waited:?}");
        assert_eq!(used.len(), IDLE, "one supervisor serves one pod");
        // Another one has died, and is of no use.
        for pid in until_waiting(&world, IDLE) {
            e2e::death::Death::cause(pid).await.unwrap();
        }
        run(&world, &cri, "behind-a-death").await;
    });
    let [warm_now, cold_now] = starts(&world);
    assert_eq!(warm_now + cold_now, warm + cold + 3);
    assert!(warm_now > warm, "{warm_now} were warm, and before {warm}");
    until_waiting(&world, IDLE);

    world.daemon.kill().unwrap();
    let gone = wait::until("the end of those that wait", SOON, || world.isolation.waiting().is_empty());
    assert!(gone.is_ok(), "{:?}", world.isolation.waiting());
    world.daemon.restart().unwrap();
    until_waiting(&world, IDLE);
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        for pod in cri.pods().await.unwrap() {
            cri.end_pod(&pod.id).await.unwrap();
        }
    });
    baseline.without("process").without("fd").settle(&world.isolation, &world.daemon).unwrap();
    world.daemon.stop().unwrap();
    let left = || world.isolation.processes().into_values().filter(|line| line.contains("corten-shim"));
    let gone = wait::until("the end of all supervisors", SOON, || left().count() == 0);
    assert!(gone.is_ok(), "{:?}", left().collect::<Vec<_>>());
}

#[test]
fn one_that_says_nothing_is_replaced_at_once() {
    let Some(world) = world("") else { return };
    let baseline = world.baseline().unwrap();
    let stopped = until_waiting(&world, IDLE);
    let signal = |signal| {
        for pid in &stopped {
            // One that has been replaced is gone.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(*pid), signal);
        }
    };
    let [warm, cold] = starts(&world);
    signal(nix::sys::signal::Signal::SIGSTOP);
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let pod = tokio::time::timeout(SOON, run(&world, &cri, "beside-silence")).await.unwrap();
        assert!(!stopped.contains(&supervisor(&world, &pod)));
        cri.end_pod(&pod).await.unwrap();
    });
    assert_eq!(starts(&world), [warm, cold + 1]);
    signal(nix::sys::signal::Signal::SIGCONT);
    baseline.settle(&world.isolation, &world.daemon).unwrap();
}

#[test]
fn a_burst_of_pods_takes_all_that_wait_and_works() {
    let Some(world) = world("") else { return };
    let baseline = world.baseline().unwrap();
    until_waiting(&world, IDLE);
    let world = Arc::new(world);
    let cri = world.tokio.block_on(world.daemon.client()).unwrap();
    let pods = world.tokio.block_on(async {
        let permits = Arc::new(Semaphore::new(BURST / 2));
        let mut set = JoinSet::new();
        for number in 0..BURST {
            let (world, cri, permits) = (Arc::clone(&world), cri.clone(), Arc::clone(&permits));
            set.spawn(async move {
                let _permit = permits.acquire_owned().await.unwrap();
                cri.run_pod(&world.pod(&format!("burst-{number}")).unwrap()).await.unwrap()
            });
        }
        set.join_all().await
    });
    let supervisors: BTreeSet<_> = pods.iter().map(|pod| supervisor(&world, pod)).collect();
    assert_eq!(supervisors.len(), BURST, "one supervisor serves one pod");
    let [warm, cold] = starts(&world);
    println!("{BURST} pods at once: {warm} warm starts, {cold} cold ones, with the first pod of all");
    assert!(warm >= 2 && cold >= 1 && warm + cold > BURST as u64);
    // The next one finds more.
    until_waiting(&world, MOST);
    world.tokio.block_on(async {
        for pod in &pods {
            cri.end_pod(pod).await.unwrap();
        }
    });
    drop(cri);
    baseline.settle(&world.isolation, &world.daemon).unwrap();
}

#[test]
fn the_setting_is_followed_at_once_and_none_wait_where_none_may() {
    let Some(world) = world("[runtime]\nwarm_supervisors = 0\n") else { return };
    let set = |most: usize| {
        let (_, config) = world.daemon.invocation();
        let text = std::fs::read_to_string(config).unwrap();
        let line = |line: &str| match line.starts_with("warm_supervisors") {
            true => format!("warm_supervisors = {most}\n"),
            false => format!("{line}\n"),
        };
        std::fs::write(config.with_extension("new"), text.lines().map(line).collect::<String>()).unwrap();
        std::fs::rename(config.with_extension("new"), config).unwrap();
        let daemon = nix::unistd::Pid::from_raw(world.daemon.pid());
        nix::sys::signal::kill(daemon, nix::sys::signal::Signal::SIGHUP).unwrap();
    };
    let baseline = world.baseline().unwrap();
    assert!(waiting(&world).is_empty());
    assert_eq!(starts(&world), [0, 1]);
    for most in [1, IDLE, 0] {
        set(most);
        until_waiting(&world, most);
    }
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let pod = run(&world, &cri, "cold").await;
        cri.end_pod(&pod).await.unwrap();
    });
    assert_eq!(starts(&world), [0, 2]);
    assert!(waiting(&world).is_empty());
    baseline.settle(&world.isolation, &world.daemon).unwrap();
}

#[test]
fn pods_get_networks_that_waited_and_a_killed_daemon_leaves_none() {
    let Some(mut world) = world("") else { return };
    let baseline = world.baseline().unwrap();
    until_ports(IDLE);
    let [warm, cold] = counted(&world, "corten_netns_total");
    let pods = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let mut pods = Vec::new();
        for number in 0..IDLE {
            pods.push(run(&world, &cri, &format!("warm-{number}")).await);
        }
        let mut addresses = BTreeSet::new();
        for pod in &pods {
            addresses.insert(cri.pod_ip(pod).await.unwrap());
        }
        assert_eq!(addresses.len(), pods.len());
        pods
    });
    assert_eq!(counted(&world, "corten_netns_total"), [warm + IDLE as u64, cold]);
    until_ports(IDLE);

    world.daemon.kill().unwrap();
    until_ports(0);
    world.daemon.restart().unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        // Of the bridge, which stands, this daemon knows from the first pod on.
        let pods = [&pods[..], &[run(&world, &cri, "behind-a-death").await]].concat();
        until_ports(IDLE);
        for pod in &pods {
            cri.end_pod(pod).await.unwrap();
        }
    });
    baseline.without("process").without("fd").settle(&world.isolation, &world.daemon).unwrap();
    world.daemon.stop().unwrap();
    until_ports(0);
}
