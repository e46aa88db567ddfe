#![allow(clippy::unwrap_used)]
//! Pulls from a registry in this process that can be told to misbehave.

mod archive;
mod damage;
mod early;
mod faults;
mod files;
mod hosts;
mod metrics;
mod mirrors;
mod mock;
mod names;
mod parts;
mod resume;
mod save;
mod scripted;
mod store;
mod tokens;
mod verify;

use crate::store::Image;
use crate::{Digest, ImageConfig, ImageStore};
use mock::{Behaviour, Mock, Pushed, gzip, zstd};
use std::collections::HashSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::unpack::testtar::Builder;

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
            certs_dir: directory.path().join("certs.d").into(),
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

    /// Waits until what the store says it takes is what is on the disk.
    async fn assert_counted(&self) {
        counted(&self.store, &self.images()).await;
    }

    /// Waits until nothing but the database is left.
    async fn assert_empty(&self) {
        let count = |name: &str| std::fs::read_dir(self.images().join(name)).unwrap().count();
        let names = ["blobs/sha256", "layers/sha256", "outlines", "ingest", "fixups", "unfinished"];
        for _ in 0..100 {
            if names.iter().all(|name| count(name) == 0) {
                return self.assert_counted().await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("left behind: {:?}", names.map(|name| (name, count(name))));
    }
}

/// Waits until what the store says it takes is what is on the disk.
async fn counted(store: &ImageStore, root: &Path) {
    let mut pair = Default::default();
    for _ in 0..3000 {
        let said = store.fs_usage();
        pair = ((said.bytes, said.inodes), disk_usage(root));
        if pair.0 == pair.1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("said and found: {pair:?}");
}

/// Bytes and inodes as `du` counts them.
fn disk_usage(root: &Path) -> (u64, u64) {
    let (mut waiting, mut seen, mut bytes) = (vec![root.to_owned()], HashSet::new(), 0);
    while let Some(path) = waiting.pop() {
        let Ok(found) = path.symlink_metadata() else { continue };
        if seen.insert(found.ino()) {
            bytes += found.blocks() * 512;
        }
        if found.is_dir() {
            waiting
                .extend(std::fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
    }
    (bytes, seen.len() as u64)
}

fn noise(words: u32) -> Vec<u8> {
    (0..words).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

fn layer(name: &str, content: &[u8]) -> Vec<u8> {
    let mut tar = Builder::default();
    tar.dir("./", 0o755).dir("data", 0o755).file(&format!("data/{name}"), content);
    tar.end()
}

fn read(image: &Image, path: &str) -> Option<String> {
    image.rootfs.directories().iter().find_map(|layer| std::fs::read_to_string(layer.join(path)).ok())
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
    assert_eq!(image.rootfs.directories().len(), 3);
    assert!(image.rootfs.directories()[0].ends_with(Digest::of(&c).hex()), "top first");
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
async fn compression_is_what_the_bytes_say() {
    let mock = Mock::start().await;
    let content = layer("a", b"one");
    let (gzip, zstd) = (gzip(&content).0, zstd(&content).0);
    for (number, (bytes, kind)) in [
        (&content, "tar+gzip"),
        (&content, "tar+zstd"),
        (&gzip, "tar"),
        (&gzip, "tar+zstd"),
        (&zstd, "tar+gzip"),
        (&zstd, "tar"),
    ]
    .into_iter()
    .enumerate()
    {
        let node = Node::new();
        let name = format!("app{number}");
        mock.push(&name, "1", &Pushed::manifest(vec![(bytes.clone(), content.clone(), kind)]));
        let reference = format!("{}/{name}:1", mock.address());
        node.store.pull(&reference, None).await.unwrap();
        assert_eq!(read(&node.image(&reference), "data/a").as_deref(), Some("one"), "{number} {kind}");
    }
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
