//! Plugins of other projects, unchanged, on Corten and on containerd: what each does is seen from inside of containers,
//! and has to be the same. `make nri` builds the plugins, runs this and prints the table.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::large_futures)]

mod devices;
mod installed;
mod lives;
mod processes;
mod stage;
mod table;
mod topology;
