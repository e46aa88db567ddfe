use super::sandbox::limits;
use super::*;
use crate::decode::{Field, container};
use crate::proto::ContainerConfig;

const MOUNT: &str = "mounts { container_path: '/data' host_path: '/srv' }";

const IMAGE: &str = "mounts { container_path: '/d' readonly: true image { image: 'i' } }";
const MAPPED: &str =
    "mounts { container_path: '/d' host_path: '/s' uidMappings { length: 1 } gidMappings { length: 1 } }";
const DEVICE: &str = "devices { host_path: '/dev/x' permissions: 'r' }";

const GENERAL: [Row; 37] = [
    ("metadata.name", Honoured, "", "metadata { name: 'other' }"),
    ("metadata.attempt", Honoured, "", "metadata { attempt: 1 }"),
    ("image.image", Honoured, "", "image { image: 'other' }"),
    ("image.annotations", Stored, "", "image { annotations { key: 'a' value: 'b' } }"),
    ("image.user_specified_image", Stored, "", "image { user_specified_image: 'busybox' }"),
    ("image.runtime_handler", Stored, "", "image { runtime_handler: 'native' }"),
    ("image.image_ref", Refused, "", "image { image_ref: 'sha256:0' }"),
    ("command", Honoured, "", "command: 'sleep'"),
    ("args", Honoured, "", "args: '1'"),
    ("working_dir", Honoured, "", "working_dir: '/tmp'"),
    ("envs.key", Honoured, "", "envs { key: 'A' }"),
    ("envs.value", Honoured, "", "envs { key: 'A' value: 'b' }"),
    ("mounts.container_path", Honoured, "", MOUNT),
    ("mounts.host_path", Honoured, "", "mounts { container_path: '/data' host_path: '/mnt' }"),
    ("mounts.readonly", Honoured, MOUNT, "mounts { container_path: '/d' host_path: '/s' readonly: true }"),
    ("mounts.recursive_read_only", Honoured, MOUNT, RRO),
    ("mounts.propagation", Honoured, MOUNT, PROPAGATION),
    (
        "mounts.selinux_relabel",
        Honoured,
        "mounts { container_path: '/d' host_path: '/s' }",
        "mounts { container_path: '/d' host_path: '/s' selinux_relabel: true }",
    ),
    (
        "mounts.uidMappings.host_id",
        Honoured,
        MAPPED,
        "mounts { container_path: '/d' host_path: '/s' uidMappings { host_id: 7 length: 1 } gidMappings { length: 1 } }",
    ),
    (
        "mounts.uidMappings.container_id",
        Honoured,
        MAPPED,
        "mounts { container_path: '/d' host_path: '/s' uidMappings { container_id: 7 length: 1 } gidMappings { length: 1 } }",
    ),
    ("mounts.uidMappings.length", Honoured, "", MAPPED),
    (
        "mounts.gidMappings.host_id",
        Honoured,
        MAPPED,
        "mounts { container_path: '/d' host_path: '/s' uidMappings { length: 1 } gidMappings { host_id: 7 length: 1 } }",
    ),
    (
        "mounts.gidMappings.container_id",
        Honoured,
        MAPPED,
        "mounts { container_path: '/d' host_path: '/s' uidMappings { length: 1 } gidMappings { container_id: 7 length: 1 } }",
    ),
    ("mounts.gidMappings.length", Honoured, "", MAPPED),
    ("mounts.image.image", Honoured, "", IMAGE),
    (
        "mounts.image.annotations",
        Stored,
        IMAGE,
        "mounts { container_path: '/d' readonly: true image { image: 'i' annotations { key: 'a' value: 'b' } } }",
    ),
    (
        "mounts.image.user_specified_image",
        Stored,
        IMAGE,
        "mounts { container_path: '/d' readonly: true image { image: 'i' user_specified_image: 'j' } }",
    ),
    (
        "mounts.image.runtime_handler",
        Stored,
        IMAGE,
        "mounts { container_path: '/d' readonly: true image { image: 'i' runtime_handler: 'native' } }",
    ),
    (
        "mounts.image.image_ref",
        Refused,
        "",
        "mounts { container_path: '/d' readonly: true image { image: 'i' image_ref: 'sha256:0' } }",
    ),
    (
        "mounts.image_sub_path",
        Honoured,
        IMAGE,
        "mounts { container_path: '/d' readonly: true image { image: 'i' } image_sub_path: 'x' }",
    ),
    (
        "mounts.mount_options",
        Honoured,
        MOUNT,
        "mounts { container_path: '/d' host_path: '/s' mount_options: 'noexec' }",
    ),
    (
        "devices.container_path",
        Honoured,
        DEVICE,
        "devices { container_path: '/dev/b' host_path: '/dev/x' permissions: 'r' }",
    ),
    ("devices.host_path", Honoured, "", DEVICE),
    ("devices.permissions", Honoured, DEVICE, "devices { host_path: '/dev/x' permissions: 'rw' }"),
    ("CDI_devices.name", Honoured, "", "CDI_devices { name: 'vendor.com/class=device' }"),
    ("labels", Stored, "", "labels { key: 'a' value: 'b' }"),
    ("annotations", Stored, "", "annotations { key: 'a' value: 'b' }"),
];

const RRO: &str = "mounts { container_path: '/d' host_path: '/s' readonly: true recursive_read_only: true }";
const PROPAGATION: &str =
    "mounts { container_path: '/d' host_path: '/s' propagation: PROPAGATION_HOST_TO_CONTAINER }";

const PROCESS: [Row; 6] = [
    ("log_path", Honoured, "", "log_path: 'web/0.log'"),
    ("stdin", Honoured, "", "stdin: true"),
    ("stdin_once", Honoured, "", "stdin_once: true"),
    ("tty", Honoured, "", "tty: true"),
    ("stop_signal", Honoured, "", "stop_signal: SIGNAL_SIGUSR1"),
    ("windows.*", Refused, "", ""),
];

/// The fields of the security context: name, verdict, what goes beside, the value.
const SECURITY: [Row; 34] = [
    ("capabilities.add_capabilities", Honoured, "", "capabilities { add_capabilities: 'NET_ADMIN' }"),
    ("capabilities.drop_capabilities", Honoured, "", "capabilities { drop_capabilities: 'ALL' }"),
    (
        "capabilities.add_ambient_capabilities",
        Honoured,
        "",
        "capabilities { add_ambient_capabilities: 'KILL' }",
    ),
    ("privileged", Honoured, "", "privileged: true"),
    ("namespace_options.network", Honoured, "", "namespace_options { network: NODE }"),
    ("namespace_options.pid", Honoured, "", "namespace_options { pid: CONTAINER }"),
    ("namespace_options.ipc", Honoured, "", "namespace_options { ipc: NODE }"),
    (
        "namespace_options.target_id",
        Honoured,
        "namespace_options { pid: TARGET target_id: 'a' }",
        "namespace_options { target_id: 'b' }",
    ),
    (
        "namespace_options.userns_options.mode",
        Honoured,
        "",
        "namespace_options { userns_options { mode: NODE } }",
    ),
    (
        "namespace_options.userns_options.uids.host_id",
        Honoured,
        "",
        "namespace_options { userns_options { uids { host_id: 7 length: 9 } gids { length: 9 } } }",
    ),
    (
        "namespace_options.userns_options.uids.container_id",
        Refused,
        "",
        "namespace_options { userns_options { uids { container_id: 1 length: 9 } gids { length: 9 } } }",
    ),
    (
        "namespace_options.userns_options.uids.length",
        Honoured,
        "",
        "namespace_options { userns_options { uids { length: 7 } gids { length: 9 } } }",
    ),
    (
        "namespace_options.userns_options.gids.host_id",
        Honoured,
        "",
        "namespace_options { userns_options { gids { host_id: 7 length: 9 } uids { length: 9 } } }",
    ),
    (
        "namespace_options.userns_options.gids.container_id",
        Refused,
        "",
        "namespace_options { userns_options { gids { container_id: 1 length: 9 } uids { length: 9 } } }",
    ),
    (
        "namespace_options.userns_options.gids.length",
        Honoured,
        "",
        "namespace_options { userns_options { gids { length: 7 } uids { length: 9 } } }",
    ),
    ("selinux_options.user", Honoured, "", "selinux_options { user: 'system_u' }"),
    ("selinux_options.role", Honoured, "", "selinux_options { role: 'system_r' }"),
    ("selinux_options.type", Honoured, "", "selinux_options { type: 'container_t' }"),
    ("selinux_options.level", Honoured, "", "selinux_options { level: 's0:c1,c2' }"),
    ("run_as_user", Honoured, "", "run_as_user { value: 0 }"),
    ("run_as_group", Honoured, "run_as_user { value: 1 }", "run_as_group { value: 0 }"),
    ("run_as_username", Honoured, "", "run_as_username: 'nobody'"),
    ("readonly_rootfs", Honoured, "", "readonly_rootfs: true"),
    ("supplemental_groups", Honoured, "", "supplemental_groups: 7"),
    ("supplemental_groups_policy", Honoured, "", "supplemental_groups_policy: Strict"),
    ("no_new_privs", Honoured, "", "no_new_privs: true"),
    ("masked_paths", Honoured, "", "masked_paths: '/proc/kcore'"),
    ("readonly_paths", Honoured, "", "readonly_paths: '/proc/sys'"),
    ("seccomp.profile_type", Honoured, "", "seccomp { profile_type: RuntimeDefault }"),
    (
        "seccomp.localhost_ref",
        Honoured,
        "seccomp { profile_type: Localhost localhost_ref: '/a.json' }",
        "seccomp { localhost_ref: '/b.json' }",
    ),
    ("apparmor.profile_type", Honoured, "", "apparmor { profile_type: RuntimeDefault }"),
    (
        "apparmor.localhost_ref",
        Honoured,
        "apparmor { profile_type: Localhost localhost_ref: 'y' }",
        "apparmor { localhost_ref: 'x' }",
    ),
    ("apparmor_profile", Honoured, "", "apparmor_profile: 'localhost/x'"),
    ("seccomp_profile_path", Honoured, "", "seccomp_profile_path: 'localhost//a.json'"),
];

#[test]
fn every_field_of_a_container() {
    let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
    let wrap = |text: &str| leak(format!("linux {{ security_context {{ {text} }} }}"));
    let mut table: Vec<Row> = GENERAL.into_iter().chain(PROCESS).collect();
    table.extend(SECURITY.into_iter().map(|(name, verdict, beside, value)| {
        (leak(format!("linux.security_context.{name}")), verdict, wrap(beside), wrap(value))
    }));
    table.extend(limits("linux.resources", Honoured, |value| format!("linux {{ resources {{ {value} }} }}")));
    let base = "metadata { name: 'c' } image { image: 'busybox' }";
    check("ContainerConfig", base, "", &table, |message: ContainerConfig| {
        container::container(&Field::root("config"), Some(message))
    });
}
