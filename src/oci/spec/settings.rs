//! The operator's choices about containers.

use crate::caps::{self, CapSet};

/// What a request means that does not mention seccomp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnsetSeccomp {
    /// No filter, as the interface's conformance suite expects.
    #[default]
    Unconfined,
    /// The built-in profile.
    RuntimeDefault,
}

/// What of the host's devices a privileged container gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HostDevices {
    /// All of them.
    #[default]
    Shown,
    /// It may use all, and sees those that it asks for.
    Allowed,
    /// Those that it asks for.
    None,
}

/// The operator's choices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What a container has whose request changes nothing.
    pub default_capabilities: CapSet,
    /// What `ALL` means.
    pub available_capabilities: CapSet,
    /// What a request means that does not mention seccomp.
    pub unset_seccomp: UnsetSeccomp,
    /// Processes and threads of a container; 0: no limit.
    pub pids_limit: i64,
    /// Whether the kernel can make whole trees of mounts read-only.
    pub recursive_read_only: bool,
    /// Device nodes belong to the user and group of the request where it names some.
    pub device_ownership: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            default_capabilities: caps::default_set(),
            available_capabilities: caps::available(),
            unset_seccomp: UnsetSeccomp::default(),
            pids_limit: 0,
            recursive_read_only: sys::mount::has_mount_setattr(),
            device_ownership: false,
        }
    }
}
