//! From a CRI request to what the shim carries out: the OCI runtime spec, the launch plan, the user database of
//! an image, system call filters, and cgroups.
//!
//! The daemon decides everything here, once. A [`spec`] says in OCI terms what a container is (and is what
//! `crictl inspect` shows); a [`plan`] is the same decision as the few system calls that make it so.

pub mod adjust;
pub mod apparmor;
pub mod caps;
pub mod cdi;
pub mod cgroup;
pub mod classes;
mod copy_up;
pub mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod json;
mod last;
pub mod plan;
pub mod rlimits;
pub mod rootfs;
pub mod seccomp;
pub mod selinux;
pub mod spec;
pub mod users;
pub mod yaml;

pub use copy_up::copy_up;
pub use error::{OciError, OciResult};
pub use model::Signal;
