//! Values that are refused, and where the error points.

use super::*;
use crate::decode::{Field, container, sandbox};
use crate::proto::{ContainerConfig, PodSandboxConfig};

/// The base with a fragment merged into it.
fn merge<M: Message + Default>(message: &str, base: &str, fragment: &str) -> M {
    let descriptor = pool().get_message_by_name(&format!("runtime.v1.{message}")).unwrap();
    let bytes = [base, fragment].map(|text| {
        let parsed = DynamicMessage::parse_text_format(descriptor.clone(), text);
        parsed.unwrap_or_else(|error| panic!("{text}: {error}")).encode_to_vec()
    });
    M::decode(bytes.concat().as_slice()).unwrap()
}

fn path<R: std::fmt::Debug>(result: Result<R, DecodeError>) -> String {
    match result.unwrap_err() {
        DecodeError::Missing { field }
        | DecodeError::Invalid { field, .. }
        | DecodeError::Unsupported { field } => field,
    }
}

const SANDBOX: &str = "metadata { name: 'web' uid: 'u' namespace: 'default' }";

fn sandbox(fragment: &str) -> Result<model::SandboxConfig, DecodeError> {
    let message: PodSandboxConfig = merge("PodSandboxConfig", SANDBOX, fragment);
    sandbox::sandbox(&Field::root("config"), Some(message))
}

#[test]
fn sandboxes() {
    let long = format!("hostname: '{}'", "a".repeat(65));
    let table = [
        ("metadata { name: '../x' }", "config.metadata.name"),
        ("metadata { uid: 'a/b' }", "config.metadata.uid"),
        (long.as_str(), "config.hostname"),
        (r"hostname: 'a\n127.0.0.1 b'", "config.hostname"),
        ("log_directory: 'logs'", "config.log_directory"),
        ("log_directory: '/var/log/../../etc'", "config.log_directory"),
        ("dns_config { servers: 'dns.example' }", "config.dns_config.servers[0]"),
        (r"dns_config { servers: '10.0.0.1%a\nb' }", "config.dns_config.servers[0]"),
        (r"dns_config { searches: 'a' searches: 'b\nnameserver 1.1.1.1' }", "config.dns_config.searches[1]"),
        ("dns_config { options: 'a b' }", "config.dns_config.options[0]"),
        ("port_mappings { host_port: 80 }", "config.port_mappings[0].container_port"),
        ("port_mappings { container_port: 65536 }", "config.port_mappings[0].container_port"),
        ("port_mappings { container_port: -1 }", "config.port_mappings[0].container_port"),
        ("port_mappings { container_port: 1 host_port: 70000 }", "config.port_mappings[0].host_port"),
        ("port_mappings { container_port: 1 host_ip: 'here' }", "config.port_mappings[0].host_ip"),
        ("port_mappings { container_port: 1 protocol: 9 }", "config.port_mappings[0].protocol"),
        ("linux { cgroup_parent: '/a/../../b' }", "config.linux.cgroup_parent"),
        ("linux { sysctls { key: 'net.a+b' value: '1' } }", r#"config.linux.sysctls["net.a+b"]"#),
        ("linux { overhead { cpu_shares: -1 } }", "config.linux.overhead.cpu_shares"),
        (
            "linux { security_context { namespace_options { network: CONTAINER } } }",
            "config.linux.security_context.namespace_options.network",
        ),
        (
            "linux { security_context { namespace_options { pid: TARGET target_id: 'x' } } }",
            "config.linux.security_context.namespace_options.pid",
        ),
        (
            "linux { security_context { namespace_options { ipc: 9 } } }",
            "config.linux.security_context.namespace_options.ipc",
        ),
        (
            "linux { security_context { run_as_group { value: 1 } } }",
            "config.linux.security_context.run_as_group",
        ),
    ];
    for (fragment, field) in table {
        assert_eq!(path(sandbox(fragment)), field, "{fragment}");
    }
    let none = sandbox::sandbox(&Field::root("config"), None);
    assert_eq!(none.unwrap_err().to_string(), "config is required");
    let empty = sandbox::sandbox(&Field::root("config"), Some(PodSandboxConfig::default()));
    assert_eq!(empty.unwrap_err().to_string(), "config.metadata is required");
}

const CONTAINER: &str = "metadata { name: 'c' } image { image: 'busybox' }";

fn container(fragment: &str) -> Result<model::ContainerConfig, DecodeError> {
    let message: ContainerConfig = merge("ContainerConfig", CONTAINER, fragment);
    container::container(&Field::root("config"), Some(message))
}

#[test]
fn containers() {
    let table = [
        ("metadata { name: 'a/b' }", "config.metadata.name"),
        (r"image { image: 'a\tb' }", "config.image.image"),
        (r"image { runtime_handler: 'a\tb' }", "config.image.runtime_handler"),
        (r"command: 'sh' command: 'a\0b'", "config.command[1]"),
        (r"args: '\0'", "config.args[0]"),
        ("working_dir: 'tmp'", "config.working_dir"),
        ("envs { value: 'x' }", "config.envs[0].key"),
        ("envs { key: 'A=B' }", "config.envs[0].key"),
        (r"envs { key: 'A' } envs { key: 'B' value: '\xff' }", "config.envs[1].value"),
        (r"envs { key: 'A' value: 'b\0' }", "config.envs[0].value"),
        ("log_path: '../../etc/passwd'", "config.log_path"),
        ("log_path: '/etc/passwd'", "config.log_path"),
        ("mounts { host_path: '/srv' }", "config.mounts[0].container_path"),
        ("mounts { container_path: 'a' host_path: '/srv' }", "config.mounts[0].container_path"),
        ("mounts { container_path: '/a/../../b' host_path: '/s' }", "config.mounts[0].container_path"),
        ("mounts { container_path: '/a' }", "config.mounts[0].host_path"),
        (r"mounts { container_path: '/a' host_path: '/\0' }", "config.mounts[0].host_path"),
        ("mounts { container_path: '/a' host_path: '/b' propagation: 7 }", "config.mounts[0].propagation"),
        (
            "mounts { container_path: '/a' host_path: '/b' recursive_read_only: true }",
            "config.mounts[0].recursive_read_only",
        ),
        ("stop_signal: 99", "config.stop_signal"),
    ];
    for (fragment, field) in table {
        assert_eq!(path(container(fragment)), field, "{fragment}");
    }
    let no_image: ContainerConfig = merge("ContainerConfig", "metadata { name: 'c' } image {}", "");
    let result = container::container(&Field::root("config"), Some(no_image));
    assert_eq!(result.unwrap_err().to_string(), "config.image.image is required");
}

#[test]
fn security_of_containers() {
    let table = [
        ("run_as_user { value: 1 } run_as_username: 'a'", "run_as_username"),
        ("run_as_user { value: -1 }", "run_as_user"),
        ("run_as_user { value: 4294967295 }", "run_as_user"),
        ("run_as_user { value: 4294967296 }", "run_as_user"),
        ("run_as_user { value: 1 } run_as_group { value: 4294967295 }", "run_as_group"),
        ("run_as_group { value: 1 }", "run_as_group"),
        (r"run_as_username: 'a\nroot'", "run_as_username"),
        ("run_as_username: 'a:b'", "run_as_username"),
        ("supplemental_groups: 1 supplemental_groups: -1", "supplemental_groups[1]"),
        ("supplemental_groups_policy: 5", "supplemental_groups_policy"),
        ("masked_paths: 'proc'", "masked_paths[0]"),
        ("readonly_paths: '/proc/../etc'", "readonly_paths[0]"),
        ("namespace_options { pid: TARGET }", "namespace_options.target_id"),
        ("seccomp { profile_type: Localhost }", "seccomp.localhost_ref"),
        ("seccomp { profile_type: Localhost localhost_ref: 'a' }", "seccomp.localhost_ref"),
        ("seccomp { localhost_ref: '/a' }", "seccomp.localhost_ref"),
        ("seccomp { profile_type: 7 }", "seccomp.profile_type"),
        ("seccomp {} seccomp_profile_path: 'unconfined'", "seccomp_profile_path"),
        ("seccomp_profile_path: 'strict'", "seccomp_profile_path"),
        ("apparmor { profile_type: Localhost }", "apparmor.localhost_ref"),
        ("apparmor { localhost_ref: 'x' }", "apparmor.localhost_ref"),
        ("apparmor_profile: 'x'", "apparmor_profile"),
        ("selinux_options { type: 'a:b' }", "selinux_options.type"),
        ("selinux_options { level: 's0 c1' }", "selinux_options.level"),
        ("capabilities { add_capabilities: 'FLY' }", "capabilities.add_capabilities[0]"),
    ];
    for (fragment, field) in table {
        let result = container(&format!("linux {{ security_context {{ {fragment} }} }}"));
        assert_eq!(path(result), format!("config.linux.security_context.{field}"), "{fragment}");
    }
}

#[test]
fn unset_is_unset() {
    let plain = container("").unwrap();
    for fragment in [
        "windows { resources {} security_context {} }",
        "linux { resources {} security_context { capabilities {} namespace_options {} selinux_options {} } }",
        "linux { security_context { namespace_options { userns_options {} } } }",
    ] {
        assert_eq!(container(fragment).as_ref(), Ok(&plain), "{fragment}");
    }
    let plain = sandbox("").unwrap();
    for fragment in ["dns_config {}", "windows { security_context {} }", "linux { security_context {} }"] {
        assert_eq!(sandbox(fragment).as_ref(), Ok(&plain), "{fragment}");
    }
}

#[test]
fn seccomp_in_both_forms() {
    use model::Seccomp::{Localhost, RuntimeDefault, Unconfined};
    let table = [
        ("", None),
        ("seccomp {}", Some(RuntimeDefault)),
        ("seccomp { profile_type: Unconfined }", Some(Unconfined)),
        (
            "seccomp { profile_type: Localhost localhost_ref: '/p' }",
            Some(Localhost(model::AbsPath::new("/p").unwrap())),
        ),
        ("seccomp_profile_path: 'runtime/default'", Some(RuntimeDefault)),
        ("seccomp_profile_path: 'docker/default'", Some(RuntimeDefault)),
        ("seccomp_profile_path: 'unconfined'", Some(Unconfined)),
        ("seccomp_profile_path: 'localhost//p'", Some(Localhost(model::AbsPath::new("/p").unwrap()))),
        ("seccomp {} seccomp_profile_path: 'runtime/default'", Some(RuntimeDefault)),
    ];
    for (fragment, expected) in table {
        let config = container(&format!("linux {{ security_context {{ {fragment} }} }}")).unwrap();
        assert_eq!(config.security.seccomp, expected, "{fragment}");
    }
}

#[test]
fn apparmor_in_both_forms() {
    use model::AppArmor::{Localhost, RuntimeDefault, Unconfined};
    let table = [
        ("", None),
        ("apparmor {}", Some(RuntimeDefault)),
        ("apparmor { profile_type: Unconfined } apparmor_profile: 'localhost/p'", Some(Unconfined)),
        ("apparmor { profile_type: Localhost localhost_ref: 'p' }", Some(Localhost("p".into()))),
        ("apparmor { profile_type: Localhost localhost_ref: 'localhost/p' }", Some(Localhost("p".into()))),
        ("apparmor_profile: 'runtime/default'", Some(RuntimeDefault)),
        ("apparmor_profile: 'unconfined'", Some(Unconfined)),
        ("apparmor_profile: 'localhost/p'", Some(Localhost("p".into()))),
    ];
    for (fragment, expected) in table {
        let config = container(&format!("linux {{ security_context {{ {fragment} }} }}")).unwrap();
        assert_eq!(config.security.apparmor, expected, "{fragment}");
    }
}

#[test]
fn a_pod_on_the_hosts_network_has_the_hosts_name() {
    let node = "linux { security_context { namespace_options { network: NODE } } }";
    assert_eq!(sandbox(&format!("hostname: 'web-0' {node}")).unwrap().hostname, "");
    assert_eq!(sandbox("hostname: 'web-0'").unwrap().hostname, "web-0");
}
