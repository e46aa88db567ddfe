//! The pure types that every crate of Corten shares: identifiers, pod and container configurations,
//! their states, and the kinds of error. No I/O happens here.

pub mod cdi;
pub mod container;
pub mod error;
pub mod id;
pub mod idmap;
pub mod sandbox;
pub mod security;

pub use container::{
    ContainerConfig, ContainerEvent, ContainerMetadata, ContainerState, Device, Exit, ImageSpec,
    InvalidTransition, KeyValue, Mount, Propagation, Resources,
};
pub use error::ErrorKind;
pub use id::{ContainerId, SandboxId};
pub use idmap::IdMapping;
pub use sandbox::{
    DnsConfig, LinuxSandbox, PortMapping, Protocol, SandboxConfig, SandboxMetadata, SandboxState,
};
pub use security::{
    AppArmor, Capabilities, NamespaceMode, NamespaceOptions, Seccomp, SecurityContext, Selinux, User,
    UserNamespace,
};
