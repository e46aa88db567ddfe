#![allow(clippy::unwrap_used)]

use super::*;

const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[test]
fn names_are_normalised() {
    let digest = format!("sha256:{HEX}");
    let table = [
        ("busybox".to_owned(), "docker.io/library/busybox:latest".to_owned()),
        ("busybox:1.36".into(), "docker.io/library/busybox:1.36".into()),
        ("team/app".into(), "docker.io/team/app:latest".into()),
        ("docker.io/busybox".into(), "docker.io/library/busybox:latest".into()),
        ("index.docker.io/team/app:x".into(), "docker.io/team/app:x".into()),
        ("localhost/app".into(), "localhost/app:latest".into()),
        ("localhost:5000/app".into(), "localhost:5000/app:latest".into()),
        ("127.0.0.1:5000/a/b/c:v1_.-".into(), "127.0.0.1:5000/a/b/c:v1_.-".into()),
        ("[::1]:5000/app".into(), "[::1]:5000/app:latest".into()),
        ("registry.k8s.io/pause:3.10".into(), "registry.k8s.io/pause:3.10".into()),
        ("HOST/app".into(), "HOST/app:latest".into()),
        ("a/b__c---d.e_f".into(), "docker.io/a/b__c---d.e_f:latest".into()),
        (format!("busybox@{digest}"), format!("docker.io/library/busybox@{digest}")),
        (format!("busybox:1@{digest}"), format!("docker.io/library/busybox@{digest}")),
        (format!("h:1/x:1@{digest}"), format!("h:1/x@{digest}")),
    ];
    for (input, expected) in table {
        assert_eq!(Reference::parse(&input).unwrap().to_string(), expected, "{input}");
        assert_eq!(Reference::parse(&expected).unwrap().to_string(), expected, "normalising twice");
    }
}

#[test]
fn what_is_wrong_is_said() {
    let long = "a".repeat(256);
    let long_tag = format!("busybox:{}", "t".repeat(129));
    type Check = fn(&ReferenceError) -> bool;
    let table: [(&str, Check); 34] = [
        ("", |e| *e == ReferenceError::Empty),
        (HEX, |e| *e == ReferenceError::Id),
        (&long, |e| *e == ReferenceError::TooLong),
        (&long_tag, |e| matches!(e, ReferenceError::Tag(_))),
        ("busybox:", |e| matches!(e, ReferenceError::Tag(_))),
        ("busybox:.x", |e| matches!(e, ReferenceError::Tag(_))),
        ("busybox:a b", |e| matches!(e, ReferenceError::Tag(_))),
        ("Bad Name", |e| matches!(e, ReferenceError::Space(_))),
        ("Busybox", |e| matches!(e, ReferenceError::UpperCase(_))),
        ("host.io/Team/app", |e| matches!(e, ReferenceError::UpperCase(_))),
        ("/busybox", |e| matches!(e, ReferenceError::Component(_))),
        ("a//b", |e| matches!(e, ReferenceError::Component(_))),
        ("a/b/", |e| matches!(e, ReferenceError::Component(_))),
        ("a/-b", |e| matches!(e, ReferenceError::Component(_))),
        ("a/b..c", |e| matches!(e, ReferenceError::Component(_))),
        ("a/b___c", |e| matches!(e, ReferenceError::Component(_))),
        ("a/b._c", |e| matches!(e, ReferenceError::Component(_))),
        ("../etc", |e| matches!(e, ReferenceError::Registry(_))),
        ("host.io/../../etc", |e| matches!(e, ReferenceError::Component(_))),
        ("a/b\0", |e| matches!(e, ReferenceError::Component(_))),
        ("a/bé", |e| matches!(e, ReferenceError::Component(_))),
        ("http://host/app", |e| *e == ReferenceError::Url("host/app".into())),
        ("docker://host/app:1/", |e| *e == ReferenceError::Url("host/app:1".into())),
        ("https://hub.docker.com/_/nginx", |e| *e == ReferenceError::Url("docker.io/library/nginx".into())),
        ("https://hub.docker.com/r/team/app", |e| *e == ReferenceError::Url("docker.io/team/app".into())),
        ("host:99999/app", |e| matches!(e, ReferenceError::Port(_))),
        ("host:0/app", |e| matches!(e, ReferenceError::Port(_))),
        ("host:+1/app", |e| matches!(e, ReferenceError::Port(_))),
        ("-host.io/app", |e| matches!(e, ReferenceError::Registry(_))),
        ("[::1/app", |e| matches!(e, ReferenceError::Registry(_))),
        ("user@host.io/app", |e| matches!(e, ReferenceError::Digest(_))),
        ("busybox@", |e| matches!(e, ReferenceError::Digest(_))),
        ("busybox@sha256:../x", |e| matches!(e, ReferenceError::Digest(DigestError::Digits))),
        ("busybox@md5:00", |e| matches!(e, ReferenceError::Digest(DigestError::Algorithm(_)))),
    ];
    for (input, expected) in table {
        let error = Reference::parse(input).unwrap_err();
        assert!(expected(&error), "{input:?}: {error}");
    }
}

#[test]
fn no_input_panics() {
    // Every string of up to four of these pieces: the ones that steer the parser.
    let pieces = ["a", "A", "/", ":", "@", ".", "-", "_", "[", "]", "é", "\0", "sha256:", HEX, "5000"];
    let mut texts = vec![String::new()];
    for _ in 0..4 {
        let longer: Vec<String> =
            texts.iter().flat_map(|text| pieces.iter().map(move |piece| format!("{text}{piece}"))).collect();
        for text in &longer {
            if let Ok(reference) = Reference::parse(text) {
                let again = Reference::parse(&reference.to_string());
                assert_eq!(again.as_ref(), Ok(&reference), "{text}");
            }
        }
        texts = longer;
    }
}
