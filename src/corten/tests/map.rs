//! The map of the code leads somewhere: every file that it names exists, and every RPC is on it.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn map() -> String {
    fs::read_to_string(root().join("src/README.md")).unwrap()
}

#[test]
fn every_file_on_the_map_exists() {
    let map = map();
    let files: Vec<&str> = map.split('`').skip(1).step_by(2).filter(|text| text.ends_with(".rs")).collect();
    assert!(files.len() > 50, "{files:?}");
    let lost: Vec<&str> = files.into_iter().filter(|file| !root().join(file).is_file()).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

#[test]
fn every_rpc_is_on_the_map() {
    let map = map();
    let words: Vec<&str> = map.split(|c: char| !c.is_alphanumeric()).collect();
    let proto = fs::read_to_string(root().join("proto/api.proto")).unwrap();
    let rpcs: Vec<&str> =
        proto.lines().filter_map(|line| line.trim().strip_prefix("rpc ")?.split('(').next()).collect();
    assert!(rpcs.len() > 40, "{rpcs:?}");
    let lost: Vec<&str> = rpcs.into_iter().filter(|rpc| !words.contains(rpc)).collect();
    assert!(lost.is_empty(), "{lost:?}");
}
