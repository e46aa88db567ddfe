//! The pure types that every crate of Corten shares: identifiers, pod and container configurations,
//! their states, and the kinds of error. No I/O happens here.

#[macro_use]
mod text_value;

pub mod argv;
pub mod cdi;
pub mod container;
mod demand;
pub mod error;
pub mod id;
pub mod idmap;
pub mod limits;
pub mod path;
mod printable;
pub mod rootfs;
pub mod sandbox;
pub mod security;
pub mod signal;
pub mod sysctl;
pub mod usage;
pub mod value;
mod words;

pub use argv::Argv;
pub use container::{
    ContainerConfig, ContainerEvent, ContainerMetadata, ContainerState, Device, Exit, ImageSpec,
    InvalidTransition, KeyValue, Mount, Propagation,
};
pub use demand::Demand;
pub use error::{ErrorKind, chain};
pub use id::{ContainerId, SandboxId};
pub use idmap::IdMapping;
pub use limits::{
    Bytes, CgroupFile, CpuList, CpuPeriod, CpuQuota, CpuShares, HugePages, OomScore, PageSize, Resources,
};
pub use path::AbsPath;
pub use printable::printable;
pub use rootfs::Rootfs;
pub use sandbox::{
    DnsConfig, LinuxSandbox, PortMapping, Protocol, SandboxConfig, SandboxMetadata, SandboxState,
};
pub use security::{
    AppArmor, Capabilities, NamespaceMode, NamespaceOptions, Seccomp, SecurityContext, Selinux, User,
    UserNamespace,
};
pub use signal::Signal;
pub use sysctl::{SysctlName, SysctlNamespace, SysctlValue, Sysctls};
pub use usage::FsUsage;
pub use value::{ValueError, ValueResult};
pub use words::{counted, first_of};
