//! Mirrors, credentials and redirects.

use super::mock::{Behaviour, Mock, Pushed, gzip};
use super::{Node, layer};
use crate::Credentials;
use model::ErrorKind;

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
        for (credentials, tried) in [
            (None, "without credentials"),
            (password("user", "wrong-secret"), "with a user name and password"),
        ] {
            let error = node.store.pull(&reference, credentials).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
            let text = format!("{error} {error:?}");
            assert!(text.contains(&mock.address()) && text.contains(tried), "{text}");
            assert!(!text.contains("wrong-secret"), "{text}");
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
    assert!(error.to_string().starts_with("pull reg.example/app:v3: http://"), "{error}");
    let error = node.store.pull("Library/app:v3", None).await.unwrap_err().to_string();
    assert!(
        error.ends_with(
            "; \"Library\" is taken for the host of a registry, as names of images are written in lower case"
        ),
        "{error}"
    );

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
