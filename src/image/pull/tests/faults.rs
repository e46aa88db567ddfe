//! Hosts that break off, stall, are busy, or send another part.

use super::mock::{Behaviour, Mock, Pushed, gzip};
use super::{Node, layer, noise};
use model::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

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
    let file = node.image(&reference).rootfs.directories()[0].join("data/big");
    assert_eq!(std::fs::read(file).unwrap(), content);
    assert!(mock.ranges() >= 1);
    assert!(mock.sent() < big.len() as u64 * 11 / 10, "{} of {}", mock.sent(), big.len());
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
async fn a_byte_at_a_time_is_a_stall() {
    let mock = Mock::start().await;
    let content = layer("a", &noise(10_000));
    mock.push("app", "v1", &Pushed::manifest(vec![(content.clone(), content, "tar")]));
    mock.behave(Behaviour::Drip);
    let node = Node::with(|config| config.progress_timeout_seconds = 1);
    let error = node.store.pull(&format!("{}/app:v1", mock.address()), None).await.unwrap_err();
    assert!(error.to_string().contains("stalled after"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(node.store.list().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_knows_no_ranges_or_sends_another_one() {
    for (behaviour, resumed) in
        [(Behaviour::BreakOnceNoRanges, true), (Behaviour::BreakOnceWrongRange, false)]
    {
        let mock = Mock::start().await;
        // More than what comes in early.
        let content = layer("a", &noise(400_000));
        mock.push("app", "v1", &Pushed::manifest(vec![(content.clone(), content, "tar")]));
        mock.behave(behaviour);
        let node = Node::new();
        let result = node.store.pull(&format!("{}/app:v1", mock.address()), None).await;
        match result {
            Ok(_) => assert!(resumed),
            Err(error) => assert!(!resumed && error.to_string().contains("another range"), "{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_of_a_host_are_repeated_so_often_and_no_more() {
    for (status, requests, kind) in [
        (500, 3, ErrorKind::Unavailable),
        (503, 3, ErrorKind::Unavailable),
        (429, 3, ErrorKind::Unavailable),
        (403, 1, ErrorKind::PermissionDenied),
        (404, 1, ErrorKind::NotFound),
        (401, 1, ErrorKind::PermissionDenied),
        (418, 1, ErrorKind::Unavailable),
    ] {
        let mock = Mock::start().await;
        mock.behave(Behaviour::Fail(status));
        let node = Node::new();
        let error = node.store.pull(&format!("{}/app:v1", mock.address()), None).await.unwrap_err();
        assert!(error.to_string().contains(&status.to_string()), "{error}");
        assert_eq!((error.kind(), mock.requests()), (kind, requests), "{status}");
        // And the next host is asked.
        let upstream = Mock::start().await;
        upstream.push("app", "v1", &Pushed::index(vec![gzip(&layer("a", b"x"))]));
        let text =
            format!("server = \"http://{}\"\n[host.\"http://{}\"]", upstream.address(), mock.address());
        node.hosts("reg.example", &text);
        node.store.pull("reg.example/app:v1", None).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_told_while_a_pull_runs() {
    let mock = Mock::start().await;
    let content = layer("a", &noise(500_000));
    let size = content.len() as u64;
    mock.push("app", "v1", &Pushed::manifest(vec![(content.clone(), content, "tar")]));
    mock.behave(Behaviour::Stall);
    let node = Node::with(|config| config.progress_timeout_seconds = 30);
    let reference = format!("{}/app:v1", mock.address());
    let before = node.store.fs_usage().bytes;
    let (store, wanted) = (Arc::clone(&node.store), reference.clone());
    let pull = tokio::spawn(async move { store.pull(&wanted, None).await });
    // What comes in takes room already.
    tokio::time::timeout(Duration::from_secs(30), async {
        while node.store.fs_usage().bytes < before + size / 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    let seen = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            let pulls = node.store.pulls();
            if let Some(layer) = pulls.first().and_then(|pull| pull.layers.first())
                && layer.received > 0
            {
                return (pulls[0].reference.clone(), layer.size, layer.received);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    assert_eq!((seen.0, seen.1), (reference, size));
    assert!(seen.2 < size);
    pull.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_pull_at_a_time_where_the_setting_says_so() {
    let mock = Mock::start().await;
    for name in ["a", "b", "c"] {
        mock.push(name, "v1", &Pushed::manifest(vec![gzip(&layer(name, name.as_bytes()))]));
    }
    mock.behave(Behaviour::Slow);
    let node =
        Node::with(|config| (config.max_pulls, config.registry_qps, config.registry_burst) = (1, 1000, 1));
    let pulls = ["a", "b", "c"].map(|name| {
        let (store, reference) = (Arc::clone(&node.store), format!("{}/{name}:v1", mock.address()));
        async move { store.pull(&reference, None).await.unwrap() }
    });
    futures::future::join_all(pulls).await;
    assert!(mock.most_at_once() <= 2, "a config and its layer");
}
