//! What a process may do: namespaces, user, capabilities, seccomp.

use crate::{AbsPath, IdMapping};
use serde::{Deserialize, Serialize};

/// Whose namespace a container or pod uses (CRI `NamespaceMode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum NamespaceMode {
    /// Shared by the pod's containers.
    #[default]
    Pod,
    /// One of the container's own.
    Container,
    /// The host's.
    Node,
    /// That of the container named in [`NamespaceOptions::target_id`].
    Target,
}

/// CRI `NamespaceOption`. The UTS namespace follows the network: a host-network pod uses the host's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NamespaceOptions {
    /// `Pod` or `Node`.
    pub network: NamespaceMode,
    /// Any mode.
    pub pid: NamespaceMode,
    /// `Pod` or `Node`.
    pub ipc: NamespaceMode,
    /// The container whose PID namespace [`NamespaceMode::Target`] means.
    pub target_id: Option<String>,
    /// A user namespace of the pod's own; `None`: the host's.
    #[serde(default)]
    pub users: Option<UserNamespace>,
    /// A container asks for the host's user namespace; without it and without `users` it has the pod's.
    #[serde(default)]
    pub node_users: bool,
}

/// CRI `UserNamespace` of mode `POD`: one range of ids each, in which root is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserNamespace {
    /// Users.
    pub uids: IdMapping,
    /// Groups.
    pub gids: IdMapping,
}

/// The user of a process as a request names it; names are resolved in the container's root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum User {
    /// CRI `run_as_user`.
    Uid(u32),
    /// CRI `run_as_username`: a name, or a number as text.
    Name(String),
}

/// CRI `Capability`: names with or without `CAP_`, in any case; `ALL` is allowed in `add` and `drop`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Capabilities {
    /// Added to the default set.
    pub add: Vec<String>,
    /// Taken away from it.
    pub drop: Vec<String>,
    /// Added to the ambient, inheritable, permitted, effective and bounding sets.
    pub add_ambient: Vec<String>,
}

/// CRI `SecurityProfile` for seccomp. `None` in [`SecurityContext::seccomp`] means that the request is silent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seccomp {
    /// The built-in profile.
    RuntimeDefault,
    /// No filter.
    Unconfined,
    /// A profile file on the node.
    Localhost(AbsPath),
}

/// CRI `SecurityProfile` for AppArmor. `None` in [`SecurityContext::apparmor`] means that the request is silent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppArmor {
    /// The built-in profile.
    RuntimeDefault,
    /// No profile.
    Unconfined,
    /// A profile that is loaded on the node, by its name.
    Localhost(String),
}

/// CRI `SELinuxOption`: parts of a label that replace those of the host's default; empty ones do not.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Selinux {
    /// Such as `system_u`.
    pub user: String,
    /// Such as `system_r`.
    pub role: String,
    /// Such as `container_t`.
    pub kind: String,
    /// Sensitivity and categories, such as `s0:c1,c2`.
    pub level: String,
}

/// CRI `LinuxContainerSecurityContext` and `LinuxSandboxSecurityContext`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SecurityContext {
    /// Every capability, no masking, no seccomp, every device of the host.
    pub privileged: bool,
    /// Namespaces.
    pub namespaces: NamespaceOptions,
    /// `None`: the image's user.
    pub user: Option<User>,
    /// Needs a user beside it (CRI `run_as_group`).
    pub group: Option<u32>,
    /// Groups beside the primary one.
    pub supplemental_groups: Vec<u32>,
    /// CRI `SupplementalGroupsPolicy`: true is `Strict` (only the groups requested), false `Merge`
    /// (also those that the image's /etc/group gives the user).
    pub strict_groups: bool,
    /// The root filesystem is mounted read-only.
    pub readonly_rootfs: bool,
    /// Capability changes; a sandbox has none.
    pub capabilities: Capabilities,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privs: bool,
    /// Applied exactly as given; empty masks nothing.
    pub masked_paths: Vec<AbsPath>,
    /// Applied exactly as given; empty protects nothing.
    pub readonly_paths: Vec<AbsPath>,
    /// The system call filter.
    pub seccomp: Option<Seccomp>,
    /// The AppArmor profile.
    #[serde(default)]
    pub apparmor: Option<AppArmor>,
    /// The SELinux label; `None`: the host's default.
    #[serde(default)]
    pub selinux: Option<Selinux>,
}
