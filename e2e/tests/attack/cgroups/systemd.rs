//! A systemd in a container.

use super::{privileged, privileged_pod, tree_of_the_host, unified, unlimited, until};
use e2e::image::Image;
use e2e::rootfs::Rootfs;
use e2e::world::World;
use serde_json::json;
use std::fs;
use std::path::Path;

const PROGRAM: &str = "/usr/lib/systemd/systemd";
const IMAGE: &str = "registry.test/systemd:1";

const TARGET: &str = "[Unit]\nDefaultDependencies=no\nRequires=up.service\nAfter=up.service\n";
const SERVICE: &str = "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nRemainAfterExit=yes\n\
    ExecStart=/bin/touch /run/up\n";

fn image() -> Image {
    let units = "etc/systemd/system";
    let root = Rootfs::default()
        .directory("tmp", 0o1777)
        .directory("run", 0o755)
        .directory("proc", 0o755)
        .directory("sys", 0o755)
        .file("etc/machine-id", 0o444, "")
        .file("etc/os-release", 0o644, "ID=test\n")
        .file(&format!("{units}/default.target"), 0o644, TARGET)
        .file(&format!("{units}/up.service"), 0o644, SERVICE)
        .program(Path::new(PROGRAM), PROGRAM.trim_start_matches('/'), 0o755)
        .unwrap();
    Image {
        layers: vec![root.busybox().unwrap().layer()],
        config: json!({"Cmd": [PROGRAM], "Env": ["container=corten", "PATH=/bin"], "StopSignal": "SIGRTMIN+3"}),
        ..Image::default()
    }
}

/// Every place of `/proc/self/cgroup` is the root of a mount that the container has.
fn assert_everything_is_mounted(seen: &str) {
    let (places, mounts) = seen.split_once("--\n").unwrap();
    for place in places.lines() {
        let mut fields = place.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next().unwrap(), fields.next().unwrap());
        let shown = mounts.lines().any(|line| {
            let (mount, filesystem) = line.split_once(" - ").unwrap();
            let kind = if controllers.is_empty() { "cgroup2 " } else { "cgroup " };
            let options = filesystem.rsplit(' ').next().unwrap();
            mount.split(' ').nth(3) == Some(path)
                && filesystem.starts_with(kind)
                && controllers
                    .split(',')
                    .all(|name| name.is_empty() || options.split(',').any(|one| one == name))
        });
        assert!(shown, "{place} is mounted nowhere:\n{mounts}");
    }
}

#[test]
fn a_systemd_in_a_privileged_pod_leaves_the_host_s_cgroups_alone() {
    if !Path::new(PROGRAM).exists() {
        return need::skip(need::Need::System, "systemd is not installed");
    }
    let Some(world) = World::new().unwrap() else { return };
    let baseline = world.baseline().unwrap();
    world.registry.push("systemd", "1", &image()).unwrap();
    // Any systemd raises them for the whole kernel, in a container too.
    let raised =
        ["/proc/sys/fs/file-max", "/proc/sys/fs/nr_open"].map(|path| (path, fs::read(path).unwrap()));
    let before = tree_of_the_host();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(IMAGE, None).await.unwrap();
        let config = privileged_pod(world.pod("systemd").unwrap());
        let pod = cri.run_pod(&config).await.unwrap();
        let plain = cri.create(&pod, &unlimited("plain", "exec sleep 1000"), &config).await.unwrap();
        cri.start(&plain).await.unwrap();
        let look = "cat /proc/1/cgroup; echo --; grep -- '- cgroup' /proc/self/mountinfo";
        let mut seen = cri.shell(&plain, look).await.unwrap();
        if unified().is_some_and(|root| root.ends_with("unified")) {
            // Whoever finds version 2 takes the host for one that has nothing else.
            assert!(!seen.contains("- cgroup2 "), "{seen}");
            seen = seen
                .lines()
                .filter(|line| !line.starts_with("0::"))
                .fold(String::new(), |all, line| all + line + "\n");
        }
        assert_everything_is_mounted(&seen);

        let mut system = privileged(unlimited("system", ""));
        system.image.as_mut().unwrap().image = IMAGE.to_owned();
        system.command.clear();
        let id = cri.create(&pod, &system, &config).await.unwrap();
        cri.start(&id).await.unwrap();
        // Without and with a time-out, which go to different cgroups.
        for limit in [0, 10] {
            until("systemd's target", async || {
                let reply = cri.exec(&id, &["/bin/ls", "/run/up"], limit).await.unwrap();
                reply.exit_code == 0
            })
            .await;
        }
        let place = cri.shell(&id, "cat /proc/1/cgroup").await.unwrap();
        assert!(place.contains("init.scope"), "it has not taken its cgroup over: {place}");
        assert_eq!(tree_of_the_host(), before);
        cri.end_pod(&pod).await.unwrap();
    });
    assert_eq!(tree_of_the_host(), before);
    for (path, value) in raised {
        fs::write(path, value).unwrap();
    }
    // The image stays.
    baseline.without("file").settle(&world.isolation, &world.daemon).unwrap();
}
