//! Images saved and loaded again.

use super::mock::{Mock, Pushed, gzip, zstd};
use super::{Node, layer, noise};
use crate::unpack::testtar::Builder;
use crate::{Digest, ImageError};
use model::ErrorKind;
use std::collections::BTreeMap;
use std::io::Read as _;

fn save(node: &Node, name: &str) -> Result<(Vec<u8>, usize), ImageError> {
    let saving = node.store.save(&[name.to_owned()])?;
    let mut archive = Vec::new();
    saving.write(&mut archive)?;
    Ok((archive, saving.remade()))
}

fn files(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (entry.path().unwrap().display().to_string(), content)
    });
    entries.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saved_image_is_the_same_image() {
    let mock = Mock::start().await;
    let (a, b) = (layer("a", &noise(100_000)), layer("b", b"two"));
    // What follows the end of an archive is part of its digest.
    let c = [layer("c", b"three"), vec![0; 10_240]].concat();
    let pushed = Pushed::index(vec![gzip(&a), (b.clone(), b.clone(), "tar"), zstd(&c)]);
    let ids = mock.push("team/app", "v1", &pushed);
    let node = Node::new();
    let reference = format!("{}/team/app:v1", mock.address());
    let id = node.store.pull(&reference, None).await.unwrap();
    let (archive, remade) = save(&node, &reference).unwrap();
    assert_eq!(remade, 3, "no compressed layer is kept");
    assert_eq!(save(&node, &id[7..19]).unwrap().0, archive, "the same image gives the same archive");
    let found = files(&archive);
    for content in [&a, &b, &c] {
        let path = format!("blobs/sha256/{}", Digest::of(content).hex());
        assert_eq!(found.get(&path), Some(content), "to the byte");
    }
    for path in
        found.keys().filter_map(|path| path.strip_prefix("blobs/sha256/")).filter(|hex| !hex.is_empty())
    {
        let content = &found[&format!("blobs/sha256/{path}")];
        assert_eq!(Digest::of(content).hex(), path);
    }
    let other = Node::new();
    let loaded = other.store.load(Box::new(std::io::Cursor::new(archive.clone())), None).await.unwrap();
    assert_eq!((&loaded.images[0].id, &loaded.images[0].names[0]), (&id, &reference));
    let ids_of = |node: &Node| -> Vec<_> {
        node.image(&id)
            .rootfs
            .directories()
            .iter()
            .map(|layer| layer.file_name().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids_of(&node), ids_of(&other));

    // As Docker reads it.
    let manifest: serde_json::Value = serde_json::from_slice(&found["manifest.json"]).unwrap();
    assert_eq!(manifest[0]["RepoTags"][0], reference);
    for path in manifest[0]["Layers"].as_array().unwrap().iter().chain([&manifest[0]["Config"]]) {
        assert!(found.contains_key(path.as_str().unwrap()), "{path}");
    }
    assert_eq!(ids.config.as_str(), id);
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_layers_are_saved_as_they_came() {
    let mock = Mock::start().await;
    let compressed = gzip(&layer("a", b"one"));
    let mut replacing = Builder::default();
    replacing.file("x", b"first").file("x", b"second");
    let replacing = gzip(&replacing.end());
    let ids = mock.push("app", "v1", &Pushed::manifest(vec![compressed.clone(), replacing.clone()]));
    let node = Node::with(|config| config.keep_layer_blobs = true);
    let reference = format!("{}/app:v1", mock.address());
    node.store.pull(&reference, None).await.unwrap();
    let (archive, remade) = save(&node, &reference).unwrap();
    assert_eq!(remade, 0);
    let found = files(&archive);
    let index: serde_json::Value = serde_json::from_slice(&found["index.json"]).unwrap();
    assert_eq!(index["manifests"][0]["digest"], ids.top.as_str(), "the registry's own manifest");
    assert_eq!(found[&format!("blobs/sha256/{}", Digest::of(&compressed.0).hex())], compressed.0);

    // Without them, what one entry replaced of another is gone.
    let node = Node::new();
    node.store.pull(&reference, None).await.unwrap();
    let error = save(&node, &reference).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    let text = error.to_string();
    assert!(text.contains(Digest::of(&replacing.1).hex()) && text.contains("keep_layer_blobs"), "{text}");
    assert_eq!(save(&node, "absent:1").unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_damaged_is_saved_as_if_it_were_whole() {
    let mock = Mock::start().await;
    mock.push("app", "v1", &Pushed::manifest(vec![gzip(&layer("a", b"one"))]));
    for damage in ["two", "longer"] {
        let node = Node::new();
        let reference = format!("{}/app:v1", mock.address());
        node.store.pull(&reference, None).await.unwrap();
        std::fs::write(node.image(&reference).rootfs.directories()[0].join("data/a"), damage).unwrap();
        let error = save(&node, &reference).unwrap_err();
        assert!(error.to_string().contains("is damaged"), "{error}");
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    }
}
