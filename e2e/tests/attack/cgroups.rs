//! Containers that rearrange cgroups, or end what supervises them.

mod crowded;
mod delegation;
mod exhaustion;
mod systemd;

use e2e::pods::shell;
use e2e::proto::{ContainerConfig, PodSandboxConfig};
use e2e::world::{BUSYBOX, World};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// Where the host has cgroup v2, on its own or beside v1.
fn unified() -> Option<PathBuf> {
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .iter()
        .map(PathBuf::from)
        .find(|dir| dir.join("cgroup.controllers").exists())
}

/// The control file of a cgroup in whichever hierarchy has it, by its names in v1 and v2.
fn control(cgroup: &str, v1: &str, v2: &str) -> PathBuf {
    let controller = v1.split('.').next().unwrap();
    let old = Path::new("/sys/fs/cgroup").join(controller);
    if old.is_dir() {
        return old.join(cgroup.trim_start_matches('/')).join(v1);
    }
    Path::new("/sys/fs/cgroup").join(cgroup.trim_start_matches('/')).join(v2)
}

/// A pod below a parent of its own, such as the kubelet gives it.
fn pod_of_its_own(world: &World, name: &str) -> (PodSandboxConfig, String) {
    let mut config = world.pod(name).unwrap();
    let parent = format!("{}/{name}", world.isolation.cgroup_parent());
    config.linux.as_mut().unwrap().cgroup_parent.clone_from(&parent);
    (config, parent)
}

/// A container without limits of its own.
fn unlimited(name: &str, script: &str) -> ContainerConfig {
    let mut config = shell(name, BUSYBOX, script);
    config.linux.as_mut().unwrap().resources = None;
    config
}

fn privileged_pod(mut config: PodSandboxConfig) -> PodSandboxConfig {
    config.linux.as_mut().unwrap().security_context.as_mut().unwrap().privileged = true;
    config
}

fn privileged(mut config: ContainerConfig) -> ContainerConfig {
    config.linux.as_mut().unwrap().security_context.as_mut().unwrap().privileged = true;
    config
}

/// The pods' supervisors.
fn supervisors(world: &World) -> Vec<i32> {
    let found = world.isolation.processes();
    found.into_iter().filter(|(_, line)| line.contains("corten-shim")).map(|(pid, _)| pid).collect()
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < end, "{what} does not come true");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What the root of each hierarchy holds that systemd would make there, how they are mounted, and where two processes
/// of the host are.
fn tree_of_the_host() -> Vec<String> {
    let mut found = Vec::new();
    let own = fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
    for hierarchy in own.chain([PathBuf::from("/sys/fs/cgroup")]) {
        for name in ["init.scope", "system.slice", "user.slice"] {
            found.extend(hierarchy.join(name).exists().then(|| hierarchy.join(name).display().to_string()));
        }
        found.push(hierarchy.display().to_string());
    }
    let mounts = fs::read_to_string("/proc/1/mountinfo").unwrap();
    found.extend(mounts.lines().filter(|line| line.contains(" - cgroup")).map(str::to_owned));
    // Name, hierarchy, number of cgroups, enabled.
    let hierarchies = fs::read_to_string("/proc/cgroups").unwrap();
    found.extend(hierarchies.lines().map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        format!("{} {}", fields.first().unwrap(), fields.get(1).unwrap())
    }));
    found.push(fs::read_to_string("/proc/1/cgroup").unwrap());
    found.push(fs::read_to_string("/proc/self/cgroup").unwrap());
    found
}
