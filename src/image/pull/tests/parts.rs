//! Large layers, which come in parts over several connections.

use super::mock::Pushed;
use super::scripted::{Reply, Request, Scripted};
use super::{Node, layer, noise};
use crate::{Digest, ImageConfig};
use model::ErrorKind;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const MIB: usize = 1 << 20;

/// A layer of nine parts and a bit, and its digest.
fn large() -> (Vec<u8>, String) {
    let content = layer("large", &noise(2_400_000));
    let digest = Digest::of(&content).to_string();
    (content, digest)
}

fn pushed(content: &[u8]) -> Pushed {
    Pushed::manifest(vec![(content.to_vec(), content.to_vec(), "tar")])
}

fn splitting(config: &mut ImageConfig) {
    config.split_layer_bytes = 4 << 20;
}

/// First and last byte of what was asked for, as often as it was.
fn ranges(registry: &Scripted, digest: &str) -> Vec<(usize, Option<usize>)> {
    let of_layer = registry.seen().into_iter().filter(|request| request.path.ends_with(digest));
    let mut ranges: Vec<_> = of_layer.filter_map(|request| range(&request)).collect();
    ranges.sort_unstable();
    ranges
}

fn range(request: &Request) -> Option<(usize, Option<usize>)> {
    let (from, last) = request.range.strip_prefix("bytes=")?.split_once('-')?;
    Some((from.parse().unwrap(), last.parse().ok()))
}

/// Pulls it and looks at every byte.
async fn pull(node: &Node, registry: &Scripted) {
    let reference = format!("{}/app:v1", registry.address());
    node.store.pull(&reference, None).await.unwrap();
    let file = node.image(&reference).rootfs.directories()[0].join("data/large");
    assert!(std::fs::read(file).unwrap() == noise(2_400_000), "other content");
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_a_large_layer_come_in_at_once_and_each_byte_once() {
    let (content, digest) = large();
    let (now, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let (seen, layer) = (Arc::clone(&most), digest.clone());
    let registry = Scripted::start(&pushed(&content), move |request| {
        if request.path.ends_with(&layer) {
            seen.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(150));
            now.fetch_sub(1, Ordering::SeqCst);
        }
        None
    });
    pull(&Node::with(splitting), &registry).await;
    let most = most.load(Ordering::SeqCst);
    assert!((4..=8).contains(&most), "{most} at once");
    let mut next = 0;
    for (from, last) in ranges(&registry, &digest) {
        assert_eq!(from, next);
        next = last.unwrap() + 1;
        assert!(next - from <= 4 * MIB);
    }
    assert_eq!(next, content.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_is_all_where_parts_are_not_wanted_or_not_known() {
    let (content, digest) = large();
    type Change = fn(&mut ImageConfig);
    let not_wanted: [Change; 3] = [
        |config| config.split_layer_bytes = 0,
        |config| config.split_layer_bytes = 1 << 30,
        |config| (config.split_layer_bytes, config.registry_qps) = (4 << 20, 1000),
    ];
    for change in not_wanted {
        let registry = Scripted::start(&pushed(&content), |_| None);
        pull(&Node::with(change), &registry).await;
        assert_eq!((registry.asked(&digest), ranges(&registry, &digest).len()), (1, 0));
    }
    // A server that sends it all, whatever it is asked for, and one that cannot tell how much there is.
    for total in [None, Some("*")] {
        let (bytes, layer) = (content.clone(), digest.clone());
        let registry = Scripted::start(&pushed(&content), move |request| {
            let (from, last) = range(request).filter(|_| request.path.ends_with(&layer))?;
            let end = last.map_or(bytes.len(), |last| last + 1);
            let Some(total) = total else { return Some(Reply::Whole(200, Vec::new(), bytes.clone())) };
            let told = vec![("content-range", format!("bytes {from}-{}/{total}", end - 1))];
            Some(Reply::Whole(206, told, bytes[from..end].to_vec()))
        });
        pull(&Node::with(splitting), &registry).await;
        let rest = ranges(&registry, &digest);
        assert_eq!(rest.len(), 1 + usize::from(total.is_some()), "{rest:?}");
        assert!(total.is_none() || rest[1].1.is_none(), "the rest is one request: {rest:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_fails_is_asked_for_again_from_where_it_broke_off() {
    let (content, digest) = large();
    for (fault, broken_at) in [(0, 0), (1, 0), (2, 100_000)] {
        let (failed, layer) = (Mutex::new(HashSet::new()), digest.clone());
        let registry = Scripted::start(&pushed(&content), move |request| {
            let (from, _) = range(request).filter(|_| request.path.ends_with(&layer))?;
            // Two of them, once each.
            if !(3 * MIB..6 * MIB).contains(&from) || !failed.lock().unwrap().insert(from) {
                return None;
            }
            Some(match fault {
                0 => Reply::Nothing,
                1 => Reply::Whole(503, vec![("retry-after", "0".to_owned())], Vec::new()),
                _ => Reply::Short(broken_at),
            })
        });
        pull(&Node::with(splitting), &registry).await;
        let asked: Vec<usize> = ranges(&registry, &digest).into_iter().map(|(from, _)| from).collect();
        let again = asked.iter().filter(|from| **from == asked[3] + broken_at).count();
        assert_eq!(again, if broken_at == 0 { 2 } else { 1 }, "{fault}: {asked:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_part_than_the_one_that_was_asked_for_is_an_error() {
    let (content, digest) = large();
    let (bytes, layer) = (content.clone(), digest.clone());
    let registry = Scripted::start(&pushed(&content), move |request| {
        let (from, last) = range(request).filter(|_| request.path.ends_with(&layer))?;
        (from >= 3 * MIB).then(|| {
            let told =
                vec![("content-range", format!("bytes {}-{}/{}", from + 1, last.unwrap(), bytes.len()))];
            Reply::Whole(206, told, bytes[from + 1..=last.unwrap()].to_vec())
        })
    });
    let node = Node::with(splitting);
    let error = node.store.pull(&format!("{}/app:v1", registry.address()), None).await.unwrap_err();
    assert!(error.to_string().contains("another range"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    node.assert_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_in_a_part_are_found() {
    let (content, digest) = large();
    let (bytes, layer) = (content.clone(), digest.clone());
    let registry = Scripted::start(&pushed(&content), move |request| {
        let (from, last) = range(request).filter(|_| request.path.ends_with(&layer))?;
        let last = last.unwrap();
        let told = vec![("content-range", format!("bytes {from}-{last}/{}", bytes.len()))];
        let mut part = bytes[from..=last].to_vec();
        part[7] ^= u8::from(from >= 3 * MIB);
        Some(Reply::Whole(206, told, part))
    });
    let node = Node::with(splitting);
    let error = node.store.pull(&format!("{}/app:v1", registry.address()), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
    node.assert_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_part_is_redirected_and_has_its_token() {
    let (content, digest) = large();
    let storage = Scripted::start(&pushed(&content), |_| None);
    let (to, layer) = (storage.address(), digest.clone());
    let registry = Scripted::start(&pushed(&content), move |request| match request.path.as_str() {
        "/token" => Some(Reply::Whole(200, Vec::new(), br#"{"token":"t","expires_in":300}"#.to_vec())),
        _ if request.authorization != "Bearer t" => Some(Reply::Whole(
            401,
            vec![("www-authenticate", "Bearer realm=\"/token\"".to_owned())],
            Vec::new(),
        )),
        path if path.ends_with(&layer) => {
            Some(Reply::Whole(307, vec![("location", format!("http://{to}{path}"))], Vec::new()))
        }
        _ => None,
    });
    pull(&Node::with(splitting), &registry).await;
    let parts = ranges(&storage, &digest);
    assert!(parts.len() >= 8 && parts == ranges(&registry, &digest), "{parts:?}");
    assert!(storage.seen().iter().all(|request| request.authorization.is_empty()));
    assert_eq!(registry.asked("/token"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_was_interrupted_goes_on_in_parts_where_it_was() {
    let (content, digest) = large();
    let (broken, layer) = (Arc::new(AtomicBool::new(true)), digest.clone());
    let is_broken = Arc::clone(&broken);
    let registry = Scripted::start(&pushed(&content), move |request| {
        let (from, _) = range(request).filter(|_| request.path.ends_with(&layer))?;
        (from >= 4 * MIB && is_broken.load(Ordering::SeqCst)).then_some(Reply::Nothing)
    });
    let node =
        Node::with(|config| (config.split_layer_bytes, config.resume_layer_bytes) = (4 << 20, 1 << 20));
    let reference = format!("{}/app:v1", registry.address());
    let error = node.store.pull(&reference, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let before = registry.seen().len();
    broken.store(false, Ordering::SeqCst);
    pull(&node, &registry).await;
    let later: Vec<_> = registry.seen().split_off(before).iter().filter_map(range).collect();
    assert!(later.len() > 4 && later.iter().all(|(from, _)| *from >= 3 * MIB), "{later:?}");
}
