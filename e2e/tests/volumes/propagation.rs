//! Mounts that travel between the host and containers. The host is the mount namespace of the scenario alone.

use crate::{Pod, bind, directory, mounted, refusal};
use e2e::pods::shell;
use e2e::proto::{ContainerConfig, Mount, PodSandboxConfig};
use e2e::runtime::Kind;
use e2e::world::World;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const FROM_HOST: i32 = 1;
const BOTH_WAYS: i32 = 2;

fn propagated(mount: Mount, propagation: i32) -> Mount {
    Mount { propagation, ..mount }
}

/// A mount of its own with a propagation.
fn volume(world: &World, name: &str, flags: MsFlags) -> PathBuf {
    let path = directory(world, name);
    mount(Some(&path), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    mount(None::<&str>, &path, None::<&str>, flags, None::<&str>).unwrap();
    path
}

/// A tmpfs with a file that says where it is.
fn later(path: &Path) {
    fs::create_dir_all(path).unwrap();
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some("size=1m")).unwrap();
    fs::write(path.join("late"), "late\n").unwrap();
}

fn privileged(world: &World, name: &str) -> PodSandboxConfig {
    let mut config = world.pod(name).unwrap();
    config.linux.as_mut().unwrap().security_context.as_mut().unwrap().privileged = true;
    config
}

fn idle(name: &str, mount: Mount) -> ContainerConfig {
    mounted(name, vec![mount], "exec sleep 1000")
}

/// Containers that may mount.
fn mounter(name: &str, mount: Mount) -> ContainerConfig {
    let mut config = idle(name, mount);
    config.linux.as_mut().unwrap().security_context.as_mut().unwrap().privileged = true;
    config
}

fn is_mounted(path: &Path) -> bool {
    let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    table.lines().any(|line| line.split(' ').nth(4) == path.to_str())
}

#[test]
fn mounts_travel_as_far_as_was_asked_for() {
    let Some(world) = World::new().unwrap() else { return };
    let shared = volume(&world, "shared", MsFlags::MS_SHARED);
    let (before, after) = (shared.join("before"), shared.join("after"));
    later(&before);
    let (pod, ids) = world.tokio.block_on(async {
        let pod = Pod::with(&world, privileged(&world, "travel")).await;
        let mut ids = Vec::new();
        for (name, propagation) in [("private", 0), ("slave", FROM_HOST), ("shared", BOTH_WAYS)] {
            let mount = propagated(bind(&shared, "/volume"), propagation);
            ids.push(pod.start(&mounter(name, mount)).await);
        }
        (pod, ids)
    });
    // On this thread, whose mount namespace is the daemon's too.
    later(&after);
    world.tokio.block_on(async {
        let mut seen = Vec::new();
        for id in &ids {
            seen.push(pod.cri.shell(id, "cat /volume/before/late; cat /volume/after/late 2>/dev/null").await);
        }
        let seen: Vec<_> = seen.into_iter().map(Result::unwrap).collect();
        assert_eq!(seen, ["late\n", "late\nlate\n", "late\nlate\n"]);
        for (id, name) in ids.iter().zip(["private", "slave", "shared"]) {
            let script = format!(
                "mkdir /volume/{name} && mount -t tmpfs tmpfs /volume/{name} && touch /volume/{name}/inside && echo done"
            );
            assert_eq!(pod.cri.shell(id, &script).await.unwrap(), "done\n", "{name}");
        }
        let look = "ls /volume/private /volume/slave /volume/shared | grep -c inside";
        let mut counts = Vec::new();
        for id in &ids {
            counts.push(pod.cri.shell(id, look).await.unwrap().trim().to_owned());
        }
        // Its own; its own and what came by the host; likewise.
        assert_eq!(counts, ["1", "2", "1"]);
    });
    let back = |name: &str| is_mounted(&shared.join(name));
    assert!(!back("private") && !back("slave") && back("shared"));
    assert!(shared.join("shared/inside").exists());
    world.tokio.block_on(async {
        // Nothing else of a container that shares its mounts comes to the host.
        let table = crate::host_mounts(&world);
        assert!(!table.lines().any(|line| line.contains("overlay")), "{table}");
        pod.end().await;
    });
    // What was mounted on the host's side is the host's.
    assert!(back("shared"));
    umount2(&shared.join("shared"), MntFlags::MNT_DETACH).unwrap();
}

#[test]
fn what_cannot_travel_is_refused() {
    let Some(world) = World::new().unwrap() else { return };
    let private = volume(&world, "private", MsFlags::MS_PRIVATE);
    let slave = volume(&world, "slave", MsFlags::MS_SLAVE);
    world.tokio.block_on(async {
        let pod = Pod::new(&world, "refused").await;
        for (name, path, propagation) in [
            ("to-private", &private, FROM_HOST),
            ("both-private", &private, BOTH_WAYS),
            ("both-slave", &slave, BOTH_WAYS),
        ] {
            let refused = refusal(&pod, name, propagated(bind(path, "/volume"), propagation)).await;
            assert!(refused.contains(path.to_str().unwrap()), "{refused}");
            if world.daemon.kind() == Kind::Corten {
                assert!(refused.contains("mounts[0].propagation"), "{refused}");
            }
        }
        let mount = propagated(bind(&slave, "/volume"), FROM_HOST);
        assert_eq!(pod.output(&mounted("slave", vec![mount], "cat /volume/name")).await, ["slave"]);
        pod.end().await;
    });
}

#[test]
fn an_exec_and_a_restarted_container_see_what_has_come() {
    let Some(world) = World::new().unwrap() else { return };
    let shared = volume(&world, "shared", MsFlags::MS_SHARED);
    let place = propagated(bind(&shared, "/volume"), FROM_HOST);
    let (pod, first) = world.tokio.block_on(async {
        let pod = Pod::new(&world, "late").await;
        let script = "until [ -e /volume/after/late ]; do sleep 0.05; done; cat /volume/after/late; \
            while [ -e /volume/after/late ]; do sleep 0.05; done; echo gone";
        let first = mounted("first", vec![place.clone()], script);
        let id = pod.start(&first).await;
        (pod, (id, first))
    });
    later(&shared.join("after"));
    world.tokio.block_on(async {
        let second = mounted("second", vec![place], "cat /volume/after/late");
        assert_eq!(pod.output(&second).await, ["late"]);
        let end = Instant::now() + Duration::from_secs(30);
        while pod.cri.shell(&first.0, "cat /volume/after/late").await.unwrap() != "late\n" {
            assert!(Instant::now() < end, "it does not arrive");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let end = Instant::now() + Duration::from_secs(30);
    while !e2e::logs::read(&world.log("late", "first")).unwrap().iter().any(|line| line.text == "late") {
        assert!(Instant::now() < end, "the container does not see it");
        std::thread::sleep(Duration::from_millis(20));
    }
    // Unmounted on the host, it is unmounted everywhere, though containers run that have it.
    umount2(&shared.join("after"), MntFlags::MNT_DETACH).unwrap();
    world.tokio.block_on(async {
        assert_eq!(pod.ended(&first.0, &first.1).await, ["late", "gone"]);
        // The volume itself is as it was.
        let third =
            ContainerConfig { mounts: first.1.mounts, ..shell("third", e2e::world::BUSYBOX, "ls /volume") };
        assert_eq!(pod.output(&third).await, ["after", "name"]);
        pod.end().await;
    });
}
