//! The records of every release, as its daemon wrote them. A file is never edited: what a release has kept, later ones read as
//! it was meant. CONTRIBUTING.md says how those of a coming release are added.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::{ContainerRecord, PodRanges, PodRecord, Record, decode, encode};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Every golden record, and where it lies.
fn records() -> Vec<(PathBuf, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("record/golden");
    let releases = directory.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let files = releases.flat_map(|release| release.read_dir().unwrap().map(|entry| entry.unwrap().path()));
    files.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// A record without its first line.
fn content(bytes: &[u8]) -> Value {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
    serde_json::from_slice(&bytes[end..]).unwrap()
}

fn again<T: Record>(bytes: &[u8], at: &Path) -> Value {
    let record: T = decode(bytes).unwrap_or_else(|error| panic!("{at:?} is not read any more: {error}"));
    content(&encode("golden", &record).unwrap())
}

/// A record as it is written by this version.
fn written(path: &Path, bytes: &[u8]) -> Value {
    let line = String::from_utf8(bytes.split(|byte| *byte == b'\n').next().unwrap().to_vec()).unwrap();
    match line.split(' ').nth(1).unwrap() {
        PodRecord::KIND => again::<PodRecord>(bytes, path),
        ContainerRecord::KIND => again::<ContainerRecord>(bytes, path),
        PodRanges::KIND => again::<PodRanges>(bytes, path),
        kind => panic!("{path:?} is of a {kind}"),
    }
}

/// Whatever a record said is said again: fields may have come, none may have gone or mean something else.
fn holds(written: &Value, kept: &Value, at: &str) {
    match (written, kept) {
        (Value::Object(written), Value::Object(kept)) => {
            for (name, value) in kept {
                let at = format!("{at}.{name}");
                holds(written.get(name).unwrap_or_else(|| panic!("{at} is lost")), value, &at);
            }
        }
        (Value::Array(written), Value::Array(kept)) if written.len() == kept.len() => {
            for (number, (written, kept)) in written.iter().zip(kept).enumerate() {
                holds(written, kept, &format!("{at}[{number}]"));
            }
        }
        _ => assert_eq!(written, kept, "{at} is read as something else"),
    }
}

#[test]
fn records_of_every_release_are_read_and_nothing_of_them_is_lost() {
    let records = records();
    assert!(!records.is_empty());
    for (path, bytes) in records {
        holds(&written(&path, &bytes), &content(&bytes), &path.display().to_string());
    }
}

/// By field, whether it ever said something.
fn said(value: &Value, at: &str, fields: &mut BTreeMap<String, bool>) {
    let says = match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(value) => value.as_f64() != Some(0.0),
        Value::String(value) => !value.is_empty(),
        Value::Array(values) => {
            values.iter().for_each(|value| said(value, at, fields));
            !values.is_empty()
        }
        Value::Object(values) => {
            values.iter().for_each(|(name, value)| said(value, &format!("{at}.{name}"), fields));
            !values.is_empty()
        }
    };
    *fields.entry(at.to_owned()).or_default() |= says;
}

#[test]
fn no_field_of_a_record_is_without_a_golden_one() {
    let mut fields = BTreeMap::new();
    for (path, bytes) in records() {
        let kind = path.file_name().unwrap().to_str().unwrap().split('-').next().unwrap().to_owned();
        said(&written(&path, &bytes), &kind, &mut fields);
    }
    // What plugins and their configuration say is theirs.
    fields.retain(|field, said| !*said && !field.starts_with("pod.attachment."));
    assert!(fields.is_empty(), "no golden record says anything of {:?}", fields.keys());
}
