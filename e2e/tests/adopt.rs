//! Images of a real containerd on the same host, taken over without a registry.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use e2e::command::{self, Finished};
use e2e::image::{Entry, Image, Layer, digest};
use e2e::network;
use e2e::pods::shell;
use e2e::proto::{Image as Listed, ListImagesRequest};
use e2e::registry::Registry;
use e2e::runtime::{Daemon, Kind, Options};
use e2e::world::{BUSYBOX, World, pause_image, wait_exited};
use e2e::{client::Cri, peer, tools};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn small(name: &str) -> Image {
    let layer = Layer::default().with(name, 0o644, Entry::File(name.repeat(2000).into_bytes()));
    Image { layers: vec![layer], ..Image::default() }
}

/// An image with a layer of zstd behind an index that names another platform first, of which nobody has anything.
fn push_index(registry: &Registry) {
    let plain = Layer::default().with("zstd", 0o644, Entry::File(b"zstd".repeat(2000))).plain();
    let pushed = Image { layers: vec![plain], ..Image::default() }.encode().unwrap();
    let mut manifest: Value = serde_json::from_slice(&pushed.manifest).unwrap();
    let packed = zstd::encode_all(pushed.blobs[0].1.as_slice(), 3).unwrap();
    manifest["layers"][0] = json!({
        "mediaType": "application/vnd.oci.image.layer.v1.tar+zstd", "digest": digest(&packed), "size": packed.len(),
    });
    let manifest = manifest.to_string().into_bytes();
    registry.push_blob("team/many", &digest(&packed), &packed).unwrap();
    registry.push_blob("team/many", &pushed.id, &pushed.blobs[1].1).unwrap();
    let foreign = Image { layers: small("foreign").layers, ..Image::default() };
    let foreign = registry.push("team/many", "foreign", &foreign).unwrap();
    registry.push_manifest("team/many", "own", pushed.media_type, &manifest).unwrap();
    let entry = |digest: &str, size: usize, architecture: &str| {
        json!({"mediaType": pushed.media_type, "digest": digest, "size": size,
               "platform": {"os": "linux", "architecture": architecture}})
    };
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
        entry(&foreign.digest, foreign.manifest.len(), "s390x"),
        entry(&digest(&manifest), manifest.len(), e2e::image::architecture()),
    ]});
    registry.push_manifest("team/many", "1", INDEX, index.to_string().as_bytes()).unwrap();
}

/// A containerd that has pulled everything, beside the daemon of the world.
fn containerd(world: &World) -> Daemon {
    let options = Options {
        kind: Kind::Containerd,
        network: network::Network::List(network::bridge(
            "1.0.0",
            "ctd0",
            "10.99.0.0/16",
            world.isolation.root(),
        )),
        mirror: Some(world.registry.address()),
        metrics: None,
        extra: String::new(),
        programs: tools::dist(),
    };
    world.registry.push(peer::PAUSE_REPOSITORY, peer::PAUSE_TAG, &pause_image().unwrap()).unwrap();
    for name in ["spoilt", "lost"] {
        world.registry.push(&format!("team/{name}"), "1", &small(name)).unwrap();
    }
    push_index(&world.registry);
    let daemon = Daemon::start(&world.isolation.directory("c").unwrap(), &options).unwrap();
    world.tokio.block_on(async {
        let cri = daemon.client().await.unwrap();
        for name in ["busybox:1", "team/many:1", "team/spoilt:1", "team/lost:1"] {
            cri.pull(&format!("registry.test/{name}"), None).await.unwrap();
        }
        cri.pull(&format!("registry.k8s.io/{}:{}", peer::PAUSE_REPOSITORY, peer::PAUSE_TAG), None)
            .await
            .unwrap();
    });
    daemon
}

/// Where containerd keeps the only layer of a small image.
fn layer(root: &Path, name: &str) -> PathBuf {
    let pushed = small(name).encode().unwrap();
    let digits = pushed.blobs[0].0.strip_prefix("sha256:").unwrap();
    root.join("io.containerd.content.v1.content/blobs/sha256").join(digits)
}

fn adopt(world: &World, root: &Path, more: &[&str]) -> (Finished, BTreeMap<String, Value>) {
    let (program, config) = world.daemon.invocation();
    let mut line = Command::new(program);
    line.args(["adopt", "images", "--from", "containerd", "--json", "--root"]).arg(root);
    line.arg("--config").arg(config).args(more).env("HOME", world.isolation.root());
    let finished = command::finish(&mut line, Duration::from_secs(120)).unwrap();
    let outcomes = finished.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let outcomes = outcomes.map(|value| (value["image"].as_str().unwrap().to_owned(), value)).collect();
    (finished, outcomes)
}

async fn listed(cri: &Cri) -> BTreeMap<String, Listed> {
    let reply = cri.images.clone().list_images(ListImagesRequest::default()).await.unwrap().into_inner();
    reply.images.into_iter().map(|image| (image.id.clone(), image)).collect()
}

fn requests(world: &World) -> usize {
    let log = fs::read_to_string(world.isolation.root().join("registry/log")).unwrap();
    log.lines().filter(|line| line.contains("GET /v2/") || line.contains("HEAD /v2/")).count()
}

#[test]
fn a_containerds_images_are_taken_over_without_a_registry_and_only_what_is_missing_is_pulled() {
    let Some(world) = World::with(|options| Options { kind: Kind::Corten, ..options }).unwrap() else {
        return;
    };
    // It runs all the while: its database is locked and may change.
    let containerd = containerd(&world);
    let root = containerd.place().data.clone();
    let spoilt = layer(&root, "spoilt");
    let mut bytes = fs::read(&spoilt).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    fs::write(&spoilt, &bytes).unwrap();
    fs::remove_file(layer(&root, "lost")).unwrap();

    let before = requests(&world);
    let (finished, outcomes) = adopt(&world, &root, &[]);
    assert!(!finished.status.success(), "two could not be adopted");
    let said = &finished.stderr;
    assert!(
        said.contains("2 of 5 images could not be adopted") && said.contains("`--pull-missing` fetches"),
        "{said}"
    );
    let pause = format!("registry.k8s.io/{}:{}", peer::PAUSE_REPOSITORY, peer::PAUSE_TAG);
    for name in [BUSYBOX, "registry.test/team/many:1", &pause] {
        assert_eq!(outcomes[name]["outcome"], "adopted", "{outcomes:#?}");
        assert_eq!(outcomes[name]["fetched"], false);
    }
    let why =
        |name: &str| outcomes[&format!("registry.test/team/{name}:1")]["why"].as_str().unwrap().to_owned();
    assert!(
        why("spoilt").contains("layer sha256:") && why("spoilt").contains("team/spoilt:1"),
        "{}",
        why("spoilt")
    );
    assert!(why("lost").contains("has no sha256:"), "{}", why("lost"));
    assert_eq!(requests(&world), before, "no registry was asked");

    let (finished, outcomes) = adopt(&world, &root, &["--pull-missing"]);
    assert!(finished.status.success(), "{}", finished.stderr);
    for name in ["spoilt", "lost"] {
        let outcome = &outcomes[&format!("registry.test/team/{name}:1")];
        assert_eq!(
            (&outcome["outcome"], &outcome["fetched"]),
            (&json!("adopted"), &json!(true)),
            "{outcome}"
        );
    }
    assert_eq!(outcomes[BUSYBOX]["outcome"], "known");

    kill(Pid::from_raw(world.registry.pid()), Signal::SIGKILL).unwrap();
    world.tokio.block_on(async {
        let theirs = listed(&containerd.client().await.unwrap()).await;
        let cri = world.daemon.client().await.unwrap();
        let ours = listed(&cri).await;
        assert_eq!(theirs.len(), 5);
        // What the kubelet sees is what it saw: it pulls nothing that is there, and collects nothing that is pinned.
        for (id, image) in &theirs {
            let here = &ours[id];
            assert_eq!(here.repo_tags, image.repo_tags);
            assert_eq!(here.repo_digests, image.repo_digests);
            assert_eq!(here.pinned, image.pinned, "{here:?}");
        }
        let config = world.pod("adopted").unwrap();
        let pod = cri.run_pod(&config).await.unwrap();
        let container =
            cri.create(&pod, &shell("main", BUSYBOX, "id alice && exit 7"), &config).await.unwrap();
        cri.start(&container).await.unwrap();
        let status = wait_exited(&cri, &container, Duration::from_secs(60)).await.unwrap();
        assert_eq!(status.exit_code, 7);
        cri.end_pod(&pod).await.unwrap();
    });
    let (program, config) = world.daemon.invocation();
    let mut verify = Command::new(program);
    command::run(verify.args(["image", "verify", "--config"]).arg(config), Duration::from_secs(60)).unwrap();
}

#[test]
fn what_is_no_containerd_is_said_so() {
    let Some(world) = World::with(|options| Options { kind: Kind::Corten, ..options }).unwrap() else {
        return;
    };
    let (finished, _) = adopt(&world, world.isolation.root(), &[]);
    assert!(finished.stderr.contains("it is not containerd's root"), "{}", finished.stderr);
}

/// What a containerd of today has by default: every line of it that sets something is in the report.
#[test]
fn the_default_configuration_of_the_real_containerd_is_imported() {
    let mut dump = Command::new(tools::go_tool("containerd", "bench").unwrap());
    let text = command::run(dump.args(["config", "default"]), Duration::from_secs(60)).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (theirs, ours) = (directory.path().join("config.toml"), directory.path().join("corten.toml"));
    // What this host imports beside it is not of the test.
    fs::write(&theirs, text.replace("/etc/containerd/conf.d/", "absent/")).unwrap();
    let corten = || Command::new(tools::program(&tools::dist(), "corten").unwrap());
    let mut import = corten();
    import.args(["config", "import", "--from", "containerd", "--json"]).arg(&theirs);
    let imported = command::finish(&mut import, Duration::from_secs(60)).unwrap();
    assert!(imported.status.success(), "{}", imported.stderr);
    fs::write(&ours, &imported.stdout).unwrap();
    let mut check = corten();
    command::run(
        check.args(["config", "check", "--no-host", "--config"]).arg(&ours),
        Duration::from_secs(60),
    )
    .unwrap();
    let rows: Vec<Value> = imported.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let set = text.lines().filter(|line| line.contains(" = ")).count();
    let told = rows.iter().filter(|row| row["value"] != "{}").count();
    assert_eq!(told, set);
    let lost: Vec<&str> =
        rows.iter().filter(|row| row["fate"] == "lost").map(|row| row["key"].as_str().unwrap()).collect();
    assert_eq!(lost, [""; 0]);
    assert!(imported.stdout.contains("config.toml:"), "{}", imported.stdout);
}
