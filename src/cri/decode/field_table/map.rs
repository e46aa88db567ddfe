//! The tables of fields in `src/README.md`: every field has the files that act on it and a test that shows it.

use super::*;
use std::fs;
use std::path::Path;

const MAP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// What a cell names in code quotes.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The rows of the table below a heading, as cells.
fn table<'a>(map: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let (_, below) = map.split_once(&format!("\n### {heading}\n")).expect(heading);
    let below = below.split("\n#").next().unwrap_or(below);
    let rows = below.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| row.trim_matches('|').split('|').collect()).collect()
}

fn check_map(message: &str, skip: &str) {
    let map = fs::read_to_string(MAP).unwrap();
    let descriptor = pool().get_message_by_name(&format!("runtime.v1.{message}")).unwrap();
    let mut fields = Vec::new();
    walk(&descriptor, "", skip, &mut fields);
    let mut left: BTreeSet<String> = fields.into_iter().map(|(path, _)| path).collect();
    for row in table(&map, message) {
        let [names, files, tests] = row[..] else { panic!("three cells, please: {row:?}") };
        for name in quoted(names) {
            match name.strip_suffix('*') {
                Some(group) => {
                    let before = left.len();
                    left.retain(|path| !path.starts_with(group));
                    assert!(left.len() < before, "{message}: no field {name}, or it is there twice");
                }
                None => assert!(left.remove(name), "{message}: no field {name}, or it is there twice"),
            }
        }
        let files = quoted(files);
        assert!(!files.is_empty(), "{names}: no file");
        for file in files {
            assert!(Path::new(ROOT).join(file).is_file(), "{names}: no file {file}");
        }
        let mut source = String::new();
        let mut shown = 0;
        for word in quoted(tests) {
            if word.ends_with(".rs") {
                source = fs::read_to_string(Path::new(ROOT).join(word)).expect(word);
            } else {
                assert!(source.contains(&format!("fn {word}(")), "{names}: no test {word}");
                shown += 1;
            }
        }
        assert!(shown > 0, "{names}: no test");
    }
    assert!(left.is_empty(), "{message}, not on the map: {left:#?}");
}

#[test]
fn every_field_of_a_sandbox_is_on_the_map() {
    check_map("PodSandboxConfig", "");
}

#[test]
fn every_field_of_a_container_is_on_the_map() {
    check_map("ContainerConfig", "");
}
