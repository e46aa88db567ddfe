//! Pods in scopes of a real systemd: where it is process 1 and owns the whole tree of cgroups.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use e2e::client::Cri;
use e2e::error::Error;
use e2e::pods::shell;
use e2e::proto::{ContainerState, PodSandboxConfig, PodSandboxState};
use e2e::runtime::{Kind, Options};
use e2e::world::{BUSYBOX, World, wait_exited};
use e2e::{command, tools};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Generous, because the machine may be emulated.
const LONG: Duration = Duration::from_secs(60);

/// A world whose daemon has the systemd driver; `None`, with the reason printed, on other hosts.
fn world() -> Option<World> {
    let owner = fs::read_to_string("/proc/1/cgroup").unwrap_or_default();
    if !Path::new("/run/systemd/system").is_dir() || owner.trim() != "0::/init.scope" {
        need::skip(need::Need::System, "systemd is not process 1, or the host is not cgroup v2 only");
        return None;
    }
    if Kind::from_environment() != Kind::Corten {
        need::skip(need::Need::Corten, "about Corten's driver");
        return None;
    }
    let extra = "[runtime]\ncgroup_driver = \"systemd\"\n".to_owned();
    let world = World::with(|options| Options { extra, ..options }).unwrap()?;
    world.tokio.block_on(async {
        world.daemon.client().await.unwrap().pull(BUSYBOX, None).await.unwrap();
    });
    Some(world)
}

/// The name of a slice of this scenario's own; it has no dash, so that it lies at the root.
fn slice(world: &World) -> String {
    let name = world.isolation.root().file_name().unwrap().to_str().unwrap();
    format!("{}.slice", name.replace(['-', '_'], "x"))
}

fn pod_in(world: &World, name: &str, parent: &str) -> PodSandboxConfig {
    let mut pod = world.pod(name).unwrap();
    pod.linux.as_mut().unwrap().cgroup_parent = parent.to_owned();
    pod
}

/// `systemctl show` of one property.
fn property(unit: &str, name: &str) -> String {
    let mut systemctl = Command::new(tools::system("systemctl").unwrap());
    command::run(systemctl.args(["show", "--value", "-p", name, unit]), LONG).unwrap().trim().to_owned()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < end, "{what} does not come true");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn gone(unit: &str, dir: &Path) {
    until("the end of a unit", || {
        property(unit, "LoadState") == "not-found" || property(unit, "ActiveState") == "inactive"
    });
    until("the end of a cgroup", || !dir.exists());
}

fn read(dir: &Path, file: &str) -> String {
    fs::read_to_string(dir.join(file)).unwrap().trim().to_owned()
}

fn container_dir(scope: &Path, id: &str) -> PathBuf {
    scope.join(id)
}

#[test]
fn a_pods_life_in_a_scope() {
    let Some(mut world) = world() else { return };
    let slice = slice(&world);
    let (id, container, scope_dir, slice_dir, unit) = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let pod = pod_in(&world, "life", &format!("/{slice}"));
        let id = cri.run_pod(&pod).await.unwrap();
        let unit = format!("corten-{id}.scope");
        assert_eq!(property(&unit, "ActiveState"), "active");
        assert_eq!(property(&unit, "Slice"), slice);
        assert_eq!(property(&unit, "Delegate"), "yes");
        assert_eq!(property(&unit, "TasksMax"), "infinity");
        let slice_dir = Path::new("/sys/fs/cgroup").join(&slice);
        let scope_dir = slice_dir.join(&unit);
        assert!(!read(&scope_dir, "supervisor/cgroup.procs").is_empty());

        let mut config = shell("main", BUSYBOX, "sleep 1000");
        let resources = config.linux.as_mut().unwrap().resources.as_mut().unwrap();
        resources.memory_limit_in_bytes = 64 << 20;
        resources.cpu_shares = 1024;
        let container = cri.create(&id, &config, &pod).await.unwrap();
        cri.start(&container).await.unwrap();
        let dir = container_dir(&scope_dir, &container);
        // Whatever systemd realises again, it sets nothing of what is delegated.
        let mut systemctl = Command::new(tools::system("systemctl").unwrap());
        command::run(systemctl.arg("daemon-reload"), LONG).unwrap();
        assert_eq!(read(&dir, "memory.max"), (64 << 20).to_string());
        assert_eq!(read(&dir, "cpu.weight"), "100");
        let pid = read(&dir, "cgroup.procs");
        let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        assert_eq!(own.trim(), format!("0::/{slice}/{unit}/{container}"));
        assert_eq!(cri.shell(&container, "echo hello").await.unwrap().trim(), "hello");
        (id, container, scope_dir, slice_dir, unit)
    });
    world.daemon.kill().unwrap();
    world.daemon.restart().unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        assert_eq!(cri.pod_status(&id).await.unwrap().state(), PodSandboxState::SandboxReady);
        let status = cri.container_status(&container).await.unwrap();
        assert_eq!(status.state(), ContainerState::ContainerRunning);
        cri.end_pod(&id).await.unwrap();
    });
    gone(&unit, &scope_dir);
    gone(&slice, &slice_dir);
}

#[test]
fn memory_that_runs_out_is_told() {
    let Some(world) = world() else { return };
    let slice = slice(&world);
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let pod = pod_in(&world, "oom", &slice);
        let id = cri.run_pod(&pod).await.unwrap();
        let mut config =
            shell("main", BUSYBOX, "x=$(head -c 200000000 /dev/zero | tr '\\0' y); echo $x | wc -c");
        let resources = config.linux.as_mut().unwrap().resources.as_mut().unwrap();
        resources.memory_limit_in_bytes = 16 << 20;
        resources.memory_swap_limit_in_bytes = 16 << 20;
        let container = cri.create(&id, &config, &pod).await.unwrap();
        cri.start(&container).await.unwrap();
        let status = wait_exited(&cri, &container, LONG).await.unwrap();
        assert_eq!((status.reason.as_str(), status.exit_code), ("OOMKilled", 137));
        cri.end_pod(&id).await.unwrap();
        gone(&format!("corten-{id}.scope"), &Path::new("/sys/fs/cgroup").join(&slice));
    });
}

#[test]
fn pods_share_a_slice_until_the_last_has_gone() {
    let Some(world) = world() else { return };
    let slice = slice(&world);
    let dir = Path::new("/sys/fs/cgroup").join(&slice);
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let first = cri.run_pod(&pod_in(&world, "first", &slice)).await.unwrap();
        let second = cri.run_pod(&pod_in(&world, "second", &slice)).await.unwrap();
        cri.end_pod(&first).await.unwrap();
        assert!(dir.is_dir());
        assert_eq!(property(&format!("corten-{second}.scope"), "ActiveState"), "active");
        cri.end_pod(&second).await.unwrap();
        gone(&slice, &dir);

        let own = cri.run_pod(&pod_in(&world, "own", "")).await.unwrap();
        let dir = Path::new("/sys/fs/cgroup/corten.slice").join(format!("corten-{own}.slice"));
        assert!(dir.join(format!("corten-{own}.scope")).is_dir());
        cri.end_pod(&own).await.unwrap();
        gone(&format!("corten-{own}.slice"), &dir);
    });
}

#[test]
fn a_parent_that_is_no_slice_is_refused() {
    let Some(world) = world() else { return };
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        for (parent, words) in [
            ("/kubepods/burstable", "is no systemd slice"),
            ("a--b.slice", "is no name of a slice"),
            ("/b.slice/a.slice", "which is /a.slice"),
        ] {
            let message = refusal(&cri, &pod_in(&world, "bad", parent)).await;
            assert!(message.contains("config.linux.cgroup_parent") && message.contains(words), "{message}");
        }
        assert!(cri.pods().await.unwrap().is_empty());
    });
}

async fn refusal(cri: &Cri, pod: &PodSandboxConfig) -> String {
    match cri.run_pod(pod).await {
        Err(Error::Rpc { status, .. }) => {
            assert_eq!(status.code(), tonic::Code::InvalidArgument);
            status.message().to_owned()
        }
        other => panic!("not refused: {other:?}"),
    }
}
