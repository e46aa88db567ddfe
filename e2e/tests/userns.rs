//! Pods with a user namespace of their own, as the kubelet asks for them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::large_futures)]

use e2e::image::{self, Entry, Layer};
use e2e::pods::shell;
use e2e::proto::{ContainerConfig, IdMapping, Mount, MountPropagation, NamespaceMode, UserNamespace};
use e2e::world::{BUSYBOX, World, wait_exited};
use std::time::Duration;

const FIRST: u32 = 0x30_0000;

/// An image that declares a volume and has a file there, of a user of its own.
const VOLUME: &str = "registry.test/volume:1";

fn with_users(config: &mut ContainerConfig, users: UserNamespace) {
    let security = config.linux.get_or_insert_default().security_context.get_or_insert_default();
    security.namespace_options.get_or_insert_default().userns_options = Some(users);
}

fn users() -> UserNamespace {
    let map = vec![IdMapping { host_id: FIRST, container_id: 0, length: 0x1_0000 }];
    UserNamespace { mode: NamespaceMode::Pod.into(), uids: map.clone(), gids: map }
}

#[test]
fn root_of_the_pod_is_nobody_on_the_host() {
    let Some(world) = World::new().unwrap() else { return };
    let mut declaring = image::busybox().unwrap();
    declaring.layers.push(Layer::default().with("data/file", 0o600, Entry::File("text\n".into())));
    declaring.config["Volumes"] = serde_json::json!({"/data": {}});
    world.registry.push("volume", "1", &declaring).unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let mut config = world.pod("users").unwrap();
        let security = config.linux.get_or_insert_default().security_context.get_or_insert_default();
        security.namespace_options.get_or_insert_default().userns_options = Some(users());
        let pod = match cri.run_pod(&config).await {
            Err(error) if error.to_string().contains("user namespaces do not work on this host") => {
                need::skip(need::Need::Kernel, &format!("{error}"));
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

        cri.pull(VOLUME, None).await.unwrap();
        let script =
            "stat -c %u:%g /data /data/file; cat /data/file; echo x > /data/new && stat -c %u /data/new";
        let volume = shell("volume", VOLUME, script);
        let id = cri.create(&pod, &volume, &config).await.unwrap();
        cri.start(&id).await.unwrap();
        let status = wait_exited(&cri, &id, Duration::from_secs(30)).await.unwrap();
        let log = std::fs::read_to_string(&status.log_path).unwrap();
        let words: Vec<&str> = log.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).collect();
        assert_eq!(words, ["0:0", "0:0", "text", "0"], "the image's volume: {log}");

        let mut differing = users();
        differing.uids[0].host_id += 1;
        let host = UserNamespace { mode: NamespaceMode::Node.into(), ..UserNamespace::default() };
        for (name, theirs) in [("differing", differing), ("host", host)] {
            let mut other = shell(name, BUSYBOX, "true");
            with_users(&mut other, theirs);
            let error = cri.create(&pod, &other, &config).await.unwrap_err().to_string();
            assert!(error.contains("userns_options"), "{error}");
        }
        let mut outward = shell("outward", BUSYBOX, "true");
        outward.mounts.push(Mount {
            container_path: "/out".into(),
            host_path: world.logs.display().to_string(),
            propagation: MountPropagation::PropagationBidirectional.into(),
            ..Mount::default()
        });
        let error = cri.create(&pod, &outward, &config).await.unwrap_err().to_string();
        assert!(error.contains("mounts[0].propagation"), "{error}");
        cri.stop_pod(&pod).await.unwrap();
        cri.remove_pod(&pod).await.unwrap();
    });
}
