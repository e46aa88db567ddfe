use super::*;
use crate::decode::{Field, sandbox};
use crate::proto::PodSandboxConfig;

const SECURITY: [Row; 29] = [
    ("linux.security_context.namespace_options.network", Honoured, "", NETWORK_NODE),
    (
        "linux.security_context.namespace_options.pid",
        Honoured,
        "",
        "linux { security_context { namespace_options { pid: CONTAINER } } }",
    ),
    (
        "linux.security_context.namespace_options.ipc",
        Honoured,
        "",
        "linux { security_context { namespace_options { ipc: NODE } } }",
    ),
    ("linux.security_context.namespace_options.target_id", Refused, "", TARGET),
    (
        "linux.security_context.namespace_options.userns_options.mode",
        Checked,
        "",
        "linux { security_context { namespace_options { userns_options { mode: NODE } } } }",
    ),
    (
        "linux.security_context.namespace_options.userns_options.uids.host_id",
        Honoured,
        "",
        "linux { security_context { namespace_options { userns_options { uids { host_id: 7 length: 9 } gids { length: 9 } } } } }",
    ),
    (
        "linux.security_context.namespace_options.userns_options.uids.container_id",
        Refused,
        "",
        "linux { security_context { namespace_options { userns_options { uids { container_id: 1 length: 9 } gids { length: 9 } } } } }",
    ),
    (
        "linux.security_context.namespace_options.userns_options.uids.length",
        Honoured,
        "",
        "linux { security_context { namespace_options { userns_options { uids { length: 7 } gids { length: 9 } } } } }",
    ),
    (
        "linux.security_context.namespace_options.userns_options.gids.host_id",
        Honoured,
        "",
        "linux { security_context { namespace_options { userns_options { gids { host_id: 7 length: 9 } uids { length: 9 } } } } }",
    ),
    (
        "linux.security_context.namespace_options.userns_options.gids.container_id",
        Refused,
        "",
        "linux { security_context { namespace_options { userns_options { gids { container_id: 1 length: 9 } uids { length: 9 } } } } }",
    ),
    (
        "linux.security_context.namespace_options.userns_options.gids.length",
        Honoured,
        "",
        "linux { security_context { namespace_options { userns_options { gids { length: 7 } uids { length: 9 } } } } }",
    ),
    (
        "linux.security_context.selinux_options.user",
        Honoured,
        "",
        "linux { security_context { selinux_options { user: 'system_u' } } }",
    ),
    (
        "linux.security_context.selinux_options.role",
        Honoured,
        "",
        "linux { security_context { selinux_options { role: 'system_r' } } }",
    ),
    (
        "linux.security_context.selinux_options.type",
        Honoured,
        "",
        "linux { security_context { selinux_options { type: 'container_t' } } }",
    ),
    (
        "linux.security_context.selinux_options.level",
        Honoured,
        "",
        "linux { security_context { selinux_options { level: 's0:c1,c2' } } }",
    ),
    (
        "linux.security_context.run_as_user",
        Honoured,
        "",
        "linux { security_context { run_as_user { value: 1000 } } }",
    ),
    (
        "linux.security_context.run_as_group",
        Honoured,
        "linux { security_context { run_as_user { value: 1000 } } }",
        "linux { security_context { run_as_group { value: 1000 } } }",
    ),
    (
        "linux.security_context.readonly_rootfs",
        Honoured,
        "",
        "linux { security_context { readonly_rootfs: true } }",
    ),
    (
        "linux.security_context.supplemental_groups",
        Honoured,
        "",
        "linux { security_context { supplemental_groups: 7 } }",
    ),
    (
        "linux.security_context.supplemental_groups_policy",
        Honoured,
        "",
        "linux { security_context { supplemental_groups_policy: Strict } }",
    ),
    ("linux.security_context.privileged", Honoured, "", "linux { security_context { privileged: true } }"),
    (
        "linux.security_context.seccomp.profile_type",
        Honoured,
        "",
        "linux { security_context { seccomp { profile_type: Unconfined } } }",
    ),
    (
        "linux.security_context.seccomp.localhost_ref",
        Honoured,
        "linux { security_context { seccomp { profile_type: Localhost localhost_ref: '/a.json' } } }",
        "linux { security_context { seccomp { localhost_ref: '/b.json' } } }",
    ),
    (
        "linux.security_context.apparmor.profile_type",
        Honoured,
        "",
        "linux { security_context { apparmor { profile_type: Unconfined } } }",
    ),
    (
        "linux.security_context.apparmor.localhost_ref",
        Honoured,
        "linux { security_context { apparmor { profile_type: Localhost localhost_ref: 'y' } } }",
        "linux { security_context { apparmor { localhost_ref: 'x' } } }",
    ),
    (
        "linux.security_context.seccomp_profile_path",
        Honoured,
        "",
        "linux { security_context { seccomp_profile_path: 'runtime/default' } }",
    ),
    ("linux.sysctls", Honoured, "", "linux { sysctls { key: 'net.ipv4.ip_forward' value: '1' } }"),
    ("linux.cgroup_parent", Honoured, "", "linux { cgroup_parent: '/kubepods' }"),
    ("windows.*", Refused, "", ""),
];

const NETWORK_NODE: &str = "linux { security_context { namespace_options { network: NODE } } }";
const TARGET: &str = "linux { security_context { namespace_options { target_id: 'x' } } }";
const GENERAL: [Row; 14] = [
    ("metadata.name", Honoured, "", "metadata { name: 'other' }"),
    ("metadata.uid", Honoured, "", "metadata { uid: 'other' }"),
    ("metadata.namespace", Honoured, "", "metadata { namespace: 'other' }"),
    ("metadata.attempt", Honoured, "", "metadata { attempt: 1 }"),
    ("hostname", Honoured, "", "hostname: 'web-0'"),
    ("log_directory", Honoured, "", "log_directory: '/var/log/pods/x'"),
    ("dns_config.servers", Honoured, "", "dns_config { servers: '10.0.0.10' }"),
    ("dns_config.searches", Honoured, "", "dns_config { searches: 'svc.cluster.local' }"),
    ("dns_config.options", Honoured, "", "dns_config { options: 'ndots:5' }"),
    ("port_mappings.protocol", Honoured, "port_mappings { container_port: 80 }", PORT_UDP),
    ("port_mappings.container_port", Honoured, "", "port_mappings { container_port: 80 }"),
    ("port_mappings.host_port", Honoured, "", "port_mappings { container_port: 80 host_port: 8080 }"),
    ("port_mappings.host_ip", Honoured, "", "port_mappings { container_port: 80 host_ip: '127.0.0.1' }"),
    ("labels", Stored, "", "labels { key: 'a' value: 'b' }"),
];

const PORT_UDP: &str = "port_mappings { container_port: 80 protocol: UDP }";

/// The limits of `LinuxContainerResources`, with a value for each.
pub(super) const LIMITS: [(&str, &str); 11] = [
    ("cpu_period", "cpu_period: 100000"),
    ("cpu_quota", "cpu_quota: 20000"),
    ("cpu_shares", "cpu_shares: 512"),
    ("memory_limit_in_bytes", "memory_limit_in_bytes: 1048576"),
    ("oom_score_adj", "oom_score_adj: -999"),
    ("cpuset_cpus", "cpuset_cpus: '0-1'"),
    ("cpuset_mems", "cpuset_mems: '0'"),
    ("hugepage_limits.page_size", "hugepage_limits { page_size: '2MB' }"),
    ("hugepage_limits.limit", "hugepage_limits { page_size: '1GB' limit: 1 }"),
    ("unified", "unified { key: 'memory.high' value: '1' }"),
    ("memory_swap_limit_in_bytes", "memory_limit_in_bytes: 1048576 memory_swap_limit_in_bytes: 2097152"),
];

/// A row a limit below a message; the strings live as long as the test process.
pub(super) fn limits(path: &str, verdict: Verdict, wrap: impl Fn(&str) -> String) -> Vec<Row> {
    let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
    LIMITS
        .iter()
        .map(|(name, value)| (leak(format!("{path}.{name}")), verdict, "", leak(wrap(value))))
        .collect()
}

#[test]
fn every_field_of_a_sandbox() {
    let mut table: Vec<Row> = GENERAL.into_iter().chain(SECURITY).collect();
    table.push(("annotations", Stored, "", "annotations { key: 'a' value: 'b' }"));
    table.extend(limits("linux.overhead", Honoured, |value| format!("linux {{ overhead {{ {value} }} }}")));
    table.extend(limits("linux.resources", Honoured, |value| format!("linux {{ resources {{ {value} }} }}")));
    let base = "metadata { name: 'web' uid: 'u' namespace: 'default' }";
    check("PodSandboxConfig", base, "", &table, |message: PodSandboxConfig| {
        sandbox::sandbox(&Field::root("config"), Some(message))
    });
}
