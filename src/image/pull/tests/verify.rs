//! Images that are damaged on the disk: found, and what is damaged fetched again alone.

use super::mock::{Mock, Pushed, gzip};
use super::{Node, layer, noise};
use crate::unpack::testtar::{Builder, Head};
use crate::{Part, VerifiedImage};
use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;

async fn verify(node: &Node, repair: bool) -> Vec<VerifiedImage> {
    let mut found = Vec::new();
    node.store.verify(Vec::new(), repair, |image| found.push(image)).await.unwrap();
    found
}

/// A layer with an entry of every kind, names of every length, and a directory without an entry.
fn varied() -> Vec<u8> {
    let mut tar = Builder::default();
    tar.dir("./", 0o755).dir("data", 0o750);
    tar.file("data/big", &noise(300_000)).file("data/empty", b"").file("implied/x", b"x");
    tar.entry(&Head { kind: b'2', name: b"data/link", link: b"../implied", ..Default::default() }, b"");
    tar.entry(&Head { kind: b'1', name: b"data/hard", link: b"data/big", ..Default::default() }, b"");
    tar.entry(&Head { kind: b'6', name: b"data/fifo", mode: 0o600, uid: 7, ..Default::default() }, b"");
    // Through a link, as Docker's builders write it.
    tar.file("data/link/y", b"yy").file("gone/.wh.below", b"").file("opaque/.wh..wh..opq", b"");
    tar.file(&format!("data/{}", "long".repeat(20)), b"long");
    tar.end()
}

/// Changes something of the layer and tells what the finding must say.
type Damager = fn(&Path) -> &'static str;

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_damaged_in_a_layer_is_found_and_that_layer_alone_fetched_again() {
    let mock = Mock::start().await;
    let below = gzip(&layer("below", b"below"));
    let trailing = [varied(), vec![0; 4096], b"junk behind the end".to_vec()].concat();
    mock.push("app", "v1", &Pushed::index(vec![below, gzip(&trailing)]));
    let node = Node::new();
    let reference = format!("{}/app:v1", mock.address());
    let id = node.store.pull(&reference, None).await.unwrap();
    node.assert_counted().await;
    let whole = verify(&node, false).await;
    assert_eq!((whole.len(), whole[0].id.as_str(), whole[0].damage.len()), (1, id.as_str(), 0), "{whole:?}");
    assert_eq!(whole[0].names, std::slice::from_ref(&reference));

    let table: [(&str, Damager); 8] = [
        ("a bit", |root| {
            let file = fs::File::options().write(true).open(root.join("data/big")).unwrap();
            let time = file.metadata().unwrap().modified().unwrap();
            file.write_at(&[1], 100_000).unwrap();
            file.set_modified(time).unwrap();
            "other content"
        }),
        ("a cut file", |root| {
            fs::File::options().write(true).open(root.join("data/big")).unwrap().set_len(5).unwrap();
            "data/big has another size"
        }),
        ("a lost file", |root| {
            fs::remove_file(root.join("implied/x")).unwrap();
            "implied/x is missing"
        }),
        ("one too many", |root| {
            fs::write(root.join("data/more"), "").unwrap();
            "data/more does not belong there"
        }),
        ("a mode", |root| {
            fs::set_permissions(root.join("data"), fs::Permissions::from_mode(0o777)).unwrap();
            "data has another mode"
        }),
        ("another type", |root| {
            fs::remove_file(root.join("data/fifo")).unwrap();
            fs::create_dir(root.join("data/fifo")).unwrap();
            "data/fifo is of another type"
        }),
        ("a whole directory", |root| {
            fs::remove_dir_all(root).unwrap();
            "its directory is missing"
        }),
        ("its outline", |root| {
            let outline = root.ancestors().nth(3).unwrap().join("outlines").join(root.file_name().unwrap());
            fs::write(outline, "nothing that was ever written").unwrap();
            "outline"
        }),
    ];
    for (name, damager) in table {
        let top = node
            .image(&reference)
            .rootfs
            .directories()
            .iter()
            .find(|layer| !layer.join("data/below").exists())
            .cloned();
        let said = damager(&top.unwrap());
        let found = verify(&node, false).await;
        assert_eq!(found[0].damage.len(), 1, "{name}: {found:?}");
        assert_eq!(found[0].damage[0].part, Part::Layer, "{name}");
        assert!(found[0].damage[0].problem.contains(said), "{name}: {:?}", found[0].damage);
        assert!(!found[0].is_whole(), "{name}");
        let requests = mock.blob_requests();
        let repaired = verify(&node, true).await;
        assert!(repaired[0].is_whole() && repaired[0].damage[0].repaired, "{name}: {repaired:?}");
        assert_eq!(mock.blob_requests() - requests, 2, "{name}: the config and one layer");
        assert!(verify(&node, false).await[0].damage.is_empty(), "{name}");
    }
    node.store.remove(&reference).await.unwrap();
    node.assert_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_is_gone_is_fetched_alone_by_the_next_pull() {
    let mock = Mock::start().await;
    mock.push("app", "v1", &Pushed::index(vec![gzip(&layer("a", b"a")), gzip(&layer("b", b"b"))]));
    let node = Node::new();
    let reference = format!("{}/app:v1", mock.address());
    node.store.pull(&reference, None).await.unwrap();
    assert!(node.store.status(&reference).unwrap().is_some());
    fs::remove_dir_all(&node.image(&reference).rootfs.directories()[0]).unwrap();
    assert!(node.store.status(&reference).unwrap().is_none(), "the kubelet is to pull it");
    let requests = mock.blob_requests();
    node.store.pull(&reference, None).await.unwrap();
    assert_eq!(mock.blob_requests() - requests, 2, "the config and one layer");
    assert!(node.store.status(&reference).unwrap().is_some());
    assert!(verify(&node, false).await[0].damage.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_keeps_the_damaged_layer_until_it_is_gone() {
    let mock = Mock::start().await;
    mock.push("app", "v1", &Pushed::manifest(vec![gzip(&layer("a", b"right"))]));
    let node = Node::new();
    let reference = format!("{}/app:v1", mock.address());
    let id = node.store.pull(&reference, None).await.unwrap();
    node.store.hold(&id, "container").unwrap();
    let root = node.image(&reference).rootfs.directories()[0].clone();
    // What an overlay holds is the directory, whatever its name.
    let open = fs::File::open(root.join("data")).unwrap();
    fs::write(root.join("data/a"), "wrong").unwrap();
    let found = verify(&node, true).await;
    assert_eq!((found[0].damage[0].containers, found[0].is_whole()), (1, true), "{found:?}");
    assert_eq!(fs::read(root.join("data/a")).unwrap(), b"right");
    node.store.sweep().unwrap();
    let path = format!("/proc/self/fd/{}/a", std::os::fd::AsRawFd::as_raw_fd(&open));
    assert_eq!(fs::read(&path).unwrap(), b"wrong", "as the container sees it");
    drop(open);
    node.store.release("container");
    node.store.sweep().unwrap();
    let layers = fs::read_dir(node.images().join("layers/sha256")).unwrap().count();
    assert_eq!(layers, 1, "what was put aside is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_kept_layers_and_made_up_directories_are_looked_at_too() {
    let mock = Mock::start().await;
    let mut base = Builder::default();
    base.entry(&Head { kind: b'5', name: b"tmp", mode: 0o1777, uid: 5, ..Default::default() }, b"");
    let mut top = Builder::default();
    top.file("tmp/x", b"x");
    let top = gzip(&top.end());
    mock.push("app", "v1", &Pushed::index(vec![gzip(&base.end()), top.clone()]));
    let node = Node::with(|config| config.keep_layer_blobs = true);
    let reference = format!("{}/app:v1", mock.address());
    let id = node.store.pull(&reference, None).await.unwrap();
    let blob = |digest: &str| node.images().join("blobs/sha256").join(digest.rsplit(':').next().unwrap());
    let kept = crate::Digest::of(&top.0).to_string();

    fs::remove_file(blob(&id)).unwrap();
    fs::write(blob(&kept), "damaged").unwrap();
    fs::set_permissions(
        node.image(&reference).rootfs.directories()[0].join("tmp"),
        fs::Permissions::from_mode(0o700),
    )
    .unwrap();
    let found = verify(&node, false).await;
    let parts: Vec<Part> = found[0].damage.iter().map(|damage| damage.part).collect();
    assert_eq!(parts, [Part::Blob, Part::Blob, Part::Attributes], "{found:?}");
    let repaired = verify(&node, true).await;
    assert!(repaired[0].is_whole(), "{repaired:?}");
    assert!(verify(&node, false).await[0].damage.is_empty());
    assert_eq!(fs::read(blob(&kept)).unwrap(), top.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_replace_each_other_are_checked_by_their_tree() {
    let mock = Mock::start().await;
    let mut tar = Builder::default();
    tar.file("a", b"first").file("a", b"second").file("b", b"b");
    mock.push("app", "v1", &Pushed::manifest(vec![gzip(&tar.end())]));
    let node = Node::new();
    let reference = format!("{}/app:v1", mock.address());
    node.store.pull(&reference, None).await.unwrap();
    assert!(verify(&node, false).await[0].damage.is_empty());
    fs::write(node.image(&reference).rootfs.directories()[0].join("b"), "c").unwrap();
    assert_eq!(verify(&node, false).await[0].damage.len(), 1);
    assert!(verify(&node, true).await[0].is_whole());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_fetched_now_is_by_the_next_pull() {
    let mock = Mock::start().await;
    mock.push("app", "v1", &Pushed::manifest(vec![gzip(&layer("a", b"a"))]));
    let node = Node::new();
    let reference = format!("{}/app:v1", mock.address());
    node.store.pull(&reference, None).await.unwrap();
    fs::write(node.image(&reference).rootfs.directories()[0].join("data/a"), "b").unwrap();
    mock.behave(super::Behaviour::Fail(503));
    let found = verify(&node, true).await;
    assert!(!found[0].is_whole() && found[0].unrepaired.as_ref().unwrap().contains("503"), "{found:?}");
    mock.behave(super::Behaviour::Open);
    assert!(node.store.status(&reference).unwrap().is_none(), "not given to anybody");
    node.store.pull(&reference, None).await.unwrap();
    assert!(verify(&node, false).await[0].damage.is_empty());
    let missing = node.store.verify(vec![("absent:1".to_owned(), None)], false, |_| ()).await;
    assert!(missing.unwrap_err().to_string().contains("absent:1"));
}
