//! Sends every message through the `k8s-cri` crate's edition of the interface and back: what both know must survive.
//!
//! The crate itself asks for a protoc when it is built, so its interface file is compiled here, with protox; what the
//! crate does with it is what prost does.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use cri::proto as ours;
use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage, Value,
};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the interface got after the crate's edition of it.
const NEWER: [&str; 11] = [
    "ContainerConfig.stop_signal",
    "ContainerStats.io",
    "ContainerStatus.stop_signal",
    "CpuUsage.psi",
    "ImageSpec.image_ref",
    "LinuxPodSandboxStats.io",
    "MemoryUsage.psi",
    "Mount.image_sub_path",
    "Mount.mount_options",
    "RuntimeFeatures.mount_options",
    "RuntimeFeatures.user_namespaces_host_network",
];

fn compile(file: &str, include: &Path) -> DescriptorPool {
    DescriptorPool::from_file_descriptor_set(protox::compile([file], [include]).unwrap()).unwrap()
}

/// Where cargo has put the crate's sources; it fetches them if need be.
fn their_directory() -> PathBuf {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package =
        packages.iter().find(|package| package["name"] == "k8s-cri").expect("k8s-cri is a dependency");
    assert!(package["version"].as_str().unwrap().starts_with("0.11."), "{}", package["version"]);
    Path::new(package["manifest_path"].as_str().unwrap()).with_file_name("proto")
}

/// The message without what its own edition does not know, which a generated type would not keep either.
fn known(message: &DynamicMessage) -> DynamicMessage {
    let mut known_message = DynamicMessage::new(message.descriptor());
    for (field, value) in message.fields() {
        let value = match value {
            Value::Message(inner) => Value::Message(known(inner)),
            Value::List(items) => Value::List(
                items
                    .iter()
                    .map(|item| match item {
                        Value::Message(inner) => Value::Message(known(inner)),
                        scalar => scalar.clone(),
                    })
                    .collect(),
            ),
            other => other.clone(),
        };
        known_message.set_field(&field, value);
    }
    known_message
}

/// A message with every field set, to another value each.
fn filled(message: &MessageDescriptor, counter: &mut u8) -> DynamicMessage {
    let mut filled = DynamicMessage::new(message.clone());
    for field in message.fields() {
        let value = field_value(&field, counter);
        filled.set_field(&field, value);
    }
    filled
}

fn field_value(field: &FieldDescriptor, counter: &mut u8) -> Value {
    if field.is_map() {
        let Kind::Message(entry) = field.kind() else { unreachable!("a map has entries") };
        let value = one(&entry.map_entry_value_field().kind(), counter);
        return Value::Map(HashMap::from([(MapKey::String(format!("key-{counter}")), value)]));
    }
    if field.is_list() {
        return Value::List(vec![one(&field.kind(), counter), one(&field.kind(), counter)]);
    }
    one(&field.kind(), counter)
}

fn one(kind: &Kind, counter: &mut u8) -> Value {
    *counter = counter.wrapping_add(1).max(1);
    let n = *counter;
    match kind {
        Kind::Double => Value::F64(f64::from(n)),
        Kind::Int32 => Value::I32(-i32::from(n)),
        Kind::Int64 => Value::I64(-i64::from(n)),
        Kind::Uint32 => Value::U32(u32::from(n)),
        Kind::Uint64 => Value::U64(u64::from(n) << 40),
        Kind::Bool => Value::Bool(true),
        Kind::String => Value::String(format!("text {n}")),
        Kind::Bytes => Value::Bytes(vec![b'v', n & 0x7f].into()),
        Kind::Enum(item) => Value::EnumNumber(item.values().map(|value| value.number()).max().unwrap()),
        Kind::Message(message) => Value::Message(filled(message, counter)),
        other => panic!("the interface has no {other:?}"),
    }
}

/// The fields that were in the one and are not the same in the other, as `Message.field`.
fn lost(before: &DynamicMessage, after: &DynamicMessage, into: &mut BTreeSet<String>) {
    for (field, value) in before.fields() {
        let found = after.get_field(&field);
        match (value, found.as_ref()) {
            (Value::Message(before), Value::Message(after)) if after_has(after) => lost(before, after, into),
            (Value::List(before), Value::List(after)) if before.len() == after.len() => {
                for (before, after) in before.iter().zip(after) {
                    match (before, after) {
                        (Value::Message(before), Value::Message(after)) => lost(before, after, into),
                        (before, after) => {
                            assert_eq!(before, after, "{}", field.full_name());
                        }
                    }
                }
            }
            (before, after) if before == after => {}
            _ => {
                let message = field.parent_message();
                into.insert(format!("{}.{}", message.name(), field.name()));
            }
        }
    }
}

fn after_has(message: &DynamicMessage) -> bool {
    message.fields().next().is_some()
}

/// Ours, theirs, ours again; the fields that were lost on the way.
fn round_trip<O>(ours: &DescriptorPool, theirs: &DescriptorPool, name: &str, into: &mut BTreeSet<String>)
where
    O: Message + Default + PartialEq + std::fmt::Debug,
{
    let find = |pool: &DescriptorPool| pool.get_message_by_name(&format!("runtime.v1.{name}")).expect(name);
    let (message, their_message) = (find(ours), find(theirs));
    let before = filled(&message, &mut 0);
    let own = O::decode(before.encode_to_vec().as_slice()).unwrap();
    let again = DynamicMessage::decode(message.clone(), own.encode_to_vec().as_slice()).unwrap();
    assert_eq!(again, before, "{name}: our type loses fields");
    let their = known(&DynamicMessage::decode(their_message, own.encode_to_vec().as_slice()).unwrap());
    let back = O::decode(their.encode_to_vec().as_slice()).unwrap();
    let after = DynamicMessage::decode(message, back.encode_to_vec().as_slice()).unwrap();
    lost(&before, &after, into);
}

macro_rules! round_trips {
    ($ours:ident, $theirs:ident, $lost:ident: $($name:ident)*) => {
        $( round_trip::<ours::$name>(&$ours, &$theirs, stringify!($name), &mut $lost); )*
    };
}

#[test]
fn messages_survive_the_way_through_another_implementation() {
    let own = compile("api.proto", Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../proto")));
    let their = compile("v1.proto", &their_directory());
    let mut lost = BTreeSet::new();
    round_trips!(own, their, lost:
        VersionRequest VersionResponse StatusRequest StatusResponse RuntimeConfigRequest RuntimeConfigResponse
        UpdateRuntimeConfigRequest UpdateRuntimeConfigResponse
        RunPodSandboxRequest RunPodSandboxResponse StopPodSandboxRequest StopPodSandboxResponse
        RemovePodSandboxRequest RemovePodSandboxResponse PodSandboxStatusRequest PodSandboxStatusResponse
        ListPodSandboxRequest ListPodSandboxResponse
        CreateContainerRequest CreateContainerResponse StartContainerRequest StartContainerResponse
        StopContainerRequest StopContainerResponse RemoveContainerRequest RemoveContainerResponse
        ListContainersRequest ListContainersResponse ContainerStatusRequest ContainerStatusResponse
        UpdateContainerResourcesRequest UpdateContainerResourcesResponse
        ReopenContainerLogRequest ReopenContainerLogResponse
        ExecSyncRequest ExecSyncResponse ExecRequest ExecResponse AttachRequest AttachResponse
        PortForwardRequest PortForwardResponse
        ContainerStatsRequest ContainerStatsResponse ListContainerStatsRequest ListContainerStatsResponse
        PodSandboxStatsRequest PodSandboxStatsResponse ListPodSandboxStatsRequest ListPodSandboxStatsResponse
        CheckpointContainerRequest CheckpointContainerResponse GetEventsRequest ContainerEventResponse
        ListMetricDescriptorsRequest ListMetricDescriptorsResponse
        ListPodSandboxMetricsRequest ListPodSandboxMetricsResponse
        ListImagesRequest ListImagesResponse ImageStatusRequest ImageStatusResponse
        PullImageRequest PullImageResponse RemoveImageRequest RemoveImageResponse
        ImageFsInfoRequest ImageFsInfoResponse
    );
    let newer: BTreeSet<String> = NEWER.iter().map(|field| (*field).to_owned()).collect();
    assert_eq!(lost, newer);
}

#[test]
fn credentials_stay_out_of_debug_output() {
    let auth = ours::AuthConfig {
        username: "user".into(),
        password: "secret-1".into(),
        auth: "secret-2".into(),
        identity_token: "secret-3".into(),
        registry_token: "secret-4".into(),
        server_address: "registry".into(),
    };
    let request = ours::PullImageRequest { auth: Some(auth), ..Default::default() };
    let text = format!("{request:?}");
    assert!(text.contains("user") && !text.contains("secret"), "{text}");
}
