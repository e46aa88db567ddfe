//! Exec, attach and port forwarding with the real crictl, over SPDY and over WebSockets; what becomes of broken clients.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod attach;
mod broken;
mod exec;
mod ports;
mod talk;
mod tls;
mod urls;

use e2e::pods;
use e2e::proto::{ContainerConfig, PodSandboxConfig};
use e2e::world::{BUSYBOX, World};
use std::time::Duration;

const TRANSPORTS: [&str; 2] = ["spdy", "websocket"];
const SOON: Duration = Duration::from_secs(30);

/// A pod with one running container: their ids.
fn start(world: &World, name: &str, container: &ContainerConfig) -> (String, String) {
    start_in(world, &world.pod(name).unwrap(), container)
}

fn start_in(world: &World, config: &PodSandboxConfig, container: &ContainerConfig) -> (String, String) {
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let pod = cri.run_pod(config).await.unwrap();
        let container = cri.create(&pod, container, config).await.unwrap();
        cri.start(&container).await.unwrap();
        (pod, container)
    })
}

fn idle() -> ContainerConfig {
    pods::shell("main", BUSYBOX, "while :; do sleep 1000; done")
}
