//! What pulls save of round trips: small layers that come in while the config does, and connections in common.

use super::mock::{Behaviour, Mock, Pushed, gzip};
use super::scripted::{Scripted, status};
use super::{Node, layer, noise, read};
use crate::{Digest, ImageConfig, ImageStore};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn small_layers_come_in_while_the_config_does() {
    let content = gzip(&layer("a", b"one"));
    let digest = Digest::of(&content.0).to_string();
    let (asked, wanted) = (AtomicBool::new(false), digest.clone());
    let registry = Scripted::start(&Pushed::manifest(vec![content]), move |request| {
        if request.path.ends_with(&wanted) {
            asked.store(true, Ordering::SeqCst);
        } else if request.path.contains("/blobs/") {
            let end = Instant::now() + Duration::from_secs(10);
            while !asked.load(Ordering::SeqCst) {
                if Instant::now() > end {
                    return Some(status(404));
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        None
    });
    let node = Node::new();
    let reference = format!("{}/app:v1", registry.address());
    node.store.pull(&reference, None).await.unwrap();
    assert_eq!(read(&node.image(&reference), "data/a").as_deref(), Some("one"));
    assert_eq!(registry.asked(&digest), 1);
    assert_eq!(registry.seen().len(), 3, "manifest, config, layer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_did_not_come_early_is_asked_for_again() {
    let content = gzip(&layer("a", b"one"));
    let digest = Digest::of(&content.0).to_string();
    let wanted = digest.clone();
    let registry = Scripted::start(&Pushed::manifest(vec![content]), move |request| {
        (request.path.ends_with(&wanted) && request.before == 0).then(|| status(404))
    });
    Node::new().store.pull(&format!("{}/app:v1", registry.address()), None).await.unwrap();
    assert_eq!(registry.asked(&digest), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_is_there_is_not_asked_for_whatever_image_brought_it() {
    let mock = Mock::start().await;
    let shared = gzip(&layer("shared", b"both"));
    mock.push("one", "v1", &Pushed::index(vec![shared.clone(), gzip(&layer("own", b"1"))]));
    mock.push("two", "v1", &Pushed::manifest(vec![shared.clone(), gzip(&layer("own", b"2"))]));
    mock.push("three", "v1", &Pushed::manifest(vec![shared, gzip(&layer("own", b"3"))]));
    let directory = tempfile::tempdir().unwrap();
    let open = || {
        let config = ImageConfig {
            root: directory.path().join("images"),
            certs_dir: directory.path().join("certs.d").into(),
            ..Default::default()
        };
        ImageStore::open(config, &prometheus::Registry::new()).unwrap()
    };
    let store = open();
    for (name, requests) in [("one", 3), ("two", 2)] {
        let before = mock.blob_requests();
        store.pull(&format!("{}/{name}:v1", mock.address()), None).await.unwrap();
        assert_eq!(mock.blob_requests() - before, requests, "{name}");
    }
    super::wait_for_last(store).await;
    let (store, before) = (open(), mock.blob_requests());
    store.pull(&format!("{}/three:v1", mock.address()), None).await.unwrap();
    assert_eq!(mock.blob_requests() - before, 2, "the config and a layer, also after a restart");
    let before = mock.blob_requests();
    store.pull(&format!("{}/one:v1", mock.address()), None).await.unwrap();
    assert_eq!(mock.blob_requests() - before, 1, "the config");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_early_goes_with_a_pull_that_fails() {
    let mock = Mock::start().await;
    mock.push("app", "v1", &Pushed::manifest(vec![gzip(&layer("a", &noise(100)))]));
    mock.behave(Behaviour::Stall);
    let node = Node::with(|config| config.progress_timeout_seconds = 1);
    let reference = format!("{}/app:v1", mock.address());
    node.store.pull(&reference, None).await.unwrap_err();
    node.assert_empty().await;
    mock.behave(Behaviour::Open);
    node.store.pull(&reference, None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_have_connections_in_common() {
    let mock = Mock::start().await;
    let names: Vec<_> = (0..6).map(|number| format!("app{number}")).collect();
    for name in &names {
        mock.push(name, "v1", &Pushed::manifest(vec![gzip(&layer(name, name.as_bytes()))]));
    }
    let node = Node::new();
    let pull = |name: &str| {
        let (store, reference) = (Arc::clone(&node.store), format!("{}/{name}:v1", mock.address()));
        async move { store.pull(&reference, None).await.unwrap() }
    };
    for name in &names {
        pull(name).await;
    }
    assert!(mock.connections() <= 3, "{} for {} requests", mock.connections(), mock.requests());
    assert_eq!(mock.requests(), 18);
}
