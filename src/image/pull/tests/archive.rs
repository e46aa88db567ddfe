//! Archives from strangers: what is wrong with them is told, and nothing of them stays.

use super::{Node, layer};
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

    fn end(mut self, manifests: &[Value]) -> Vec<u8> {
        self.0.file("index.json", json!({"schemaVersion": 2, "manifests": manifests}).to_string().as_bytes());
        self.0.end()
    }
}

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
        ("junk", b"junk".repeat(1000), ErrorKind::InvalidArgument, "tar"),
        ("cut", changed(|_| ())[..700].to_vec(), ErrorKind::FailedPrecondition, "tar"),
        (
            "an index over the limit",
            with("index.json", &vec![b' '; 5 << 20]),
            ErrorKind::InvalidArgument,
            "4194304",
        ),
        ("a path that leaves it", with("../index.json", b"{}"), ErrorKind::InvalidArgument, "../index.json"),
        ("nothing of an image", with("readme", b"hello"), ErrorKind::InvalidArgument, "index.json"),
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
    let index = layout.document(&json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [other]
    }));
    let signature = layout.image(|manifest| {
        manifest["layers"][0]["mediaType"] = json!("application/vnd.dev.cosign.simplesigning.v1+json");
    });
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
