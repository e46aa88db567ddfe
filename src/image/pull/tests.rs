#![allow(clippy::unwrap_used)]
//! Pulls from a registry in this process that can be told to misbehave.

mod mock;

use crate::store::Image;
use crate::{Credentials, Digest, ImageConfig, ImageError, ImageStore};
use mock::{Behaviour, Mock, Pushed, gzip, zstd};
use model::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::unpack::testtar::{Builder, Head};

struct Node {
    directory: tempfile::TempDir,
    store: Arc<ImageStore>,
}

impl Node {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut ImageConfig)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = ImageConfig {
            root: directory.path().join("images"),
            certs_dir: directory.path().join("certs.d"),
            dial_timeout_seconds: 2,
            progress_timeout_seconds: 2,
            ..Default::default()
        };
        change(&mut config);
        let store = ImageStore::open(config, &prometheus::Registry::new()).unwrap();
        Self { directory, store }
    }

    fn images(&self) -> PathBuf {
        self.directory.path().join("images")
    }

    fn hosts(&self, registry: &str, text: &str) {
        let directory = self.directory.path().join("certs.d").join(registry);
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("hosts.toml"), text).unwrap();
    }

    fn image(&self, reference: &str) -> Arc<Image> {
        self.store.find(reference).unwrap().unwrap()
    }

    /// Waits until nothing but the database is left.
    async fn assert_empty(&self) {
        let count = |name: &str| std::fs::read_dir(self.images().join(name)).unwrap().count();
        let names = ["blobs/sha256", "layers/sha256", "ingest", "fixups"];
        for _ in 0..100 {
            if names.iter().all(|name| count(name) == 0) {
                assert_eq!(self.store.fs_usage().bytes, 0);
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("left behind: {:?}", names.map(|name| (name, count(name))));
    }
}

fn layer(name: &str, content: &[u8]) -> Vec<u8> {
    let mut tar = Builder::default();
    tar.dir("./", 0o755).dir("data", 0o755).file(&format!("data/{name}"), content);
    tar.end()
}

fn read(image: &Image, path: &str) -> Option<String> {
    image.layers.iter().find_map(|layer| std::fs::read_to_string(layer.join(path)).ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_with_layers_of_every_kind() {
    let mock = Mock::start().await;
    let (a, b, c) = (layer("a", b"one"), layer("b", b"two"), layer("c", b"three"));
    let pushed =
        mock.push("team/app", "v1", &Pushed::index(vec![gzip(&a), (b.clone(), b.clone(), "tar"), zstd(&c)]));
    let node = Node::new();
    let reference = format!("{}/team/app:v1", mock.address());
    let id = node.store.pull(&reference, None).await.unwrap();
    assert_eq!(id, pushed.config.as_str());
    let image = node.image(&reference);
    assert_eq!(image.repo_tags, std::slice::from_ref(&reference));
    assert_eq!(image.repo_digests, [format!("{}/team/app@{}", mock.address(), pushed.top)]);
    assert_eq!(image.size, pushed.size);
    assert_eq!(image.config.cmd, ["/bin/sh"]);
    assert_eq!(image.layers.len(), 3);
    assert!(image.layers[0].ends_with(Digest::of(&c).hex()), "top first");
    for (path, content) in [("data/a", "one"), ("data/b", "two"), ("data/c", "three")] {
        assert_eq!(read(&image, path).as_deref(), Some(content));
    }
    // Every way to name it.
    let hex = id.strip_prefix("sha256:").unwrap();
    for name in [&id, hex, &hex[..12], &image.repo_digests[0], &format!("sha256:{}", &hex[..20])] {
        assert_eq!(node.store.find(name).unwrap().unwrap().id, id, "{name}");
    }
    assert_eq!(node.store.find("busybox").unwrap(), None);
    assert!(node.store.find("NOT A REFERENCE").is_err());
    // Nobody but root passes the top directory.
    for name in ["", "layers", "layers/sha256", "blobs/sha256"] {
        let mode = node.images().join(name).metadata().unwrap().mode();
        assert_eq!(mode & 0o077, 0, "{name}");
    }
    let usage = node.store.fs_usage();
    assert!(usage.bytes > 0 && usage.inodes > 9 && usage.mountpoint == node.images());
    // By digest, with nothing to fetch again.
    let before = mock.blob_requests();
    let by_digest = format!("{}/team/app:ignored@{}", mock.address(), pushed.top);
    assert_eq!(node.store.pull(&by_digest, None).await.unwrap(), id);
    assert_eq!(mock.blob_requests() - before, 1, "the config alone");
    node.store.remove(&hex[..12]).await.unwrap();
    node.store.remove(&reference).await.unwrap();
    assert!(node.store.list().is_empty());
    node.assert_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn authentication() {
    let mock = Mock::start().await;
    mock.push("private/app", "v1", &Pushed::manifest(vec![gzip(&layer("a", b"x"))]));
    let reference = format!("{}/private/app:v1", mock.address());
    let password = |user: &str, password: &str| {
        Some(Credentials { username: user.into(), password: password.into(), ..Default::default() })
    };
    for behaviour in [Behaviour::Basic, Behaviour::Bearer] {
        mock.behave(behaviour);
        let node = Node::new();
        for credentials in [None, password("user", "wrong-secret")] {
            let error = node.store.pull(&reference, credentials).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
            let text = format!("{error} {error:?}");
            assert!(text.contains(&mock.address()) && !text.contains("wrong-secret"), "{text}");
        }
        node.store.pull(&reference, password("user", "pass")).await.unwrap();
        let auth = Credentials { auth: "dXNlcjpwYXNz".into(), ..Default::default() };
        node.store.pull(&reference, Some(auth)).await.unwrap();
    }
    mock.behave(Behaviour::Bearer);
    let node = Node::new();
    for credentials in [
        Credentials { identity_token: "refresh-me".into(), ..Default::default() },
        Credentials { registry_token: "good-token".into(), ..Default::default() },
    ] {
        node.store.pull(&reference, Some(credentials)).await.unwrap();
    }
    // Tokens are kept from pull to pull, and fetched anew when the registry no longer takes them.
    let node = Node::new();
    node.store.pull(&reference, password("user", "pass")).await.unwrap();
    let before = mock.token_requests();
    node.store.pull(&reference, password("user", "pass")).await.unwrap();
    assert_eq!(mock.token_requests(), before);
    mock.revoke();
    node.store.pull(&reference, password("user", "pass")).await.unwrap();
    assert_eq!(mock.token_requests(), before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_content_leaves_nothing_behind() {
    let good = layer("a", &[7; 100_000]);
    let (compressed, _, kind) = gzip(&good);
    let other = layer("b", b"other");
    type Check = fn(&ImageError) -> bool;
    let mut cut = compressed.clone();
    cut.truncate(compressed.len() / 2);
    let table: Vec<(&str, Pushed, Behaviour, Check)> = vec![
        (
            "wrong diff id",
            Pushed::manifest(vec![(compressed.clone(), other.clone(), kind)]),
            Behaviour::Open,
            |e| e.to_string().contains("diff id"),
        ),
        (
            "wrong diff id of a plain layer",
            Pushed::manifest(vec![(good.clone(), other.clone(), "tar")]),
            Behaviour::Open,
            |e| e.to_string().contains("diff id"),
        ),
        (
            "wrong digest",
            Pushed::manifest(vec![(compressed.clone(), good.clone(), kind)]),
            Behaviour::FlipLayers,
            |e| e.kind() == ErrorKind::FailedPrecondition,
        ),
        (
            "truncated body",
            Pushed::manifest(vec![(compressed.clone(), good.clone(), kind), gzip(&other)]),
            Behaviour::CutLayers,
            |e| e.kind() == ErrorKind::Unavailable && e.to_string().contains("RegistryUnavailable"),
        ),
        ("cut gzip", Pushed::manifest(vec![(cut, good.clone(), kind)]), Behaviour::Open, |e| {
            e.to_string().contains("decompress")
        }),
        ("not gzip", Pushed::manifest(vec![(good.clone(), good.clone(), kind)]), Behaviour::Open, |e| {
            e.to_string().contains("decompress")
        }),
    ];
    for (name, pushed, behaviour, check) in table {
        let mock = Mock::start().await;
        mock.push("app", "v1", &pushed);
        mock.behave(behaviour);
        let node = Node::new();
        let error = node.store.pull(&format!("{}/app:v1", mock.address()), None).await.unwrap_err();
        assert!(check(&error), "{name}: {error}");
        assert!(node.store.list().is_empty(), "{name}");
        node.assert_empty().await;
        // What was wrong is not remembered.
        if matches!(behaviour, Behaviour::FlipLayers | Behaviour::CutLayers) {
            mock.behave(Behaviour::Open);
            node.store.pull(&format!("{}/app:v1", mock.address()), None).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_is_resumed() {
    let mock = Mock::start().await;
    let content: Vec<u8> =
        (0..1_000_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let big = layer("big", &content);
    mock.push("app", "v1", &Pushed::manifest(vec![(big.clone(), big.clone(), "tar")]));
    mock.behave(Behaviour::BreakOnce);
    let node = Node::new();
    let reference = format!("{}/app:v1", mock.address());
    node.store.pull(&reference, None).await.unwrap();
    let file = node.image(&reference).layers[0].join("data/big");
    assert_eq!(std::fs::read(file).unwrap(), content);
    assert!(mock.ranges() >= 1);
    assert!(mock.sent() < big.len() as u64 * 11 / 10, "{} of {}", mock.sent(), big.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn identical_pulls_at_the_same_time_are_one() {
    let mock = Mock::start().await;
    let shared = gzip(&layer("shared", &[1; 50_000]));
    mock.push("app", "v1", &Pushed::index(vec![shared.clone(), gzip(&layer("own", b"1"))]));
    mock.push("other", "v1", &Pushed::manifest(vec![shared, gzip(&layer("own", b"2"))]));
    mock.behave(Behaviour::Slow);
    let node = Node::new();
    let mut pulls = tokio::task::JoinSet::new();
    for number in 0..100 {
        let store = Arc::clone(&node.store);
        let name = if number % 10 == 0 { "other" } else { "app" };
        let reference = format!("{}/{name}:v1", mock.address());
        pulls.spawn(async move { store.pull(&reference, None).await.unwrap() });
    }
    // A caller that goes away fails nobody.
    let store = Arc::clone(&node.store);
    let reference = format!("{}/app:v1", mock.address());
    let gone = tokio::spawn(async move { store.pull(&reference, None).await });
    tokio::time::sleep(Duration::from_millis(5)).await;
    gone.abort();
    while let Some(result) = pulls.join_next().await {
        result.unwrap();
    }
    assert_eq!(mock.blob_requests(), 5, "two configs and three different layers");
    assert_eq!(node.store.list().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn mirrors_fall_through_and_every_answer_is_told() {
    let (mirror, upstream) = (Mock::start().await, Mock::start().await);
    upstream.push("app", "v1", &Pushed::index(vec![gzip(&layer("a", b"x"))]));
    let node = Node::new();
    let dead = "http://127.0.0.1:1";
    node.hosts(
        "_default",
        &format!(
            "server = \"http://{}\"\n[host.\"{dead}\"]\n[host.\"http://{}\"]\n",
            upstream.address(),
            mirror.address()
        ),
    );
    node.store.pull("reg.example/app:v1", None).await.unwrap();
    assert_eq!(node.image("reg.example/app:v1").repo_tags, ["reg.example/app:v1"]);
    assert!(mirror.namespaces().iter().all(|namespace| namespace == "reg.example"));
    assert!(!mirror.namespaces().is_empty());

    let error = node.store.pull("reg.example/nothing:v1", None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let text = error.to_string();
    for part in [dead, &mirror.address(), &upstream.address(), "404", "MANIFEST_UNKNOWN"] {
        assert!(text.contains(part), "{part} in {text}");
    }

    // The registry's credentials are not shown to a mirror.
    mirror.push("app", "v2", &Pushed::manifest(vec![gzip(&layer("a", b"x"))]));
    mirror.behave(Behaviour::Basic);
    upstream.push("app", "v2", &Pushed::manifest(vec![gzip(&layer("a", b"x"))]));
    let credentials = Credentials { username: "user".into(), password: "pass".into(), ..Default::default() };
    node.store.pull("reg.example/app:v2", Some(credentials)).await.unwrap();
    assert_eq!(mirror.authorized(), 0);

    let error = {
        node.hosts("_default", &format!("server = \"{dead}\""));
        node.store.pull("reg.example/app:v3", None).await.unwrap_err()
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("RegistryUnavailable"), "{error}");

    node.hosts("_default", "sever = 1");
    let error = node.store.pull("reg.example/app:v3", None).await.unwrap_err().to_string();
    assert!(error.contains("sever") && error.contains("hosts.toml"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_of_a_mirror_come_from_the_next_host() {
    let (mirror, upstream) = (Mock::start().await, Mock::start().await);
    let pushed = Pushed::manifest(vec![gzip(&layer("a", &[3; 10_000]))]);
    mirror.push("app", "v1", &pushed);
    upstream.push("app", "v1", &pushed);
    mirror.behave(Behaviour::FlipLayers);
    let node = Node::new();
    let text = format!("server = \"http://{}\"\n[host.\"http://{}\"]", upstream.address(), mirror.address());
    node.hosts("reg.example", &text);
    node.store.pull("reg.example/app:v1", None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects() {
    let (mock, storage) = (Mock::start().await, Mock::start().await);
    let pushed = Pushed::manifest(vec![gzip(&layer("a", b"x"))]);
    mock.push("app", "v1", &pushed);
    storage.push("app", "v1", &pushed);
    mock.redirect_blobs(&storage.address());
    mock.behave(Behaviour::Basic);
    let node = Node::new();
    let credentials = Credentials { username: "user".into(), password: "pass".into(), ..Default::default() };
    let reference = format!("{}/app:v1", mock.address());
    node.store.pull(&reference, Some(credentials.clone())).await.unwrap();
    assert!(mock.authorized() > 0);
    assert_eq!(storage.authorized(), 0, "authorization stays with its host");

    mock.redirect_blobs(&mock.address());
    let node = Node::new();
    let error = node.store.pull(&reference, Some(credentials)).await.unwrap_err().to_string();
    assert!(error.contains("more than ten times"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_images_say_why() {
    let mock = Mock::start().await;
    let node = Node::new();
    for (name, document, kind, expected) in [
        (
            "both",
            r#"{"schemaVersion":2,"layers":[],"manifests":[]}"#,
            ErrorKind::InvalidArgument,
            "both layers",
        ),
        ("schema1", r#"{"schemaVersion":1,"fsLayers":[]}"#, ErrorKind::InvalidArgument, "schema 1"),
        ("junk", "junk", ErrorKind::InvalidArgument, "malformed"),
        (
            "platform",
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000","size":1,"platform":{"os":"linux","architecture":"s390x"}}]}"#,
            ErrorKind::NotFound,
            "linux/s390x",
        ),
        ("huge", &" ".repeat(5 << 20), ErrorKind::FailedPrecondition, "more than the 4194304 bytes"),
    ] {
        mock.put_manifest(name, "v1", document);
        let error = node.store.pull(&format!("{}/{name}:v1", mock.address()), None).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{name}: {error}");
        assert_eq!(error.kind(), kind, "{name}");
    }
    let error = node.store.pull("Not/Good", None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    node.assert_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_stops_at_the_limit() {
    let mock = Mock::start().await;
    let bomb = layer("bomb", &vec![0; 8 << 20]);
    mock.push("app", "v1", &Pushed::manifest(vec![gzip(&bomb)]));
    let node = Node::with(|config| config.max_layer_bytes = 1 << 20);
    let error = node.store.pull(&format!("{}/app:v1", mock.address()), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
    node.assert_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_registry_is_given_up_and_a_busy_one_is_asked_again() {
    let mock = Mock::start().await;
    mock.push("app", "v1", &Pushed::manifest(vec![gzip(&layer("a", b"x"))]));
    let reference = format!("{}/app:v1", mock.address());
    let node = Node::with(|config| config.progress_timeout_seconds = 1);
    mock.behave(Behaviour::Stall);
    let error = node.store.pull(&reference, None).await.unwrap_err();
    assert!(error.to_string().contains("stalled") && error.kind() == ErrorKind::Unavailable, "{error}");
    mock.behave(Behaviour::BusyOnce);
    node.store.pull(&reference, None).await.unwrap();
}

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
    let before = store.fs_usage();
    let image = store.find(&id).unwrap().unwrap();
    wait_for_last(store).await;

    std::fs::create_dir(directory.path().join("images/ingest/77")).unwrap();
    std::fs::create_dir(directory.path().join("images/layers/sha256/orphan")).unwrap();
    let store = open().unwrap();
    assert_eq!(store.find(&id).unwrap().unwrap(), image);
    assert_eq!(store.fs_usage(), before);
    store.sweep().unwrap();
    assert!(!directory.path().join("images/ingest/77").exists());
    assert!(!directory.path().join("images/layers/sha256/orphan").exists());
    wait_for_last(store).await;

    // A lost layer: the image is gone, and a pull fetches that layer alone.
    std::fs::remove_dir_all(&image.layers[1]).unwrap();
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
    store.hold_layers("container", &image.layers);
    store.sweep().unwrap();
    assert!(image.layers.iter().all(|layer| layer.is_dir()), "a running container's layers stay");
    store.release("container");
    store.sweep().unwrap();
    assert!(image.layers.iter().all(|layer| !layer.exists()));
    assert_eq!(store.pull(&reference, None).await.unwrap(), id);
}

/// Drops the store when nothing in the background has it any more.
async fn wait_for_last(store: Arc<ImageStore>) {
    tokio::time::timeout(Duration::from_secs(20), async {
        while !store.is_idle() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
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
    assert!(old_image.layers.iter().all(|layer| layer.is_dir()), "held");
    assert!(node.store.hold(&old, "container").is_ok(), "a restart may say it again");
    node.store.release("container");
    node.store.sweep().unwrap();
    assert!(!old_image.layers[0].exists() && old_image.layers[1].is_dir(), "the other image's stays");
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
    assert_eq!(image.layers.len(), 3, "one more on top");
    let mode = |path: &str| {
        let meta = Path::new(&image.layers[0]).join(path).metadata().unwrap();
        (meta.mode() & 0o7777, meta.uid())
    };
    assert_eq!(mode("a/tmp"), (0o1777, 5));
    assert_eq!(mode("a"), (0o750, 0));
    assert_eq!(mode(""), (0o755, 0));
    assert!(!image.layers[0].join("fresh").exists());
    node.store.remove(&reference).await.unwrap();
    node.assert_empty().await;
}
