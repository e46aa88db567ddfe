//! Messages of the CRI as JSON, as protobuf's mapping has it and crictl prints it: numbers of 64 bits as text, values that
//! are their default written, messages that are not there left out.

use crate::time;
use proto::{
    Container, ContainerResources, ContainerState, ContainerStatus, ContainerUser, IdMapping, ImageSpec,
    LinuxPodSandboxStatus, Mount, MountPropagation, NamespaceMode, NamespaceOption, PodSandbox,
    PodSandboxMetadata, PodSandboxNetworkStatus, PodSandboxState, PodSandboxStatus, Signal,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The time that Go prints where there is none.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Adds a message where it is there.
fn with(mut value: Value, key: &str, part: Option<Value>) -> Value {
    if let (Some(map), Some(part)) = (value.as_object_mut(), part) {
        map.insert(key.to_owned(), part);
    }
    value
}

fn name<T: TryFrom<i32>>(number: i32, name: impl Fn(&T) -> &'static str) -> Value {
    T::try_from(number).map_or_else(|_| number.into(), |value| name(&value).into())
}

fn pod_metadata(metadata: &PodSandboxMetadata) -> Value {
    json!({"name": metadata.name, "uid": metadata.uid, "namespace": metadata.namespace, "attempt": metadata.attempt})
}

fn pod_state(state: i32) -> Value {
    name(state, PodSandboxState::as_str_name)
}

fn container_state(state: i32) -> Value {
    name(state, ContainerState::as_str_name)
}

/// An entry of ListPodSandbox.
pub(crate) fn pod(pod: &PodSandbox) -> Value {
    let value = json!({
        "id": pod.id, "state": pod_state(pod.state), "createdAt": pod.created_at.to_string(),
        "labels": pod.labels, "annotations": pod.annotations, "runtimeHandler": pod.runtime_handler,
    });
    with(value, "metadata", pod.metadata.as_ref().map(pod_metadata))
}

/// An entry of ListContainers.
pub(crate) fn container(container: &Container) -> Value {
    let value = json!({
        "id": container.id, "podSandboxId": container.pod_sandbox_id, "imageRef": container.image_ref,
        "state": container_state(container.state), "createdAt": container.created_at.to_string(),
        "labels": container.labels, "annotations": container.annotations, "imageId": container.image_id,
    });
    let metadata = container.metadata.as_ref();
    let value = with(value, "metadata", metadata.map(|of| json!({"name": of.name, "attempt": of.attempt})));
    with(value, "image", container.image.as_ref().map(image))
}

fn image(image: &ImageSpec) -> Value {
    json!({
        "image": image.image, "annotations": image.annotations, "userSpecifiedImage": image.user_specified_image,
        "runtimeHandler": image.runtime_handler, "imageRef": image.image_ref,
    })
}

/// A pod as `crictl inspectp` shows it.
pub(crate) fn pod_status(status: &PodSandboxStatus) -> Value {
    let value = json!({
        "id": status.id, "state": pod_state(status.state), "createdAt": time::rfc3339(status.created_at, 9),
        "labels": status.labels, "annotations": status.annotations, "runtimeHandler": status.runtime_handler,
    });
    let value = with(value, "metadata", status.metadata.as_ref().map(pod_metadata));
    let value = with(value, "network", status.network.as_ref().map(network));
    with(value, "linux", status.linux.as_ref().map(linux))
}

fn network(network: &PodSandboxNetworkStatus) -> Value {
    let more: Vec<Value> = network.additional_ips.iter().map(|more| json!({"ip": more.ip})).collect();
    json!({"ip": network.ip, "additionalIps": more})
}

fn linux(linux: &LinuxPodSandboxStatus) -> Value {
    let namespaces = linux
        .namespaces
        .as_ref()
        .map(|namespaces| with(json!({}), "options", namespaces.options.as_ref().map(namespace_options)));
    with(json!({}), "namespaces", namespaces)
}

fn namespace_options(options: &NamespaceOption) -> Value {
    let mode = |mode| name(mode, NamespaceMode::as_str_name);
    let value = json!({
        "network": mode(options.network), "pid": mode(options.pid), "ipc": mode(options.ipc),
        "targetId": options.target_id,
    });
    let users = options.userns_options.as_ref().map(|users| {
        json!({"mode": mode(users.mode), "uids": mappings(&users.uids), "gids": mappings(&users.gids)})
    });
    with(value, "usernsOptions", users)
}

fn mappings(mappings: &[IdMapping]) -> Value {
    let one = |one: &IdMapping| json!({"hostId": one.host_id, "containerId": one.container_id, "length": one.length});
    mappings.iter().map(one).collect()
}

/// A container as `crictl inspect` shows it.
pub(crate) fn container_status(status: &ContainerStatus) -> Value {
    let state = status.state();
    let has_ended = state == ContainerState::ContainerExited
        || (state == ContainerState::ContainerUnknown && status.finished_at > 0);
    let at = |is: bool, at: i64| if is { time::rfc3339(at, 9) } else { NEVER.to_owned() };
    let value = json!({
        "id": status.id, "state": container_state(status.state), "createdAt": time::rfc3339(status.created_at, 9),
        "startedAt": at(state != ContainerState::ContainerCreated, status.started_at),
        "finishedAt": at(has_ended, status.finished_at), "exitCode": status.exit_code,
        "imageRef": status.image_ref, "reason": status.reason, "message": status.message,
        "labels": status.labels, "annotations": status.annotations,
        "mounts": status.mounts.iter().map(mount).collect::<Vec<_>>(), "logPath": status.log_path,
        "imageId": status.image_id, "stopSignal": name(status.stop_signal, Signal::as_str_name),
    });
    let metadata = status.metadata.as_ref();
    let value = with(value, "metadata", metadata.map(|of| json!({"name": of.name, "attempt": of.attempt})));
    let value = with(value, "image", status.image.as_ref().map(image));
    let value = with(value, "resources", status.resources.as_ref().map(resources));
    with(value, "user", status.user.as_ref().map(user))
}

fn mount(mount: &Mount) -> Value {
    let value = json!({
        "containerPath": mount.container_path, "hostPath": mount.host_path, "readonly": mount.readonly,
        "selinuxRelabel": mount.selinux_relabel, "propagation": name(mount.propagation, MountPropagation::as_str_name),
        "uidMappings": mappings(&mount.uid_mappings), "gidMappings": mappings(&mount.gid_mappings),
        "recursiveReadOnly": mount.recursive_read_only, "imageSubPath": mount.image_sub_path,
        "mountOptions": mount.mount_options,
    });
    with(value, "image", mount.image.as_ref().map(image))
}

fn resources(resources: &ContainerResources) -> Value {
    let linux = resources.linux.as_ref().map(|linux| {
        let pages = linux.hugepage_limits.iter();
        let pages = pages.map(|pages| json!({"pageSize": pages.page_size, "limit": pages.limit.to_string()}));
        json!({
            "cpuPeriod": linux.cpu_period.to_string(), "cpuQuota": linux.cpu_quota.to_string(),
            "cpuShares": linux.cpu_shares.to_string(), "memoryLimitInBytes": linux.memory_limit_in_bytes.to_string(),
            "oomScoreAdj": linux.oom_score_adj.to_string(), "cpusetCpus": linux.cpuset_cpus,
            "cpusetMems": linux.cpuset_mems, "hugepageLimits": pages.collect::<Vec<_>>(), "unified": linux.unified,
            "memorySwapLimitInBytes": linux.memory_swap_limit_in_bytes.to_string(),
        })
    });
    with(json!({}), "linux", linux)
}

fn user(user: &ContainerUser) -> Value {
    let linux = user.linux.as_ref().map(|linux| {
        let groups: Vec<String> = linux.supplemental_groups.iter().map(i64::to_string).collect();
        json!({"uid": linux.uid.to_string(), "gid": linux.gid.to_string(), "supplementalGroups": groups})
    });
    with(json!({}), "linux", linux)
}

/// What a status and its verbose part are together.
pub(crate) fn inspected(status: Value, info: &BTreeMap<String, String>) -> Value {
    let mut map = Map::from_iter([("status".to_owned(), status)]);
    for (key, text) in info {
        let value = if text.starts_with('{') { serde_json::from_str(text).ok() } else { None };
        map.insert(key.clone(), value.unwrap_or_else(|| text.trim_matches('"').into()));
    }
    map.into()
}

/// As people read it.
pub(crate) fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
