//! Containers that hand controllers of their own cgroup down.

use super::{PATIENCE, privileged, privileged_pod, unified, unlimited, until};
use e2e::world::{BUSYBOX, World, wait_exited};
use std::fs;
use std::path::{Path, PathBuf};

/// A controller that is handed down to a cgroup's children while this lives.
struct HandedDown(Vec<PathBuf>, String);

impl HandedDown {
    /// Through all levels from the root to a cgroup.
    fn new(root: &Path, below: &str, controller: &str) -> Option<Self> {
        let mut levels = vec![root.to_path_buf()];
        for part in below.split('/').filter(|part| !part.is_empty()) {
            levels.push(levels.last()?.join(part));
        }
        let file = |level: &Path| level.join("cgroup.subtree_control");
        let has = |level: &Path| {
            fs::read_to_string(file(level)).unwrap().split_whitespace().any(|name| name == controller)
        };
        let changed: Vec<_> = levels.into_iter().filter(|level| !has(level)).collect();
        let made = Self(changed.clone(), controller.to_owned());
        changed.iter().all(|level| fs::write(file(level), format!("+{controller}")).is_ok()).then_some(made)
    }
}

impl Drop for HandedDown {
    fn drop(&mut self) {
        for level in self.0.iter().rev() {
            // The pod's is gone by now.
            let _ = fs::write(level.join("cgroup.subtree_control"), format!("-{}", self.1));
        }
    }
}

#[test]
fn commands_reach_a_container_that_has_delegated_its_cgroup() {
    let Some(root) = unified() else { return need::skip(need::Need::Kernel, "no cgroup v2") };
    let controllers = fs::read_to_string(root.join("cgroup.controllers")).unwrap();
    // One that nobody else on the host hands down, where there is one.
    let Some(controller) = ["hugetlb", "pids"].iter().find(|name| controllers.contains(**name)) else {
        return need::skip(need::Need::Kernel, "no controller to hand down");
    };
    let Some(world) = World::new().unwrap() else { return };
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let config = privileged_pod(world.pod("delegates").unwrap());
        let pod = cri.run_pod(&config).await.unwrap();
        let parent = world.isolation.cgroup_parent();
        let Some(handed_down) = HandedDown::new(&root, &parent, controller) else {
            return need::skip(need::Need::Kernel, &format!("{controller} cannot be handed down"));
        };
        // As dockerd's and kind's entrypoints do.
        let top = if root.ends_with("unified") { "/sys/fs/cgroup/unified" } else { "/sys/fs/cgroup" };
        let script = format!(
            "cd {top}; [ -d {parent} ] && cd .{parent}/[0-9a-f]*; own=$(grep ^0:: /proc/self/cgroup | cut -d: -f3); \
             [ -e .$own/cgroup.procs ] && cd .$own; mkdir init; echo 0 > init/cgroup.procs || exit 2; \
             echo +{controller} > cgroup.subtree_control || exit 3; touch /delegated; exec sleep 1000"
        );
        let id = cri.create(&pod, &privileged(unlimited("main", &script)), &config).await.unwrap();
        cri.start(&id).await.unwrap();
        until("the delegation", async || cri.exec(&id, &["/bin/ls", "/delegated"], 10).await.unwrap().exit_code == 0)
            .await;
        let place = cri.exec(&id, &["/bin/grep", "^0::", "/proc/self/cgroup"], 0).await.unwrap();
        let place = String::from_utf8(place.stdout).unwrap();
        assert!(place.trim().ends_with("/init"), "{place}");
        let crictl = world.crictl().unwrap();
        assert_eq!(crictl.run(&["exec", &id, "echo", "hello"]).unwrap().trim(), "hello");
        cri.end_pod(&pod).await.unwrap();
        drop(handed_down);
    });
}

#[test]
fn cgroups_of_any_depth_go_with_their_container() {
    let Some(root) = unified() else { return need::skip(need::Need::Kernel, "no cgroup v2") };
    let Some(world) = World::new().unwrap() else { return };
    let baseline = world.baseline().unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let config = privileged_pod(world.pod("deep").unwrap());
        let pod = cri.run_pod(&config).await.unwrap();
        let top = if root.ends_with("unified") { "/sys/fs/cgroup/unified" } else { "/sys/fs/cgroup" };
        // Longer than any path may be, with a process at the bottom.
        let name = "d".repeat(200);
        let script = format!(
            "cd {top} || exit 3; own=$(grep ^0:: /proc/self/cgroup | cut -d: -f3); [ -e .$own/cgroup.procs ] && cd .$own; \
             i=0; while [ $i -lt 40 ]; do mkdir {name} && cd -P {name} || exit 2; i=$((i+1)); done; \
             (echo 0 > cgroup.procs && exec sleep 1000) & sleep 0.2; echo deep"
        );
        let id = cri.create(&pod, &privileged(unlimited("main", &script)), &config).await.unwrap();
        cri.start(&id).await.unwrap();
        let status = wait_exited(&cri, &id, PATIENCE).await.unwrap();
        assert_eq!(status.exit_code, 0);
        assert!(fs::read_to_string(&status.log_path).unwrap().contains("deep"));
        cri.remove(&id).await.unwrap();
        cri.end_pod(&pod).await.unwrap();
    });
    baseline.settle(&world.isolation, &world.daemon).unwrap();
}
