//! The node boots while pods run.

use crate::{SOON, running, unlimited, world, world_with};
use e2e::invariants::{ended_with, numbered};
use e2e::network::{Network, bridge};
use e2e::pods::{container, with_host_port};
use e2e::proto::{ContainerState, PodSandboxState};
use e2e::world::{BUSYBOX, World, wait_exited};
use e2e::{boot, tools, wait};
use std::collections::BTreeSet;
use std::time::Duration;

const PODS: i32 = 3;
/// The first of the pods' ports of the host.
const PORT: i32 = 31_500;
const COUNTS: &str = "i=0; while :; do echo $i; i=$((i+1)); usleep 20000; done";

/// What was there before.
struct Before {
    pods: Vec<String>,
    running: Vec<String>,
    /// One that had ended, and when.
    ended: (String, i64),
    /// One that was never started.
    created: String,
}

async fn begin(world: &World) -> Before {
    let cri = world.daemon.client().await.unwrap();
    let (mut pods, mut runs) = (Vec::new(), Vec::new());
    for number in 0..PODS {
        let config = with_host_port(world.pod(&format!("f9-{number}")).unwrap(), PORT + number, 80);
        let (pod, id) = running(&cri, &config, &unlimited("main", COUNTS)).await;
        pods.push(pod);
        runs.push(id);
    }
    let config = world.pod("f9-0").unwrap();
    let create = async |name, script| cri.create(&pods[0], &unlimited(name, script), &config).await.unwrap();
    let (ended, created) = (create("ended", "exit 7").await, create("created", "exit 0").await);
    cri.start(&ended).await.unwrap();
    let finished = wait_exited(&cri, &ended, SOON).await.unwrap().finished_at;
    Before { pods, running: runs, ended: (ended, finished), created }
}

/// Everything is listed, none of it runs, and what was known of an end is known.
async fn is_listed_as_ended(world: &World, before: &Before) {
    let cri = world.daemon.client().await.unwrap();
    let pods = cri.pods().await.unwrap();
    assert!(pods.iter().all(|pod| pod.state() == PodSandboxState::SandboxNotready), "{pods:?}");
    let listed: BTreeSet<_> = pods.iter().map(|pod| pod.id.as_str()).collect();
    assert_eq!(listed, before.pods.iter().map(String::as_str).collect());
    assert_eq!(cri.containers().await.unwrap().len(), before.running.len() + 2);
    for id in before.running.iter().chain([&before.created]) {
        let status = cri.container_status(id).await.unwrap();
        assert_eq!(status.state(), ContainerState::ContainerExited, "{status:?}");
        assert_ne!(status.exit_code, 0, "{status:?}");
    }
    let (id, finished_at) = &before.ended;
    let status = cri.container_status(id).await.unwrap();
    ended_with(status.exit_code, 7).unwrap();
    assert_eq!(status.finished_at, *finished_at);
    for number in 0..PODS {
        assert!(numbered(&[world.log(&format!("f9-{number}"), "main")]).unwrap() > 0);
    }
}

/// F9. Pods are listed as ended, twice if the node boots twice; their addresses and ports are released once they are removed,
/// and their image is there without its registry.
#[test]
fn f9_a_boot_ends_what_was_there_and_takes_no_name_address_port_or_image() {
    let Some(mut world) = world() else { return };
    boot::comes_up(&world.isolation, 1).unwrap();
    let baseline = world.baseline().unwrap().without("process").without("fd");
    let tokio = world.tokio.handle().clone();
    let before = tokio.block_on(begin(&world));
    let log = world.log("f9-0", "main");
    wait::until("lines", SOON, || numbered(std::slice::from_ref(&log)).is_ok_and(|lines| lines > 10))
        .unwrap();
    // Records become durable behind the answers.
    std::thread::sleep(Duration::from_secs(1));
    let registry = world.registry.pid();
    for number in 2..4 {
        boot::goes_down(&mut world.daemon, &world.isolation, &[registry], &[]).unwrap();
        boot::comes_up(&world.isolation, number).unwrap();
        world.daemon.restart().unwrap();
        tokio.block_on(is_listed_as_ended(&world, &before));
    }
    world.registry.kill().unwrap();
    tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        // Nothing but the names of those that were there is in its way.
        let mut config = with_host_port(world.pod("f9-0").unwrap(), PORT, 80);
        config.metadata.as_mut().unwrap().attempt = 1;
        let pod = cri.run_pod(&config).await.unwrap();
        let id = cri.create(&pod, &container("main", BUSYBOX, &["/bin/true"]), &config).await.unwrap();
        cri.start(&id).await.unwrap();
        ended_with(wait_exited(&cri, &id, SOON).await.unwrap().exit_code, 0).unwrap();
        for pod in before.pods.iter().chain([&pod]) {
            cri.end_pod(pod).await.unwrap();
        }
        assert!(cri.containers().await.unwrap().is_empty() && cri.pods().await.unwrap().is_empty());
    });
    baseline.settle(&world.isolation, &world.daemon).unwrap();
}

/// F9. Plugins that are executed keep a pod's address in a file that outlives a boot: who asks them to free it is known however
/// soon after its answer the power goes.
#[test]
fn f9_a_boot_right_after_an_answer_loses_no_pod_whose_plugins_keep_something() {
    let kept = tempfile::tempdir().unwrap();
    let list = bridge("1.0.0", "cte0", "10.89.0.0/16", kept.path());
    let network = Network::Executed { list, plugins: tools::go_cni_directory() };
    let Some(mut world) = world_with(|options| e2e::runtime::Options { network, ..options }) else { return };
    boot::comes_up(&world.isolation, 1).unwrap();
    let tokio = world.tokio.handle().clone();
    let leases = || {
        let names = std::fs::read_dir(kept.path().join("networks/test")).unwrap();
        names.filter(|name| name.as_ref().unwrap().file_name().to_string_lossy().starts_with("10.")).count()
    };
    let registry = world.registry.pid();
    for number in 2..6 {
        let told = tokio.block_on(async {
            let cri = world.daemon.client().await.unwrap();
            cri.run_pod(&world.pod(&format!("f9-{number}")).unwrap()).await.unwrap()
        });
        boot::goes_down(&mut world.daemon, &world.isolation, &[registry], &[]).unwrap();
        boot::comes_up(&world.isolation, number).unwrap();
        world.daemon.restart().unwrap();
        assert_eq!(leases(), 1);
        tokio.block_on(async {
            let cri = world.daemon.client().await.unwrap();
            let listed: Vec<String> = cri.pods().await.unwrap().into_iter().map(|pod| pod.id).collect();
            assert_eq!(listed, std::slice::from_ref(&told));
            cri.end_pod(&told).await.unwrap();
        });
        assert_eq!(leases(), 0);
    }
}
