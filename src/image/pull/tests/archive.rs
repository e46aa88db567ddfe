//! Archives from strangers: what is wrong with them is told, and nothing of them stays.

use super::mock::{Mock, Pushed};
use super::{Node, gzip, layer, zstd};
use crate::unpack::testtar::Builder;
use crate::{Digest, ImageError};
use model::ErrorKind;
use serde_json::{Value, json};

/// A layout in the making.
struct Layout(Builder);

impl Layout {
    fn blob(&mut self, content: &[u8]) -> Digest {
        let digest = Digest::of(content);
        self.0.file(&format!("blobs/sha256/{}", digest.hex()), content);
        digest
    }

    fn document(&mut self, document: &Value) -> Value {
        let bytes = document.to_string();
        let digest = self.blob(bytes.as_bytes());
        json!({"mediaType": document["mediaType"], "digest": digest, "size": bytes.len()})
    }

    /// An image of one layer; the manifest's descriptor.
    fn image(&mut self, change: impl FnOnce(&mut Value)) -> Value {
        let tar = layer("a", b"x");
        let diff_id = self.blob(&tar);
        let architecture = crate::manifest::Platform::host().architecture;
        let config = json!({
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff_id]}
        });
        let config = self.document(&config);
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config,
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": diff_id, "size": tar.len()}]
        });
        change(&mut manifest);
        self.document(&manifest)
    }

    /// What is made as an image, down to the config's list of layers.
    fn signature(&mut self) -> Value {
        let payload = self.blob(br#"{"critical": {}}"#);
        self.image(|manifest| {
            manifest["layers"][0] = json!({
                "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", "digest": payload, "size": 16
            });
        })
    }

    fn index(&mut self, manifests: &[Value]) -> Value {
        self.document(&json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests
        }))
    }

    fn end(mut self, manifests: &[Value]) -> Vec<u8> {
        self.0.file("index.json", json!({"schemaVersion": 2, "manifests": manifests}).to_string().as_bytes());
        self.0.end()
    }
}

const NO_ARCHIVE: &str = "read the archive: it is no tar archive, plain or compressed with gzip or zstd";

async fn load(node: &Node, archive: Vec<u8>, name: Option<&str>) -> Result<String, ImageError> {
    let loaded = node.store.load(Box::new(std::io::Cursor::new(archive)), name).await?;
    Ok(loaded.images[0].id.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layout_is_loaded_under_the_name_that_is_given() {
    let node = Node::new();
    let mut layout = Layout(Builder::default());
    let image = layout.image(|_| ());
    let id = load(&node, layout.end(&[image]), Some("given.test/app:1")).await.unwrap();
    assert_eq!(node.image("given.test/app:1").id, id);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_an_archive_is_told_and_leaves_nothing() {
    let both = |manifest: &mut Value| manifest["manifests"] = json!([]);
    let escaping =
        |manifest: &mut Value| manifest["layers"][0]["digest"] = json!("sha256:../../../etc/passwd");
    let absent = |manifest: &mut Value| {
        manifest["layers"][0]["digest"] = json!(Digest::of(b"absent"));
        manifest["layers"][0]["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar+gzip");
    };
    let none = |manifest: &mut Value| manifest["layers"] = json!([]);
    let changed = |change: fn(&mut Value)| {
        let mut layout = Layout(Builder::default());
        let image = layout.image(change);
        layout.end(&[image])
    };
    let with = |path: &str, content: &[u8]| {
        let mut tar = Builder::default();
        tar.file(path, content);
        tar.end()
    };
    let other = {
        let mut layout = Layout(Builder::default());
        let mut image = layout.image(|_| ());
        let wrong = Digest::of(b"what it is called");
        layout.0.file(&format!("blobs/sha256/{}", wrong.hex()), b"what it is");
        image["digest"] = json!(wrong);
        layout.end(&[image])
    };
    let nowhere = Digest::of(b"absent");
    let table: Vec<(&str, Vec<u8>, ErrorKind, &str)> = vec![
        ("layers and manifests", changed(both), ErrorKind::InvalidArgument, "both layers and manifests"),
        ("a digest that is a path", changed(escaping), ErrorKind::InvalidArgument, "malformed"),
        ("a layer that is not there", changed(absent), ErrorKind::InvalidArgument, nowhere.hex()),
        ("no layers", changed(none), ErrorKind::InvalidArgument, "0 layers"),
        ("another digest", other, ErrorKind::FailedPrecondition, "the archive has content with digest"),
        ("junk", b"junk".repeat(1000), ErrorKind::InvalidArgument, NO_ARCHIVE),
        ("a little junk", b"junk".to_vec(), ErrorKind::InvalidArgument, NO_ARCHIVE),
        ("packed junk", gzip(&b"junk".repeat(1000)).0, ErrorKind::InvalidArgument, NO_ARCHIVE),
        ("junk packed twice", zstd(&gzip(b"junk").0).0, ErrorKind::InvalidArgument, NO_ARCHIVE),
        ("nothing", Vec::new(), ErrorKind::InvalidArgument, "the archive is empty"),
        ("an end", vec![0; 10240], ErrorKind::InvalidArgument, "the archive is empty"),
        ("cut", changed(|_| ())[..700].to_vec(), ErrorKind::FailedPrecondition, "tar"),
        (
            "an index over the limit",
            with("index.json", &vec![b' '; 5 << 20]),
            ErrorKind::InvalidArgument,
            "4194304",
        ),
        ("a path that leaves it", with("../index.json", b"{}"), ErrorKind::InvalidArgument, "../index.json"),
        (
            "nothing of an image",
            with("readme", b"hello"),
            ErrorKind::InvalidArgument,
            "neither an index.json",
        ),
        (
            "a layer of Docker's that leads out of it",
            with("manifest.json", br#"[{"Config":"../../etc/passwd","Layers":["/etc/shadow"]}]"#),
            ErrorKind::InvalidArgument,
            "../../etc/passwd",
        ),
    ];
    for (what, archive, kind, part) in table {
        let node = Node::new();
        let error = load(&node, archive, None).await.unwrap_err();
        assert!(error.to_string().contains(part), "{what}: {error}");
        assert_eq!(error.kind(), kind, "{what}: {error}");
        node.assert_empty().await;
    }
    let mut layout = Layout(Builder::default());
    let images = [layout.image(|_| ()), layout.image(|manifest| manifest["annotations"] = json!({"a": "b"}))];
    let node = Node::new();
    let error = load(&node, layout.end(&images), Some("given.test/app:1")).await.unwrap_err();
    assert!(error.to_string().contains("the archive has 2"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_here_is_loaded_and_what_does_not_is_told() {
    let node = Node::new();
    let mut layout = Layout(Builder::default());
    let mut own = layout.image(|_| ());
    own["annotations"] = Value::Null;
    own["platform"] = json!({"os": "linux", "architecture": crate::manifest::Platform::host().architecture});
    let mut other = own.clone();
    // Its blobs are not even there.
    other["digest"] = json!(Digest::of(b"elsewhere"));
    other["platform"] = json!({"os": "linux", "architecture": "s390x"});
    let index = layout.index(std::slice::from_ref(&other));
    let signature = layout.signature();
    let bill = layout.image(|manifest| {
        manifest["config"]["mediaType"] = json!("application/vnd.oci.empty.v1+json");
    });
    let odd =
        json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "sha512:0", "size": 1});
    let absent = json!({"mediaType": "application/x-odd", "digest": Digest::of(b"nowhere"), "size": 3});
    let archive = layout.end(&[other, index, signature, own, bill, odd, absent]);
    let loaded = node.store.load(Box::new(std::io::Cursor::new(archive)), None).await.unwrap();
    assert_eq!(loaded.images.len(), 1, "{loaded:?}");
    let why: Vec<&str> = loaded.left.iter().map(|left| left.why.as_str()).collect();
    let expected = ["linux/s390x", "linux/s390x", "simplesigning", "empty", "digest", "x-odd"];
    assert_eq!(why.len(), expected.len(), "{why:?}");
    for (why, part) in why.iter().zip(expected) {
        assert!(why.contains(part), "{why} has no {part}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_index_in_an_archive_holds_besides_is_told() {
    let node = Node::new();
    let mut layout = Layout(Builder::default());
    let named = |mut image: Value, architecture: &str| {
        image["platform"] = json!({"os": "linux", "architecture": architecture});
        image
    };
    let host = crate::manifest::Platform::host().architecture;
    let own = named(layout.image(|_| ()), &host);
    let twin = named(layout.image(|manifest| manifest["annotations"] = json!({"a": "b"})), &host);
    let other = named(layout.image(|manifest| manifest["annotations"] = json!({"c": "d"})), "s390x");
    let bill = json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": layout.blob(b"{}"), "size": 2,
        "platform": {"os": "unknown", "architecture": "unknown"}
    });
    let odd = json!({"mediaType": "application/x-odd", "digest": layout.blob(b"odd"), "size": 3});
    // Of the same index, and elsewhere.
    let absent =
        named(json!({"mediaType": own["mediaType"], "digest": Digest::of(b"absent"), "size": 3}), "ppc64le");
    let inner = layout.index(&[other.clone(), own.clone(), twin.clone(), bill.clone(), absent]);
    let top = layout.index(&[odd.clone(), inner]);
    let loaded = node.store.load(Box::new(std::io::Cursor::new(layout.end(&[top]))), None).await.unwrap();
    assert_eq!(loaded.images.len(), 1, "{loaded:?}");
    let told: Vec<_> = loaded.left.iter().map(|left| (left.what.as_str(), left.why.as_str())).collect();
    let expected = [
        (&odd, "x-odd"),
        (&other, "linux/s390x"),
        (&twin, "suits this machine better"),
        (&bill, "unknown/unknown"),
    ];
    assert_eq!(told.len(), expected.len(), "{told:?}");
    for ((what, why), (entry, part)) in told.iter().zip(expected) {
        assert!(entry["digest"] == *what && why.contains(part), "{what}: {why}, not {part}");
    }
}

/// What is a layer its bytes say. Of what is none, in an image, that is said.
#[tokio::test(flavor = "multi_thread")]
async fn a_layer_of_any_media_type_is_one_if_it_is_an_archive() {
    let node = Node::new();
    let mut layout = Layout(Builder::default());
    let image = layout.image(|manifest| manifest["layers"][0]["mediaType"] = json!("application/x-odd"));
    load(&node, layout.end(&[image]), Some("given.test/app:1")).await.unwrap();
    assert!(node.image("given.test/app:1").rootfs.directories()[0].join("data/a").exists());
    let mut layout = Layout(Builder::default());
    let signature = layout.signature();
    let error = load(&Node::new(), layout.end(&[signature]), None).await.unwrap_err();
    assert!(error.to_string().contains("simplesigning"), "{error}");

    let mock = Mock::start().await;
    let node = Node::new();
    let reference = format!("{}/app:v1", mock.address());
    for (packed, content, _) in
        [gzip(&layer("a", b"x")), zstd(&layer("b", b"y")), (layer("c", b"z"), layer("c", b"z"), "")]
    {
        mock.push("app", "v1", &Pushed::manifest(vec![(packed, content, "of-a-kind")]));
        node.store.pull(&reference, None).await.unwrap();
    }
    for packed in [br#"{"critical": {}}"#.to_vec(), gzip(b"no archive").0] {
        mock.push("app", "v1", &Pushed::manifest(vec![(packed, b"x".to_vec(), "of-a-kind")]));
        let error = node.store.pull(&reference, None).await.unwrap_err();
        let words = "has media type \"application/vnd.oci.image.layer.v1.of-a-kind\", and its content is no tar archive";
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}
