//! A daemon that may open no more files.

use crate::{SOON, running, unlimited, world};
use e2e::pods::shell;
use e2e::process::{descriptors, stat};
use e2e::world::{BUSYBOX, wait_exited};
use std::process::Command;
use std::time::{Duration, Instant};

/// Lets a process have so many descriptors; the limit that it had.
fn limit(pid: i32, files: &str) -> String {
    let before = Command::new("prlimit")
        .args(["--pid", &pid.to_string(), "--nofile", "--output", "SOFT", "--noheadings"])
        .output()
        .unwrap();
    let set =
        Command::new("prlimit").args(["--pid", &pid.to_string(), &format!("--nofile={files}:")]).status();
    assert!(set.unwrap().success());
    String::from_utf8(before.stdout).unwrap().trim().to_owned()
}

/// User and system time of a process, in hundredths of a second.
fn processor_time(pid: i32) -> u64 {
    let stat = stat(pid).unwrap();
    stat[11].parse::<u64>().unwrap() + stat[12].parse::<u64>().unwrap()
}

/// F13.
#[test]
fn f13_a_daemon_without_descriptors_turns_nothing_over_and_loses_no_exit() {
    let Some(world) = world() else { return };
    let pod = world.pod("f13").unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let script = "trap 'exit 9' USR1; while [ ! -e /tmp/go ]; do usleep 10000; done; sleep 3; exit 44";
        let (pod_id, id) = running(&cri, &pod, &unlimited("main", script)).await;
        cri.shell(&id, "touch /tmp/go").await.unwrap();
        let pid = world.daemon.pid();
        let former = limit(pid, &descriptors(pid).unwrap().to_string());
        // Clients come, and go when they get no answer.
        let mut clients = Vec::new();
        for _ in 0..50 {
            clients.push(std::os::unix::net::UnixStream::connect(&world.daemon.place().socket).unwrap());
        }
        let (used, since) = (processor_time(pid), Instant::now());
        tokio::time::sleep(Duration::from_secs(4)).await;
        let (used, passed) = (processor_time(pid) - used, since.elapsed());
        limit(pid, &former);
        drop(clients);
        let share = f64::from(u32::try_from(used).unwrap()) / 100.0 / passed.as_secs_f64();
        assert!(share < 0.1, "it takes {:.0} % of a processor", share * 100.0);
        let status = wait_exited(&cri, &id, Duration::from_secs(5)).await.unwrap();
        assert_eq!(status.exit_code, 44);
        // It is well again, for new clients too.
        let other = world.daemon.client().await.unwrap();
        let next = other.create(&pod_id, &shell("next", BUSYBOX, "exit 0"), &pod).await.unwrap();
        other.start(&next).await.unwrap();
        assert_eq!(wait_exited(&other, &next, SOON).await.unwrap().exit_code, 0);
        other.end_pod(&pod_id).await.unwrap();
    });
}
