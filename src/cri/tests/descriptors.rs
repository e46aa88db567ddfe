//! Compares `proto/` with the interface that Kubernetes publishes, fetched as a Go module when the test runs.
//!
//! Set `CORTEN_WITHOUT_UPSTREAM` to the reason where neither Go nor its module proxy can be had: the test then
//! says so and passes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use prost_reflect::prost_types::FieldOptions;
use prost_reflect::{
    Cardinality, DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, ServiceDescriptor,
};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

const MODULE: &str = "k8s.io/cri-api@v0.37.2";
const FILE: &str = "pkg/apis/runtime/v1/api.proto";
const OURS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../proto");

/// The directory of the module in Go's cache.
fn download() -> Result<PathBuf, String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut go = Command::new("go");
    go.args(["mod", "download", "-json", MODULE]).current_dir(dir.path()).env("GOFLAGS", "-mod=mod");
    let output = go.output().map_err(|error| format!("go cannot be run: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(format!("go mod download {MODULE}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    }
    let answer: serde_json::Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    answer["Dir"].as_str().map(PathBuf::from).ok_or_else(|| format!("go names no directory: {text}"))
}

fn compile(file: &str, include: &Path) -> DescriptorPool {
    let files = protox::compile([file], [include]).unwrap();
    DescriptorPool::from_file_descriptor_set(files).unwrap()
}

/// One line a fact, so that a difference reads as the facts that differ.
fn facts(pool: &DescriptorPool) -> BTreeSet<String> {
    let mut facts = BTreeSet::new();
    pool.services().for_each(|service| service_facts(&service, &mut facts));
    pool.all_messages().for_each(|message| message_facts(&message, &mut facts));
    pool.all_enums().for_each(|item| enum_facts(&item, &mut facts));
    facts
}

fn service_facts(service: &ServiceDescriptor, facts: &mut BTreeSet<String>) {
    facts.insert(format!("service {}", service.full_name()));
    for rpc in service.methods() {
        facts.insert(format!(
            "rpc {} takes {} (stream {}) gives {} (stream {})",
            rpc.full_name(),
            rpc.input().full_name(),
            rpc.is_client_streaming(),
            rpc.output().full_name(),
            rpc.is_server_streaming(),
        ));
    }
}

fn message_facts(message: &MessageDescriptor, facts: &mut BTreeSet<String>) {
    facts.insert(format!("message {} (map entry {})", message.full_name(), message.is_map_entry()));
    for field in message.fields() {
        facts.insert(field_fact(&field));
    }
    for oneof in message.oneofs() {
        let fields: BTreeSet<String> = oneof.fields().map(|field| field.name().to_owned()).collect();
        facts.insert(format!("oneof {} of {fields:?}", oneof.full_name()));
    }
    facts.insert(format!(
        "{} reserves {:?}",
        message.full_name(),
        message.reserved_ranges().collect::<Vec<_>>()
    ));
}

fn field_fact(field: &FieldDescriptor) -> String {
    let kind = match field.kind() {
        Kind::Message(message) => format!("message {}", message.full_name()),
        Kind::Enum(item) => format!("enum {}", item.full_name()),
        scalar => format!("{scalar:?}"),
    };
    let label = match field.cardinality() {
        Cardinality::Optional => "optional",
        Cardinality::Required => "required",
        Cardinality::Repeated => "repeated",
    };
    format!(
        "field {} = {}: {label} {kind} (presence {}, packed {}, json {}, deprecated {})",
        field.full_name(),
        field.number(),
        field.supports_presence(),
        field.is_packed(),
        field.json_name(),
        field.field_descriptor_proto().options.as_ref().is_some_and(FieldOptions::deprecated),
    )
}

fn enum_facts(item: &EnumDescriptor, facts: &mut BTreeSet<String>) {
    facts.insert(format!("enum {}", item.full_name()));
    for value in item.values() {
        facts.insert(format!("value {} = {}", value.full_name(), value.number()));
    }
}

#[test]
fn the_interface_is_that_of_upstream() {
    let upstream = match download() {
        Ok(dir) => compile(FILE, &dir),
        Err(problem) => {
            let reason = std::env::var("CORTEN_WITHOUT_UPSTREAM").unwrap_or_default();
            assert!(!reason.is_empty(), "the comparison with {MODULE} cannot be made: {problem}");
            eprintln!("not compared with {MODULE}: {problem} ({reason})");
            return;
        }
    };
    let (ours, theirs) = (facts(&compile("api.proto", Path::new(OURS))), facts(&upstream));
    assert!(theirs.len() > 1000, "upstream has only {} facts", theirs.len());
    let missing: Vec<_> = theirs.difference(&ours).collect();
    let extra: Vec<_> = ours.difference(&theirs).collect();
    assert!(missing.is_empty() && extra.is_empty(), "missing: {missing:#?}\nextra: {extra:#?}");
}
