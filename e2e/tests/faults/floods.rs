//! More output than anybody can read.

use crate::{SOON, pid_of, running, unlimited, world};
use e2e::process::{memory, stat};
use e2e::proto::ReopenContainerLogRequest;
use e2e::world::wait_exited;
use std::fs;
use std::time::Duration;

const LINES: usize = 3_000_000;

/// F19: rotated as the kubelet does it, in the middle of lines as they come.
#[test]
fn f19_a_flood_that_is_cut_again_and_again_is_whole() {
    let Some(world) = world() else { return };
    let pod = world.pod("f19").unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let flood = unlimited("flood", &format!("exec seq 0 {}", LINES - 1));
        let (pod_id, id) = running(&cri, &pod, &flood).await;
        let shim: i32 = stat(pid_of(&cri, &id).await).map_or(0, |stat| stat[1].parse().unwrap());
        let (log, mut cut, mut largest) = (world.log("f19", "flood"), 0, 0);
        while wait_exited(&cri, &id, Duration::from_millis(40)).await.is_err() {
            assert!(cut < 1000, "it never ends");
            fs::rename(&log, log.with_extension(format!("log.{cut:03}"))).unwrap();
            let request = ReopenContainerLogRequest { container_id: id.clone() };
            cri.runtime.clone().reopen_container_log(request).await.unwrap();
            cut += 1;
            largest = largest.max(memory(shim, "VmRSS").unwrap());
        }
        assert_eq!(wait_exited(&cri, &id, SOON).await.unwrap().exit_code, 0);
        assert!(cut >= 3, "the flood was over before it could be cut");
        assert!(largest < 8 << 10, "the supervisor takes {largest} KiB");
        let parts = (0..cut).map(|part| log.with_extension(format!("log.{part:03}"))).chain([log.clone()]);
        let mut next = 0;
        for part in parts {
            for line in e2e::logs::read(&part).unwrap() {
                assert_eq!(line.text, next.to_string(), "{}", part.display());
                next += 1;
            }
        }
        assert_eq!(next, LINES);
        cri.end_pod(&pod_id).await.unwrap();
    });
}
