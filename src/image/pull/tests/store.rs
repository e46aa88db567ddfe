//! The store over restarts, removals and damage.

use super::mock::{Behaviour, Mock, Pushed, gzip};
use super::{Node, counted, layer, noise, wait_for_last};
use crate::LayerPhase;
use crate::store::Database;
use crate::unpack::testtar::{Builder, Head};
use crate::{ImageConfig, ImageStore};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn the_store_survives_a_restart_and_repairs_itself() {
    let mock = Mock::start().await;
    mock.push("app", "v1", &Pushed::index(vec![gzip(&layer("a", b"x")), gzip(&layer("b", b"y"))]));
    let reference = format!("{}/app:v1", mock.address());
    let directory = tempfile::tempdir().unwrap();
    let config = ImageConfig { root: directory.path().join("images"), ..Default::default() };
    let open = || ImageStore::open(config.clone(), &prometheus::Registry::new());
    let store = open().unwrap();
    let id = store.pull(&reference, None).await.unwrap();
    let root = directory.path().join("images");
    counted(&store, &root).await;
    let image = store.find(&id).unwrap().unwrap();
    wait_for_last(store).await;

    std::fs::create_dir(directory.path().join("images/ingest/77")).unwrap();
    std::fs::create_dir(directory.path().join("images/layers/sha256/orphan")).unwrap();
    let store = open().unwrap();
    assert_eq!(store.find(&id).unwrap().unwrap(), image);
    store.sweep().unwrap();
    counted(&store, &root).await;
    gone(&directory.path().join("images/ingest/77")).await;
    assert!(!directory.path().join("images/layers/sha256/orphan").exists());
    wait_for_last(store).await;

    // A lost layer: the image is gone, and a pull fetches that layer alone.
    std::fs::remove_dir_all(&image.rootfs.directories()[1]).unwrap();
    let store = open().unwrap();
    assert!(store.list().is_empty());
    let requests = mock.blob_requests();
    store.pull(&reference, None).await.unwrap();
    assert_eq!(mock.blob_requests() - requests, 2, "the config and one layer");
    wait_for_last(store).await;

    // A damaged database: the node serves, from nothing.
    std::fs::write(directory.path().join("images/meta.redb"), "not a database at all").unwrap();
    let store = open().unwrap();
    assert!(store.list().is_empty());
    store.hold_rootfs("container", &image.rootfs);
    store.sweep().unwrap();
    assert!(
        image.rootfs.directories().iter().all(|layer| layer.is_dir()),
        "a running container's layers stay"
    );
    store.release("container");
    store.sweep().unwrap();
    assert!(image.rootfs.directories().iter().all(|layer| !layer.exists()));
    assert_eq!(store.pull(&reference, None).await.unwrap(), id);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_of_the_wrong_kind_is_set_aside_and_the_store_serves() {
    use std::os::unix::fs::symlink;
    type Make = fn(&Path) -> std::io::Result<()>;
    let kinds: [(&str, Make); 4] = [
        ("a directory", |path| std::fs::create_dir_all(path.join("full"))),
        ("a link to itself", |path| symlink(path, path)),
        ("a link to a device", |path| symlink("/dev/zero", path)),
        ("a socket", |path| std::os::unix::net::UnixListener::bind(path).map(drop)),
    ];
    for place in ["meta.redb", "reserve", "blobs", "ingest"] {
        for (kind, make) in kinds {
            let directory = tempfile::tempdir().unwrap();
            let root = directory.path().join("images");
            std::fs::create_dir(&root).unwrap();
            make(&root.join(place)).unwrap();
            let config = ImageConfig { root, ..Default::default() };
            let store = ImageStore::open(config, &prometheus::Registry::new());
            assert!(store.unwrap_or_else(|error| panic!("{place}, {kind}: {error}")).list().is_empty());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn holders_keep_layers_and_tags_move() {
    let mock = Mock::start().await;
    let shared = gzip(&layer("shared", b"s"));
    mock.push("app", "v1", &Pushed::manifest(vec![shared.clone(), gzip(&layer("one", b"1"))]));
    let node = Node::new();
    let reference = format!("{}/app:v1", mock.address());
    let old = node.store.pull(&reference, None).await.unwrap();
    let old_image = node.store.hold(&old, "container").unwrap();
    mock.push("app", "v1", &Pushed::manifest(vec![shared, gzip(&layer("two", b"2"))]));
    let new = node.store.pull(&reference, None).await.unwrap();
    assert_ne!(old, new);
    assert_eq!(node.image(&reference).id, new);
    let dangling = node.image(&old);
    assert!(dangling.repo_tags.is_empty() && dangling.repo_digests.len() == 1);

    node.store.remove(&old).await.unwrap();
    assert_eq!(node.store.find(&old).unwrap(), None);
    node.store.sweep().unwrap();
    assert!(old_image.rootfs.directories().iter().all(|layer| layer.is_dir()), "held");
    assert!(node.store.hold(&old, "container").is_ok(), "a restart may say it again");
    node.store.release("container");
    node.store.sweep().unwrap();
    assert!(
        !old_image.rootfs.directories()[0].exists() && old_image.rootfs.directories()[1].is_dir(),
        "the other image's stays"
    );
    assert!(node.store.hold(&old, "container").is_err());
    node.store.remove(&new).await.unwrap();
    node.assert_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_without_an_entry_look_as_the_layers_below_say() {
    let mut base = Builder::default();
    base.dir("./", 0o755).dir("a", 0o750);
    base.entry(&Head { kind: b'5', name: b"a/tmp", mode: 0o1777, uid: 5, ..Default::default() }, b"");
    let mut top = Builder::default();
    top.file("a/tmp/x", b"x").file("fresh/y", b"y");
    let mock = Mock::start().await;
    mock.push("app", "v1", &Pushed::manifest(vec![gzip(&base.end()), gzip(&top.end())]));
    let node = Node::new();
    let reference = format!("{}/app:v1", mock.address());
    node.store.pull(&reference, None).await.unwrap();
    let image = node.image(&reference);
    assert_eq!(image.rootfs.directories().len(), 3, "one more on top");
    let mode = |path: &str| {
        let meta = Path::new(&image.rootfs.directories()[0]).join(path).metadata().unwrap();
        (meta.mode() & 0o7777, meta.uid())
    };
    assert_eq!(mode("a/tmp"), (0o1777, 5));
    assert_eq!(mode("a"), (0o750, 0));
    assert_eq!(mode(""), (0o755, 0));
    assert!(!image.rootfs.directories()[0].join("fresh").exists());
    node.store.remove(&reference).await.unwrap();
    node.assert_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_on_the_disk_before_a_power_loss_is_fetched_again_alone() {
    let mock = Mock::start().await;
    mock.push("app", "v1", &Pushed::index(vec![gzip(&layer("a", b"x")), gzip(&layer("b", b"y"))]));
    mock.push("other", "v1", &Pushed::index(vec![gzip(&layer("a", b"x"))]));
    let reference = |name: &str| format!("{}/{name}:v1", mock.address());
    let directory = tempfile::tempdir().unwrap();
    let config = ImageConfig { root: directory.path().join("images"), ..Default::default() };
    let open = || ImageStore::open(config.clone(), &prometheus::Registry::new()).unwrap();
    let store = open();
    for name in ["app", "other"] {
        store.pull(&reference(name), None).await.unwrap();
    }
    let lost = store.find(&reference("app")).unwrap().unwrap().rootfs.directories()[0].clone();
    wait_for_last(store).await;
    // The machine went down before the top layer was known to be on the disk, and its files are empty now.
    let database = Database::open(&directory.path().join("images/meta.redb")).unwrap();
    let (_, layers) = database.read().unwrap();
    let hex = lost.file_name().unwrap().to_str().unwrap();
    let (id, mut record) = layers.into_iter().find(|(id, _)| id.hex() == hex).unwrap();
    assert_eq!(record.boot_id, None, "what was pulled is made durable");
    record.boot_id = Some("an earlier boot".to_owned());
    database.write(&[], &[(id, record)]).unwrap();
    drop(database);
    std::fs::write(lost.join("data/b"), "").unwrap();

    let store = open();
    assert!(store.find(&reference("app")).unwrap().is_none(), "not shown as if it were whole");
    assert!(store.find(&reference("other")).unwrap().is_some());
    let requests = mock.blob_requests();
    store.pull(&reference("app"), None).await.unwrap();
    assert_eq!(mock.blob_requests() - requests, 2, "the config and one layer");
    store.verify(Vec::new(), false, |image| assert!(image.is_whole(), "{image:?}")).await.unwrap();
}

/// Waits for what is removed behind the scenes.
async fn gone(path: &std::path::Path) {
    for _ in 0..2000 {
        if !path.exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} is still there", path.display());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_occurs_twice_is_there_once() {
    let mock = Mock::start().await;
    let (twice, other) = (gzip(&layer("a", b"x")), gzip(&layer("b", b"y")));
    mock.push("app", "v1", &Pushed::index(vec![twice.clone(), other, twice]));
    let node = Node::new();
    let id = node.store.pull(&format!("{}/app:v1", mock.address()), None).await.unwrap();
    let image = node.store.find(&id).unwrap().unwrap();
    let name = |layer: usize| image.rootfs.directories()[layer].clone();
    assert_eq!(image.rootfs.directories().len(), 2, "{:?}", image.rootfs);
    assert!(name(0).join("data/a").exists() && name(1).join("data/b").exists(), "the topmost stays");
    node.assert_counted().await;
    let usage = node.store.disk_usage();
    assert_eq!((usage.images[0].unique, usage.images[0].shared), (usage.layers, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_up_leaves_what_a_pull_under_way_counts_on() {
    let mock = Mock::start().await;
    let big = layer("big", &noise(1_000_000));
    mock.push("app", "v1", &Pushed::index(vec![gzip(&layer("small", b"x")), (big.clone(), big, "tar")]));
    mock.behave(Behaviour::StallBig);
    let node = Node::with(|config| config.progress_timeout_seconds = 1);
    let reference = format!("{}/app:v1", mock.address());
    let (store, wanted) = (Arc::clone(&node.store), reference.clone());
    let pull = tokio::spawn(async move { store.pull(&wanted, None).await });
    tokio::time::timeout(Duration::from_secs(30), async {
        let done =
            |pull: &crate::PullProgress| pull.layers.iter().any(|layer| layer.phase == LayerPhase::Done);
        while !node.store.pulls().iter().any(done) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    node.store.prune(true).unwrap();
    mock.behave(Behaviour::Open);
    pull.await.unwrap().unwrap();
    node.store.verify(Vec::new(), false, |image| assert!(image.is_whole(), "{image:?}")).await.unwrap();
    node.assert_counted().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pinned_images_are_named_by_patterns_and_stay() {
    let mock = Mock::start().await;
    mock.push("infra/pause", "3", &Pushed::manifest(vec![gzip(&layer("a", b"x"))]));
    mock.push("team/app", "3", &Pushed::manifest(vec![gzip(&layer("b", b"y"))]));
    let node = Node::with(|config| config.pinned = vec!["*/infra/pause:?".to_owned()]);
    let reference = |name: &str| format!("{}/{name}:3", mock.address());
    for (name, pinned) in [("infra/pause", true), ("team/app", false)] {
        node.store.pull(&reference(name), None).await.unwrap();
        assert_eq!(node.image(&reference(name)).pinned, pinned, "{name}");
    }
    let app = node.image(&reference("team/app")).id.clone();
    assert_eq!(node.store.prune(true).unwrap().images, [app]);
    assert!(node.store.find(&reference("infra/pause")).unwrap().is_some());
}

/// The first removal of a new daemon, too, whatever else it is removing at the time.
#[tokio::test(flavor = "multi_thread")]
async fn the_room_of_an_image_is_free_when_its_removal_is_answered() {
    let mock = Mock::start().await;
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("images");
    let config = ImageConfig { root: root.clone(), keep_layer_blobs: true, ..Default::default() };
    let open = || ImageStore::open(config.clone(), &prometheus::Registry::new()).unwrap();
    let store = open();
    let reference = |name: &str| format!("{}/{name}:v1", mock.address());
    for name in ["one", "two"] {
        let mut tar = Builder::default();
        for number in 0..5000 {
            tar.file(&format!("{name}{number}"), b"x");
        }
        mock.push(name, "v1", &Pushed::manifest(vec![gzip(&tar.end())]));
        store.pull(&reference(name), None).await.unwrap();
    }
    wait_for_last(store).await;
    let store = open();
    let usage = store.disk_usage();
    assert_eq!(usage.reserve, 4 << 20);
    assert!(usage.reserve + usage.layers + usage.blobs <= usage.total, "{usage:?}");
    let count = |name: &str| std::fs::read_dir(root.join(name)).unwrap().count();
    let both = || ["layers/sha256", "outlines", "ingest", "blobs/sha256"].map(count);
    assert_eq!(both(), [2, 2, 0, 6]);
    // The other one is being removed meanwhile.
    let (one, two) = (reference("one"), reference("two"));
    let (first, second) = tokio::join!(store.remove(&one), store.remove(&two));
    first.unwrap();
    second.unwrap();
    assert_eq!(both(), [0; 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_settings_count_at_once() {
    let mock = Mock::start().await;
    mock.push("app", "v1", &Pushed::index(vec![gzip(&layer("a", b"x"))]));
    let node = Node::new();
    node.hosts("reg.example", &format!("server = \"http://{}\"", mock.address()));
    let id = node.store.pull("reg.example/app:v1", None).await.unwrap();
    let pinned = || node.store.find(&id).unwrap().unwrap().pinned;
    assert!(!pinned());
    let config = ImageConfig {
        // The images lie where they lay.
        root: "/elsewhere".into(),
        certs_dir: node.directory.path().join("other.d").into(),
        pinned: vec!["reg.example/*".to_owned()],
        refuse_tags: vec!["*:latest".to_owned()],
        max_pulls: 1,
        dial_timeout_seconds: 2,
        progress_timeout_seconds: 2,
        ..Default::default()
    };
    node.store.reconfigure(config);
    assert!(pinned());
    let error = node.store.pull("reg.example/app:latest", None).await.unwrap_err();
    assert_eq!(error.kind(), model::ErrorKind::PermissionDenied, "{error}");
    assert!(node.store.pull("reg.example/app:v1", None).await.is_err(), "another directory of registries");
    let certs_dir = node.directory.path().join("certs.d").into();
    node.store.reconfigure(ImageConfig { certs_dir, ..Default::default() });
    assert!(!pinned());
    assert_eq!(node.store.pull("reg.example/app:v1", None).await.unwrap(), id);
}
