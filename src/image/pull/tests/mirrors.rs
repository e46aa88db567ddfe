//! Hosts that answer with something else, with half of it, or with nothing; and what is told of them.

use super::mock::Pushed;
use super::scripted::{Reply, Request, Scripted, page, status};
use super::{Node, layer, noise};
use crate::{Credentials, Digest};
use model::ErrorKind;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

/// Its layer is larger than what comes in early.
fn image() -> (Pushed, Digest) {
    let content = layer("a", &noise(400_000));
    let digest = Digest::of(&content);
    (Pushed::manifest(vec![(content.clone(), content, "tar")]), digest)
}

/// Mirrors in their order and then the registry.
fn hosts(node: &Node, mirrors: &[&Scripted], upstream: &Scripted) {
    let mut text = format!("server = \"http://{}\"\n", upstream.address());
    for mirror in mirrors {
        text.push_str(&format!("[host.\"http://{}\"]\n", mirror.address()));
    }
    node.hosts("reg.example", &text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_refuses_ranges_is_asked_for_the_whole() {
    for code in [416, 400, 405, 501] {
        let (pushed, digest) = image();
        let bytes = pushed.layers[0].0.clone();
        let blob = digest.to_string();
        let host = Scripted::start(&pushed, move |request| {
            let of_layer = request.path.ends_with(&blob);
            match (of_layer, request.before) {
                (true, 0) => Some(Reply::Cut(bytes[..bytes.len() / 2].to_vec(), bytes.len())),
                (true, _) if !request.range.is_empty() => Some(status(code)),
                _ => None,
            }
        });
        let node = Node::new();
        node.store.pull(&format!("{}/app:v1", host.address()), None).await.unwrap();
        let asked: Vec<bool> = host.seen().iter().map(|request| !request.range.is_empty()).collect();
        assert_eq!(asked.iter().filter(|range| **range).count(), 1, "{code}: {asked:?}");
    }
}

/// The first half is wrong, and nothing follows: the registry's bytes must not be added to it, nor blamed for it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_mirror_sent_is_never_completed_by_another() {
    let (pushed, digest) = image();
    let mut bytes = pushed.layers[0].0.clone();
    bytes[1000] ^= 1;
    let blob = digest.to_string();
    let mirror = Scripted::start(&pushed, move |request| {
        let part = bytes[..bytes.len() / 2].to_vec();
        match (request.path.ends_with(&blob), request.range.is_empty()) {
            (false, _) => None,
            (true, true) => Some(Reply::Cut(part, bytes.len())),
            (true, false) => Some(Reply::Nothing),
        }
    });
    let upstream = Scripted::start(&pushed, |_| None);
    let node = Node::new();
    hosts(&node, &[&mirror], &upstream);
    node.store.pull("reg.example/app:v1", None).await.unwrap();
    let seen = upstream.seen();
    let layer: Vec<&Request> =
        seen.iter().filter(|request| request.path.ends_with(digest.as_str())).collect();
    assert!(!layer.is_empty() && layer.iter().all(|request| request.range.is_empty()), "{layer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_cut_documents_and_other_documents_are_passed_over() {
    let (pushed, digest) = image();
    let upstream = Scripted::start(&pushed, |_| None);
    let manifests = |reply: fn() -> Reply| {
        Scripted::start(&image().0, move |request| request.path.contains("/manifests/").then(reply))
    };
    let portal = manifests(|| page("<html>please log in</html>"));
    let cut = manifests(|| Reply::Whole(200, Vec::new(), br#"{"schemaVersion": 2, "layers": ["#.to_vec()));
    let other = manifests(|| Reply::Whole(200, Vec::new(), br#"{"message": "not here"}"#.to_vec()));
    let short = Scripted::start(&pushed, move |request| {
        request.path.ends_with(digest.as_str()).then(|| page("<html>down for maintenance</html>"))
    });
    let node = Node::new();
    hosts(&node, &[&portal, &cut, &other, &short], &upstream);
    node.store.pull("reg.example/app:v1", None).await.unwrap();
    assert_eq!(upstream.asked("/manifests/"), 0, "the last of the mirrors had one");

    let node = Node::new();
    hosts(&node, &[], &portal);
    let error = node.store.pull("reg.example/app:v1", None).await.unwrap_err();
    let told = format!("http://{}: answered text/html, not a manifest", portal.address());
    assert!(error.to_string().contains(&told), "{error}");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    // Of a registry that is asked by digest too: it is no other image, but no image at all.
    let by_digest = format!("reg.example/app@{}", Digest::of(b"x"));
    let error = node.store.pull(&by_digest, None).await.unwrap_err();
    assert!(error.to_string().contains("text/html"), "{error}");
}

/// Whatever the network does once is overlooked; what it does again is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_hiccup_costs_no_pull() {
    for code in [0, 1, 408, 425, 520] {
        let (pushed, layer) = image();
        let host = Scripted::start(&pushed, move |request| match (request.before, code) {
            (0, 0) => Some(Reply::Nothing),
            (0, 1) if request.path.contains("/manifests/") => Some(Reply::Cut(b"{".to_vec(), 500)),
            (0, 1) if !request.path.ends_with(layer.as_str()) => Some(Reply::Cut(b"{".to_vec(), 100)),
            (0, code) if code > 1 => Some(status(code)),
            _ => None,
        });
        let node = Node::new();
        node.store
            .pull(&format!("{}/app:v1", host.address()), None)
            .await
            .unwrap_or_else(|error| panic!("{code}: {error}"));
    }
    let host = Scripted::start(&image().0, |_| Some(Reply::Nothing));
    let error = Node::new().store.pull(&format!("{}/app:v1", host.address()), None).await.unwrap_err();
    assert_eq!((error.kind(), host.seen().len()), (ErrorKind::Unavailable, 2), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_that_refuses_is_named() {
    let (pushed, digest) = image();
    let xml = "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>";
    let storage =
        Scripted::start(&pushed, move |_| Some(Reply::Whole(403, Vec::new(), xml.as_bytes().to_vec())));
    let to = format!("http://{}/bucket?signature=secret", storage.address());
    let host = Scripted::start(&pushed, move |request| {
        let location = vec![("location", to.clone())];
        request.path.ends_with(digest.as_str()).then(|| Reply::Whole(307, location, Vec::new()))
    });
    let error = Node::new().store.pull(&format!("{}/app:v1", host.address()), None).await.unwrap_err();
    let told = format!(
        "http://{}: sends its clients to http://{}, which answered 403 (AccessDenied: Request has expired)",
        host.address(),
        storage.address()
    );
    assert!(error.to_string().contains(&told), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_tells_the_registrys_words_the_credentials_and_the_tries() {
    let (pushed, _) = image();
    let words =
        |code: &str, message: &str| format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#);
    let limited = words("TOOMANYREQUESTS", "You have reached your pull rate limit");
    let denied = words("DENIED", "hunter2 has no access");
    let reply = |code, body: &str| {
        Reply::Whole(code, vec![("retry-after", "0".to_owned())], body.as_bytes().to_vec())
    };
    let (busy, closed) = (
        Scripted::start(&pushed, move |_| Some(reply(429, &limited))),
        Scripted::start(&pushed, move |_| Some(reply(403, &denied))),
    );
    let node = Node::new();
    let (first, second) = (busy.address(), closed.address());
    node.hosts(
        "reg.example",
        &format!(
            "server = \"http://{second}/b\"\n[host.\"http://{first}/one\"]\n[host.\"http://{first}/two\"]\n\
             [host.\"http://{second}/a\"]\n"
        ),
    );
    let login = Credentials { username: "u".into(), password: "hunter2".into(), ..Default::default() };
    let error = node.store.pull("reg.example/app:v1", Some(login.clone())).await.unwrap_err().to_string();
    // Told apart by their paths.
    for part in [
        format!(
            "http://{first}/one: answered 429 (TOOMANYREQUESTS: You have reached your pull rate limit): the rate is limited, tried 3 times in "
        ),
        format!("http://{first}/two: answered 429"),
        format!(
            "http://{second}/a: answered 403 (DENIED: hunter2 has no access), without credentials: a user name and password was given, but \
            not sent, as it belongs to reg.example"
        ),
        format!("http://{second}/b: answered 403"),
    ] {
        assert!(error.contains(&part), "{part} in {error}");
    }
    // A host that has them may echo them.
    let error = node.store.pull(&format!("{second}/app:v1"), Some(login)).await.unwrap_err().to_string();
    assert!(error.contains("was given, but not sent, as it did not ask for such"), "{error}");
    assert!(error.contains("403 (DENIED), ") && !error.contains("hunter2"), "{error}");
    let error = node.store.pull(&format!("{second}/app:v1"), None).await.unwrap_err().to_string();
    assert!(error.contains("403 (DENIED: hunter2 has no access), without credentials"), "{error}");
}

/// What servers answer that have nothing in common with this node: openssl's with suites of AES-CBC alone, and those of
/// before TLS 1.2.
#[tokio::test(flavor = "multi_thread")]
async fn a_registry_without_a_suite_or_a_version_for_this_node_is_told_what_to_offer() {
    for (alert, words) in [
        (
            40,
            "offers none of the TLS cipher suites that this node takes, which are those of AES-GCM and ChaCha20-Poly1305",
        ),
        (71, "offers none of the TLS cipher suites"),
        (70, "offers neither TLS 1.2 nor TLS 1.3"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut hello = [0; 5];
                stream.read_exact(&mut hello).unwrap();
                let mut rest = vec![0; usize::from(u16::from_be_bytes([hello[3], hello[4]]))];
                stream.read_exact(&mut rest).unwrap();
                stream.write_all(&[21, 3, 3, 0, 2, 2, alert]).unwrap();
            }
        });
        let node = Node::new();
        node.hosts(&host, &format!("server = \"https://{host}\""));
        let error = node.store.pull(&format!("{host}/app:v1"), None).await.unwrap_err();
        assert!(error.to_string().contains(&format!("https://{host}: {words}")), "{alert}: {error}");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
}
