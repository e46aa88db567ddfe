//! What interrupted pulls leave, and what the next try makes of it.

use super::mock::{Behaviour, Mock, Pushed, gzip};
use super::{counted, layer, noise, wait_for_last};
use crate::{Digest, ImageConfig, ImageStore};
use model::ErrorKind;
use std::path::Path;
use std::sync::Arc;

fn open(root: &Path, change: impl FnOnce(&mut ImageConfig)) -> Arc<ImageStore> {
    let mut config = ImageConfig {
        root: root.join("images"),
        certs_dir: root.join("certs.d").into(),
        progress_timeout_seconds: 1,
        resume_layer_bytes: 1 << 20,
        ..Default::default()
    };
    change(&mut config);
    ImageStore::open(config, &prometheus::Registry::new()).unwrap()
}

fn unfinished(root: &Path) -> usize {
    std::fs::read_dir(root.join("images/unfinished")).unwrap().count()
}

/// A pull that gets a small layer and half of a big one; the big one.
async fn interrupted(mock: &Mock, root: &Path, change: impl FnOnce(&mut ImageConfig)) -> Vec<u8> {
    let big = layer("big", &noise(1_000_000));
    mock.push(
        "app",
        "v1",
        &Pushed::index(vec![gzip(&layer("small", b"x")), (big.clone(), big.clone(), "tar")]),
    );
    mock.behave(Behaviour::StallBig);
    let store = open(root, change);
    let error = store.pull(&format!("{}/app:v1", mock.address()), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(store.list().is_empty());
    wait_for_last(store).await;
    mock.behave(Behaviour::Open);
    big
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_try_fetches_what_is_missing_also_after_a_restart() {
    let (mock, root) = (Mock::start().await, tempfile::tempdir().unwrap());
    let big = interrupted(&mock, root.path(), |_| {}).await;
    assert_eq!(unfinished(root.path()), 2, "a whole layer's note and a part");
    let (requests, sent) = (mock.blob_requests(), mock.sent());
    let store = open(root.path(), |_| {});
    store.sweep().unwrap();
    let reference = format!("{}/app:v1", mock.address());
    store.pull(&reference, None).await.unwrap();
    assert_eq!(mock.blob_requests() - requests, 2, "the config and one layer");
    let sent = mock.sent() - sent;
    assert!(sent < big.len() as u64 * 6 / 10, "{sent} of {}", big.len());
    let image = store.find(&reference).unwrap().unwrap();
    assert_eq!(std::fs::read(image.rootfs.directories()[0].join("data/big")).unwrap(), noise(1_000_000));
    assert_eq!(unfinished(root.path()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_wrong_is_fetched_whole() {
    let (mock, root) = (Mock::start().await, tempfile::tempdir().unwrap());
    let big = interrupted(&mock, root.path(), |_| {}).await;
    let part = root.path().join(format!("images/unfinished/{}.part", Digest::of(&big).hex()));
    let mut bytes = std::fs::read(&part).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&part, &bytes).unwrap();
    let store = open(root.path(), |_| {});
    let reference = format!("{}/app:v1", mock.address());
    store.pull(&reference, None).await.unwrap();
    let image = store.find(&reference).unwrap().unwrap();
    assert_eq!(std::fs::read(image.rootfs.directories()[0].join("data/big")).unwrap(), noise(1_000_000));
    assert_eq!(unfinished(root.path()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_goes_with_the_time_of_the_setting_or_on_demand() {
    let (mock, root) = (Mock::start().await, tempfile::tempdir().unwrap());
    interrupted(&mock, root.path(), |_| {}).await;
    let store = open(root.path(), |_| {});
    assert!(store.fs_usage().bytes > 1 << 20, "it is counted");
    store.sweep().unwrap();
    counted(&store, &root.path().join("images")).await;
    store.prune(false).unwrap();
    assert_eq!(unfinished(root.path()), 0);
    counted(&store, &root.path().join("images")).await;
    drop(store);
    interrupted(&mock, root.path(), |_| {}).await;
    let store = open(root.path(), |config| config.keep_unfinished_seconds = 0);
    store.sweep().unwrap();
    assert_eq!(unfinished(root.path()), 0);
    counted(&store, &root.path().join("images")).await;
    assert_eq!(std::fs::read_dir(root.path().join("images/layers/sha256")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_blobs_are_counted_and_go_with_their_image() {
    let (mock, root) = (Mock::start().await, tempfile::tempdir().unwrap());
    let big = layer("big", &noise(1000));
    mock.push("app", "v1", &Pushed::index(vec![gzip(&big)]));
    let store = open(root.path(), |config| config.keep_layer_blobs = true);
    let reference = format!("{}/app:v1", mock.address());
    store.pull(&reference, None).await.unwrap();
    let blob = root.path().join(format!("images/blobs/sha256/{}", Digest::of(&gzip(&big).0).hex()));
    assert_eq!(std::fs::read(&blob).unwrap(), gzip(&big).0);
    counted(&store, &root.path().join("images")).await;
    store.remove(&reference).await.unwrap();
    store.sweep().unwrap();
    assert!(!blob.exists());
    counted(&store, &root.path().join("images")).await;
}
