//! What a container finds where it asked for a mount, and that nothing of it lies anywhere else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::large_futures)]

mod access;
mod escapes;
mod images;
mod propagation;
mod race;
mod sources;

use e2e::pod::Pod;
use e2e::pods::shell;
use e2e::proto::{ContainerConfig, Mount};
use e2e::world::{BUSYBOX, World};
use std::fs;
use std::path::{Path, PathBuf};

/// The refusal of a container with one mount.
async fn refusal(pod: &Pod<'_>, name: &str, mount: Mount) -> String {
    pod.refusal(&mounted(name, vec![mount], "true")).await
}

/// A container that runs a script over some mounts.
fn mounted(name: &str, mounts: Vec<Mount>, script: &str) -> ContainerConfig {
    ContainerConfig { mounts, ..shell(name, BUSYBOX, script) }
}

fn bind(host: &Path, place: &str) -> Mount {
    Mount { host_path: host.display().to_string(), container_path: place.into(), ..Mount::default() }
}

/// A directory of the host with a file `name` that says its name.
fn directory(world: &World, name: &str) -> PathBuf {
    let path = world.isolation.directory(name).unwrap();
    fs::write(path.join("name"), format!("{name}\n")).unwrap();
    path
}

/// The tables of mounts of the scenario's host and of the daemon's.
fn host_mounts(world: &World) -> String {
    let of = |process: String| fs::read_to_string(format!("/proc/{process}/mountinfo")).unwrap();
    of("thread-self".into()) + &of(world.daemon.pid().to_string())
}
