//! What CRI-O's keys mean here.

mod rules;

use super::containerd::unknown;
use super::read::{Leaf, Leaves};
use super::rule::{Fate, find, lost, mapped, only_directory, quoted, shown, void};
use super::{ImportError, Verdict};
use std::path::Path;
use toml::Value;

const CONMON: &str = "one corten-shim a pod stands in conmon's place";

/// Every key with its meaning.
pub(super) fn verdicts(file: &Path, leaves: &Leaves) -> Result<Vec<Verdict>, ImportError> {
    let is_own = |leaf: &Leaf| leaf.path.first().is_some_and(|part| part == "crio");
    if !leaves.is_empty() && !leaves.values().any(is_own) {
        let is_containerds = leaves
            .keys()
            .flat_map(|path| path.first())
            .any(|part| matches!(part.as_str(), "version" | "plugins" | "disabled_plugins"));
        let whose = if is_containerds { "containerd's config.toml" } else { "the file of another program" };
        return Err(ImportError::Foreign { path: file.to_owned(), whose });
    }
    let verdict = |leaf: &Leaf| {
        let path: Vec<&str> = leaf.path.iter().map(String::as_str).collect();
        let fate = match path.as_slice() {
            ["crio", "runtime", "runtimes", name, rest @ ..] => handler(name, rest, leaf, leaves),
            ["crio", "api", "stream_tls_cert" | "stream_tls_key" | "stream_tls_ca"] if !has_tls(leaves) => {
                void("stream_enable_tls is off")
            }
            ["crio", "api", "stream_address"] => stream_address(leaf, leaves),
            ["crio", "metrics", "enable_metrics"] => metrics(leaf, leaves),
            ["crio", "tracing", "tracing_endpoint"] => traces(leaf, leaves),
            ["crio", rest @ ..] => {
                find(rules::RULES, rest).map_or_else(|| unknown(leaf), |rule| rule.fate(leaf))
            }
            _ => unknown(leaf),
        };
        (leaf.clone(), fate)
    };
    Ok(leaves.values().map(verdict).collect())
}

fn other<'a>(leaves: &'a Leaves, path: &[&str]) -> Option<&'a Leaf> {
    let path: Vec<String> = ["crio"].iter().chain(path).map(|part| (*part).to_owned()).collect();
    leaves.get(&path)
}

fn nothing(_: &Leaf) -> Fate {
    void("told with the key that goes with it")
}

/// Whether streams have TLS.
fn has_tls(leaves: &Leaves) -> bool {
    other(leaves, &["api", "stream_enable_tls"]).and_then(|leaf| leaf.value.as_bool()) == Some(true)
}

fn tls(leaf: &Leaf) -> Fate {
    match leaf.value.as_bool() {
        Some(true) => void("on where stream.tls_cert_file names a certificate"),
        _ => void("off"),
    }
}

fn request_bytes(leaf: &Leaf) -> Fate {
    match leaf.value.as_integer() {
        Some(bytes @ 1_048_576..=67_108_864) => mapped("daemon.max_request_bytes", bytes.to_string()),
        Some(83_886_080 | 0) | None => void("the default applies"),
        Some(_) => lost("daemon.max_request_bytes is within 1 MiB and 64 MiB"),
    }
}

fn stream_address(leaf: &Leaf, leaves: &Leaves) -> Fate {
    let port =
        other(leaves, &["api", "stream_port"]).map_or_else(|| "0".to_owned(), |port| shown(&port.value));
    match format!("{}:{port}", bracketed(&shown(&leaf.value))).parse::<std::net::SocketAddr>() {
        Ok(address) => super::rule::listening(address, has_tls(leaves)),
        Err(_) => lost("stream.address takes an IP address"),
    }
}

fn metrics(leaf: &Leaf, leaves: &Leaves) -> Fate {
    if leaf.value.as_bool() != Some(true) {
        return mapped("metrics.address", quoted(""));
    }
    let of = |key: &str, usual: &str| {
        other(leaves, &["metrics", key]).map_or(usual.to_owned(), |leaf| shown(&leaf.value))
    };
    let host = of("metrics_host", "127.0.0.1");
    let host = if host.is_empty() { "0.0.0.0".to_owned() } else { host };
    match format!("{}:{}", bracketed(&host), of("metrics_port", "9090")).parse::<std::net::SocketAddr>() {
        Ok(address) => mapped("metrics.address", quoted(&address.to_string())),
        Err(_) => lost("metrics.address takes an IP address with a port"),
    }
}

/// An address of OTLP/gRPC, without TLS.
fn traces(leaf: &Leaf, leaves: &Leaves) -> Fate {
    match other(leaves, &["tracing", "enable_tracing"]).and_then(|on| on.value.as_bool()) {
        Some(true) if !leaf.is_off() => {
            mapped("tracing.endpoint", quoted(&format!("http://{}", shown(&leaf.value))))
        }
        _ => void("off"),
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

fn default_runtime(leaf: &Leaf) -> Fate {
    match leaf.text().unwrap_or_default() {
        "" => void("empty, the default applies"),
        "runc" | "crun" => Fate::Mapped(
            "runtime.default_handler".to_owned(),
            quoted("native"),
            "in its place; its name is one that RuntimeClasses may still use",
        ),
        name => mapped("runtime.default_handler", quoted(name)),
    }
}

fn cgroups(leaf: &Leaf) -> Fate {
    match leaf.text() {
        Some(driver @ ("systemd" | "cgroupfs")) => mapped("runtime.cgroup_driver", quoted(driver)),
        _ => void("runtime.cgroup_driver is auto"),
    }
}

fn capabilities(leaf: &Leaf) -> Fate {
    match leaf.is_off() {
        true => void("empty, the default applies"),
        false => mapped("runtime.default_capabilities", leaf.value.to_string()),
    }
}

/// A list of `key=value` is a table here.
fn pairs(leaf: &Leaf) -> Fate {
    let section = if leaf.path.iter().any(|part| part == "default_sysctls") {
        "runtime.default_sysctls"
    } else {
        "runtime.rlimits"
    };
    let items = leaf.value.as_array().into_iter().flatten().filter_map(Value::as_str);
    let table: toml::Table = items
        .filter_map(|item| item.split_once('='))
        .map(|(key, value)| (key.trim().to_owned(), Value::String(value.trim().to_owned())))
        .collect();
    match table.is_empty() {
        true => void("empty"),
        false => mapped(section, Value::Table(table).to_string()),
    }
}

fn hooks(leaf: &Leaf) -> Fate {
    let all = ["/usr/share/containers/oci/hooks.d", "/etc/containers/oci/hooks.d"];
    let named = leaf.value.as_array().into_iter().flatten().filter_map(Value::as_str);
    match named.filter(|path| !all.contains(&path.trim_end_matches('/'))).count() {
        0 => void("hooks come with CDI devices here: see whether these directories have any"),
        _ => lost("hooks come with CDI devices alone"),
    }
}

fn pids(leaf: &Leaf) -> Fate {
    match leaf.value.as_integer() {
        Some(most @ 1..) => mapped("runtime.pids_limit", most.to_string()),
        _ => void("no limit of its own"),
    }
}

fn log_size(leaf: &Leaf) -> Fate {
    match leaf.value.as_integer() {
        Some(1..) => lost("logs are not cut off: the kubelet rotates them"),
        _ => void("no limit of its own"),
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

fn plugin_dir(leaf: &Leaf) -> Fate {
    only_directory(leaf, "empty, plugin_dirs applies")
}

/// A key of one of CRI-O's runtimes.
fn handler(name: &str, rest: &[&str], leaf: &Leaf, leaves: &Leaves) -> Fate {
    let of = |key: &str| {
        other(leaves, &["runtime", "runtimes", name, key]).and_then(Leaf::text).unwrap_or_default()
    };
    let section = format!("handlers.{}", if name.contains('.') { quoted(name) } else { name.to_owned() });
    let (kind, program) = (of("runtime_type"), of("runtime_path"));
    let is_oci = matches!(kind, "" | "oci") && program.starts_with('/');
    let setting = |key: &str, value: String| mapped(&format!("{section}.{key}"), value);
    match rest {
        ["runtime_path"] if is_oci => setting("binary", quoted(program)),
        ["runtime_path"] if program.is_empty() => {
            void("empty: CRI-O looks for the program by the handler's name")
        }
        ["runtime_path"] => {
            lost("runtimes for machines of their own are not run: pods of this RuntimeClass are refused")
        }
        ["runtime_type"] if is_oci => setting("type", quoted("oci")),
        ["runtime_type"] => lost(
            "only programs with runc's command line and an absolute path: pods of this RuntimeClass are refused",
        ),
        ["runtime_root"] if is_oci && !leaf.is_off() => setting("root", quoted(of("runtime_root"))),
        ["privileged_without_host_devices"] if is_oci => {
            setting("privileged_without_host_devices", leaf.value.to_string())
        }
        ["monitor_path" | "monitor_cgroup" | "monitor_env" | "monitor_exec_cgroup"] => void(CONMON),
        ["allowed_annotations" | "disallowed_annotations"] => void("annotations change nothing here"),
        ["platform_runtime_paths", ..] => lost("one program a handler"),
        _ if leaf.is_off() => void("off"),
        ["container_min_memory"] => void("limits below what a container needs fail when it starts"),
        ["default_annotations", ..] => lost("runtimes get the annotations io.kubernetes.cri.* alone"),
        ["no_sync_log"] => void("logs are not synced line by line"),
        ["seccomp_profile"] => lost("the built-in profile is for all handlers"),
        ["runtime_config_path" | "runtime_pull_image"] => lost("of runtimes for machines of their own"),
        _ => unknown(leaf),
    }
}
