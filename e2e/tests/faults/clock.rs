//! Clocks that jump: the daemon is told another time of day than the host's, by a library that stands before libc.

use crate::{running, unlimited};
use e2e::pods::shell;
use e2e::runtime::Kind;
use e2e::world::{BUSYBOX, World, wait_exited};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Debian's libfaketime.
fn library() -> Option<PathBuf> {
    let directories = fs::read_dir("/usr/lib").ok()?.flatten();
    directories.map(|entry| entry.path().join("faketime/libfaketimeMT.so.1")).find(|path| path.exists())
}

/// F12: back to 1970, and a year ahead.
#[test]
fn f12_a_clock_that_jumps_shortens_no_time_out_and_takes_no_name() {
    let Some(mut world) = World::new().unwrap() else { return };
    if world.daemon.kind() != Kind::Corten {
        need::skip(need::Need::Corten, "Corten's own promise");
        return;
    }
    let library = library().expect("libfaketime is not installed: run e2e/setup.sh test");
    let clock = world.isolation.root().join("clock");
    let jump = |to: &str| fs::write(&clock, to).unwrap();
    jump("+0");
    world.daemon.stop().unwrap();
    world.daemon.set_environment(vec![
        ("LD_PRELOAD".to_owned(), library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE".to_owned(), clock.display().to_string()),
        ("FAKETIME_NO_CACHE".to_owned(), "1".to_owned()),
        ("DONT_FAKE_MONOTONIC".to_owned(), "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC".to_owned(), "1".to_owned()),
    ]);
    world.daemon.restart().unwrap();
    let pod = world.pod("f12").unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let (pod_id, id) =
            running(&cri, &pod, &unlimited("main", "trap '' TERM; while :; do usleep 10000; done")).await;
        for (name, to) in [("past", "-56y"), ("future", "+1y"), ("now", "+0")] {
            jump(to);
            let created = cri.create(&pod_id, &shell(name, BUSYBOX, "exit 3"), &pod).await.unwrap();
            cri.start(&created).await.unwrap();
            assert_eq!(wait_exited(&cri, &created, Duration::from_secs(30)).await.unwrap().exit_code, 3);
            // A time-out is as long as it was asked for, whatever the clock says meanwhile.
            let begun = Instant::now();
            let (answer, ()) = tokio::join!(cri.exec(&id, &["sleep", "1000"], 2), async {
                tokio::time::sleep(Duration::from_millis(500)).await;
                jump("+3d");
                tokio::time::sleep(Duration::from_millis(500)).await;
                jump("-3d");
            });
            let took = begun.elapsed();
            assert!(answer.unwrap_err().to_string().contains("timed out"), "{name}");
            assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(20), "{name}: {took:?}");
            cri.remove(&created).await.unwrap();
        }
        // The grace of a stop, likewise.
        let begun = Instant::now();
        let (stopped, ()) = tokio::join!(cri.stop(&id, 2), async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            jump("+1y");
        });
        stopped.unwrap();
        assert!(begun.elapsed() >= Duration::from_secs(2), "killed after {:?}", begun.elapsed());
        assert_eq!(cri.container_status(&id).await.unwrap().exit_code, 137);
        // The same name again, a year later.
        let again = cri.create(&pod_id, &shell("past", BUSYBOX, "exit 3"), &pod).await.unwrap();
        assert_eq!(cri.containers().await.unwrap().len(), 2);
        cri.remove(&again).await.unwrap();
        cri.end_pod(&pod_id).await.unwrap();
    });
}
