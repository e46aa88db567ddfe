//! The map of the code leads somewhere: every file that it names exists, every RPC is on it, and so is a test of each
//! thing that the kubelet depends on.
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

#[test]
fn what_the_kubelet_depends_on_has_tests() {
    let map = map();
    let (_, section) = map.split_once("\n## What the kubelet depends on").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut numbers = Vec::new();
    for row in section.lines() {
        let [number, _, tests] = row.trim_matches('|').split('|').collect::<Vec<_>>()[..] else { continue };
        let Ok(number) = number.trim().parse::<u8>() else { continue };
        numbers.push(number);
        let mut source = String::new();
        let mut shown = 0;
        for word in tests.split('`').skip(1).step_by(2) {
            if word.ends_with(".rs") {
                source = fs::read_to_string(root().join(word)).unwrap();
            } else {
                assert!(is_run(&source, word), "{number}: no test {word}");
                shown += 1;
            }
        }
        assert!(shown > 0, "{number}: no test");
    }
    assert_eq!(numbers, (1..=23).collect::<Vec<_>>());
}

/// Whether a function is a test, or is in the list of scenarios that one plays.
fn is_run(source: &str, name: &str) -> bool {
    let Some((before, _)) = source.split_once(&format!("fn {name}(")) else { return false };
    let line = before.rfind('\n').map_or(0, |end| end);
    let attribute = before[..line].lines().rev().find(|line| !line.trim_start().starts_with("//"));
    attribute.is_some_and(|line| line.contains("test")) || source.contains(&format!(", {name})"))
}
