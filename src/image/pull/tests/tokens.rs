//! Token servers, and what they are asked for.

use super::mock::{Pushed, gzip};
use super::scripted::{Reply, Request, Scripted, status};
use super::{Node, layer};
use crate::Credentials;
use std::sync::OnceLock;

fn image() -> Pushed {
    Pushed::manifest(vec![gzip(&layer("a", b"x"))])
}

fn challenge(realm: &str, scope: &str) -> Reply {
    let challenge = format!("Bearer realm=\"{realm}\",service=\"reg\",scope=\"{scope}\"");
    Reply::Whole(401, vec![("www-authenticate", challenge)], Vec::new())
}

fn token() -> Reply {
    Reply::Whole(200, Vec::new(), br#"{"token":"good"}"#.to_vec())
}

fn to(location: &str) -> Reply {
    Reply::Whole(307, vec![("location", location.to_owned())], Vec::new())
}

fn user() -> Credentials {
    Credentials { username: "user".into(), password: "hunter2".into(), ..Default::default() }
}

/// A registry with a token server of its own, whose address in a challenge is relative.
fn registry(
    scope: &'static str,
    server: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static,
) -> Scripted {
    Scripted::start(&image(), move |request| match request.path.starts_with("/v2/") {
        true if request.authorization != "Bearer good" => Some(challenge("/token", scope)),
        true => None,
        false => Some(server(request).unwrap_or_else(token)),
    })
}

fn scopes(host: &Scripted) -> Vec<String> {
    let seen = host.seen();
    let asked = seen.iter().filter(|request| !request.path.starts_with("/v2/"));
    let scope = |request: &Request| {
        let query = if request.body.is_empty() { &request.query } else { &request.body };
        let scope = query.split('&').find_map(|pair| pair.strip_prefix("scope="));
        scope.unwrap_or_default().replace("%3A", ":").replace("%2F", "/")
    };
    asked.map(scope).collect()
}

/// A registry that could choose would be handed what else the user may do at the same token server.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_for_this_repository_and_to_pull_whatever_the_challenge_says() {
    for scope in [
        "repository:secret/app:pull,push",
        "repository:app:pull,push,delete",
        "repository:app:* repository:secret/app:pull registry:catalog:*",
        "registry:catalog:*",
        "",
    ] {
        let host = registry(scope, |_| None);
        let reference = format!("{}/app:v1", host.address());
        Node::new().store.pull(&reference, Some(user())).await.unwrap();
        let identity = Credentials { identity_token: "refresh".into(), ..Default::default() };
        Node::new().store.pull(&reference, Some(identity)).await.unwrap();
        let asked = scopes(&host);
        assert!(
            asked.len() >= 2 && asked.iter().all(|scope| scope == "repository:app:pull"),
            "{scope}: {asked:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_server_may_redirect_be_busy_and_drop_a_connection() {
    let (busy, dropped, cut) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
    let host = registry("", move |request| match request.path.as_str() {
        "/token" => Some(to(&format!("/auth/token?{}", request.query))),
        _ if busy.set(()).is_ok() => {
            Some(Reply::Whole(429, vec![("retry-after", "0".to_owned())], Vec::new()))
        }
        _ if dropped.set(()).is_ok() => Some(Reply::Nothing),
        _ if request.authorization.is_empty() => Some(status(401)),
        _ => None,
    });
    let reference = format!("{}/app:v1", host.address());
    Node::new().store.pull(&reference, Some(user())).await.unwrap();
    let host = registry("", move |_| cut.set(()).is_ok().then(|| Reply::Cut(b"{".to_vec(), 100)));
    Node::new().store.pull(&format!("{}/app:v1", host.address()), Some(user())).await.unwrap();

    let host = registry("", |_| {
        let body = br#"{"details":"incorrect username or password"}"#;
        Some(Reply::Whole(401, Vec::new(), body.to_vec()))
    });
    let error =
        Node::new().store.pull(&format!("{}/app:v1", host.address()), Some(user())).await.unwrap_err();
    let told = "answered 401 (incorrect username or password), with a user name and password";
    assert!(error.to_string().contains(told), "{error}");
}

/// What is secret stays with the server that it was meant for.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_server_that_redirects_to_another_host_takes_no_secret_along() {
    let other = Scripted::start(&image(), |_| Some(token()));
    let location = format!("http://{}/token", other.address());
    let host = registry("", move |_| Some(to(&location)));
    let reference = format!("{}/app:v1", host.address());
    Node::new().store.pull(&reference, Some(user())).await.unwrap();
    assert!(other.asked("/token") > 0 && other.seen().iter().all(|request| request.authorization.is_empty()));
    let before = other.seen().len();
    let identity = Credentials { identity_token: "refresh".into(), ..Default::default() };
    let error = Node::new().store.pull(&reference, Some(identity)).await.unwrap_err();
    assert!(error.to_string().contains("redirects to another host"), "{error}");
    assert_eq!(other.seen().len(), before);
    assert!(other.seen().iter().all(|request| request.method == "GET"));
}
