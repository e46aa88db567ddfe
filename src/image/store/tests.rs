#![allow(clippy::unwrap_used)]
//! Directories that a layer does not describe look as the layers below them say, however many and deep they are.

use super::*;
use crate::unpack::testtar::{Builder, Head};
use crate::unpack::{self, FEW, Limits};
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

fn store(root: &Path) -> Store {
    open::open(ImageConfig { root: root.to_owned(), ..ImageConfig::default() }).unwrap()
}

/// Unpacks layers, bottom first, into the store; the record of an image of them.
fn image(store: &Store, layers: &[&Builder]) -> ImageRecord {
    let mut ids = Vec::new();
    for layer in layers {
        let bytes = layer.end();
        let id = Digest::of(&bytes);
        let (directory, outline) = (store.layout.ingest_dir().unwrap(), store.layout.ingest_file().unwrap());
        let unpacked = unpack::hollow(&mut &bytes[..], directory.path(), None, Limits::none()).unwrap();
        let implied = unpacked.implied.texts(FEW);
        unpack::outline_of(outline.handle().unwrap(), &unpacked.implied).unwrap();
        let record = LayerRecord {
            bytes: 0,
            inodes: unpacked.inodes,
            measured: false,
            outlined: implied.is_none(),
            implied: implied.unwrap_or_default(),
            check: Check::Nothing,
            boot_id: None,
        };
        store.place_layer(&id, directory, outline, record).unwrap();
        ids.push(id);
    }
    ImageRecord {
        id: Digest::of(b"an image").to_string(),
        hidden: false,
        tags: BTreeSet::new(),
        digests: BTreeSet::new(),
        aliases: BTreeSet::new(),
        size: 0,
        layers: ids,
        blobs: Vec::new(),
        fixup: 0,
        config_json: String::new(),
        pinned: false,
        pulled_at: 0,
    }
}

/// Every path of a tree with its mode, owner and time.
fn listed(root: &Path) -> Vec<(String, u32, u32, i64)> {
    let (mut waiting, mut found) = (vec![root.to_owned()], Vec::new());
    while let Some(path) = waiting.pop() {
        let meta = path.symlink_metadata().unwrap();
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        found.push((name, meta.mode() & 0o7777, meta.uid(), meta.mtime()));
        waiting.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
    }
    found.sort();
    found
}

fn described(tar: &mut Builder, path: &str, mode: u32, uid: u64) {
    tar.pax(&[("path", path.as_bytes())]);
    tar.entry(&Head { kind: b'5', name: b"x", mode, uid, mtime: 7, ..Default::default() }, b"");
}

fn implied(tar: &mut Builder, path: &str) {
    tar.pax(&[("path", format!("{path}/f").as_bytes())]).file("x", b"");
}

#[test]
fn the_highest_layer_that_describes_a_directory_is_believed() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    let (mut bottom, mut middle, mut top) = (Builder::default(), Builder::default(), Builder::default());
    for (path, mode) in
        [("", 0o711), ("a", 0o700), ("a/b", 0o1777), ("a/b/c", 0o750), ("same", 0o755), ("gone", 0o700)]
    {
        described(&mut bottom, &format!("./{path}"), mode, 5);
    }
    described(&mut bottom, "file", 0o700, 5);
    described(&mut bottom, "hidden/x", 0o700, 5);
    described(&mut middle, "a/b/c", 0o2755, 6);
    middle.file(".wh.gone", b"");
    middle.file("hidden/.wh..wh..opq", b"");
    described(&mut middle, "hidden", 0o755, 0);
    for path in ["a/b/c/d", "gone/x", "same/y", "file", "hidden/x"] {
        implied(&mut top, path);
    }
    let (found, inodes) = store.fixup(&image(&store, &[&bottom, &middle, &top])).unwrap().unwrap();
    let entry = |path: &str, mode, uid| (path.to_owned(), mode, uid, 7);
    let expected = [
        entry("", 0o711, 5),
        entry("a", 0o700, 5),
        entry("a/b", 0o1777, 5),
        entry("a/b/c", 0o2755, 6),
        entry("file", 0o700, 5),
        entry("same", 0o755, 5),
    ];
    assert_eq!(listed(found.path()), expected);
    assert_eq!(inodes, 6);
    drop(found);
    assert!(store.fixup(&image(&store, &[&bottom])).unwrap().is_none(), "one layer");
    let mut whole = Builder::default();
    described(&mut whole, "./", 0o755, 0);
    assert!(store.fixup(&image(&store, &[&bottom, &whole])).unwrap().is_none(), "nothing implied");
}

#[test]
fn what_it_costs_grows_with_the_directories_and_not_with_their_depth() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    let (deep, many) = ("d/".repeat(2000), 400);
    let (mut bottom, mut top) = (Builder::default(), Builder::default());
    for number in 0..many {
        described(&mut bottom, &format!("{deep}{number}"), 0o700, 5);
        implied(&mut top, &format!("{deep}{number}"));
    }
    let record = image(&store, &[&bottom, &top]);
    assert!(store.layer(&record.layers[1]).unwrap().outlined, "too many to be kept in memory");
    let seconds = || {
        let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
        std::time::Duration::from(time).as_secs_f64()
    };
    let begin = seconds();
    let (found, inodes) = store.fixup(&record).unwrap().unwrap();
    let spent = seconds() - begin;
    assert_eq!(inodes, 1 + 2000 + many);
    // It took far longer when each directory was looked for from the root, for each of its ancestors again.
    assert!(spent < 3.0, "{spent} s");
    drop(found);
}
