#![allow(clippy::unwrap_used)]

use super::*;
use proto::{ContainerMetadata, PodSandboxMetadata};

fn pod(id: &str, namespace: &str, name: &str) -> PodSandbox {
    let metadata = PodSandboxMetadata {
        name: name.into(),
        namespace: namespace.into(),
        ..PodSandboxMetadata::default()
    };
    PodSandbox { id: id.into(), metadata: Some(metadata), ..PodSandbox::default() }
}

fn container(id: &str, pod: &str, name: &str) -> Container {
    let metadata = ContainerMetadata { name: name.into(), attempt: 0 };
    let (id, pod_sandbox_id) = (id.into(), pod.into());
    Container { id, pod_sandbox_id, metadata: Some(metadata), ..Container::default() }
}

/// The youngest first, as it is when it was looked at.
fn node() -> Node {
    let pods = vec![
        pod("aa2", "default", "web"),
        pod("aa1", "default", "web"),
        pod("ab1", "kube-system", "dns"),
        pod("b1", "other", "web"),
    ];
    let containers = vec![
        container("c2", "aa2", "nginx"),
        container("c1", "aa1", "nginx"),
        container("aac", "ab1", "coredns"),
        container("d1", "b1", "nginx"),
        container("d2", "b1", "c1"),
    ];
    let by_id = pods.iter().enumerate().map(|(place, pod)| (pod.id.clone(), place)).collect();
    Node { pods, containers, by_id }
}

#[test]
fn what_people_call_a_thing_finds_it() {
    let node = node();
    for (wanted, found) in
        [("aa1", "aa1"), ("b", "b1"), ("dns", "ab1"), ("default/web", "aa2"), ("other/web", "b1")]
    {
        assert_eq!(node.pod(wanted).unwrap().id, found, "{wanted}");
    }
    for (wanted, found) in [
        ("coredns", "aac"),
        ("dns/coredns", "aac"),
        ("default/web/nginx", "c2"),
        // A whole id is nobody's name.
        ("c1", "c1"),
        ("aa", "aac"),
    ] {
        assert_eq!(node.container(wanted).unwrap().id, found, "{wanted}");
    }
}

#[test]
fn what_may_be_several_is_told_with_their_ids() {
    let node = node();
    let told = node.pod("web").err().unwrap().to_string();
    assert!(told.contains("aa2 (pod default/web), b1 (pod other/web)"), "{told}");
    let told = node.container("nginx").err().unwrap().to_string();
    assert!(told.contains("c2 (container default/web/nginx), d1 (container other/web/nginx)"), "{told}");
    let told = node.thing("aa").err().unwrap().to_string();
    assert!(told.contains("aa2 (pod") && told.contains("aac (container"), "{told}");
    let told = node.container("ab").err().unwrap().to_string();
    assert!(told.starts_with("\"ab\" is pod kube-system/dns, and a container is wanted here"), "{told}");
    let told = node.pod("other/web/nginx").err().unwrap().to_string();
    assert!(told.contains("is container other/web/nginx, and a pod is wanted here"), "{told}");
    for nobody in ["", "x", "default/dns", "a/b/c/d"] {
        let told = node.thing(nobody).err().unwrap().to_string();
        assert!(
            told.starts_with(&format!("no pod or container has the id or the name {nobody:?}")),
            "{told}"
        );
    }
}

#[test]
fn labels_are_there_with_their_values() {
    let labels = BTreeMap::from([("app".to_owned(), "web".to_owned()), ("empty".to_owned(), String::new())]);
    for (wanted, is) in [("app", true), ("app=web", true), ("app=", false), ("empty=", true), ("tier", false)]
    {
        assert_eq!(Labels::parse(&[wanted.to_owned()]).are_among(&labels), is, "{wanted}");
    }
    assert!(!Labels::parse(&["app".to_owned(), "tier".to_owned()]).are_among(&labels));
}
