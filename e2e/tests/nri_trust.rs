//! Plugins that are not to be trusted: what they can disturb, what they can fill, and how an operator sees which it is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::large_futures)]

use e2e::client::Cri;
use e2e::http::Request;
use e2e::pods::shell;
use e2e::proto::PodSandboxConfig;
use e2e::runtime::Kind;
use e2e::world::{BUSYBOX, World};
use e2e::{command, process, registry};
use nri::api::{ContainerEviction, ContainerUpdate, Event, UpdateContainersRequest};
use nri::testing::{Manner, Plugin};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const SOCKET: &str = "/var/run/nri/nri.sock";
const SOON: Duration = Duration::from_secs(30);
/// Connections that come and go.
const COMING: usize = 1000;

async fn pod(world: &World, cri: &Cri, name: &str) -> (String, PodSandboxConfig) {
    let config = world.pod(name).unwrap();
    cri.pull(BUSYBOX, None).await.unwrap();
    (cri.run_pod(&config).await.unwrap(), config)
}

/// The median time of containers' lives.
async fn lives(cri: &Cri, pod: &str, config: &PodSandboxConfig, times: u32) -> Duration {
    let mut took = Vec::new();
    for _ in 0..times {
        let since = Instant::now();
        let id = cri.create(pod, &shell("main", BUSYBOX, "sleep 1000"), config).await.unwrap();
        cri.start(&id).await.unwrap();
        cri.stop(&id, 0).await.unwrap();
        cri.remove(&id).await.unwrap();
        took.push(since.elapsed());
    }
    took.sort_unstable();
    took[took.len() / 2]
}

/// Whatever comes to a bad plugin's mind at its connection.
fn nonsense(number: usize) -> Vec<u8> {
    let frame = |connection: u32, length: u32| [connection.to_be_bytes(), length.to_be_bytes()].concat();
    match number % 5 {
        // Nothing, and the end.
        0 => Vec::new(),
        // Longer than a frame can be.
        1 => frame(1, u32::MAX),
        // Cut in the middle of a header, and of a message that claims to be long.
        2 => frame(2, 14)[..5].to_vec(),
        3 => [frame(2, 4 << 20), vec![0x7f; 3000]].concat(),
        // Nobody's connection, and much of it.
        _ => [frame(9, 60_000), vec![0; 60_000]].concat(),
    }
}

fn come_and_go(done: &AtomicUsize) {
    while done.fetch_add(1, Ordering::Relaxed) < COMING {
        let number = done.load(Ordering::Relaxed);
        if let Ok(mut socket) = UnixStream::connect(SOCKET) {
            // It may be closed in the middle of it.
            let _ = socket.write_all(&nonsense(number));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Registers under names that are none, or another's.
async fn lie(stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        for (index, name) in [("1", "x"), ("10", "a/b"), ("xx", "y")] {
            let lied = Plugin::connect(Path::new(SOCKET), Manner::new(index, name)).await;
            assert!(lied.is_err(), "{index}-{name} is taken in");
        }
    }
}

/// Changes and evicts what is not there, as fast as it is answered; how often.
async fn flood(plugin: Plugin, stop: Arc<AtomicBool>) -> usize {
    let id = |number: usize| format!("absent-{number}");
    let update = |number| ContainerUpdate { container_id: id(number), ..ContainerUpdate::default() };
    let evict = |number| ContainerEviction { container_id: id(number), reason: "x".repeat(1000) };
    let request = UpdateContainersRequest {
        update: (0..1000).map(update).collect(),
        evict: (0..1000).map(evict).collect(),
    };
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        let failed = plugin.update(&request).await.unwrap().failed;
        assert_eq!(failed.len(), 1000);
        count += 1;
    }
    count
}

#[test]
fn plugins_that_flood_and_lie_disturb_no_pod_and_fill_no_memory() {
    let Some(world) = World::with(|options| e2e::runtime::Options { kind: Kind::Corten, ..options }).unwrap()
    else {
        return;
    };
    let pid = world.daemon.pid();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let (pod, config) = pod(&world, &cri, "calm").await;
        lives(&cri, &pod, &config, 3).await;
        let alone = lives(&cri, &pod, &config, 15).await;
        let (memory, files) = (process::memory(pid, "VmRSS").unwrap(), process::descriptors(pid).unwrap());
        let log = || std::fs::metadata(&world.daemon.place().log).unwrap().len();
        let logged = log();

        let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let wants = Manner::new("50", "floods").wanting(&[Event::RemovePodSandbox]);
        let flooding =
            tokio::spawn(flood(Plugin::join(Path::new(SOCKET), wants).await.unwrap(), stop.clone()));
        let lying = tokio::spawn(lie(stop.clone()));
        let counted = done.clone();
        let coming = std::thread::spawn(move || come_and_go(&counted));
        let beside = lives(&cri, &pod, &config, 15).await;
        while !coming.is_finished() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stop.store(true, Ordering::Relaxed);
        lying.await.unwrap();
        let floods = flooding.await.unwrap();

        assert!(floods > 5, "{floods} floods");
        // They share two processors with it.
        assert!(beside < 10 * alone, "a container's life takes {beside:?}, and {alone:?} without them");
        let grown = process::memory(pid, "VmRSS").unwrap().saturating_sub(memory);
        assert!(grown < 64 << 10, "it has grown by {grown} KiB");
        let said = log() - logged;
        assert!(said < 1 << 20, "{said} bytes are logged");
        let end = Instant::now() + SOON;
        while process::descriptors(pid).unwrap() > files + 4 {
            assert!(Instant::now() < end, "connections stay open");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // And whoever is honest is taken in.
        let good = Plugin::join(Path::new(SOCKET), Manner::new("10", "good")).await.unwrap();
        let id = cri.create(&pod, &shell("main", BUSYBOX, "true"), &config).await.unwrap();
        assert!(good.events().contains(&("CreateContainer".to_owned(), id)));
        cri.end_pod(&pod).await.unwrap();
    });
}

#[test]
fn who_is_not_root_does_not_come_to_the_socket() {
    let Some(world) = World::with(|options| e2e::runtime::Options { kind: Kind::Corten, ..options }).unwrap()
    else {
        return;
    };
    let look = |uid| {
        let mut line = Command::new("/bin/sh");
        command::finish(line.args(["-c", "[ -w /var/run/nri/nri.sock ]"]).uid(uid).gid(uid), SOON)
            .unwrap()
            .status
            .success()
    };
    assert!(look(0), "there is none");
    assert!(!look(65534));
    drop(world);
}

/// The daemon's metrics tell of both plugins.
fn metrics_tell(address: SocketAddr) {
    let request = Request { method: "GET", target: "/metrics", headers: &[], body: &[] };
    let reply = request.send(address).unwrap();
    let metrics = String::from_utf8_lossy(&reply.body).into_owned();
    for line in [
        r#"corten_nri_plugin_connected{plugin="10-hangs"} 1"#,
        r#"corten_nri_plugin_connected{plugin="20-good"} 1"#,
        r#"corten_nri_plugin_restarts_total{plugin="10-hangs"} 0"#,
        r#"corten_nri_request_duration_seconds_count{plugin="20-good",request="Synchronize"} 1"#,
    ] {
        assert!(metrics.lines().any(|one| one == line), "no {line} in\n{metrics}");
    }
}

#[test]
fn a_plugin_that_hangs_is_told_by_status_explanation_and_metrics() {
    let address = registry::free_address().unwrap();
    let with = |options| e2e::runtime::Options {
        kind: Kind::Corten,
        metrics: Some(address),
        extra: "[nri]\nplugin_request_timeout_ms = 600000\n".to_owned(),
        ..options
    };
    let Some(world) = World::with(with).unwrap() else { return };
    let (program, config) = world.daemon.invocation();
    let ask = |arguments: &[&str]| {
        let mut line = Command::new(program);
        command::run(line.args(arguments).arg("--config").arg(config), SOON).unwrap()
    };
    let json = |arguments: &[&str]| -> serde_json::Value { serde_json::from_str(&ask(arguments)).unwrap() };
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        assert!(!ask(&["status"]).contains("nri plugin"));
        assert_eq!(json(&["status", "--json"])["plugins"], serde_json::json!([]));
        let (pod, config) = pod(&world, &cri, "waits").await;
        let _good = Plugin::join(Path::new(SOCKET), Manner::new("20", "good")).await.unwrap();
        let hangs = Manner::new("10", "hangs").hanging("CreateContainer");
        let hangs = Plugin::join(Path::new(SOCKET), hangs).await.unwrap();
        let (asking, of) = (cri.clone(), pod.clone());
        let creating = tokio::spawn(async move {
            asking.create(&of, &shell("main", BUSYBOX, "true"), &config).await.is_ok()
        });
        let end = Instant::now() + SOON;
        while !hangs.calls().iter().any(|call| call.method == "CreateContainer") {
            assert!(Instant::now() < end, "it is not asked");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let said = ask(&["status"]);
        let line = said.lines().find(|line| line.contains("10-hangs")).expect("it is not told");
        let waits = "is asked CreateContainer and has not answered for ";
        assert!(
            line.starts_with("nri plugin ") && line.contains(" connected") && line.contains(waits),
            "{line}"
        );
        let good = said.lines().find(|line| line.contains("20-good")).expect("the other is not told");
        assert!(!good.contains("has not answered"), "{good}");
        let plugins = json(&["status", "--json"])["plugins"].clone();
        let names = [&plugins[0]["name"], &plugins[1]["name"]];
        assert_eq!(names, ["10-hangs", "20-good"]);
        assert_eq!(plugins[0]["waits_for"]["stage"], "CreateContainer");
        assert!(plugins[0]["waits_for"]["age_seconds"].as_f64().is_some_and(|age| age > 0.0), "{plugins}");
        assert_eq!(plugins[0]["pid"].as_u64(), Some(u64::from(std::process::id())));
        assert!(plugins[1]["waits_for"].is_null() && plugins[1]["requests"].as_u64() >= Some(2), "{plugins}");

        let named = "NRI plugin 10-hangs is asked CreateContainer, and has not answered for ";
        let explained = ask(&["explain", "pod", &pod]);
        assert!(
            explained.lines().any(|line| line.starts_with("waits") && line.contains(named)),
            "{explained}"
        );
        let explained = json(&["explain", "pod", &pod, "--json"]);
        let all = explained["waits"].as_array().unwrap();
        assert!(all.iter().any(|wait| wait.as_str().is_some_and(|wait| wait.starts_with(named))), "{all:?}");

        metrics_tell(address);
        drop(hangs);
        assert!(creating.await.unwrap(), "it does not go on without the plugin");
        let said = ask(&["status"]);
        let line = said.lines().find(|line| line.contains("10-hangs")).expect("it is forgotten at once");
        assert!(line.contains(" not connected (") && !line.contains(waits), "{line}");
        cri.end_pod(&pod).await.unwrap();
    });
}
