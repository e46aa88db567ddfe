//! What containerd's keys mean here: versions 2, 3 and 4 of its configuration, in which the same keys lie in other sections.

mod rules;

use super::read::{Leaf, Leaves};
use super::report::Unsaid;
use super::rule::{Fate, find, lost, mapped, only_directory, quoted, shown, void};
use super::{ImportError, Verdict};
use std::path::Path;
use toml::Value;

/// The sections in which the CRI's keys lie, all under one name here.
const CRI: [&str; 3] =
    ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"];

const NRI: &str = "io.containerd.nri.v1.nri";
const OTLP: &str = "io.containerd.tracing.processor.v1.otlp";

/// Every key with its meaning.
pub(super) fn verdicts(file: &Path, leaves: &Leaves) -> Result<Vec<Verdict>, ImportError> {
    if let Some(leaf) = leaves.values().find(|leaf| leaf.path.first().is_some_and(|part| part == "crio")) {
        return Err(ImportError::Foreign { path: leaf.file.clone(), whose: "CRI-O's crio.conf" });
    }
    // All of its settings have their defaults.
    if leaves.is_empty() {
        return Ok(Vec::new());
    }
    let version = leaves.get(["version".to_owned()].as_slice()).map(|leaf| shown(&leaf.value));
    let version = version.unwrap_or_else(|| "1".to_owned());
    if !matches!(version.as_str(), "2" | "3" | "4") {
        return Err(ImportError::Version { path: file.to_owned(), version });
    }
    let mut verdicts: Vec<Verdict> = Vec::with_capacity(leaves.len());
    for leaf in leaves.values() {
        let path = normal(&leaf.path);
        let fate = match path.as_slice() {
            ["cri", "containerd", "runtimes", name, rest @ ..] => handler(name, rest, leaf, leaves),
            ["cri", "stream_server_address"] => stream_address(leaf, leaves),
            ["cri", "enable_tls_streaming"] => tls(leaf, leaves),
            ["cri", "x509_key_pair_streaming", ..] if !has_tls(leaves) => void("enable_tls_streaming is off"),
            [OTLP, "endpoint"] => traces(leaf, leaves),
            path => find(rules::RULES, path).map_or_else(|| unknown(leaf), |rule| rule.fate(leaf)),
        };
        verdicts.push((leaf.clone(), fate));
    }
    Ok(verdicts)
}

/// What version 2 of the format leaves open: whether there are plugins of NRI.
pub(super) fn unsaid(leaves: &Leaves) -> Option<Unsaid> {
    let version = leaves.get(["version".to_owned()].as_slice()).map(|leaf| shown(&leaf.value));
    let is_said = other(leaves, &[NRI, "disable"]).is_some()
        || leaves.values().any(|leaf| leaf.path == ["disabled_plugins"] && names_nri(leaf));
    (version.as_deref() == Some("2") && !is_said).then_some(Unsaid {
        key: "plugins.\"io.containerd.nri.v1.nri\".disable",
        setting: "nri.enable",
        why: "containerd 1.7 has no plugins of NRI then and containerd 2 has, as Corten; set nri.enable = false where this \
              node had none and is to have none",
    })
}

fn names_nri(leaf: &Leaf) -> bool {
    let items = leaf.value.as_array().into_iter().flatten();
    items.filter_map(Value::as_str).any(|item| [NRI, "nri"].contains(&item))
}

/// Of a key without a rule.
pub(super) fn unknown(leaf: &Leaf) -> Fate {
    match leaf.value.as_table() {
        Some(_) => void("an empty section"),
        None => lost("not known here: look up what it does"),
    }
}

/// The path with one name for the CRI's sections.
fn normal(path: &[String]) -> Vec<&str> {
    let mut parts: Vec<&str> = path.iter().map(String::as_str).collect();
    if parts.first() == Some(&"plugins") {
        parts.remove(0);
        if let Some(first) = parts.first_mut().filter(|first| CRI.contains(first) || **first == "cri") {
            *first = "cri";
        }
    }
    parts
}

/// Another key of the CRI's.
fn other<'a>(leaves: &'a Leaves, wanted: &[&str]) -> Option<&'a Leaf> {
    leaves.values().find(|leaf| normal(&leaf.path) == wanted)
}

fn nothing(_: &Leaf) -> Fate {
    Fate::Void("told with the address".to_owned())
}

fn disabled(leaf: &Leaf) -> Fate {
    let items: Vec<&str> = leaf.value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let has = |names: &[&str]| items.iter().any(|item| names.contains(item));
    if has(CRI.as_slice()) || has(&["cri"]) {
        return lost("the CRI was turned off: this containerd served no kubelet");
    }
    match names_nri(leaf) {
        true => mapped("nri.enable", "false".to_owned()),
        false => void("Corten has no plugins of these names"),
    }
}

fn level(leaf: &Leaf) -> Fate {
    match leaf.text().unwrap_or_default() {
        "" => void("empty, the default applies"),
        level @ ("trace" | "debug" | "info" | "warn" | "error") => mapped("log.level", quoted(level)),
        "fatal" | "panic" => mapped("log.level", quoted("error")),
        _ => lost("no level that is known here"),
    }
}

fn format(leaf: &Leaf) -> Fate {
    match leaf.text().unwrap_or_default() {
        "" => void("empty, the default applies"),
        format @ ("text" | "json") => mapped("log.format", quoted(format)),
        _ => lost("no format that is known here"),
    }
}

fn request_bytes(leaf: &Leaf) -> Fate {
    match leaf.value.as_integer() {
        Some(bytes @ 1_048_576..=67_108_864) => mapped("daemon.max_request_bytes", bytes.to_string()),
        Some(0) | None => void("the default applies"),
        Some(_) => lost("daemon.max_request_bytes is within 1 MiB and 64 MiB"),
    }
}

fn metrics(leaf: &Leaf) -> Fate {
    let address = leaf.text().unwrap_or_default();
    match address.parse::<std::net::SocketAddr>() {
        Ok(_) => mapped("metrics.address", quoted(address)),
        Err(_) if address.is_empty() => void("off there; here metrics are on the loopback interface"),
        Err(_) => lost("metrics.address takes an IP address with a port"),
    }
}

fn decryption(leaf: &Leaf) -> Fate {
    match leaf.text() {
        Some("" | "node") => void("encrypted images cannot be pulled, see stream_processors"),
        _ => lost("encrypted images cannot be pulled"),
    }
}

fn certs(leaf: &Leaf) -> Fate {
    match leaf.text() {
        Some("") | None => void("empty: registries are asked themselves"),
        Some(text) => mapped("images.certs_dir", quoted(text)),
    }
}

fn keep_blobs(leaf: &Leaf) -> Fate {
    match leaf.value.as_bool() {
        Some(true) => mapped("images.keep_layer_blobs", "false".to_owned()),
        _ => void("compressed layers are not needed here; images.keep_layer_blobs would keep them"),
    }
}

fn pinned(leaf: &Leaf) -> Fate {
    match leaf.text() {
        Some(image) if !image.is_empty() => Fate::Mapped(
            "images.pinned".to_owned(),
            Value::Array(vec![image.into()]).to_string(),
            "of pinned_images",
        ),
        _ => void("empty"),
    }
}

fn stats(leaf: &Leaf) -> Fate {
    match leaf.value.as_integer() {
        Some(seconds @ 1..=3600) => mapped("runtime.layer_usage_seconds", seconds.to_string()),
        _ => void("the default applies"),
    }
}

fn seccomp(leaf: &Leaf) -> Fate {
    match leaf.text().unwrap_or_default() {
        "" | "unconfined" => mapped("runtime.seccomp_default", "false".to_owned()),
        "runtime/default" | "docker/default" => mapped("runtime.seccomp_default", "true".to_owned()),
        _ => lost("a file of one's own is not the default: pods name it (Localhost)"),
    }
}

fn ports(leaf: &Leaf) -> Fate {
    let value = if leaf.value.as_bool() == Some(true) { "0" } else { "" };
    mapped("runtime.default_sysctls.\"net.ipv4.ip_unprivileged_port_start\"", quoted(value))
}

fn ping(leaf: &Leaf) -> Fate {
    let value = if leaf.value.as_bool() == Some(true) { "0 2147483647" } else { "" };
    mapped("runtime.default_sysctls.\"net.ipv4.ping_group_range\"", quoted(value))
}

fn cdi(leaf: &Leaf) -> Fate {
    match leaf.value.as_bool() {
        Some(false) => mapped("runtime.cdi_spec_dirs", "[]".to_owned()),
        _ => void("on where runtime.cdi_spec_dirs names directories"),
    }
}

fn bin_dir(leaf: &Leaf) -> Fate {
    only_directory(leaf, "empty, bin_dirs applies")
}

/// Whether streams have TLS.
fn has_tls(leaves: &Leaves) -> bool {
    other(leaves, &["cri", "enable_tls_streaming"]).and_then(|leaf| leaf.value.as_bool()) == Some(true)
}

fn tls(leaf: &Leaf, leaves: &Leaves) -> Fate {
    let certificate = other(leaves, &["cri", "x509_key_pair_streaming", "tls_cert_file"]);
    match leaf.value.as_bool() {
        Some(true) if certificate.is_some_and(|leaf| !leaf.is_off()) => {
            void("on where stream.tls_cert_file names a certificate")
        }
        Some(true) => lost("TLS is on where stream.tls_cert_file names a certificate; none is made up"),
        _ => void("off"),
    }
}

fn nri(leaf: &Leaf) -> Fate {
    match leaf.value.as_bool() {
        Some(disabled) => mapped("nri.enable", (!disabled).to_string()),
        None => lost("neither true nor false"),
    }
}

fn stream_address(leaf: &Leaf, leaves: &Leaves) -> Fate {
    let port = other(leaves, &["cri", "stream_server_port"])
        .map_or_else(|| "0".to_owned(), |port| shown(&port.value));
    let address = leaf.text().unwrap_or_default();
    let address =
        if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") };
    match address.parse::<std::net::SocketAddr>() {
        Ok(address) => super::rule::listening(address, has_tls(leaves)),
        Err(_) => lost("stream.address takes an IP address"),
    }
}

/// Where spans go: by gRPC a host and a port, by HTTP an address, which is containerd's default and not Corten's.
fn traces(leaf: &Leaf, leaves: &Leaves) -> Fate {
    let endpoint = leaf.text().unwrap_or_default();
    let insecure = other(leaves, &[OTLP, "insecure"]).and_then(|leaf| leaf.value.as_bool());
    match (endpoint, other(leaves, &[OTLP, "protocol"]).and_then(Leaf::text)) {
        ("", _) => void("empty, nothing is traced"),
        (_, Some("http/protobuf" | "") | None) => mapped("tracing.endpoint", quoted(endpoint)),
        (_, Some("grpc")) if endpoint.contains("://") => mapped("tracing.endpoint", quoted(endpoint)),
        (_, Some("grpc")) => {
            let scheme = if insecure == Some(true) { "http" } else { "https" };
            mapped("tracing.endpoint", quoted(&format!("{scheme}://{endpoint}")))
        }
        _ => lost("tracing.endpoint takes it, with tracing.protocol = \"http/protobuf\""),
    }
}

/// A share of one.
fn samples(leaf: &Leaf) -> Fate {
    let share = leaf.value.as_float().or_else(|| leaf.text().and_then(|text| text.parse().ok()));
    match share.or_else(|| leaf.value.as_integer().map(|whole| if whole == 0 { 0.0 } else { 1.0 })) {
        Some(share @ 0.0..=1.0) => mapped("tracing.samples_per_million", format!("{:.0}", share * 1e6)),
        _ => void("the default applies"),
    }
}

/// The handler of the pods that name none: runc itself is what the native handler stands in for.
fn default_runtime(leaf: &Leaf) -> Fate {
    match leaf.text().unwrap_or_default() {
        "" => void("empty, the default applies"),
        "runc" => mapped("runtime.default_handler", quoted("native")),
        name => mapped("runtime.default_handler", quoted(name)),
    }
}

/// The driver, which is one for all handlers here: the default runtime's, by which the kubelet goes too.
fn cgroups(name: &str, leaf: &Leaf, leaves: &Leaves) -> Fate {
    let default = other(leaves, &["cri", "containerd", "default_runtime_name"]).and_then(Leaf::text);
    let default = default.filter(|default| !default.is_empty()).unwrap_or("runc");
    let of_default = other(leaves, &["cri", "containerd", "runtimes", default, "options", "SystemdCgroup"]);
    match (leaf.value.as_bool(), of_default) {
        (None, _) => lost("neither true nor false"),
        (Some(_), Some(driver)) if name != default && driver.value == leaf.value => {
            void("as the default runtime has it")
        }
        (Some(_), Some(_)) if name != default => {
            lost("runtime.cgroup_driver is for all handlers, and the default runtime's")
        }
        (Some(true), _) => Fate::Mapped(
            "runtime.cgroup_driver".to_owned(),
            quoted("systemd"),
            "of hosts with cgroup v2 alone: elsewhere leave this out",
        ),
        (Some(false), _) => mapped("runtime.cgroup_driver", quoted("cgroupfs")),
    }
}

/// A key of one of containerd's runtimes.
fn handler(name: &str, rest: &[&str], leaf: &Leaf, leaves: &Leaves) -> Fate {
    let of = |key: &[&str]| {
        let path: Vec<&str> = ["cri", "containerd", "runtimes", name].iter().chain(key).copied().collect();
        other(leaves, &path).and_then(Leaf::text).unwrap_or_default()
    };
    let section = format!("handlers.{}", if name.contains('.') { quoted(name) } else { name.to_owned() });
    let setting = |key: &str, value: String| mapped(&format!("{section}.{key}"), value);
    let (kind, binary) = (of(&["runtime_type"]), of(&["options", "BinaryName"]));
    let is_runc = matches!(
        kind,
        "" | "io.containerd.runc.v2" | "io.containerd.runc.v1" | "io.containerd.runtime.v1.linux"
    );
    let is_native = binary.rsplit('/').next().is_some_and(|program| matches!(program, "" | "runc"));
    let is_known = is_runc && (is_native || binary.starts_with('/'));
    match rest {
        ["runtime_type"] if !is_known => lost(
            "shims other than runc's, and programs without an absolute path, are not run: pods of this RuntimeClass are refused",
        ),
        ["runtime_type"] if is_native && name == "native" => void("always there"),
        ["runtime_type"] if is_native => Fate::Mapped(
            format!("{section}.type"),
            quoted("native"),
            "in place of runc; type = \"oci\" and binary = \"/path/of/runc\" keep that",
        ),
        ["runtime_type"] => setting("type", quoted("oci")),
        ["options", "BinaryName"] if is_known && !is_native => setting("binary", quoted(binary)),
        ["options", "BinaryName"] => void("the native handler stands in for runc"),
        ["options", "SystemdCgroup"] => cgroups(name, leaf, leaves),
        ["options", "Root"] if is_known && is_native => void("the native handler has no directory of runc's"),
        ["options", "Root"] if is_known && !is_native && !leaf.is_off() => setting("root", quoted(of(rest))),
        [
            key @ ("privileged_without_host_devices" | "privileged_without_host_devices_all_devices_allowed"),
        ] if is_known && name != "native" => setting(key, leaf.value.to_string()),
        ["sandboxer"] if leaf.text() == Some("podsandbox") => void("as usual"),
        ["snapshotter"] if leaf.text() == Some("overlayfs") => void("as usual"),
        ["runtime_path"] => void("one corten-shim a pod stands in its place"),
        _ if leaf.is_off() => void("off"),
        ["base_runtime_spec"] => lost("of it only limits of processes can be had: rlimits of the handler"),
        ["pod_annotations" | "container_annotations"] => {
            lost("runtimes get the annotations io.kubernetes.cri.* alone, and none of the pod's own")
        }
        ["cni_conf_dir" | "cni_max_conf_num"] => lost("all handlers have one network"),
        ["snapshotter"] => lost("layers are mounted by overlayfs alone"),
        ["cgroup_writable"] => lost("cgroups are read-only in containers that are not privileged"),
        ["options", "NoNewKeyring" | "ShimCgroup" | "IoUid" | "IoGid" | "CriuImagePath" | "CriuWorkPath"] => {
            lost("an option of containerd's shim")
        }
        _ => unknown(leaf),
    }
}
