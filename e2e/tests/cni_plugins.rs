//! The standard Go plugins and Corten's own are interchangeable: the same scenario, each time with other plugins.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use e2e::http::Request;
use e2e::network::{Network, bridge};
use e2e::pods::{shell, with_host_port};
use e2e::runtime::{Daemon, Kind, Options};
use e2e::tools;
use e2e::world::{BUSYBOX, World};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn page(address: &str) -> String {
    let request = Request { method: "GET", target: "/index.html", headers: &[], body: &[] };
    for _ in 0..60 {
        if let Ok(reply) = request.send(address.parse().unwrap()) {
            return String::from_utf8_lossy(&reply.body).trim().to_owned();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    format!("nobody answers at {address}")
}

/// Two pods: an address each, one reaches the other by address and by host port; then nothing is left.
fn scenario(world: &World) {
    let baseline = world.baseline().unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let server_config = with_host_port(world.pod("server").unwrap(), 30_080, 80);
        let server = cri.run_pod(&server_config).await.unwrap();
        let script = "mkdir /www; echo served >/www/index.html; exec httpd -f -p 80 -h /www";
        let web = cri.create(&server, &shell("web", BUSYBOX, script), &server_config).await.unwrap();
        cri.start(&web).await.unwrap();
        let client_config = world.pod("client").unwrap();
        let client = cri.run_pod(&client_config).await.unwrap();
        let shell_ =
            cri.create(&client, &shell("sh", BUSYBOX, "exec sleep 1000"), &client_config).await.unwrap();
        cri.start(&shell_).await.unwrap();

        let ip = cri.pod_ip(&server).await.unwrap();
        assert_eq!(page(&format!("{ip}:80")), "served");
        let gateway =
            cri.shell(&shell_, "ip route | sed -n 's/default via \\([^ ]*\\).*/\\1/p'").await.unwrap();
        let gateway = gateway.trim();
        assert_eq!(page(&format!("{gateway}:30080")), "served", "host port");
        let fetched = cri.shell(&shell_, &format!("wget -q -O- http://{ip}/index.html")).await.unwrap();
        assert_eq!(fetched.trim(), "served", "pod to pod");
        let fetched = cri.shell(&shell_, &format!("wget -q -O- http://{gateway}:30080/index.html")).await;
        assert_eq!(fetched.unwrap().trim(), "served", "pod to host port");
        assert_eq!(cri.shell(&shell_, "cat /sys/class/net/lo/operstate").await.unwrap().trim(), "unknown");
        for id in [&server, &client] {
            cri.end_pod(id).await.unwrap();
        }
    });
    baseline.settle(&world.isolation, &world.daemon).unwrap();
}

fn with_plugins(version: &'static str, plugins: PathBuf) -> Option<World> {
    assert!(plugins.join("bridge").exists(), "{} is empty; run `e2e/setup.sh test`", plugins.display());
    let mut world = World::new().unwrap()?;
    if world.daemon.kind() == Kind::Containerd && version == "1.0.0" {
        need::skip(need::Need::Corten, "containerd is set up with the upstream plugins");
        return None;
    }
    world.daemon = start_with(&world, version, plugins);
    Some(world)
}

/// A second daemon in the world, with plugins that are executed.
fn start_with(world: &World, version: &str, plugins: PathBuf) -> Daemon {
    let list = bridge(version, "cte1", "10.89.0.0/16", world.isolation.root());
    let options = Options {
        kind: world.daemon.kind(),
        network: Network::Executed { list, plugins },
        mirror: Some(world.registry.address()),
        metrics: None,
        extra: String::new(),
        programs: e2e::tools::dist(),
    };
    Daemon::start(&world.isolation.directory("go").unwrap(), &options).unwrap()
}

#[test]
fn corten_s_own_plugins() {
    let Some(world) = World::new().unwrap() else { return };
    scenario(&world);
}

#[test]
fn debian_s_plugins_with_a_1_0_0_list() {
    let Some(world) = with_plugins("1.0.0", tools::debian_cni_directory()) else { return };
    scenario(&world);
}

#[test]
fn upstream_s_plugins_with_a_1_1_0_list() {
    let Some(world) = with_plugins("1.1.0", tools::go_cni_directory()) else { return };
    scenario(&world);
}

/// Upstream's plugins behind scripts that write down what they are asked: upstream's take STATUS and GC, but do
/// nothing on GC as yet, so the question itself is what can be seen.
fn recording_plugins(directory: &Path) {
    for plugin in ["bridge", "host-local", "portmap", "loopback"] {
        let real = tools::go_cni_directory().join(plugin);
        let log = directory.join("asked");
        let script = format!(
            "#!/bin/sh\ninput=$(cat)\necho \"$CNI_COMMAND {plugin} $input\" | tr -d '\\n' >>{log}\necho >>{log}\n\
             printf %s \"$input\" | {real}\n",
            log = log.display(),
            real = real.display(),
        );
        let path = directory.join(plugin);
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn status_and_gc_reach_the_upstream_plugins() {
    let Some(mut world) = World::new().unwrap() else { return };
    if world.daemon.kind() == Kind::Containerd {
        need::skip(need::Need::Corten, "the peer does no GC");
        return;
    }
    let directory = world.isolation.directory("recording").unwrap();
    recording_plugins(&directory);
    world.daemon = start_with(&world, "1.1.0", directory.clone());
    let pod = world.pod("kept").unwrap();
    let id = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.run_pod(&pod).await.unwrap()
    });
    let asked = || fs::read_to_string(directory.join("asked")).unwrap_or_default();
    world.daemon.kill().unwrap();
    fs::remove_file(directory.join("asked")).unwrap();
    world.daemon.restart().unwrap();
    // At its start the daemon tells the plugins which attachments are still valid, and asks how they are.
    let end = Instant::now() + Duration::from_secs(15);
    let has = |words: &[&str]| asked().lines().any(|line| words.iter().all(|word| line.contains(word)));
    while !(has(&["GC bridge", "cni.dev/valid-attachments", &id]) && has(&["STATUS bridge"])) {
        assert!(Instant::now() < end, "GC and STATUS did not come: {}", asked());
        std::thread::sleep(Duration::from_millis(50));
    }
    let crictl = world.crictl().unwrap();
    // The plugins write down the question before they answer.
    loop {
        let info: serde_json::Value = serde_json::from_str(&crictl.run(&["info"]).unwrap()).unwrap();
        let conditions = info["status"]["conditions"].as_array().unwrap();
        if conditions.iter().any(|one| one["type"] == "NetworkReady" && one["status"] == true) {
            break;
        }
        assert!(Instant::now() < end, "{info}");
        std::thread::sleep(Duration::from_millis(50));
    }
    world.tokio.block_on(async { world.daemon.client().await.unwrap().end_pod(&id).await.unwrap() });
}

#[test]
fn a_configuration_that_cannot_be_carried_out_is_told_and_leaves_no_pod() {
    let change = |mut options: Options| {
        if let Network::List(list) = &mut options.network {
            list["plugins"][0]["promiscMode"] = true.into();
        }
        options
    };
    let Some(world) = World::with(change).unwrap() else { return };
    if world.daemon.kind() == Kind::Containerd {
        need::skip(need::Need::Corten, "the peer says nothing of it before the first pod");
        return;
    }
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let crictl = world.crictl().unwrap();
        let info: serde_json::Value = serde_json::from_str(&crictl.run(&["info"]).unwrap()).unwrap();
        let conditions = info["status"]["conditions"].as_array().unwrap();
        let network = conditions.iter().find(|one| one["type"] == "NetworkReady").unwrap();
        let said = network["message"].as_str().unwrap_or_default();
        assert!(network["status"] != true && said.contains("promiscMode exclude"), "{network}");
        let error = cri.run_pod(&world.pod("refused").unwrap()).await.unwrap_err().to_string();
        assert!(error.contains("network of pod test/refused: cni ADD bridge: "), "{error}");
        assert_eq!(error.matches("exclude one another").count(), 1, "{error}");
        assert!(cri.pods().await.unwrap().is_empty(), "it is listed, and could not be removed");
    });
}

#[test]
fn a_pod_whose_plugin_is_gone_can_be_removed_and_is_released_later() {
    let Some(mut world) = World::new().unwrap() else { return };
    if world.daemon.kind() == Kind::Containerd {
        need::skip(need::Need::Corten, "the peer keeps such a pod");
        return;
    }
    let directory = world.isolation.directory("plugins").unwrap();
    let install = || {
        for plugin in ["bridge", "host-local", "portmap", "loopback"] {
            fs::copy(tools::dist().join("cni").join(plugin), directory.join(plugin)).unwrap();
        }
    };
    install();
    world.daemon = start_with(&world, "1.0.0", directory.clone());
    let leases = world.isolation.root().join("networks/test");
    let held = || {
        fs::read_dir(&leases)
            .unwrap()
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with("10."))
    };
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let id = cri.run_pod(&world.pod("orphan").unwrap()).await.unwrap();
        for plugin in fs::read_dir(&directory).unwrap().flatten() {
            fs::remove_file(plugin.path()).unwrap();
        }
        cri.end_pod(&id).await.unwrap();
        assert!(cri.pods().await.unwrap().is_empty() && held(), "the address is not free before its DEL");
    });
    install();
    let end = Instant::now() + Duration::from_secs(60);
    while held() {
        assert!(Instant::now() < end, "the address is never released");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn rules_that_somebody_flushes_are_made_again() {
    let Some(mut world) = World::new().unwrap() else { return };
    if world.daemon.kind() == Kind::Containerd {
        need::skip(need::Need::Corten, "the peer leaves that to its user");
        return;
    }
    let drop_ins = world.daemon.place().root.join("conf.d");
    fs::create_dir_all(&drop_ins).unwrap();
    fs::write(drop_ins.join("10.toml"), "[network]\nstatus_interval_seconds = 1\n").unwrap();
    let flush = || {
        let mut nft = std::process::Command::new(tools::system("nft").unwrap());
        assert!(nft.args(["flush", "ruleset"]).status().unwrap().success());
    };
    let id = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let config = with_host_port(world.pod("server").unwrap(), 30_081, 80);
        let pod = cri.run_pod(&config).await.unwrap();
        let script = "mkdir /www; echo served >/www/index.html; exec httpd -f -p 80 -h /www";
        let web = cri.create(&pod, &shell("web", BUSYBOX, script), &config).await.unwrap();
        cri.start(&web).await.unwrap();
        pod
    });
    assert_eq!(page("127.0.0.1:30081"), "served");
    world.daemon.kill().unwrap();
    flush();
    world.daemon.restart().unwrap();
    assert_eq!(page("127.0.0.1:30081"), "served", "after the start");
    flush();
    let answers = (0..5).any(|_| page("127.0.0.1:30081") == "served");
    assert!(answers, "after the next look");
    world.tokio.block_on(async { world.daemon.client().await.unwrap().end_pod(&id).await.unwrap() });
}
