//! Bad input gets an answer that names what is wrong, and leaves nothing behind.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use e2e::Error;
use e2e::baseline::Snapshot;
use e2e::client::Cri;
use e2e::image::{Entry, Image, Layer, Schema};
use e2e::isolation::Isolation;
use e2e::network::{Network, bridge};
use e2e::pods::{container, shell};
use e2e::proto::{Mount, PodSandboxConfig, PodSandboxMetadata};
use e2e::registry::free_address;
use e2e::runtime::{Daemon, Kind, Options};
use e2e::tools;
use e2e::world::{BUSYBOX, World, wait_exited};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::Duration;
use tonic::Code;

fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> (Code, String) {
    match result.unwrap_err() {
        Error::Rpc { status, .. } => (status.code(), status.message().to_owned()),
        other => panic!("no status: {other}"),
    }
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(result: Result<T, Error>, code: Code, words: &[&str]) {
    let (got, message) = refusal(result);
    assert_eq!(got, code, "{message}");
    for word in words {
        assert!(message.contains(word), "{message:?} does not name {word:?}");
    }
}

fn corten(world: &World) -> bool {
    if world.daemon.kind() == Kind::Containerd {
        need::skip(need::Need::Corten, "the peer answers bad input in other ways");
        return false;
    }
    true
}

#[test]
fn unknown_ids() {
    let Some(world) = World::new().unwrap() else { return };
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let id = "0123456789abcdef".repeat(4);
        let words = if corten(&world) { vec![id.as_str()] } else { Vec::new() };
        assert_refused(cri.pod_status(&id).await, Code::NotFound, &words);
        assert_refused(cri.container_status(&id).await, Code::NotFound, &words);
        assert_refused(cri.start(&id).await, Code::NotFound, &words);
        assert_refused(cri.exec(&id, &["true"], 1).await, Code::NotFound, &words);
        let pod = world.pod("unknown").unwrap();
        let create = cri.create(&id, &shell("main", BUSYBOX, "true"), &pod).await;
        assert!(matches!(refusal(create).0, Code::NotFound | Code::Unknown));
        cri.stop(&id, 0).await.unwrap();
        cri.remove(&id).await.unwrap();
        cri.end_pod(&id).await.unwrap();
    });
}

#[test]
fn malformed_configurations_name_the_field() {
    let Some(world) = World::new().unwrap() else { return };
    if !corten(&world) {
        return;
    }
    let baseline = world.baseline().unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        assert_refused(cri.run_pod(&PodSandboxConfig::default()).await, Code::InvalidArgument, &["metadata"]);
        let mut pod = world.pod("malformed").unwrap();
        pod.metadata = Some(PodSandboxMetadata { name: String::new(), ..pod.metadata.unwrap() });
        assert_refused(cri.run_pod(&pod).await, Code::InvalidArgument, &["name"]);

        let good = world.pod("malformed").unwrap();
        let mut port = good.clone();
        port = e2e::pods::with_host_port(port, 70_000, 80);
        assert_refused(cri.run_pod(&port).await, Code::InvalidArgument, &["host_port"]);

        let id = cri.run_pod(&good).await.unwrap();
        let nameless = container("", BUSYBOX, &["true"]);
        assert_refused(cri.create(&id, &nameless, &good).await, Code::InvalidArgument, &["name"]);
        let imageless = container("main", "", &["true"]);
        assert_refused(cri.create(&id, &imageless, &good).await, Code::InvalidArgument, &["image"]);
        let mut relative = shell("main", BUSYBOX, "true");
        relative.mounts.push(Mount {
            container_path: "data".into(),
            host_path: "/tmp".into(),
            ..Mount::default()
        });
        assert_refused(cri.create(&id, &relative, &good).await, Code::InvalidArgument, &["container_path"]);
        let mut escaping = shell("main", BUSYBOX, "true");
        escaping.log_path = "../../escaped.log".into();
        assert_refused(cri.create(&id, &escaping, &good).await, Code::InvalidArgument, &["log_path"]);
        assert!(cri.containers().await.unwrap().is_empty());
        cri.end_pod(&id).await.unwrap();
    });
    baseline.settle(&world.isolation, &world.daemon).unwrap();
}

#[test]
fn a_duplicate_name() {
    let Some(world) = World::new().unwrap() else { return };
    if !corten(&world) {
        return;
    }
    let baseline = world.baseline().unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let pod = world.pod("twice").unwrap();
        let retries: Vec<_> = (0..20)
            .map(|_| {
                let (cri, pod) = (cri.clone(), pod.clone());
                tokio::spawn(async move { cri.run_pod(&pod).await.unwrap() })
            })
            .collect();
        let mut ids = Vec::new();
        for retry in retries {
            ids.push(retry.await.unwrap());
        }
        ids.dedup();
        assert_eq!(ids.len(), 1, "identical requests made several pods");
        let id = &ids[0];

        let mut other = pod.clone();
        other.hostname = "other".into();
        assert_refused(cri.run_pod(&other).await, Code::AlreadyExists, &[id]);

        let config = shell("main", BUSYBOX, "exec sleep 1000");
        let container = cri.create(id, &config, &pod).await.unwrap();
        assert_eq!(cri.create(id, &config, &pod).await.unwrap(), container);
        let different = shell("main", BUSYBOX, "exec sleep 2000");
        assert_refused(cri.create(id, &different, &pod).await, Code::AlreadyExists, &[&container]);

        // Stop and remove, each twice.
        cri.start(&container).await.unwrap();
        for _ in 0..2 {
            cri.stop(&container, 0).await.unwrap();
        }
        for _ in 0..2 {
            cri.remove(&container).await.unwrap();
        }
        for _ in 0..2 {
            cri.stop_pod(id).await.unwrap();
        }
        for _ in 0..2 {
            cri.remove_pod(id).await.unwrap();
        }
        // The name is free again.
        let next = cri.run_pod(&other).await.unwrap();
        assert_ne!(&next, id);
        cri.end_pod(&next).await.unwrap();
    });
    baseline.settle(&world.isolation, &world.daemon).unwrap();
}

#[test]
fn what_a_container_asks_for_is_not_there() {
    let Some(world) = World::new().unwrap() else { return };
    if !corten(&world) {
        return;
    }
    let baseline = world.baseline().unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let pod = world.pod("absent").unwrap();
        let id = cri.run_pod(&pod).await.unwrap();

        let image = container("main", "registry.test/never-pulled:1", &["true"]);
        assert_refused(cri.create(&id, &image, &pod).await, Code::NotFound, &["never-pulled"]);
        let mut user = shell("main", BUSYBOX, "true");
        let linux = user.linux.as_mut().unwrap();
        linux.security_context.as_mut().unwrap().run_as_username = "nosuchuser".into();
        assert_refused(cri.create(&id, &user, &pod).await, Code::InvalidArgument, &["nosuchuser"]);
        let mut mount = shell("main", BUSYBOX, "true");
        mount.mounts.push(Mount {
            container_path: "/data".into(),
            host_path: "/etc/passwd/source".into(),
            ..Mount::default()
        });
        let (code, message) = refusal(cri.create(&id, &mount, &pod).await);
        assert!(matches!(code, Code::InvalidArgument | Code::NotFound), "{code}");
        assert!(message.contains("/etc/passwd/source"), "{message}");
        assert!(cri.containers().await.unwrap().is_empty(), "a refused container is listed");

        // A command that is not there is found out at the start, as the kubelet expects it.
        let config = container("command", BUSYBOX, &["/no/such/program"]);
        let container = cri.create(&id, &config, &pod).await.unwrap();
        let (_, message) = refusal(cri.start(&container).await);
        assert!(message.contains("/no/such/program"), "{message}");
        let status = wait_exited(&cri, &container, Duration::from_secs(30)).await.unwrap();
        assert_eq!((status.exit_code, status.reason.as_str()), (128, "StartError"));
        cri.end_pod(&id).await.unwrap();
    });
    baseline.settle(&world.isolation, &world.daemon).unwrap();
}

#[test]
fn a_start_that_fails_says_what_is_missing_and_so_does_the_next_one() {
    let Some(world) = World::new().unwrap() else { return };
    if !corten(&world) {
        return;
    }
    let mut image = e2e::image::busybox().unwrap();
    let script = Entry::File(b"#!/usr/bin/bash -e\r\necho never\r\n".to_vec());
    image.layers.push(Layer::default().with("script", 0o755, script));
    world.registry.push("scripts", "1", &image).unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull("registry.test/scripts:1", None).await.unwrap();
        let config = world.pod("interpreted").unwrap();
        let pod = cri.run_pod(&config).await.unwrap();
        let main = container("main", "registry.test/scripts:1", &["/script"]);
        let id = cri.create(&pod, &main, &config).await.unwrap();
        let why =
            "exec: \"/script\": no such file or directory: its interpreter \"/usr/bin/bash\" is missing";
        let (_, message) = refusal(cri.start(&id).await);
        assert!(message.contains(why), "{message}");
        assert_eq!(cri.container_status(&id).await.unwrap().message, why);
        let ended = format!("it is exited (StartError, exit code 128): {why}");
        assert_refused(cri.start(&id).await, Code::FailedPrecondition, &[&ended]);
        assert_refused(cri.exec(&id, &["true"], 1).await, Code::FailedPrecondition, &[&ended]);
        cri.end_pod(&pod).await.unwrap();
    });
}

#[test]
fn images_that_lie_and_registries_that_are_silent() {
    let Some(world) = World::new().unwrap() else { return };
    if !corten(&world) {
        return;
    }
    let baseline = world.baseline().unwrap();
    let layer = Layer::default().with("hello", 0o644, Entry::File(b"hello".to_vec()));
    let honest = Image { layers: vec![layer], config: json!({}), ..Image::default() };
    let liar = Image { wrong_diff_id: true, schema: Schema::Docker, ..honest.clone() };
    world.registry.push("liar", "1", &liar).unwrap();
    let hosts = [("dead.test", free_address().unwrap()), ("liar.test", world.registry.address())];
    let certs = hosts.map(|(host, address)| {
        let directory = world.daemon.place().certs.join(host);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("hosts.toml"), format!("server = \"http://{address}\"\n")).unwrap();
        directory
    });
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let (code, message) = refusal(cri.pull("liar.test/liar:1", None).await);
        assert!(message.contains("sha256:"), "{code}: {message}");
        let wrong = format!("liar.test/liar@sha256:{}", "0".repeat(64));
        let (code, _) = refusal(cri.pull(&wrong, None).await);
        assert!(matches!(code, Code::NotFound | Code::Unavailable), "{code}");
        // With another code the kubelet's client would not recognise the reason.
        let (code, message) = refusal(cri.pull("dead.test/any:1", None).await);
        assert!(code == Code::Unknown && message.starts_with("RegistryUnavailable"), "{code}: {message}");
        assert!(message.contains("dead.test"), "{message}");
        assert_refused(cri.pull("registry.test/UPPER case", None).await, Code::InvalidArgument, &["image"]);
    });
    for directory in certs {
        fs::remove_dir_all(directory).unwrap();
    }
    baseline.settle(&world.isolation, &world.daemon).unwrap();
}

#[test]
fn without_a_network_only_host_network_pods_start() {
    let options = |options| Options { network: Network::None, ..options };
    let Some(world) = World::with(options).unwrap() else { return };
    let baseline = Snapshot::take(&world.isolation, &world.daemon).unwrap().without("cgroup").without("fd");
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let networked = world.pod("networked").unwrap();
        let (code, message) = refusal(cri.run_pod(&networked).await);
        assert!(message.to_lowercase().contains("cni") || message.contains("network"), "{code}: {message}");
        let mut host = world.pod("host").unwrap();
        host.hostname.clear();
        let security = host.linux.as_mut().unwrap().security_context.as_mut().unwrap();
        security.namespace_options = Some(e2e::proto::NamespaceOption { network: 2, ..Default::default() });
        if let Kind::Containerd = world.daemon.kind() {
            cri.pull("registry.k8s.io/pause:3.10.2", None).await.unwrap();
        }
        let id = cri.run_pod(&host).await.unwrap();
        cri.end_pod(&id).await.unwrap();
    });
    if corten(&world) {
        baseline.settle(&world.isolation, &world.daemon).unwrap();
    }
}

/// Upstream's plugins, and after them one that refuses every ADD.
fn plugins_with_a_refusal(isolation: &Isolation) -> PathBuf {
    let directory = isolation.directory("plugins").unwrap();
    for plugin in ["bridge", "host-local", "portmap", "loopback"] {
        symlink(tools::go_cni_directory().join(plugin), directory.join(plugin)).unwrap();
    }
    let refuse = directory.join("refuse");
    let script = "#!/bin/sh\n\
                  [ $CNI_COMMAND = VERSION ] && echo '{\"cniVersion\":\"1.0.0\",\"supportedVersions\":[\"1.0.0\"]}'\n\
                  [ $CNI_COMMAND = ADD ] || exit 0\n\
                  echo '{\"cniVersion\":\"1.0.0\",\"code\":107,\"msg\":\"refused on purpose\"}'; exit 1\n";
    fs::write(&refuse, script).unwrap();
    fs::set_permissions(&refuse, fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

#[test]
fn a_network_that_fails_leaves_nothing() {
    let Some(mut world) = World::new().unwrap() else { return };
    if !corten(&world) {
        return;
    }
    let mut list = bridge("1.0.0", "cte2", "10.86.0.0/16", world.isolation.root());
    list["plugins"].as_array_mut().unwrap().push(json!({"type": "refuse"}));
    let network = Network::Executed { list, plugins: plugins_with_a_refusal(&world.isolation) };
    let options = Options {
        kind: Kind::Corten,
        network,
        mirror: Some(world.registry.address()),
        metrics: None,
        extra: String::new(),
        programs: e2e::tools::dist(),
    };
    world.daemon = Daemon::start(&world.isolation.directory("refusing").unwrap(), &options).unwrap();
    let pod = world.pod("broken").unwrap();
    let attempt = || {
        world.tokio.block_on(async {
            let cri = world.daemon.client().await.unwrap();
            let (_, message) = refusal(cri.run_pod(&pod).await);
            assert!(message.contains("refused on purpose"), "{message}");
            assert!(cri.pods().await.unwrap().is_empty());
        });
    };
    // The bridge stays after the first try, so the second is compared with it.
    attempt();
    let baseline = Snapshot::take(&world.isolation, &world.daemon).unwrap();
    attempt();
    baseline.settle(&world.isolation, &world.daemon).unwrap();
}

#[test]
fn a_request_over_the_limit_spares_the_connection() {
    let Some(world) = World::new().unwrap() else { return };
    world.tokio.block_on(async {
        let cri: Cri = world.daemon.client().await.unwrap();
        let mut pod = world.pod("huge").unwrap();
        pod.annotations.insert("big".into(), "x".repeat(20 << 20));
        assert_refused(cri.run_pod(&pod).await, Code::ResourceExhausted, &[]);
        assert!(cri.is_ready().await, "the connection is gone");
        assert!(cri.pods().await.unwrap().is_empty());
    });
}

#[test]
fn a_field_of_a_later_stage_is_refused_by_name() {
    let Some(world) = World::new().unwrap() else { return };
    if !corten(&world) {
        return;
    }
    let baseline = world.baseline().unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let mut pod = world.pod("later").unwrap();
        // The daemon of every world has the cgroupfs driver.
        pod.linux.as_mut().unwrap().cgroup_parent = "kubepods.slice".into();
        assert_refused(cri.run_pod(&pod).await, Code::InvalidArgument, &["cgroup_parent"]);
        let pod = world.pod("later").unwrap();
        let id = cri.run_pod(&pod).await.unwrap();
        let mut devices = shell("main", BUSYBOX, "true");
        devices.cdi_devices.push(e2e::proto::CdiDevice { name: "vendor.test/gpu=0".into() });
        let (code, message) = refusal(cri.create(&id, &devices, &pod).await);
        assert!(matches!(code, Code::InvalidArgument | Code::Unimplemented), "{code}");
        assert!(message.to_lowercase().contains("cdi_devices"), "{message}");
        cri.end_pod(&id).await.unwrap();
    });
    baseline.settle(&world.isolation, &world.daemon).unwrap();
}
