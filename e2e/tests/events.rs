//! GetContainerEvents: what the kubelet's evented PLEG lives on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::large_futures)]

use e2e::pods::shell;
use e2e::proto::{
    ContainerEventResponse, ContainerEventType, ContainerState, GetEventsRequest, PodSandboxState,
};
use e2e::runtime::Kind;
use e2e::world::{BUSYBOX, World, wait_exited};
use std::collections::BTreeMap;
use std::time::Duration;
use tonic::{Code, Streaming};

use ContainerEventType::{
    ContainerCreatedEvent as Created, ContainerDeletedEvent as Deleted, ContainerStartedEvent as Started,
    ContainerStoppedEvent as Stopped,
};

const PATIENCE: Duration = Duration::from_secs(30);

async fn next(events: &mut Streaming<ContainerEventResponse>) -> ContainerEventResponse {
    let event = tokio::time::timeout(PATIENCE, events.message()).await.expect("no event comes");
    event.unwrap().expect("the stream ended")
}

#[test]
fn events_tell_a_pod_s_life_in_order() {
    let Some(world) = World::new().unwrap() else { return };
    if world.daemon.kind() == Kind::Containerd {
        need::skip(need::Need::Corten, "the peer's events of a pod differ in number");
        return;
    }
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let mut runtime = cri.runtime.clone();
        let mut events = runtime.get_container_events(GetEventsRequest {}).await.unwrap().into_inner();
        let config = world.pod("events").unwrap();
        let pod = cri.run_pod(&config).await.unwrap();
        let id = cri.create(&pod, &shell("main", BUSYBOX, "exit 3"), &config).await.unwrap();
        cri.start(&id).await.unwrap();
        wait_exited(&cri, &id, PATIENCE).await.unwrap();
        cri.remove(&id).await.unwrap();
        cri.end_pod(&pod).await.unwrap();

        let expected = [
            (&pod, Created),
            (&pod, Started),
            (&id, Created),
            (&id, Started),
            (&id, Stopped),
            (&id, Deleted),
            (&pod, Stopped),
            (&pod, Deleted),
        ];
        let mut last = 0;
        for (whose, kind) in expected {
            let event = next(&mut events).await;
            assert_eq!((&event.container_id, event.container_event_type()), (whose, kind), "{event:?}");
            assert!(event.created_at > last, "{event:?}");
            last = event.created_at;
            let status = event.pod_sandbox_status.as_ref().unwrap();
            assert_eq!((&status.id, status.metadata.as_ref().unwrap().uid.as_str()), (&pod, "uid-events"));
            let ready = !(*whose == pod && matches!(kind, Stopped | Deleted));
            assert_eq!(status.state() == PodSandboxState::SandboxReady, ready, "{event:?}");
            let states: BTreeMap<_, _> =
                event.containers_statuses.iter().map(|one| (one.id.as_str(), one)).collect();
            if *whose == id && kind != Deleted {
                let state = match kind {
                    // It may have gone on meanwhile, but never back.
                    Created => ContainerState::ContainerCreated,
                    Started => ContainerState::ContainerRunning,
                    _ => ContainerState::ContainerExited,
                };
                assert!(states[id.as_str()].state >= state.into(), "{event:?}");
            }
            if kind == Stopped && *whose == id {
                assert_eq!(
                    (states[id.as_str()].exit_code, states[id.as_str()].reason.as_str()),
                    (3, "Error")
                );
            }
        }
    });
}

#[test]
fn a_subscriber_that_does_not_read_is_cut_off_and_blocks_nobody() {
    let Some(world) = World::new().unwrap() else { return };
    if world.daemon.kind() == Kind::Containerd {
        need::skip(need::Need::Corten, "the peer drops events silently");
        return;
    }
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        // A connection of its own, whose window fills up.
        let lazy = world.daemon.client().await.unwrap();
        let mut events =
            lazy.runtime.clone().get_container_events(GetEventsRequest {}).await.unwrap().into_inner();
        let mut config = world.pod("flood").unwrap();
        // Each event carries the pod: the window is full after a few.
        config.annotations.insert("ballast".into(), "x".repeat(128 << 10));
        let pod = cri.run_pod(&config).await.unwrap();
        let busy = (0..8).map(|worker| {
            let (cri, pod, config) = (cri.clone(), pod.clone(), config.clone());
            tokio::spawn(async move {
                for _ in 0..50 {
                    let container = shell(&format!("main-{worker}"), BUSYBOX, "exit 0");
                    let id = cri.create(&pod, &container, &config).await.unwrap();
                    cri.remove(&id).await.unwrap();
                }
            })
        });
        // Created, stopped and deleted: 1,200 events.
        for worker in busy.collect::<Vec<_>>() {
            worker.await.unwrap();
        }
        cri.end_pod(&pod).await.unwrap();
        let mut seen = 0;
        let error = loop {
            match tokio::time::timeout(PATIENCE, events.message()).await.expect("neither events nor an end") {
                Ok(Some(_)) => seen += 1,
                Ok(None) => panic!("the stream ended without a word after {seen} events"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
        assert!(error.message().contains("behind") && seen < 1200, "{seen}: {error}");
        let again = cri.runtime.clone().get_container_events(GetEventsRequest {}).await;
        assert!(again.is_ok());
    });
}

#[test]
fn a_daemon_that_ends_does_not_wait_for_subscribers() {
    let Some(mut world) = World::new().unwrap() else { return };
    if world.daemon.kind() == Kind::Containerd {
        need::skip(need::Need::Corten, "this is about Corten's drain");
        return;
    }
    let mut events = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.runtime.clone().get_container_events(GetEventsRequest {}).await.unwrap().into_inner()
    });
    world.daemon.stop().unwrap();
    let ended = world.tokio.block_on(async { tokio::time::timeout(PATIENCE, events.message()).await });
    assert_eq!(ended.expect("the stream goes on").unwrap_err().code(), Code::Unavailable);
    assert!(!world.daemon.log_tail().contains("given up"), "{}", world.daemon.log_tail());
}

#[test]
fn crictl_prints_events() {
    let Some(world) = World::new().unwrap() else { return };
    let crictl = world.crictl().unwrap();
    let line = crictl.line();
    let (program, arguments) = line.split_once(' ').unwrap();
    let mut child = std::process::Command::new(program)
        .args(arguments.split(' '))
        .args(["events", "-o", "json"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let (found, told) = std::sync::mpsc::channel();
    let output = child.stdout.take().unwrap();
    std::thread::spawn(move || {
        for line in std::io::BufRead::lines(std::io::BufReader::new(output)).map_while(Result::ok) {
            if line.contains("CONTAINER_CREATED_EVENT") {
                let _ = found.send(());
            }
        }
    });
    // The subscription begins some time after crictl: pods come until one is seen.
    let seen = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let end = std::time::Instant::now() + PATIENCE;
        let mut round = 0;
        while told.try_recv().is_err() && std::time::Instant::now() < end {
            round += 1;
            let pod = cri.run_pod(&world.pod(&format!("shown-{round}")).unwrap()).await.unwrap();
            cri.end_pod(&pod).await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        std::time::Instant::now() < end
    });
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(seen, "crictl prints no event");
}
