//! The map of the code leads somewhere: every file that it names exists, its arrows are those of Cargo's manifests, every RPC
//! is on it, and so is a test of each thing that the kubelet depends on.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

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

/// The crates of which others are made or that are installed, each with those that it depends on.
fn crates() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let arguments = ["metadata", "--no-deps", "--offline", "--format-version=1", "--manifest-path"];
    let output = Command::new(cargo).args(arguments).arg(root().join("Cargo.toml")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let is_for_tests = |name: &str| ["e2e", "failpoint", "need"].contains(&name);
    let name = |value: &serde_json::Value| value["name"].as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap().iter();
    let packages = packages.filter(|package| !is_for_tests(&name(package)));
    let made = packages.map(|package| {
        let own = package["dependencies"].as_array().unwrap().iter();
        let own = own.filter(|one| one["path"].is_string() && one["kind"].is_null());
        (name(package), own.map(name).filter(|one| !is_for_tests(one)).collect())
    });
    made.collect()
}

#[test]
fn the_arrows_are_those_of_the_manifests_and_point_downwards() {
    let map = map();
    let (_, drawn) = map.split_once("An arrow means").unwrap();
    let drawn = drawn.split("```").nth(1).unwrap().trim_start_matches("text\n");
    let list =
        |names: &str| -> BTreeSet<String> { names.split(',').map(|name| name.trim().to_owned()).collect() };
    let (mut shown, mut above) = (BTreeMap::new(), BTreeSet::new());
    for line in drawn.lines() {
        if let Some(names) = line.strip_prefix("on nothing:") {
            shown.extend(list(names).into_iter().map(|name| (name, BTreeSet::new())));
            continue;
        }
        let (name, below) = line.split_once("─▶").unwrap();
        let (name, below) = (name.trim().to_owned(), list(below));
        above.insert(name.clone());
        assert!(below.is_disjoint(&above), "{name} stands lower than what it depends on: {below:?}");
        shown.insert(name, below);
    }
    assert_eq!(shown, crates());
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
