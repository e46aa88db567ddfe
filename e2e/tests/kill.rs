//! The daemon is killed with -9 at many moments of three pods' lives at once: whatever was under way, the next daemon
//! finds its way, an identical retry succeeds, and everything can be removed without a trace.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use e2e::client::Cri;
use e2e::error::Error;
use e2e::pods::{shell, with_host_port};
use e2e::proto::PodSandboxConfig;
use e2e::runtime::Kind;
use e2e::world::{BUSYBOX, World};
use std::time::{Duration, Instant};

/// Milliseconds after which the daemon is killed, from before its first answer to after its last one.
const MOMENTS: [u64; 12] = [1, 2, 3, 5, 7, 9, 12, 16, 21, 28, 40, 80];
const AT_ONCE: usize = 3;

/// A pod from beginning to end; it fails wherever the daemon dies.
async fn live(cri: Cri, config: PodSandboxConfig) -> Result<(), Error> {
    let pod = cri.run_pod(&config).await?;
    let container = cri.create(&pod, &shell("main", BUSYBOX, "exec sleep 1000"), &config).await?;
    cri.start(&container).await?;
    cri.stop(&container, 0).await?;
    cri.remove(&container).await?;
    cri.end_pod(&pod).await
}

fn helpers(world: &World) -> Vec<String> {
    let is_helper = |line: &String| line.contains("corten-shim") || line.contains("corten-pause");
    world.isolation.processes().into_values().filter(is_helper).collect()
}

#[test]
fn whenever_the_daemon_dies_the_next_one_converges() {
    let Some(mut world) = World::new().unwrap() else { return };
    if world.daemon.kind() == Kind::Containerd {
        need::skip(need::Need::Corten, "the peer answers a retry with a name that is reserved");
        return;
    }
    // The daemon is another process afterwards.
    let baseline = world.baseline().unwrap().without("process").without("fd");
    for (round, moment) in MOMENTS.into_iter().enumerate() {
        let configs: Vec<_> = (0..AT_ONCE)
            .map(|n| {
                let port = i32::try_from(30_000 + n).unwrap();
                with_host_port(world.pod(&format!("kill-{round}-{n}")).unwrap(), port, 80)
            })
            .collect();
        let cri = world.tokio.block_on(world.daemon.client()).unwrap();
        let lives: Vec<_> =
            configs.iter().map(|config| world.tokio.spawn(live(cri.clone(), config.clone()))).collect();
        std::thread::sleep(Duration::from_millis(moment));
        world.daemon.kill().unwrap();
        for life in lives {
            // Whether it was over before the daemon died is a matter of luck.
            let _ = world.tokio.block_on(life).unwrap();
        }
        world.daemon.restart().unwrap();
        world.tokio.block_on(async {
            let cri = world.daemon.client().await.unwrap();
            for config in &configs {
                retry(&cri, config).await;
            }
            for pod in cri.pods().await.unwrap() {
                cri.end_pod(&pod.id).await.unwrap();
                cri.end_pod(&pod.id).await.unwrap();
            }
            assert!(cri.containers().await.unwrap().is_empty(), "killed after {moment} ms");
        });
        baseline.settle(&world.isolation, &world.daemon).unwrap();
        let end = Instant::now() + Duration::from_secs(10);
        while !helpers(&world).is_empty() {
            assert!(Instant::now() < end, "killed after {moment} ms, left: {:?}", helpers(&world));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The kubelet asks again for the pod that it got no answer for. What was half-made is being taken down meanwhile, and
/// the name of a pod that was stopped before the daemon died is its own until it is removed.
async fn retry(cri: &Cri, config: &PodSandboxConfig) {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let Err(error) = cri.run_pod(config).await else { return };
        let name = &config.metadata.as_ref().unwrap().name;
        let pods = cri.pods().await.unwrap();
        if pods.iter().any(|pod| pod.metadata.as_ref().is_some_and(|held| held.name == *name)) {
            return;
        }
        assert!(Instant::now() < end, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
