//! The frames of every release, as its daemon and its shim wrote them. A file is never edited: what a release has said,
//! later ones understand. CONTRIBUTING.md says how those of a coming release are added.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::feature::Features;
use crate::frame::{self, Body, Frame, FrameDecoder};
use crate::msg::Reply;
use crate::samples::{self, encoded};
use crate::{exit, witness};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The number that the frames of requests and replies have.
const ID: u64 = 0x0102_0304_0506_0708;
const EXIT_FILE: &str = "exit-file";

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// By release, oldest first: the frames by name.
fn releases() -> Vec<(PathBuf, BTreeMap<String, Vec<u8>>)> {
    let mut releases: Vec<_> = directory()
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|path| {
            let frames = path.read_dir().unwrap().map(|entry| {
                let path = entry.unwrap().path();
                (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read(path).unwrap())
            });
            let frames = frames.collect();
            (path, frames)
        })
        .collect();
    let numbers = |path: &Path| -> Vec<u32> {
        path.file_name().unwrap().to_str().unwrap().split('.').map(|part| part.parse().unwrap()).collect()
    };
    releases.sort_by_key(|(path, _)| numbers(path));
    releases
}

fn decoded(bytes: &[u8], at: &str) -> Frame {
    let mut decoder = FrameDecoder::new();
    decoder.push(bytes);
    let frame = decoder.next_frame().unwrap_or_else(|error| {
        panic!("{at} is not read any more: {error} (a new field goes behind a `+`, at the very end)")
    });
    frame.unwrap_or_else(|| panic!("{at} is half a frame"))
}

/// What this version writes, by name.
fn written() -> BTreeMap<&'static str, Vec<u8>> {
    let mut written: BTreeMap<_, _> =
        samples::all().into_iter().map(|(name, body)| (name, encoded(ID, &body))).collect();
    written.insert(EXIT_FILE, exit::encode(&samples::record()));
    written
}

#[test]
fn frames_of_every_release_are_read_and_written_as_they_were() {
    for (release, frames) in releases() {
        assert!(!frames.is_empty(), "{release:?} is empty");
        for (name, bytes) in frames {
            let at = format!("{}/{name}", release.display());
            let again = if name == EXIT_FILE {
                exit::encode(&exit::decode(&bytes).unwrap())
            } else {
                let frame = decoded(&bytes, &at);
                encoded(frame.id, &frame.body)
            };
            assert_eq!(again, bytes, "{at} is written otherwise: put new fields behind `+`, at the end");
        }
    }
}

/// FNV-1a over names and frames: what differs by accident differs in it.
fn sum(frames: &BTreeMap<String, Vec<u8>>) -> String {
    let bytes = frames.iter().flat_map(|(name, frame)| name.bytes().chain([0]).chain(frame.iter().copied()));
    let sum = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    format!("{sum:016x}")
}

#[test]
fn frames_of_a_release_are_as_they_were_released() {
    let list = std::fs::read_to_string(directory().join("releases.txt")).unwrap();
    let mut frames: BTreeMap<_, _> = releases()
        .into_iter()
        .map(|(path, frames)| (path.file_name().unwrap().to_str().unwrap().to_owned(), frames))
        .collect();
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        let [version, commit, released] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line:?} is not version, commit and sum")
        };
        assert_eq!(commit.len(), 40, "{line:?} names no whole commit");
        let frames = frames.remove(version).unwrap_or_else(|| panic!("the frames of {version} are gone"));
        assert_eq!(
            sum(&frames),
            released,
            "frames of {version} were edited, added or removed: it is released"
        );
    }
    // What is left is of no release, and can only be what becomes the next.
    frames.remove(env!("CARGO_PKG_VERSION"));
    assert!(frames.is_empty(), "releases.txt lacks {:?}", frames.keys());
}

#[test]
fn what_this_version_writes_is_what_the_newest_frames_say() {
    let releases = releases();
    let newest = |name: &str| releases.iter().rev().find_map(|(_, frames)| frames.get(name));
    let added = directory().join(env!("CARGO_PKG_VERSION"));
    let may_write = std::env::var_os("CORTEN_GOLDEN").is_some_and(|value| value == "write");
    let mut lacking = Vec::new();
    for (name, bytes) in written() {
        if newest(name) == Some(&bytes) {
            continue;
        }
        let path = added.join(format!("{name}.frame"));
        if may_write && !path.exists() {
            std::fs::create_dir_all(&added).unwrap();
            std::fs::write(&path, bytes).unwrap();
        } else {
            lacking.push(path);
        }
    }
    assert!(
        lacking.is_empty(),
        "these frames are not there, or say something else: {lacking:#?}\nsee \"Adding a field to a plan\" in CONTRIBUTING.md"
    );
}

#[test]
fn no_message_no_variant_and_no_field_is_without_a_frame() {
    for (release, frames) in releases() {
        for (name, bytes) in frames {
            if name != EXIT_FILE {
                let frame = decoded(&bytes, &format!("{}/{name}", release.display()));
                encoded(frame.id, &frame.body);
            }
        }
    }
    assert_eq!(
        witness::silent(),
        Vec::<String>::new(),
        "no golden frame says anything of these: give them values in samples.rs, then write the frames"
    );
}

#[test]
fn a_shim_of_a_release_is_sent_nothing_that_it_does_not_know() {
    let requests = samples::requests().into_iter().map(|(_, request)| request);
    let requests: Vec<_> =
        requests.chain(crate::needs::tests::cases().into_iter().map(|(it, _)| it)).collect();
    let (mut known, mut features) = (BTreeSet::new(), Features::NONE);
    for (release, frames) in releases() {
        for (name, bytes) in frames.iter().filter(|(name, _)| *name != EXIT_FILE) {
            let frame = decoded(bytes, &format!("{}/{name}", release.display()));
            encoded(frame.id, &frame.body);
            if let Body::Reply(Reply::Hello { features: stated, .. }) = frame.body {
                features = stated;
            }
        }
        known.extend(witness::said());
        for request in requests.iter().filter(|request| request.needs().without(features).is_empty()) {
            frame::request(ID, request);
            let unknown: Vec<_> = witness::said().difference(&known).cloned().collect();
            assert!(
                unknown.is_empty(),
                "shims like that of {release:?} are sent {unknown:?}: a new field needs a new feature"
            );
        }
    }
}
