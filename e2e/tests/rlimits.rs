//! Limits of the processes of containers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::large_futures)]

use e2e::client::Cri;
use e2e::pods::shell;
use e2e::runtime::{Kind, Options};
use e2e::world::{BUSYBOX, World, wait_exited};
use std::time::Duration;

const LIMITS: &str = "[handlers.few]\ntype = \"native\"\nrlimits = { nofile = \"100:200\", core = \"0\" }\n";

/// The most open files that this host lets Corten give.
fn most() -> u64 {
    let kernel = std::fs::read_to_string("/proc/sys/fs/nr_open").unwrap().trim().parse().unwrap();
    let own = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = own.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let hard = line.split_whitespace().nth(4).unwrap().parse().unwrap_or(u64::MAX);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap().trim();
    let raises = u64::from_str_radix(effective, 16).unwrap() & 1 << 24 != 0;
    if raises { kernel } else { hard.min(kernel) }
}

async fn seen(world: &World, cri: &Cri, handler: &str) -> (String, String) {
    let config = world.pod(&format!("limits-{handler}")).unwrap();
    let pod = cri.run_pod_by(&config, handler).await.unwrap();
    let script = "echo $(ulimit -n) $(ulimit -Hn) $(ulimit -c)";
    let id = cri
        .create(&pod, &shell("main", BUSYBOX, &format!("{script}; exec sleep 1000")), &config)
        .await
        .unwrap();
    cri.start(&id).await.unwrap();
    let log = world.log(&format!("limits-{handler}"), "main");
    let said = || e2e::logs::read(&log).is_ok_and(|lines| !lines.is_empty());
    e2e::wait::until("the container's first line", Duration::from_secs(30), said).unwrap();
    let beside = cri.shell(&id, script).await.unwrap().trim().to_owned();
    cri.stop(&id, 0).await.unwrap();
    wait_exited(cri, &id, Duration::from_secs(30)).await.unwrap();
    let own = e2e::logs::read(&log).unwrap().first().unwrap().text.clone();
    cri.end_pod(&pod).await.unwrap();
    (own, beside)
}

#[test]
fn files_are_limited_as_configured() {
    if Kind::from_environment() != Kind::Corten {
        return need::skip(need::Need::Corten, "about Corten's settings");
    }
    let Some(world) = World::with(|options| Options { extra: LIMITS.to_owned(), ..options }).unwrap() else {
        return;
    };
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let (own, beside) = seen(&world, &cri, "").await;
        let most = most();
        assert!(own.starts_with(&format!("{} {} ", 1024.min(most), 524_288.min(most))), "{own}");
        assert_eq!(own, beside, "a command has other limits");
        assert_eq!(seen(&world, &cri, "few").await, ("100 200 0".to_owned(), "100 200 0".to_owned()));
    });
}
