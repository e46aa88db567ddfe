//! A ready pod of a world, as scenarios use it: what fails here fails the test.
#![allow(clippy::unwrap_used)]

use crate::client::Cri;
use crate::error::Error;
use crate::proto::{ContainerConfig, PodSandboxConfig};
use crate::world::{BUSYBOX, World, wait_exited};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// A pod that runs, with a connection of its own.
#[derive(Debug)]
pub struct Pod<'a> {
    /// Where it is.
    pub world: &'a World,
    /// The connection.
    pub cri: Cri,
    /// As it was asked for.
    pub config: PodSandboxConfig,
    /// The sandbox.
    pub id: String,
}

impl<'a> Pod<'a> {
    /// A pod of a name, with busybox pulled for its containers.
    pub async fn new(world: &'a World, name: &str) -> Self {
        Self::with(world, world.pod(name).unwrap()).await
    }

    /// As [`Pod::new`], of another configuration.
    pub async fn with(world: &'a World, config: PodSandboxConfig) -> Self {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let id = cri.run_pod(&config).await.unwrap();
        Self { world, cri, config, id }
    }

    /// Makes a container.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn create(&self, config: &ContainerConfig) -> Result<String, Error> {
        self.cri.create(&self.id, config, &self.config).await
    }

    /// Makes and starts a container; its id.
    pub async fn start(&self, config: &ContainerConfig) -> String {
        let id = self.create(config).await.unwrap();
        self.cri.start(&id).await.unwrap();
        id
    }

    /// Runs a container to its end; the lines of its standard output.
    pub async fn output(&self, config: &ContainerConfig) -> Vec<String> {
        let id = self.start(config).await;
        self.ended(&id, config).await
    }

    /// Waits for the end of a container that runs; the lines of its standard output.
    pub async fn ended(&self, id: &str, config: &ContainerConfig) -> Vec<String> {
        wait_exited(&self.cri, id, PATIENCE).await.unwrap();
        let (pod, name) =
            (&self.config.metadata.as_ref().unwrap().name, &config.metadata.as_ref().unwrap().name);
        let lines = crate::logs::read(&self.world.log(pod, name)).unwrap();
        lines.into_iter().filter(|line| line.stream == "stdout").map(|line| line.text).collect()
    }

    /// Why a container is not made; that it is fails the test.
    pub async fn refusal(&self, config: &ContainerConfig) -> String {
        self.create(config).await.unwrap_err().to_string()
    }

    /// Stops and removes it.
    pub async fn end(&self) {
        self.cri.end_pod(&self.id).await.unwrap();
    }
}
