//! Somebody else who has a volume swaps its directories with links while containers are made that mount into it
//! (CVE-2021-30465, CVE-2024-45310).

use crate::escapes::Canary;
use crate::{Pod, bind, directory, mounted};
use e2e::proto::{ContainerConfig, Device};
use e2e::world::World;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const CONTAINERS: usize = 48;

/// Exchanges two names for as long as it lives.
struct Racer {
    stop: Arc<AtomicBool>,
    turns: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Racer {
    fn start(one: PathBuf, other: PathBuf) -> Self {
        let (stop, turns) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (ended, count) = (stop.clone(), turns.clone());
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                renameat2(AT_FDCWD, &one, AT_FDCWD, &other, RenameFlags::RENAME_EXCHANGE).unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                // The machine has other things to do.
                std::thread::sleep(Duration::from_micros(20));
            }
        });
        Self { stop, turns, thread: Some(thread) }
    }
}

impl Drop for Racer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[test]
fn swapped_directories_lead_nowhere_else() {
    let Some(world) = World::new().unwrap() else { return };
    let canary = Canary::new(&world);
    let volume = directory(&world, "volume");
    let other = directory(&world, "other");
    fs::create_dir_all(volume.join("a/in")).unwrap();
    symlink(canary.path(), volume.join("b")).unwrap();
    world.tokio.block_on(async {
        let pod = Pod::new(&world, "race").await;
        let config = |name: &str| {
            let mounts = vec![
                bind(&volume, "/volume"),
                bind(&other, "/volume/a/in/deeper"),
                bind(&other.join("name"), "/volume/a/hosts"),
                bind(&other, "/volume/a/./inner"),
            ];
            let device = Device {
                host_path: "/dev/null".into(),
                container_path: format!("/volume/a/{name}"),
                permissions: "rwm".into(),
            };
            let mut config = ContainerConfig {
                devices: vec![device],
                working_dir: format!("/volume/a/work-{name}"),
                ..mounted(name, mounts, "cat /proc/self/mountinfo; exec true")
            };
            let security = config.linux.as_mut().unwrap().security_context.as_mut().unwrap();
            security.masked_paths = vec!["/volume/a/passwd".into(), "/volume/b/in".into()];
            security.readonly_paths = vec!["/volume/b".into()];
            config
        };
        let racer = Racer::start(volume.join("a"), volume.join("b"));
        for number in 0..CONTAINERS {
            // Refused, for a place that has just gone, is as good.
            if let Ok(id) = pod.create(&config(&format!("c{number}"))).await {
                let _ = pod.cri.start(&id).await;
                pod.cri.remove(&id).await.unwrap();
            }
            canary.check(&world);
        }
        let turns = racer.turns.load(Ordering::Relaxed);
        drop(racer);
        assert!(turns > CONTAINERS, "the racer was asleep: {turns}");
        // In peace it works.
        let last = config("last");
        let said = pod.output(&last).await;
        assert!(said.iter().any(|line| line.contains("/in/deeper ")), "{said:?}");
        canary.check(&world);
        assert_eq!(fs::read_to_string(other.join("name")).unwrap(), "other\n");
        let mut names: Vec<_> = fs::read_dir(&other)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["name"], "something was made in a volume through another");
        pod.end().await;
    });
}
