//! The real shim over its socket, on the real kernel: namespaces, overlays, cgroups. Needs root and busybox,
//! and says so where it skips.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod agent;
mod conn;
mod execs;
mod fallbacks;
mod ground;
mod harness;
mod isolation;
mod launch;
mod life;
mod logs;
mod measure;
mod naming;
mod programs;
mod schedule;
mod streams;
mod succession;
mod userns;
