//! What a container finds where it asked for a mount, and that nothing of it lies anywhere else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::large_futures)]

mod access;
mod escapes;
mod images;
mod propagation;
mod race;
mod sources;

use e2e::Error;
use e2e::client::Cri;
use e2e::pods::shell;
use e2e::proto::{ContainerConfig, Mount, PodSandboxConfig};
use e2e::world::{BUSYBOX, World, wait_exited};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// A ready pod of a world.
struct Pod<'a> {
    world: &'a World,
    cri: Cri,
    config: PodSandboxConfig,
    id: String,
}

impl<'a> Pod<'a> {
    async fn new(world: &'a World, name: &str) -> Self {
        Self::with(world, world.pod(name).unwrap()).await
    }

    async fn with(world: &'a World, config: PodSandboxConfig) -> Self {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let id = cri.run_pod(&config).await.unwrap();
        Self { world, cri, config, id }
    }

    async fn create(&self, config: &ContainerConfig) -> Result<String, Error> {
        self.cri.create(&self.id, config, &self.config).await
    }

    async fn start(&self, config: &ContainerConfig) -> String {
        let id = self.create(config).await.unwrap();
        self.cri.start(&id).await.unwrap();
        id
    }

    /// Runs a container to its end; the lines of its standard output.
    async fn output(&self, config: &ContainerConfig) -> Vec<String> {
        let id = self.start(config).await;
        self.ended(&id, config).await
    }

    async fn ended(&self, id: &str, config: &ContainerConfig) -> Vec<String> {
        wait_exited(&self.cri, id, PATIENCE).await.unwrap();
        let (pod, name) =
            (&self.config.metadata.as_ref().unwrap().name, &config.metadata.as_ref().unwrap().name);
        let lines = e2e::logs::read(&self.world.log(pod, name)).unwrap();
        lines.into_iter().filter(|line| line.stream == "stdout").map(|line| line.text).collect()
    }

    /// The refusal of a container with one mount.
    async fn refusal(&self, name: &str, mount: Mount) -> String {
        let config = ContainerConfig { mounts: vec![mount], ..shell(name, BUSYBOX, "true") };
        match self.create(&config).await {
            Ok(id) => panic!("{name} is created: {id}"),
            Err(error) => error.to_string(),
        }
    }

    async fn end(&self) {
        self.cri.end_pod(&self.id).await.unwrap();
    }
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
