//! Containers that the kernel kills for want of memory, and containers that outlive such a kill.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::large_futures)]

use e2e::client::Cri;
use e2e::pods::shell;
use e2e::proto::{
    ContainerConfig, ContainerEventType, ContainerState, ContainerStatus, GetEventsRequest, PodSandboxConfig,
};
use e2e::runtime::Kind;
use e2e::world::{BUSYBOX, World, wait_exited};
use std::fs;
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);
const LIMIT: i64 = 24 << 20;
/// It looks for the end of a line that never ends, and keeps what it has seen.
const GREEDY: &str = "tail /dev/zero";

fn limited(name: &str, script: &str) -> ContainerConfig {
    let mut config = shell(name, BUSYBOX, script);
    let resources = config.linux.as_mut().unwrap().resources.as_mut().unwrap();
    (resources.memory_limit_in_bytes, resources.memory_swap_limit_in_bytes) = (LIMIT, LIMIT);
    config
}

async fn pod(world: &World, name: &str) -> (Cri, PodSandboxConfig, String) {
    let cri = world.daemon.client().await.unwrap();
    cri.pull(BUSYBOX, None).await.unwrap();
    let config = world.pod(name).unwrap();
    let pod = cri.run_pod(&config).await.unwrap();
    (cri, config, pod)
}

fn outcome(status: &ContainerStatus) -> (&str, i32) {
    (&status.reason, status.exit_code)
}

/// Asks without a pause; the first answer that says that it has exited.
async fn first_exited(cri: Cri, id: String) -> ContainerStatus {
    tokio::time::timeout(PATIENCE, async {
        loop {
            let status = cri.container_status(&id).await.unwrap();
            if status.state() == ContainerState::ContainerExited {
                return status;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("it does not end")
}

#[test]
fn no_client_sees_an_exit_before_its_reason() {
    let Some(world) = World::new().unwrap() else { return };
    world.tokio.block_on(async {
        let (cri, config, pod) = pod(&world, "greedy").await;
        let mut events =
            cri.runtime.clone().get_container_events(GetEventsRequest {}).await.unwrap().into_inner();
        for name in ["first", "second", "third"] {
            let id = cri.create(&pod, &limited(name, &format!("exec {GREEDY}")), &config).await.unwrap();
            let mut clients = Vec::new();
            for _ in 0..4 {
                let other = world.daemon.client().await.unwrap();
                clients.push(tokio::spawn(first_exited(other, id.clone())));
            }
            cri.start(&id).await.unwrap();
            for client in clients {
                assert_eq!(outcome(&client.await.unwrap()), ("OOMKilled", 137), "{name}");
            }
            loop {
                let event = tokio::time::timeout(PATIENCE, events.message()).await.expect("no event comes");
                let event = event.unwrap().expect("the stream ended");
                let stopped = event.container_event_type() == ContainerEventType::ContainerStoppedEvent;
                if event.container_id == id && stopped {
                    let status = event.containers_statuses.iter().find(|status| status.id == id).unwrap();
                    assert_eq!(outcome(status), ("OOMKilled", 137), "{name}'s event");
                    break;
                }
            }
        }
        cri.end_pod(&pod).await.unwrap();
    });
}

fn says(log: &Path, wanted: &str) -> bool {
    e2e::logs::read(log).is_ok_and(|lines| lines.iter().any(|line| line.text == wanted))
}

async fn wait_until_it_says(log: &Path, wanted: &str) {
    let end = std::time::Instant::now() + PATIENCE;
    while !says(log, wanted) {
        assert!(std::time::Instant::now() < end, "{} never says {wanted}", log.display());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn a_container_that_outlives_a_kill_of_its_child_was_not_killed() {
    let Some(world) = World::new().unwrap() else { return };
    if world.daemon.kind() == Kind::Containerd {
        need::skip(need::Need::Corten, "the peer reports every kill in the cgroup as the container's");
        return;
    }
    world.tokio.block_on(async {
        let (cri, config, pod) = pod(&world, "survivors").await;
        // The shell is small: the kernel takes its child.
        let child = format!("({GREEDY}); echo child $?;");
        let waiting = format!("{child} while :; do sleep 0.05; done");
        let run = async |name: &str, script: &str| {
            let id = cri.create(&pod, &limited(name, script), &config).await.unwrap();
            cri.start(&id).await.unwrap();
            id
        };
        // It ends at once by itself.
        for (name, code) in [("at-once", 3), ("clean", 0)] {
            let id = run(name, &format!("{child} exit {code}")).await;
            let status = wait_exited(&cri, &id, PATIENCE).await.unwrap();
            let reason = if code == 0 { "Completed" } else { "Error" };
            assert_eq!(outcome(&status), (reason, code), "{name}");
            assert!(says(&world.log("survivors", name), "child 137"), "{name}: nothing was killed");
        }
        // A shell that ends with its child says so by the child's code, and is not told apart.
        let id = run("passed-on", &format!("({GREEDY}); exit $?")).await;
        let status = wait_exited(&cri, &id, PATIENCE).await.unwrap();
        assert_eq!(outcome(&status), ("OOMKilled", 137));
        // It is stopped later, in the hard way: that is no want of memory either.
        let id = run("stopped", &waiting).await;
        wait_until_it_says(&world.log("survivors", "stopped"), "child 137").await;
        cri.stop(&id, 0).await.unwrap();
        assert_eq!(outcome(&first_exited(cri.clone(), id).await), ("Error", 137));
        // A command that is killed takes nobody with it.
        let id = run("commanded", "while :; do sleep 0.05; done").await;
        let reply = cri.exec(&id, &["/bin/sh", "-c", &format!("exec {GREEDY}")], 30).await.unwrap();
        assert_eq!(reply.exit_code, 137);
        assert_eq!(cri.container_status(&id).await.unwrap().state(), ContainerState::ContainerRunning);
        cri.stop(&id, 0).await.unwrap();
        assert_eq!(outcome(&first_exited(cri.clone(), id).await), ("Error", 137));
        // One that survives and is then hit itself.
        let script = format!("{child} until [ -e /go ]; do sleep 0.05; done; exec {GREEDY}");
        let id = run("twice", &script).await;
        wait_until_it_says(&world.log("survivors", "twice"), "child 137").await;
        cri.shell(&id, "touch /go").await.unwrap();
        assert_eq!(outcome(&first_exited(cri.clone(), id).await), ("OOMKilled", 137));
        cri.end_pod(&pod).await.unwrap();
    });
}

#[test]
fn a_kill_while_the_daemon_is_dead_is_told_afterwards() {
    let Some(mut world) = World::new().unwrap() else { return };
    if world.daemon.kind() == Kind::Containerd {
        need::skip(need::Need::Corten, "the peer's shim forgets");
        return;
    }
    let signals = world.isolation.directory("signals").unwrap();
    let (pod, ids) = world.tokio.block_on(async {
        let (cri, config, pod) = pod(&world, "orphans").await;
        let mut ids = Vec::new();
        for (name, then) in
            [("killed", format!("exec {GREEDY}")), ("survivor", format!("({GREEDY}); sleep 1; exit 4"))]
        {
            let script =
                format!("until [ -e /signals/go ]; do sleep 0.05; done; touch /signals/{name}; {then}");
            let mut container = limited(name, &script);
            container.mounts.push(e2e::proto::Mount {
                host_path: signals.display().to_string(),
                container_path: "/signals".into(),
                ..Default::default()
            });
            let id = cri.create(&pod, &container, &config).await.unwrap();
            cri.start(&id).await.unwrap();
            ids.push(id);
        }
        (pod, ids)
    });
    world.daemon.kill().unwrap();
    fs::write(signals.join("go"), "").unwrap();
    let exits = world.daemon.place().state.join("pods").join(&pod).join("exits");
    let end = std::time::Instant::now() + PATIENCE;
    while ids.iter().any(|id| !exits.join(format!("{id}.exit")).exists()) {
        assert!(std::time::Instant::now() < end, "they do not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    world.daemon.restart().unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let mut seen = Vec::new();
        for id in &ids {
            seen.push(cri.container_status(id).await.unwrap());
        }
        let seen: Vec<_> = seen.iter().map(outcome).collect();
        assert_eq!(seen, [("OOMKilled", 137), ("Error", 4)]);
        cri.end_pod(&pod).await.unwrap();
    });
}

#[test]
fn a_limit_too_small_to_start_with_is_the_request_s_fault() {
    let Some(world) = World::new().unwrap() else { return };
    if world.daemon.kind() == Kind::Containerd {
        need::skip(need::Need::Corten, "the peer tells in its own words");
        return;
    }
    world.tokio.block_on(async {
        let (cri, config, pod) = pod(&world, "tiny").await;
        for limit in [1000, 4096] {
            let mut container = limited(&format!("of-{limit}"), "exit 0");
            let resources = container.linux.as_mut().unwrap().resources.as_mut().unwrap();
            (resources.memory_limit_in_bytes, resources.memory_swap_limit_in_bytes) = (limit, limit);
            let error = cri.create(&pod, &container, &config).await.unwrap_err().to_string();
            let wanted = format!("the memory limit of {limit} bytes is too small to start with");
            assert!(error.contains(&wanted) && error.contains("memory_limit_in_bytes"), "{error}");
            assert!(error.contains("invalid argument"), "{error}");
        }
        let mut container = limited("pinned", "exit 0");
        container.linux.as_mut().unwrap().resources.as_mut().unwrap().cpuset_cpus = "4000-4001".to_owned();
        let error = cri.create(&pod, &container, &config).await.unwrap_err().to_string();
        assert!(error.contains("CPUs 0") && error.contains("are available to the pod"), "{error}");
        cri.end_pod(&pod).await.unwrap();
    });
}
