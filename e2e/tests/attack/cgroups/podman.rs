//! A container engine in a container.

use super::{PATIENCE, privileged, privileged_pod, tree_of_the_host, unlimited};
use e2e::image::Image;
use e2e::rootfs::Rootfs;
use e2e::world::{World, wait_exited};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

const IMAGE: &str = "registry.test/podman:1";
const PROGRAMS: [&str; 3] = ["/usr/bin/podman", "/usr/bin/conmon", "/usr/bin/crun"];
/// With limits, so that it makes cgroups and writes into them.
const SCRIPT: &str = "mkdir -p /inner/bin /inner/proc /inner/sys /inner/dev /inner/etc /inner/tmp && cp /bin/busybox /inner/bin/sh \
    && cp -a /lib /lib64 /inner/ && podman --cgroup-manager=cgroupfs --storage-driver=vfs --events-backend=none run --rm \
    --log-driver=k8s-file --network=host --memory=64m --pids-limit=50 --rootfs /inner /bin/sh -c 'echo inner $(echo one)'";

fn image() -> Image {
    let mut root = Rootfs::default()
        .directory("tmp", 0o1777)
        .directory("var/tmp", 0o1777)
        .directory("run", 0o755)
        .directory("proc", 0o755)
        .directory("sys", 0o755)
        .file("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\n")
        .file("etc/containers/policy.json", 0o644, r#"{"default": [{"type": "insecureAcceptAnything"}]}"#);
    for program in PROGRAMS {
        root = root.program(Path::new(program), program.trim_start_matches('/'), 0o755).unwrap();
    }
    Image {
        layers: vec![root.busybox().unwrap().layer()],
        config: json!({"Env": ["PATH=/usr/bin:/bin", "HOME=/root"]}),
        ..Image::default()
    }
}

/// Privileged containers see the host's cgroups, so that is where it makes those of its containers.
fn remove_its_cgroups() {
    let own = fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
    for hierarchy in own.chain([PathBuf::from("/sys/fs/cgroup")]) {
        let parent = hierarchy.join("libpod_parent");
        let Ok(entries) = fs::read_dir(&parent) else { continue };
        // Empty ones: its containers have ended.
        entries
            .flatten()
            .filter(|entry| entry.path().is_dir())
            .for_each(|entry| fs::remove_dir(entry.path()).unwrap());
        fs::remove_dir(parent).unwrap();
    }
}

#[test]
fn a_podman_in_a_privileged_pod_runs_containers_of_its_own() {
    if let Some(missing) = PROGRAMS.iter().find(|program| !Path::new(program).exists()) {
        return need::skip(need::Need::Tools, &format!("{missing} is not installed"));
    }
    let Some(world) = World::new().unwrap() else { return };
    let baseline = world.baseline().unwrap();
    world.registry.push("podman", "1", &image()).unwrap();
    let before = tree_of_the_host();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(IMAGE, None).await.unwrap();
        let config = privileged_pod(world.pod("podman").unwrap());
        let pod = cri.run_pod(&config).await.unwrap();
        let mut engine = privileged(unlimited("engine", SCRIPT));
        engine.image.as_mut().unwrap().image = IMAGE.to_owned();
        let id = cri.create(&pod, &engine, &config).await.unwrap();
        cri.start(&id).await.unwrap();
        let status = wait_exited(&cri, &id, PATIENCE).await.unwrap();
        let log = fs::read_to_string(&status.log_path).unwrap();
        assert!(status.exit_code == 0 && log.contains("inner one"), "{}: {log}", status.exit_code);
        cri.end_pod(&pod).await.unwrap();
    });
    remove_its_cgroups();
    assert_eq!(tree_of_the_host(), before);
    // The image stays.
    baseline.without("file").settle(&world.isolation, &world.daemon).unwrap();
}
