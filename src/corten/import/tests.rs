#![allow(clippy::unwrap_used)]

use super::*;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

mod meaning;

fn imported(from: Origin, file: &Path) -> Import {
    import(&ImportArgs { from, file: file.to_owned(), json: false }).unwrap()
}

/// What is printed is a configuration that the daemon takes.
fn accepted(import: &Import) -> crate::config::Loaded {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("corten.toml");
    fs::write(&file, import.configuration()).unwrap();
    crate::config::load(Some(&file)).unwrap_or_else(|error| panic!("{error}\n{}", import.configuration()))
}

fn fate<'a>(import: &'a Import, key: &str) -> &'a Fate {
    let found = import.verdicts.iter().find(|(leaf, _)| leaf.key().ends_with(key));
    &found.unwrap_or_else(|| panic!("{key} is not there")).1
}

fn lost(import: &Import) -> BTreeSet<String> {
    let lost = import.verdicts.iter().filter(|(_, fate)| matches!(fate, Fate::Lost(_)));
    lost.map(|(leaf, _)| leaf.key()).collect()
}

/// A file as a node had it with containerd 1.7, and what it imports.
const VERSION_2: &str = r#"
version = 2
imports = ["conf.d/*.toml"]
root = "/data/containerd"
oom_score = -999
[grpc]
max_recv_message_size = 33554432
[debug]
level = "warn"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "registry.k8s.io/pause:3.9"
max_container_log_line_size = 262144
stream_server_address = "127.0.0.1"
stream_server_port = "10010"
unset_seccomp_profile = "runtime/default"
enable_unprivileged_ports = true
enable_unprivileged_icmp = false
frobnicate = true
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "/etc/containerd/certs.d:/etc/docker/certs.d"
[plugins."io.containerd.grpc.v1.cri".registry.configs."reg.example".auth]
username = "u"
[plugins."io.containerd.grpc.v1.cri".containerd]
default_runtime_name = "runc"
snapshotter = "stargz"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = true
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kata]
runtime_type = "io.containerd.kata.v2"
[plugins."io.containerd.gc.v1.scheduler"]
startup_delay = "100ms"
[plugins."io.containerd.tracing.processor.v1.otlp"]
endpoint = "collector.example:4317"
protocol = "grpc"
insecure = true
[plugins."io.containerd.internal.v1.tracing"]
sampling_ratio = 0.5
service_name = "containerd"
"#;

const DROP_IN: &str = r#"
version = 2
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia]
runtime_type = "io.containerd.runc.v2"
privileged_without_host_devices = true
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia.options]
BinaryName = "/usr/bin/nvidia-container-runtime"
[debug]
level = "debug"
"#;

#[test]
fn a_file_of_version_2_with_what_it_imports() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    fs::create_dir(directory.path().join("conf.d")).unwrap();
    fs::write(&file, VERSION_2).unwrap();
    fs::write(directory.path().join("conf.d/10-nvidia.toml"), DROP_IN).unwrap();
    let import = imported(Origin::Containerd, &file);
    let config = accepted(&import).config;
    assert_eq!(config.images.certs_dir.paths().len(), 2);
    assert_eq!(config.log.level, "debug", "the file that is imported goes over the one that imports it");
    assert_eq!(config.daemon.max_request_bytes, 32 << 20);
    assert_eq!(config.stream.address.to_string(), "127.0.0.1:10010");
    assert!(config.runtime.seccomp_default);
    assert_eq!(config.runtime.default_sysctls["net.ipv4.ip_unprivileged_port_start"], "0");
    assert_eq!(config.runtime.default_sysctls["net.ipv4.ping_group_range"], "");
    assert_eq!(config.tracing.endpoint, "http://collector.example:4317");
    assert_eq!(
        (config.tracing.protocol, config.tracing.samples_per_million),
        (otlp::Protocol::Grpc, 500_000)
    );
    assert_eq!(config.runtime.default_handler, "native");
    let handler = &config.handlers["nvidia"];
    assert_eq!(handler.binary, Path::new("/usr/bin/nvidia-container-runtime"));
    assert!(handler.privileged_without_host_devices && config.handlers.contains_key("runc"));
    let cri = "plugins.\"io.containerd.grpc.v1.cri\"";
    let expected = [
        format!("{cri}.containerd.runtimes.kata.runtime_type"),
        format!("{cri}.containerd.snapshotter"),
        format!("{cri}.frobnicate"),
        format!("{cri}.max_container_log_line_size"),
        format!("{cri}.registry.configs.\"reg.example\".auth.username"),
        "root".to_owned(),
    ];
    assert_eq!(lost(&import), BTreeSet::from(expected));
    assert!(matches!(fate(&import, "frobnicate"), Fate::Lost(why) if why.contains("not known")));
    let text = import.configuration();
    let place = format!("# {}:9: debug.level\n", directory.path().join("conf.d/10-nvidia.toml").display());
    assert!(!text.contains("\"warn\"") && text.contains(&place), "{text}");
}

#[test]
fn every_key_of_a_file_is_in_the_report() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    fs::write(&file, VERSION_2).unwrap();
    let import = imported(Origin::Containerd, &file);
    let rows: Vec<serde_json::Value> =
        import.json().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let lines: BTreeSet<u64> = rows.iter().map(|row| row["line"].as_u64().unwrap()).collect();
    for (number, line) in VERSION_2.lines().enumerate() {
        let number = number as u64 + 1;
        assert_eq!(line.contains(" = "), lines.contains(&number), "line {number}: {line}");
    }
    let text = import.text();
    assert!(
        text.contains("without a counterpart:") && text.contains("frobnicate = true: not known here"),
        "{text}"
    );
}

#[test]
fn versions_that_are_not_known_and_files_that_are_none() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    let refused = |text: &str| {
        fs::write(&file, text).unwrap();
        engine::chain(
            &import(&ImportArgs { from: Origin::Containerd, file: file.clone(), json: false }).err().unwrap(),
        )
    };
    assert!(refused("[plugins.cri]\nsandbox_image = \"x\"\n").contains("version 1 of containerd's"));
    assert!(refused("version = 9\n").contains("version 9"));
    assert!(refused("version = \n").contains("config.toml:1 is no TOML"));
    let said = refused("version = 2\n[registry]\npassword = hunter2\n");
    assert!(said.contains("config.toml:3 is no TOML, at `password`: "), "{said}");
    for text in ["token = \"hunter2\n", "password: hunter2\n", "a = \"\"\"\nhunter2==\n", "hunter2\n"] {
        let said = refused(&format!("version = 2\n{text}"));
        assert!(said.contains("is no TOML") && !said.contains("hunter2"), "{said}");
    }
}

#[test]
fn a_report_holds_no_credentials() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    let text = VERSION_2.replace(
        "username = \"u\"",
        "username = \"hunter1\"\npassword = \"hunter2\"\n[plugins.\"io.containerd.grpc.v1.cri\".registry.headers]\nX-Thing = [\"hunter3\"]",
    );
    fs::write(&file, text).unwrap();
    let import = imported(Origin::Containerd, &file);
    for report in [import.text(), import.json(), import.configuration()] {
        assert!(!report.contains("hunter"), "{report}");
    }
    assert!(import.text().contains("auth.password = (removed): "), "{}", import.text());
    fs::write(&file, "version = 2\n[proxy_plugins.x]\naddress = \"https://u:hunter2@proxy.example/\"\n")
        .unwrap();
    let report = imported(Origin::Containerd, &file).text();
    assert!(report.contains("https://(removed)@proxy.example/"), "{report}");
}

/// The settings of crio.conf.5 with the values that it names, and some that a node may have.
const CRIO: &str = r#"
[crio]
root = "/var/lib/containers/storage"
storage_driver = "overlay"
[crio.api]
listen = "/var/run/crio/crio.sock"
stream_address = "127.0.0.1"
stream_port = "0"
stream_idle_timeout = ""
grpc_max_recv_msg_size = 83886080
[crio.runtime]
default_runtime = "crun"
conmon_cgroup = "pod"
selinux = false
cgroup_manager = "systemd"
default_capabilities = ["CHOWN", "KILL", "NET_RAW"]
default_sysctls = ["net.ipv4.ip_unprivileged_port_start=0"]
default_ulimits = ["nofile=1024:2048"]
default_env = ["A=b"]
pids_limit = 1024
log_level = "info"
hooks_dir = ["/usr/share/containers/oci/hooks.d"]
drop_infra_ctr = true
[crio.runtime.runtimes.crun]
runtime_path = "/usr/bin/crun"
runtime_type = "oci"
runtime_root = "/run/crun"
monitor_path = "/usr/bin/conmon"
allowed_annotations = ["io.kubernetes.cri-o.userns-mode"]
[crio.runtime.runtimes.kata]
runtime_path = "/usr/bin/containerd-shim-kata-v2"
runtime_type = "vm"
[crio.image]
pause_image = "registry.k8s.io/pause:3.10"
pinned_images = ["registry.k8s.io/app*"]
signature_policy = "/etc/crio/policy.json"
[crio.network]
network_dir = "/etc/cni/net.d/"
plugin_dirs = ["/opt/cni/bin/"]
[crio.metrics]
enable_metrics = true
metrics_port = 9537
metrics_cert = "/etc/crio/metrics.crt"
metrics_key = "/etc/crio/metrics.key"
[crio.tracing]
enable_tracing = true
tracing_endpoint = "127.0.0.1:4317"
tracing_sampling_rate_per_million = 100
"#;

#[test]
fn a_crio_conf_with_a_drop_in() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("crio.conf");
    fs::write(&file, CRIO).unwrap();
    fs::create_dir(directory.path().join("crio.conf.d")).unwrap();
    fs::write(directory.path().join("crio.conf.d/20-log"), "[crio.runtime]\nlog_level = \"debug\"\n")
        .unwrap();
    let import = imported(Origin::Crio, &file);
    let config = accepted(&import).config;
    assert_eq!(config.log.level, "debug");
    assert_eq!(config.runtime.default_capabilities, ["CHOWN", "KILL", "NET_RAW"]);
    assert_eq!(config.runtime.rlimits["nofile"], "1024:2048");
    assert_eq!(config.runtime.pids_limit, 1024);
    assert_eq!(config.metrics.address.to_string(), "127.0.0.1:9537");
    assert_eq!(config.metrics.tls_cert_file, Path::new("/etc/crio/metrics.crt"));
    assert_eq!(config.tracing.endpoint, "http://127.0.0.1:4317");
    assert_eq!(config.tracing.samples_per_million, 100);
    assert_eq!(config.handlers["crun"].root, Path::new("/run/crun"));
    assert_eq!(config.images.pinned, ["registry.k8s.io/app*"]);
    let expected = [
        "crio.image.signature_policy",
        "crio.runtime.default_env",
        "crio.runtime.runtimes.kata.runtime_path",
        "crio.runtime.runtimes.kata.runtime_type",
    ];
    assert_eq!(lost(&import), BTreeSet::from(expected.map(str::to_owned)));
}
