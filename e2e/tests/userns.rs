//! Pods with a user namespace of their own, as the kubelet asks for them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::large_futures)]

use e2e::pods::shell;
use e2e::proto::{IdMapping, NamespaceMode, UserNamespace};
use e2e::world::{BUSYBOX, World, wait_exited};
use std::time::Duration;

const FIRST: u32 = 0x30_0000;

fn users() -> UserNamespace {
    let map = vec![IdMapping { host_id: FIRST, container_id: 0, length: 0x1_0000 }];
    UserNamespace { mode: NamespaceMode::Pod.into(), uids: map.clone(), gids: map }
}

#[test]
fn root_of_the_pod_is_nobody_on_the_host() {
    let Some(world) = World::new().unwrap() else { return };
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let mut config = world.pod("users").unwrap();
        let security = config.linux.get_or_insert_default().security_context.get_or_insert_default();
        security.namespace_options.get_or_insert_default().userns_options = Some(users());
        let pod = match cri.run_pod(&config).await {
            Err(error) if error.to_string().contains("user namespaces do not work on this host") => {
                eprintln!("skipped: {error}");
                return;
            }
            pod => pod.unwrap(),
        };
        let script = "cat /proc/self/uid_map; stat -c %u /bin/busybox /etc/hosts /dev/shm; \
            cat /sys/class/net/eth0/operstate; test -w /etc/hosts && echo writes";
        let main = shell("main", BUSYBOX, script);
        let id = cri.create(&pod, &main, &config).await.unwrap();
        cri.start(&id).await.unwrap();
        let status = wait_exited(&cri, &id, Duration::from_secs(30)).await.unwrap();
        let log = std::fs::read_to_string(&status.log_path).unwrap();
        let words: Vec<&str> = log.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).collect();
        assert_eq!(words[0].split_whitespace().collect::<Vec<_>>(), ["0", "3145728", "65536"], "{log}");
        assert_eq!(words[1..], ["0", "0", "0", "up", "writes"], "{log}");

        let mut other = shell("other", BUSYBOX, "true");
        let mut differing = users();
        differing.uids[0].host_id += 1;
        let security = other.linux.get_or_insert_default().security_context.get_or_insert_default();
        security.namespace_options.get_or_insert_default().userns_options = Some(differing);
        let error = cri.create(&pod, &other, &config).await.unwrap_err().to_string();
        assert!(error.contains("userns_options"), "{error}");
        cri.stop_pod(&pod).await.unwrap();
        cri.remove_pod(&pod).await.unwrap();
    });
}
