#![allow(clippy::unwrap_used)]

use super::bolt::{Bolt, Bucket};
use super::containerd;
use std::path::Path;

const PAGE: usize = 4096;

/// A leaf's entry: name, value, whether it is a bucket.
type Entry = (String, Vec<u8>, bool);

fn digest(digit: char) -> String {
    format!("sha256:{}", digit.to_string().repeat(64))
}

fn value(name: &str, value: &str) -> Entry {
    (name.to_owned(), value.as_bytes().to_vec(), false)
}

/// A bucket that lies in its entry.
fn inline(name: &str, entries: &[Entry]) -> Entry {
    let mut bytes = vec![0; 16];
    bytes.extend(page(0, 2, entries));
    (name.to_owned(), bytes, true)
}

/// A bucket that is a tree of pages.
fn rooted(name: &str, root: u64) -> Entry {
    (name.to_owned(), [root.to_ne_bytes(), [0; 8]].concat(), true)
}

fn page(number: u64, flags: u16, entries: &[Entry]) -> Vec<u8> {
    let mut head = number.to_ne_bytes().to_vec();
    head.extend(flags.to_ne_bytes());
    head.extend(u16::try_from(entries.len()).unwrap().to_ne_bytes());
    head.extend([0; 4]);
    let mut body = Vec::new();
    for (index, (name, value, is_bucket)) in entries.iter().enumerate() {
        let start = 16 * (entries.len() - index) + body.len();
        for number in [usize::from(*is_bucket), start, name.len(), value.len()] {
            head.extend(u32::try_from(number).unwrap().to_ne_bytes());
        }
        body.extend(name.as_bytes());
        body.extend(value);
    }
    [head, body].concat()
}

fn branch(number: u64, children: &[u64]) -> Vec<u8> {
    let mut bytes = number.to_ne_bytes().to_vec();
    bytes.extend(1u16.to_ne_bytes());
    bytes.extend(u16::try_from(children.len()).unwrap().to_ne_bytes());
    bytes.extend([0; 4]);
    for child in children {
        bytes.extend([0; 8]);
        bytes.extend(child.to_ne_bytes());
    }
    bytes
}

fn meta(number: u64, root: u64, transaction: u64) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(
        [0xED0C_DAEDu32, 2, u32::try_from(PAGE).unwrap(), 0].iter().flat_map(|word| word.to_ne_bytes()),
    );
    body.extend([root, 0, 1, 9, transaction].iter().flat_map(|word| word.to_ne_bytes()));
    let fnv = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let sum = body.iter().fold(0xcbf2_9ce4_8422_2325, fnv);
    let mut bytes = number.to_ne_bytes().to_vec();
    bytes.extend(4u16.to_ne_bytes());
    bytes.extend([0; 6]);
    bytes.extend(body);
    bytes.extend(sum.to_ne_bytes());
    bytes
}

fn image(name: &str, digest: &str, pinned: bool) -> Entry {
    let mut entries = vec![value("createdat", "x")];
    if pinned {
        entries.push(inline("labels", &[value("io.cri-containerd.pinned", "pinned")]));
    }
    entries.push(inline("target", &[value("digest", digest), value("mediatype", "application/x")]));
    inline(name, &entries)
}

/// A database as containerd lays one out: two states of it, and the images of a namespace over two leaves.
fn database() -> Vec<u8> {
    let pages = [
        meta(0, 2, 6),
        meta(1, 3, 7),
        page(2, 2, &[value("old", "state")]),
        page(3, 2, &[inline("v1", &[inline("default", &[]), rooted("k8s.io", 4)])]),
        page(4, 2, &[rooted("images", 5)]),
        branch(5, &[6, 7]),
        page(
            6,
            2,
            &[
                image("b.example/app:1", &digest('b'), false),
                image(&format!("b.example/app@{}", digest('b')), &digest('b'), false),
            ],
        ),
        page(
            7,
            2,
            &[
                image("a.example/pause:3", &digest('a'), true),
                image(&digest('a'), &digest('a'), false),
                image("No Name", &digest('c'), false),
            ],
        ),
    ];
    let pad = |mut page: Vec<u8>| {
        page.resize(PAGE, 0);
        page
    };
    pages.into_iter().flat_map(pad).collect()
}

fn written(root: &Path, bytes: &[u8]) {
    let directory = root.join("io.containerd.metadata.v1.bolt");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("meta.db"), bytes).unwrap();
}

#[test]
fn images_are_listed_by_what_their_names_mean() {
    let root = tempfile::tempdir().unwrap();
    written(root.path(), &database());
    let images = containerd::images(root.path(), "k8s.io").unwrap();
    let told: Vec<_> =
        images.iter().map(|image| (image.names.join(" "), image.odd.join(" "), image.pinned)).collect();
    let expected = [
        (String::new(), "No Name".to_owned(), false),
        ("a.example/pause:3".to_owned(), String::new(), true),
        (format!("b.example/app:1 b.example/app@{}", digest('b')), String::new(), false),
    ];
    assert_eq!(told, expected);
    assert_eq!(
        (images[2].digest.as_str(), images[2].media_type.as_str()),
        (digest('b').as_str(), "application/x")
    );
    assert!(containerd::images(root.path(), "default").unwrap().is_empty());
    let error = containerd::images(root.path(), "moby").unwrap_err().to_string();
    assert!(error.ends_with("has no namespace moby, but default, k8s.io"), "{error}");
    let error = containerd::images(&root.path().join("other"), "k8s.io").unwrap_err().to_string();
    assert!(error.contains("it is not containerd's root"), "{error}");
}

#[test]
fn the_newer_state_counts_and_the_older_one_where_that_is_torn() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("db");
    let names = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let bolt = Bolt::read(&path).unwrap();
        let entries = bolt.root().entries().unwrap();
        entries.iter().map(|(name, ..)| String::from_utf8_lossy(name).into_owned()).collect::<Vec<_>>()
    };
    let mut bytes = database();
    assert_eq!(names(&bytes), ["v1"]);
    bytes[PAGE + 64] ^= 1;
    assert_eq!(names(&bytes), ["old"]);
    bytes[PAGE + 64] ^= 1;
    bytes[64] ^= 1;
    assert_eq!(names(&bytes), ["v1"]);
}

/// Everything that a bucket holds, and what those in it hold.
fn walk(bucket: &Bucket<'_>, depth: usize) {
    let (Ok(_), Ok(below)) = (bucket.entries(), bucket.buckets()) else { return };
    for (_, bucket) in below.iter().take(if depth < 8 { 8 } else { 0 }) {
        walk(bucket, depth + 1);
    }
}

#[test]
fn whatever_is_damaged_is_told_and_nothing_is_looked_for_outside() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("db");
    let sound = database();
    let used = (0..sound.len()).filter(|at| sound[*at] != 0 || at % 97 == 0);
    for at in used.filter(|at| at % PAGE >= 8) {
        for change in [0xff, 0x01] {
            let mut bytes = sound.clone();
            bytes[at] ^= change;
            std::fs::write(&path, &bytes).unwrap();
            if let Ok(bolt) = Bolt::read(&path) {
                walk(&bolt.root(), 0);
            }
        }
    }
    for length in [0, 15, 79, 80, PAGE, PAGE + 80, 3 * PAGE + 20, 5 * PAGE] {
        std::fs::write(&path, &sound[..length]).unwrap();
        if let Ok(bolt) = Bolt::read(&path) {
            walk(&bolt.root(), 0);
        }
    }
    std::fs::write(&path, "no database, but long enough for two pages".repeat(400)).unwrap();
    let error = Bolt::read(&path).err().unwrap().to_string();
    assert!(error.ends_with("it has not the mark of one"), "{error}");
    // A branch that leads to itself.
    let mut bytes = sound;
    bytes.splice(5 * PAGE..5 * PAGE + 48, branch(5, &[5, 5]));
    written(root.path(), &bytes);
    let error = containerd::images(root.path(), "k8s.io").unwrap_err().to_string();
    assert!(error.contains("lead in a circle"), "{error}");
}
