//! Attacks on the node, carried out: by containers, images, registries, clients and users of the host. Each test is one
//! attack, is bounded in time and size, and asserts that the node and its other pods come through it unharmed.
//!
//! `make attack` runs them all and prints a table; a module's name is its kind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::large_futures)]

mod archives;
mod catalogue;
mod cgroups;
mod confined;
mod files;
mod images;
mod network;
mod operation;
mod processes;
mod streams;
mod trees;

/// How many of something an attack makes: so many that the fault would show in the usual run, or as many as were
/// reported, where `CORTEN_ATTACK_FULL` is set. That takes minutes, and gigabytes of memory for what lies on tmpfs.
fn many(usual: usize, full: usize) -> usize {
    if std::env::var_os("CORTEN_ATTACK_FULL").is_some() { full } else { usual }
}
