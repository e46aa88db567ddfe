//! Commands in containers that hold as many processes as they may.

use super::{control, pod_of_its_own, supervisors, unlimited};
use e2e::client::Cri;
use e2e::pods::secured;
use e2e::proto::{Capability, ContainerConfig, NamespaceMode};
use e2e::world::{BUSYBOX, World, wait_exited};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The limit of processes of a container's cgroup, and how many there are.
async fn limit_of(cri: &Cri, container: &str) -> (PathBuf, PathBuf) {
    let pid = cri.container_info(container).await.unwrap()["pid"].as_i64().unwrap();
    let places = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let place = |line: &str| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let old = controllers.split(',').any(|name| name == "pids");
        let new = controllers.is_empty() && !Path::new("/sys/fs/cgroup/pids").exists();
        (old || new).then(|| path.to_owned())
    };
    let path = places.lines().find_map(place).unwrap();
    (control(&path, "pids.max", "pids.max"), control(&path, "pids.current", "pids.current"))
}

/// Lets so many more processes in than there are.
fn leave(limit: &(PathBuf, PathBuf), free: u64) {
    let now: u64 = fs::read_to_string(&limit.1).unwrap().trim().parse().unwrap();
    fs::write(&limit.0, (now + free).to_string()).unwrap();
}

fn lift(limit: &(PathBuf, PathBuf)) {
    fs::write(&limit.0, "max").unwrap();
}

fn in_namespace(config: ContainerConfig, mode: NamespaceMode) -> ContainerConfig {
    secured(config, |security| {
        security.namespace_options.get_or_insert_default().pid = mode.into();
    })
}

fn tracing(config: ContainerConfig) -> ContainerConfig {
    secured(config, |security| {
        security.capabilities =
            Some(Capability { add_capabilities: vec!["SYS_PTRACE".to_owned()], ..Capability::default() });
    })
}

/// A command with a time-out and one without run with so many places left.
async fn answers(cri: &Cri, container: &str, limit: &(PathBuf, PathBuf), what: &str) {
    for free in [1, 0] {
        for timeout in [0, 20] {
            leave(limit, free);
            let told = cri.exec(container, &["/bin/echo", "told"], timeout).await;
            lift(limit);
            let told =
                told.unwrap_or_else(|error| panic!("{what}, {free} free, time-out {timeout}: {error}"));
            assert_eq!((told.exit_code, told.stdout.as_slice()), (0, b"told\n".as_slice()), "{what}");
        }
    }
}

#[test]
fn a_command_takes_no_place_but_its_own() {
    let Some(world) = World::new().unwrap() else { return };
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        for mode in [NamespaceMode::Container, NamespaceMode::Pod] {
            let (mut config, parent) = pod_of_its_own(&world, &format!("full-{}", mode as i32));
            let security = config.linux.as_mut().unwrap().security_context.as_mut().unwrap();
            security.namespace_options.as_mut().unwrap().pid = mode.into();
            let pod = cri.run_pod(&config).await.unwrap();
            let one = in_namespace(unlimited("one", "exec sleep 1000"), mode);
            let one = cri.create(&pod, &one, &config).await.unwrap();
            cri.start(&one).await.unwrap();
            let own = limit_of(&cri, &one).await;
            answers(&cri, &one, &own, &format!("{mode:?}: its own limit")).await;
            let shared =
                (control(&parent, "pids.max", "pids.max"), control(&parent, "pids.current", "pids.current"));
            answers(&cri, &one, &shared, &format!("{mode:?}: the pod's limit")).await;
            // One that joins the namespace needs no place when it starts: it has one.
            let two = in_namespace(unlimited("two", "exec sleep 1000"), mode);
            let two = cri.create(&pod, &two, &config).await.unwrap();
            leave(&shared, 0);
            cri.start(&two).await.unwrap();
            lift(&shared);
            assert_eq!(cri.shell(&two, "echo well").await.unwrap(), "well\n");
            cri.end_pod(&pod).await.unwrap();
        }
    });
}

#[test]
fn a_crowd_of_commands_is_answered() {
    let Some(world) = World::new().unwrap() else { return };
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let (config, _) = pod_of_its_own(&world, "crowded");
        let pod = cri.run_pod(&config).await.unwrap();
        let one = cri.create(&pod, &unlimited("one", "exec sleep 1000"), &config).await.unwrap();
        cri.start(&one).await.unwrap();
        let limit = limit_of(&cri, &one).await;
        leave(&limit, 2);
        let all: Vec<_> = (0..40)
            .map(|_| {
                let (cri, one) = (cri.clone(), one.clone());
                tokio::spawn(async move { cri.exec(&one, &["/bin/sleep", "0.2"], 60).await })
            })
            .collect();
        for one in all {
            assert_eq!(one.await.unwrap().unwrap().exit_code, 0);
        }
        cri.end_pod(&pod).await.unwrap();
    });
}

#[test]
fn who_may_trace_gets_no_process_beyond_the_limit() {
    let Some(world) = World::new().unwrap() else { return };
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let (config, _) = pod_of_its_own(&world, "traced");
        let pod = cri.run_pod(&config).await.unwrap();
        let one = tracing(unlimited("one", "exec sleep 1000"));
        let one = cri.create(&pod, &one, &config).await.unwrap();
        cri.start(&one).await.unwrap();
        let limit = limit_of(&cri, &one).await;
        for free in [0, 1, 2] {
            leave(&limit, free);
            let told = cri.exec(&one, &["/bin/true"], 20).await;
            match told {
                Err(error) if free < 2 => {
                    assert!(error.to_string().contains("temporarily unavailable"), "{error}");
                }
                told => assert_eq!((free, told.unwrap().exit_code), (2, 0)),
            }
        }
        lift(&limit);
        cri.end_pod(&pod).await.unwrap();
    });
}

/// Stops a launching process of a supervisor: it is its child and not its program yet. `None` when it was too late.
fn hold_up(shim: i32) -> Option<i32> {
    let end = Instant::now() + Duration::from_secs(5);
    let own = fs::read_link(format!("/proc/{shim}/exe")).unwrap();
    while Instant::now() < end {
        let children = fs::read_to_string(format!("/proc/{shim}/task/{shim}/children")).unwrap();
        for pid in children.split_whitespace().map(|pid| pid.parse::<i32>().unwrap()) {
            let exe = format!("/proc/{pid}/exe");
            if fs::read_link(&exe).is_ok_and(|exe| exe == own) {
                let stopped =
                    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGSTOP);
                if stopped.is_ok() && fs::read_link(&exe).is_ok_and(|exe| exe == own) {
                    return Some(pid);
                }
            }
        }
    }
    None
}

#[test]
fn a_command_that_is_held_up_goes_with_its_container() {
    let Some(world) = World::new().unwrap() else { return };
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        for (number, timeout) in [0_i64, 1].into_iter().enumerate() {
            let (config, _) = pod_of_its_own(&world, &format!("held-{number}"));
            let pod = cri.run_pod(&config).await.unwrap();
            let one = cri.create(&pod, &unlimited("one", "exec sleep 1000"), &config).await.unwrap();
            cri.start(&one).await.unwrap();
            let limit = limit_of(&cri, &one).await;
            let shim = supervisors(&world)[0];
            let held = loop {
                leave(&limit, 0);
                let command = tokio::spawn({
                    let (cri, one) = (cri.clone(), one.clone());
                    async move { cri.exec(&one, &["/bin/sleep", "0.01"], timeout).await }
                });
                let held = tokio::task::spawn_blocking(move || hold_up(shim)).await.unwrap();
                if let Some(held) = held {
                    break (held, command);
                }
                command.abort();
            };
            if timeout == 0 {
                cri.stop(&one, 0).await.unwrap();
                wait_exited(&cri, &one, Duration::from_secs(60)).await.unwrap();
            }
            let told = tokio::time::timeout(Duration::from_secs(60), held.1).await;
            println!("time-out {timeout}: {:?}", told.unwrap().unwrap());
            let gone = |pid: i32| !fs::exists(format!("/proc/{pid}")).unwrap();
            super::until("the end of what was held up", async || gone(held.0)).await;
            lift(&limit);
            cri.end_pod(&pod).await.unwrap();
        }
    });
}
