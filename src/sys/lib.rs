//! System calls, the only crate with unsafe code. Each module is a thin, safe and synchronous wrapper around
//! one subject of the kernel; every failure is a [`SysError`] that says what was attempted on what.
//!
//! libc and nix are its only dependencies: the shim, of which one runs for every pod, links all of this.
#![allow(unsafe_code, reason = "the workspace's one place for system calls")]

pub mod arena;
pub mod aside;
pub mod bare;
pub mod bpf;
pub mod cgroup;
pub mod confine;
mod error;
pub mod exec;
pub mod fd;
pub mod filter;
pub mod fs;
pub mod handover;
pub mod hangup;
pub mod hook;
pub mod interpreter;
pub mod keyring;
pub mod malloc;
pub mod mount;
pub mod netlink;
pub mod netns;
pub mod nft;
#[cfg(feature = "notify")]
pub mod notify;
pub mod output;
pub mod pass;
pub mod peers;
pub mod poll;
pub mod privilege;
pub mod probe;
pub mod process;
pub mod regular;
pub mod resolve;
pub mod schedule;
pub mod shim_spawn;
pub mod socket;
pub mod sync;
pub mod tree;
pub mod tty;
pub mod userns;
pub mod visit;

pub use error::{SysError, SysResult, errno_text, last_errno};
