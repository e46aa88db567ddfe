//! Very many of something at once.

use crate::{SOON, pid_of, running, unlimited, world};
use e2e::client::Cri;
use e2e::pods::{secured, shell};
use e2e::proto::NamespaceMode;
use e2e::world::{BUSYBOX, World, wait_exited};
use e2e::{process, wait};
use std::fs;
use std::time::Duration;
use tokio::task::JoinSet;

/// How many processes with this parent have ended and are not waited for.
fn zombies(world: &World, parents: &[i32]) -> usize {
    let is_one = |pid: &&i32| {
        process::stat(**pid)
            .is_some_and(|stat| stat[0] == "Z" && parents.iter().any(|parent| stat[1] == parent.to_string()))
    };
    world.isolation.processes().keys().filter(is_one).count()
}

/// F17: orphans become the pause's or the supervisor's children, between which containers end.
#[test]
fn f17_five_thousand_exits_hide_none_and_leave_no_zombie() {
    let Some(world) = world() else { return };
    for mode in [NamespaceMode::Pod, NamespaceMode::Node] {
        let mut pod = world.pod(&format!("f17-{}", mode as i32)).unwrap();
        let security = pod.linux.as_mut().unwrap().security_context.as_mut().unwrap();
        security.namespace_options.as_mut().unwrap().pid = mode.into();
        world.tokio.block_on(async {
            let cri = world.daemon.client().await.unwrap();
            let inside = |config| {
                secured(config, |security| security.namespace_options.get_or_insert_default().pid = mode.into())
            };
            // Each leaves a child behind, which ends a little later.
            let orphans = "while [ ! -e /tmp/go ]; do usleep 1000; done; i=0; \
                           while [ $i -lt 5000 ]; do (usleep 300000 &); i=$((i+1)); done; echo made; exec sleep 1000";
            let (pod_id, crowd) = running(&cri, &pod, &inside(unlimited("crowd", orphans))).await;
            let mut ending = Vec::new();
            for code in 1..=20 {
                let script = format!("while [ ! -e /tmp/go ]; do usleep 20000; done; sleep 0.{code:02}; exit {code}");
                let id = cri.create(&pod_id, &inside(unlimited(&format!("ends-{code}"), &script)), &pod).await.unwrap();
                cri.start(&id).await.unwrap();
                ending.push((code, id));
            }
            let parents = ancestors(pid_of(&cri, &crowd).await);
            cri.shell(&crowd, "touch /tmp/go").await.unwrap();
            for (_, id) in &ending {
                cri.shell(id, "touch /tmp/go").await.unwrap();
            }
            for (code, id) in &ending {
                assert_eq!(wait_exited(&cri, id, SOON).await.unwrap().exit_code, *code, "{mode:?}");
            }
            let log = world.log(&pod.metadata.as_ref().unwrap().name, "crowd");
            wait::until("all of them", SOON, || fs::read_to_string(&log).is_ok_and(|text| text.contains("made"))).unwrap();
            let none = || zombies(&world, &parents) == 0;
            wait::until("no zombie", Duration::from_secs(10), none).unwrap();
            assert_eq!(cri.shell(&crowd, "echo well").await.unwrap(), "well\n");
            cri.end_pod(&pod_id).await.unwrap();
        });
    }
}

/// The processes above one, but for the host's first: orphans become a child of one of them, or of their pause.
fn ancestors(pid: i32) -> Vec<i32> {
    let Some(stat) = process::stat(pid) else { return Vec::new() };
    let parent: i32 = stat[1].parse().unwrap();
    let siblings = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    let siblings = siblings.split_whitespace().map(|pid| pid.parse().unwrap());
    siblings.chain([parent]).collect()
}

/// F18.
#[test]
fn f18_a_hundred_identical_requests_of_clients_that_come_and_go_are_one() {
    let Some(world) = world() else { return };
    let baseline = world.baseline().unwrap().without("fd");
    let pod = world.pod("f18").unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let mut asked = JoinSet::new();
        for number in 0..100_u64 {
            let (cri, pod) = (cri.clone(), pod.clone());
            asked.spawn(async move {
                let run = cri.run_pod(&pod);
                // Every other one hangs up in the middle of it.
                let patience = if number % 2 == 0 { SOON } else { Duration::from_micros(number * 200) };
                tokio::time::timeout(patience, run).await.ok()
            });
        }
        let answers = asked.join_all().await;
        let ids: Vec<String> = answers.into_iter().flatten().map(|answer| answer.unwrap()).collect();
        assert!(ids.len() >= 50 && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        let pod_id = &ids[0];
        let config = shell("main", BUSYBOX, "exec sleep 1000");
        let mut asked = JoinSet::new();
        for number in 0..100_u64 {
            let (cri, pod, config, pod_id) = (cri.clone(), pod.clone(), config.clone(), pod_id.clone());
            asked.spawn(async move {
                let create = cri.create(&pod_id, &config, &pod);
                let patience = if number % 2 == 0 { SOON } else { Duration::from_micros(number * 200) };
                tokio::time::timeout(patience, create).await.ok()
            });
        }
        let answers = asked.join_all().await;
        let ids: Vec<String> = answers.into_iter().flatten().map(|answer| answer.unwrap()).collect();
        assert!(ids.len() >= 50 && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        assert_eq!((cri.pods().await.unwrap().len(), cri.containers().await.unwrap().len()), (1, 1));
        cri.end_pod(pod_id).await.unwrap();
        // The name is free at once.
        let again = cri.run_pod(&pod).await.unwrap();
        assert_ne!(again, *pod_id);
        cri.end_pod(&again).await.unwrap();
    });
    baseline.settle(&world.isolation, &world.daemon).unwrap();
}

/// F20: each command has children of its own, none of which may stay.
#[test]
fn f20_a_thousand_commands_that_take_too_long_go_with_all_that_they_started() {
    let Some(world) = world() else { return };
    let pod = world.pod("f20").unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let (pod_id, id) = running(&cri, &pod, &unlimited("main", "exec sleep 100000")).await;
        let before = world.isolation.processes();
        let mut asked = JoinSet::new();
        for _ in 0..1000 {
            let (cri, id) = (cri.clone(), id.clone());
            asked.spawn(async move {
                cri.exec(&id, &["sh", "-c", "(setsid sleep 4321 &); sleep 4321"], 3)
                    .await
                    .unwrap_err()
                    .to_string()
            });
        }
        let meanwhile = responsive(&cri);
        let (answers, ()) = tokio::join!(asked.join_all(), meanwhile);
        let other: Vec<_> = answers.iter().filter(|answer| !answer.contains("timed out")).collect();
        assert!(other.is_empty(), "{} of 1000 ended otherwise, the first with {}", other.len(), other[0]);
        let left = || {
            let now = world.isolation.processes();
            // Orphans that were killed are the container's first process's to wait for, which here never does.
            let runs = |pid: &i32| process::stat(*pid).is_some_and(|stat| stat[0] != "Z");
            now.into_iter().filter(|(pid, _)| !before.contains_key(pid) && runs(pid)).collect::<Vec<_>>()
        };
        let gone = wait::until("the end of all that they started", SOON, || left().is_empty());
        assert!(gone.is_ok(), "{:?}", left());
        assert_eq!(cri.shell(&id, "echo well").await.unwrap(), "well\n");
        cri.end_pod(&pod_id).await.unwrap();
    });
}

/// Asks for the version while others ask for more.
async fn responsive(cri: &Cri) {
    for _ in 0..20 {
        assert!(cri.answers().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
