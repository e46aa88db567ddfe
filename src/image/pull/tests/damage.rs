//! Content that is wrong leaves nothing.

use super::mock::{Behaviour, Mock, Pushed, gzip, zstd};
use super::{Node, layer};
use crate::ImageError;
use model::ErrorKind;

#[tokio::test(flavor = "multi_thread")]
async fn damaged_content_leaves_nothing_behind() {
    let good = layer("a", &[7; 100_000]);
    let (compressed, _, kind) = gzip(&good);
    let other = layer("b", b"other");
    type Check = fn(&ImageError) -> bool;
    let mut cut = compressed.clone();
    cut.truncate(compressed.len() / 2);
    let mut short_zstd = zstd(&good).0;
    short_zstd.truncate(short_zstd.len() / 2);
    let mut bad_tar = good.clone();
    bad_tar[1] ^= 0x20;
    let table: Vec<(&str, Pushed, Behaviour, Check)> = vec![
        (
            "wrong diff id",
            Pushed::manifest(vec![(compressed.clone(), other.clone(), kind)]),
            Behaviour::Open,
            |e| e.to_string().contains("diff id"),
        ),
        (
            "wrong diff id of a plain layer",
            Pushed::manifest(vec![(good.clone(), other.clone(), "tar")]),
            Behaviour::Open,
            |e| e.to_string().contains("diff id"),
        ),
        (
            "wrong digest",
            Pushed::manifest(vec![(compressed.clone(), good.clone(), kind)]),
            Behaviour::FlipLayers,
            |e| e.kind() == ErrorKind::FailedPrecondition,
        ),
        (
            "truncated body",
            Pushed::manifest(vec![(compressed.clone(), good.clone(), kind), gzip(&other)]),
            Behaviour::CutLayers,
            |e| e.kind() == ErrorKind::Unavailable,
        ),
        (
            "more bytes than the manifest says",
            Pushed::manifest(vec![(compressed.clone(), good.clone(), kind)]).claiming(-1),
            Behaviour::Open,
            |e| e.kind() == ErrorKind::FailedPrecondition && e.to_string().contains("more than the"),
        ),
        (
            "fewer bytes than the manifest says",
            Pushed::manifest(vec![(compressed.clone(), good.clone(), kind)]).claiming(1),
            Behaviour::Open,
            |e| e.kind() == ErrorKind::Unavailable && e.to_string().contains("ended after"),
        ),
        ("cut zstd", Pushed::manifest(vec![(short_zstd, good.clone(), "tar+zstd")]), Behaviour::Open, |e| {
            e.to_string().contains("decompress")
        }),
        ("corrupt tar", Pushed::manifest(vec![gzip(&bad_tar)]), Behaviour::Open, |e| {
            e.kind() == ErrorKind::InvalidArgument && e.to_string().contains("checksum")
        }),
        (
            "tar that ends in a file",
            Pushed::manifest(vec![gzip(&good[..good.len() / 2])]),
            Behaviour::Open,
            |e| e.to_string().contains("tar: read"),
        ),
        ("cut gzip", Pushed::manifest(vec![(cut, good.clone(), kind)]), Behaviour::Open, |e| {
            e.to_string().contains("decompress")
        }),
        ("junk", Pushed::manifest(vec![(b"junk".repeat(999), good.clone(), kind)]), Behaviour::Open, |e| {
            e.kind() == ErrorKind::InvalidArgument && e.to_string().contains("tar: ")
        }),
        ("another layer", Pushed::manifest(vec![(other, good.clone(), "tar")]), Behaviour::Open, |e| {
            e.to_string().contains("diff id")
        }),
    ];
    for (name, pushed, behaviour, check) in table {
        let mock = Mock::start().await;
        mock.push("app", "v1", &pushed);
        mock.behave(behaviour);
        let node = Node::new();
        let error = node.store.pull(&format!("{}/app:v1", mock.address()), None).await.unwrap_err();
        assert!(check(&error), "{name}: {error}");
        assert!(node.store.list().is_empty(), "{name}");
        node.assert_empty().await;
        // What was wrong is not remembered.
        if matches!(behaviour, Behaviour::FlipLayers | Behaviour::CutLayers) {
            mock.behave(Behaviour::Open);
            node.store.pull(&format!("{}/app:v1", mock.address()), None).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_images_say_why() {
    let mock = Mock::start().await;
    let node = Node::new();
    for (name, document, kind, expected) in [
        (
            "both",
            r#"{"schemaVersion":2,"layers":[],"manifests":[]}"#,
            ErrorKind::InvalidArgument,
            "both layers",
        ),
        ("schema1", r#"{"schemaVersion":1,"fsLayers":[]}"#, ErrorKind::InvalidArgument, "schema 1"),
        ("junk", "junk", ErrorKind::InvalidArgument, "malformed"),
        (
            "platform",
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000","size":1,"platform":{"os":"linux","architecture":"s390x"}}]}"#,
            ErrorKind::NotFound,
            "linux/s390x",
        ),
        ("huge", &" ".repeat(5 << 20), ErrorKind::FailedPrecondition, "more than the 4194304 bytes"),
    ] {
        mock.put_manifest(name, "v1", document);
        let error = node.store.pull(&format!("{}/{name}:v1", mock.address()), None).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{name}: {error}");
        assert_eq!(error.kind(), kind, "{name}");
    }
    let error = node.store.pull("Not/Good", None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    node.assert_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_stops_at_the_limit() {
    let mock = Mock::start().await;
    let bomb = layer("bomb", &vec![0; 8 << 20]);
    mock.push("app", "v1", &Pushed::manifest(vec![gzip(&bomb)]));
    let node = Node::with(|config| config.max_layer_bytes = 1 << 20);
    let error = node.store.pull(&format!("{}/app:v1", mock.address()), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
    node.assert_empty().await;
}
