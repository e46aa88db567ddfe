//! Pods that use up what their own limits allow.

use super::{PATIENCE, control, pod_of_its_own, supervisors, unlimited, until};
use e2e::proto::PodSandboxState;
use e2e::world::{BUSYBOX, World, wait_exited};
use std::fs;
use std::time::{Duration, Instant};

const LIMIT: u64 = 24 << 20;

#[test]
fn a_pod_out_of_memory_keeps_its_supervisor() {
    let Some(world) = World::new().unwrap() else { return };
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let (config, parent) = pod_of_its_own(&world, "full");
        let pod = cri.run_pod(&config).await.unwrap();
        let limit = control(&parent, "memory.limit_in_bytes", "memory.max");
        fs::write(&limit, LIMIT.to_string()).unwrap();
        let shims = supervisors(&world);
        assert_eq!(shims.len(), 1);
        let start = async |name: &str, script: &str| {
            let id = cri.create(&pod, &unlimited(name, script), &config).await?;
            cri.start(&id).await.map(|()| id)
        };
        let greedy = start("greedy", "exec tail /dev/zero").await.unwrap();
        let status = wait_exited(&cri, &greedy, PATIENCE).await.unwrap();
        assert_eq!((status.reason.as_str(), status.exit_code), ("OOMKilled", 137));
        // What fills the pod now belongs to no process: nothing is won by killing.
        let filler = start("filler", "exec dd if=/dev/zero of=/dev/shm/x bs=64k").await.unwrap();
        wait_exited(&cri, &filler, PATIENCE).await.unwrap();
        for attempt in 0..4 {
            // Whether there is room for another is the kernel's matter.
            if let Ok(id) = start(&format!("next-{attempt}"), "exit 0").await {
                wait_exited(&cri, &id, PATIENCE).await.unwrap();
            }
            assert_eq!(supervisors(&world), shims, "attempt {attempt}");
        }
        assert_eq!(cri.pod_status(&pod).await.unwrap().state(), PodSandboxState::SandboxReady);
        fs::write(&limit, (8 * LIMIT).to_string()).unwrap();
        let probed = start("probed", "exec sleep 1000").await.unwrap();
        assert_eq!(cri.shell(&probed, "echo well").await.unwrap(), "well\n");
        assert_eq!(supervisors(&world), shims);
        cri.end_pod(&pod).await.unwrap();
    });
}

#[test]
fn a_pod_out_of_processes_keeps_its_supervisor() {
    let Some(world) = World::new().unwrap() else { return };
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let (config, parent) = pod_of_its_own(&world, "crowd");
        let pod = cri.run_pod(&config).await.unwrap();
        let limit = control(&parent, "pids.max", "pids.max");
        fs::write(&limit, "40").unwrap();
        let count = control(&parent, "pids.current", "pids.current");
        let shims = supervisors(&world);
        let start = async |name: &str, script: &str| {
            let id = cri.create(&pod, &unlimited(name, script), &config).await.unwrap();
            cri.start(&id).await.unwrap();
            id
        };
        let bystander = start("bystander", "exec sleep 1000").await;
        // Reading is the shell's own: it needs no process.
        let bomb = start("bomb", "mkfifo /f; (while :; do sleep 1000 & done); read x < /f").await;
        let processes = || fs::read_to_string(&count).unwrap().trim().parse::<u64>().unwrap();
        until("a full pod", async || processes() >= 38).await;
        // The shell that could not fork has ended, and left room.
        tokio::time::sleep(Duration::from_millis(200)).await;
        fs::write(&limit, processes().to_string()).unwrap();
        for id in [&bystander, &bomb] {
            // As with runc, a command counts. It is answered, whatever comes of it.
            let begun = Instant::now();
            if let Err(error) = cri.exec(id, &["/bin/true"], 10).await {
                assert!(error.to_string().contains("temporarily unavailable"), "{error}");
            }
            assert!(begun.elapsed() < Duration::from_secs(30));
            assert_eq!(supervisors(&world), shims);
        }
        if !limit.starts_with("/sys/fs/cgroup/pids") {
            println!("in part: only v1 lets the supervisor live where the pod's processes do not count");
        } else {
            let mut late = unlimited("late", "");
            late.command = ["/bin/sleep", "1000"].map(str::to_owned).to_vec();
            let id = cri.create(&pod, &late, &config).await.unwrap();
            cri.start(&id).await.unwrap();
        }
        cri.stop(&bomb, 0).await.unwrap();
        let status = wait_exited(&cri, &bomb, PATIENCE).await.unwrap();
        assert_eq!((status.reason.as_str(), status.exit_code), ("Error", 137));
        assert_eq!(cri.shell(&bystander, "echo well").await.unwrap(), "well\n");
        assert_eq!(supervisors(&world), shims);
        cri.end_pod(&pod).await.unwrap();
    });
}
