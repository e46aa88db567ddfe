//! Plugins of the Node Resource Interface: what they see of pods and containers, and what becomes of what they want.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::large_futures)]

use e2e::client::Cri;
use e2e::pods::shell;
use e2e::proto::PodSandboxConfig;
use e2e::runtime::Kind;
use e2e::tools;
use e2e::world::{BUSYBOX, World, wait_exited};
use nri::api::{
    ContainerAdjustment, ContainerEviction, ContainerUpdate, CreateContainerRequest, CreateContainerResponse,
    Event, Hook, Hooks, KeyValue, LinuxContainerAdjustment, LinuxContainerUpdate, LinuxDevice, LinuxMemory,
    LinuxPids, LinuxResources, Mount, OptionalInt, OptionalInt64, PosixRlimit, SynchronizeRequest,
    UpdateContainersRequest,
};
use nri::testing::{Manner, Plugin, answer, refusal};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const SOCKET: &str = "/var/run/nri/nri.sock";
const SOON: Duration = Duration::from_secs(30);

/// A world with Corten, whose handler `other` is an OCI runtime.
fn world() -> Option<World> {
    let binary = tools::corten("corten-oci").unwrap();
    let lines = format!("[handlers.other]\ntype = \"oci\"\nbinary = {binary:?}\n");
    let world = World::with(|mut options| {
        options.kind = Kind::Corten;
        options.extra = lines;
        options
    });
    world.unwrap()
}

async fn join(manner: Manner) -> Plugin {
    Plugin::join(Path::new(SOCKET), manner).await.unwrap()
}

/// A pod that runs by a handler.
async fn pod(world: &World, cri: &Cri, name: &str, handler: &str) -> (String, PodSandboxConfig) {
    let config = world.pod(name).unwrap();
    cri.pull(BUSYBOX, None).await.unwrap();
    (cri.run_pod_by(&config, handler).await.unwrap(), config)
}

/// Waits until something is so.
async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let since = Instant::now();
    while !is_so().await {
        assert!(since.elapsed() < SOON, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn methods(plugin: &Plugin) -> Vec<String> {
    plugin.events().into_iter().map(|(method, _)| method).collect()
}

fn lives_by(handler: &str) {
    let Some(world) = world() else { return };
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let plugin = join(Manner::new("10", "sees")).await;
        let (pod, config) = pod(&world, &cri, "seen", handler).await;
        let id = cri.create(&pod, &shell("main", BUSYBOX, "exit 3"), &config).await.unwrap();
        cri.start(&id).await.unwrap();
        wait_exited(&cri, &id, SOON).await.unwrap();
        until("its end is told", async || methods(&plugin).contains(&"StopContainer".to_owned())).await;
        // What has ended is not told again, whoever ends it.
        cri.stop(&id, 1).await.unwrap();
        cri.remove(&id).await.unwrap();
        let second = cri.create(&pod, &shell("second", BUSYBOX, "sleep 1000"), &config).await.unwrap();
        cri.start(&second).await.unwrap();
        cri.stop_pod(&pod).await.unwrap();
        cri.stop_pod(&pod).await.unwrap();
        cri.remove_pod(&pod).await.unwrap();
        let start = [
            "CreateContainer",
            "ValidateContainerAdjustment",
            "PostCreateContainer",
            "StartContainer",
            "PostStartContainer",
        ];
        let wanted: Vec<&str> = ["RunPodSandbox"]
            .into_iter()
            .chain(start)
            .chain(["StopContainer", "RemoveContainer"])
            .chain(start)
            .chain(["StopContainer", "StopPodSandbox", "RemoveContainer", "RemovePodSandbox"])
            .collect();
        assert_eq!(methods(&plugin), wanted, "{:?}", plugin.events());
        let created: CreateContainerRequest =
            plugin.calls().iter().find(|call| call.method == "CreateContainer").unwrap().argument();
        let (seen, of) = (created.container.unwrap(), created.pod.unwrap());
        assert_eq!((seen.name.as_str(), seen.id.as_str(), of.name.as_str()), ("main", id.as_str(), "seen"));
        assert!(seen.args.ends_with(&["exit 3".to_owned()]), "{:?}", seen.args);
        assert_eq!((of.ips.len(), of.runtime_handler.as_str()), (1, handler));
        let netns = of.linux.unwrap().namespaces.into_iter().find(|one| one.r#type == "network").unwrap();
        assert!(netns.path.starts_with("/run/netns/"), "{netns:?}");
    });
}

#[test]
fn every_event_of_a_native_container_comes_once_and_in_order() {
    lives_by("");
}

#[test]
fn every_event_of_a_runtime_s_container_comes_once_and_in_order() {
    lives_by("other");
}

#[test]
fn an_end_is_told_when_every_plugin_has_heard_of_the_start() {
    let Some(world) = world() else { return };
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        // Long enough for the container to have ended before the next one hears that it runs.
        let slow = Manner::new("10", "slow").answering(|call| {
            if call.method == "PostStartContainer" {
                std::thread::sleep(Duration::from_millis(700));
            }
            None
        });
        let _slow = join(slow.wanting(&[Event::PostStartContainer])).await;
        let plugin = join(Manner::new("20", "sees")).await;
        let (pod, config) = pod(&world, &cri, "ordered", "").await;
        let id = cri.create(&pod, &shell("main", BUSYBOX, "exit 3"), &config).await.unwrap();
        cri.start(&id).await.unwrap();
        until("its end is told", async || methods(&plugin).contains(&"StopContainer".to_owned())).await;
        let told = methods(&plugin);
        assert_eq!(told[told.len() - 3..], ["StartContainer", "PostStartContainer", "StopContainer"]);
        cri.end_pod(&pod).await.unwrap();
    });
}

/// Something of everything that a plugin can change.
fn everything(dir: &Path) -> ContainerAdjustment {
    let hook = Hook {
        path: "/bin/sh".to_owned(),
        args: ["sh", "-c", &format!("cat > {}/state.json", dir.display())].map(str::to_owned).to_vec(),
        ..Hook::default()
    };
    ContainerAdjustment {
        annotations: [("from.plugin".to_owned(), "yes".to_owned())].into(),
        env: vec![KeyValue { key: "FROM_PLUGIN".to_owned(), value: "hello".to_owned() }],
        mounts: vec![Mount {
            destination: "/from-plugin".to_owned(),
            r#type: "bind".to_owned(),
            source: dir.display().to_string(),
            options: ["rbind", "ro"].map(str::to_owned).to_vec(),
        }],
        hooks: Some(Hooks { create_runtime: vec![hook], ..Hooks::default() }),
        rlimits: vec![PosixRlimit { r#type: "RLIMIT_NOFILE".to_owned(), hard: 77, soft: 66 }],
        linux: Some(LinuxContainerAdjustment {
            devices: vec![LinuxDevice {
                path: "/dev/from-plugin".to_owned(),
                r#type: "c".to_owned(),
                major: 1,
                minor: 5,
                ..LinuxDevice::default()
            }],
            oom_score_adj: Some(OptionalInt { value: 321 }),
            resources: Some(LinuxResources {
                memory: Some(LinuxMemory {
                    limit: Some(OptionalInt64 { value: 33 << 20 }),
                    ..LinuxMemory::default()
                }),
                pids: Some(LinuxPids { limit: 55 }),
                ..LinuxResources::default()
            }),
            ..LinuxContainerAdjustment::default()
        }),
        ..ContainerAdjustment::default()
    }
}

fn adjusts_by(handler: &str) {
    let Some(world) = world() else { return };
    let dir = world.isolation.directory("plugin").unwrap();
    fs::write(dir.join("file"), "of the plugin").unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let adjustment = everything(&dir);
        let adjusts = move |call: &nri::testing::Call| {
            let reply = CreateContainerResponse { adjust: Some(adjustment.clone()), ..Default::default() };
            (call.method == "CreateContainer").then(|| answer(&reply))
        };
        let _plugin = join(Manner::new("10", "adjusts").answering(adjusts)).await;
        let (pod, config) = pod(&world, &cri, "adjusted", handler).await;
        let id = cri.create(&pod, &shell("main", BUSYBOX, "sleep 1000"), &config).await.unwrap();
        cri.start(&id).await.unwrap();
        let said = cri
            .shell(
                &id,
                "echo $FROM_PLUGIN; cat /from-plugin/file; echo; ulimit -Sn; ulimit -Hn; ls -l /dev/from-plugin; \
                 cat /proc/1/oom_score_adj; touch /from-plugin/x 2>/dev/null || echo read-only; head -c 3 /dev/from-plugin | wc -c",
            )
            .await
            .unwrap();
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[..4], ["hello", "of the plugin", "66", "77"], "{said}");
        assert!(lines[4].starts_with("crw") && lines[4].contains("1,   5"), "{said}");
        assert_eq!(lines[5], "321", "{said}");
        assert!(said.contains("read-only") && lines.last() == Some(&"3"), "{said}");
        let state = fs::read_to_string(dir.join("state.json")).unwrap();
        assert!(state.contains(&id), "{state}");
        let status = cri.container_status(&id).await.unwrap();
        let linux = status.resources.unwrap().linux.unwrap();
        assert_eq!(linux.memory_limit_in_bytes, 33 << 20);
        cri.end_pod(&pod).await.unwrap();
    });
}

#[test]
fn what_a_plugin_wants_is_seen_inside_of_a_native_container() {
    adjusts_by("");
}

#[test]
fn what_a_plugin_wants_is_seen_inside_of_a_runtime_s_container() {
    adjusts_by("other");
}

#[test]
fn what_a_plugin_refuses_fails_and_leaves_nothing() {
    let Some(mut world) = world() else { return };
    let baseline = world.baseline().unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let refuses = |method: &'static str| {
            Manner::new("10", "refuses")
                .answering(move |call| (call.method == method).then(|| refusal(2, "not on this node")))
        };
        let config = world.pod("refused").unwrap();
        {
            let _plugin = join(refuses("RunPodSandbox")).await;
            let error = cri.run_pod(&config).await.unwrap_err().to_string();
            assert!(error.contains("10-refuses") && error.contains("not on this node"), "{error}");
            assert!(cri.pods().await.unwrap().is_empty());
        }
        let pod = cri.run_pod(&config).await.unwrap();
        let main = shell("main", BUSYBOX, "sleep 1000");
        {
            let plugin = join(refuses("CreateContainer")).await;
            let error = cri.create(&pod, &main, &config).await.unwrap_err().to_string();
            assert!(error.contains("10-refuses") && error.contains("not on this node"), "{error}");
            assert!(cri.containers().await.unwrap().is_empty());
            let told = methods(&plugin);
            // Whoever was asked before it has set something aside, which is free again.
            assert_eq!(told, ["CreateContainer", "StopContainer", "RemoveContainer"]);
        }
        {
            let _plugin = join(refuses("StartContainer")).await;
            let id = cri.create(&pod, &main, &config).await.unwrap();
            let error = cri.start(&id).await.unwrap_err().to_string();
            assert!(error.contains("10-refuses"), "{error}");
        }
        cri.end_pod(&pod).await.unwrap();
    });
    baseline.settle(&world.isolation, &world.daemon).unwrap();
    assert!(world.daemon.is_alive());
}

#[test]
fn a_plugin_that_joins_amid_two_hundred_creates_misses_none_and_hears_of_none_twice() {
    const CREATES: usize = 200;
    let Some(world) = world() else { return };
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let _first = join(Manner::new("10", "first")).await;
        let (pod, config) = pod(&world, &cri, "crowd", "").await;
        let mut creating = JoinSet::new();
        for number in 0..CREATES {
            let (cri, pod, config) = (cri.clone(), pod.clone(), config.clone());
            creating.spawn(async move {
                // Spread, so that the other joins in the middle.
                tokio::time::sleep(Duration::from_millis(number as u64 * 5)).await;
                cri.create(&pod, &shell(&format!("c{number}"), BUSYBOX, "true"), &config).await.unwrap()
            });
        }
        let late = async {
            tokio::time::sleep(Duration::from_millis(400)).await;
            join(Manner::new("20", "late")).await
        };
        let (made, late) = tokio::join!(creating.join_all(), late);
        let (_, synchronized) = late.synchronized();
        let events = late.events().into_iter().filter(|(method, _)| method == "CreateContainer");
        let told: Vec<String> = events.map(|(_, id)| id).collect();
        let all: Vec<&String> = synchronized.iter().chain(&told).collect();
        let known: BTreeSet<&String> = all.iter().copied().collect();
        let made: BTreeSet<&String> = made.iter().collect();
        assert_eq!(known, made, "{} synchronized, {} told", synchronized.len(), told.len());
        assert_eq!(all.len(), CREATES, "some came twice");
        assert!(!synchronized.is_empty() && !told.is_empty(), "it joined too early, or too late");
        cri.end_pod(&pod).await.unwrap();
    });
}

#[test]
fn a_plugin_that_hangs_is_let_go_and_named() {
    let Some(world) = world() else { return };
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let hung = join(Manner::new("10", "hangs").hanging("CreateContainer")).await;
        let other = join(Manner::new("20", "goes-on")).await;
        let (pod, config) = pod(&world, &cri, "patient", "").await;
        let id = cri.create(&pod, &shell("main", BUSYBOX, "true"), &config).await.unwrap();
        hung.ended().await;
        assert!(other.events().contains(&("CreateContainer".to_owned(), id)));
        let log = fs::read_to_string(&world.daemon.place().log).unwrap();
        assert!(
            log.lines().any(|line| line.contains("10-hangs") && line.contains("CreateContainer")),
            "{log}"
        );
        cri.end_pod(&pod).await.unwrap();
    });
}

#[test]
fn after_kill_nine_a_plugin_is_told_what_is_there() {
    let Some(mut world) = world() else { return };
    let cri = world.tokio.block_on(world.daemon.client()).unwrap();
    let (pod, id, before) = world.tokio.block_on(async {
        let plugin = join(Manner::new("10", "stays")).await;
        let (pod, config) = pod(&world, &cri, "outlives", "").await;
        let id = cri.create(&pod, &shell("main", BUSYBOX, "sleep 1000"), &config).await.unwrap();
        cri.start(&id).await.unwrap();
        let ended = cri.create(&pod, &shell("ended", BUSYBOX, "exit 5"), &config).await.unwrap();
        cri.start(&ended).await.unwrap();
        wait_exited(&cri, &ended, SOON).await.unwrap();
        (pod, id, plugin)
    });
    world.daemon.kill().unwrap();
    world.tokio.block_on(before.ended());
    world.daemon.restart().unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let plugin = join(Manner::new("10", "stays")).await;
        let told: SynchronizeRequest =
            plugin.calls().iter().find(|call| call.method == "Synchronize").unwrap().argument();
        assert_eq!(told.pods.iter().map(|pod| &pod.id).collect::<Vec<_>>(), [&pod]);
        let mut states: Vec<(&str, i32, i32)> =
            told.containers.iter().map(|one| (one.name.as_str(), one.state, one.exit_code)).collect();
        states.sort_unstable();
        // Stopped, and running.
        assert_eq!(states, [("ended", 4, 5), ("main", 3, 0)]);
        let running = told.containers.iter().find(|one| one.id == id).unwrap();
        assert!(
            running.pid > 0
                && running.started_at > 0
                && running.env.iter().any(|one| one.starts_with("PATH="))
        );
        cri.end_pod(&pod).await.unwrap();
        let ends = plugin.events().into_iter().filter(|(method, _)| method == "StopContainer").count();
        assert_eq!(ends, 1, "the other had ended before: {:?}", plugin.events());
    });
}

#[test]
fn plugins_change_and_evict_containers_when_they_like() {
    let Some(world) = world() else { return };
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let plugin = join(Manner::new("10", "changes")).await;
        let (pod, config) = pod(&world, &cri, "changed", "").await;
        let id = cri.create(&pod, &shell("main", BUSYBOX, "sleep 1000"), &config).await.unwrap();
        cri.start(&id).await.unwrap();
        let memory = LinuxMemory { limit: Some(OptionalInt64 { value: 44 << 20 }), ..LinuxMemory::default() };
        let limits = LinuxResources { memory: Some(memory), ..LinuxResources::default() };
        let update = |id: &str| ContainerUpdate {
            container_id: id.to_owned(),
            linux: Some(LinuxContainerUpdate { resources: Some(limits.clone()) }),
            ignore_failure: false,
        };
        let asked =
            UpdateContainersRequest { update: vec![update(&id), update("nobody")], evict: Vec::new() };
        let failed = plugin.update(&asked).await.unwrap().failed;
        assert_eq!(failed.iter().map(|one| one.container_id.as_str()).collect::<Vec<_>>(), ["nobody"]);
        let status = cri.container_status(&id).await.unwrap();
        assert_eq!(status.resources.unwrap().linux.unwrap().memory_limit_in_bytes, 44 << 20);
        let evict = vec![ContainerEviction { container_id: id.clone(), reason: "of a test".to_owned() }];
        plugin.update(&UpdateContainersRequest { update: Vec::new(), evict }).await.unwrap();
        cri.stop(&id, 0).await.unwrap();
        wait_exited(&cri, &id, SOON).await.unwrap();
        let log = fs::read_to_string(&world.daemon.place().log).unwrap();
        assert!(log.lines().any(|line| line.contains("evicts") && line.contains("of a test")), "{log}");
        cri.end_pod(&pod).await.unwrap();
    });
}
