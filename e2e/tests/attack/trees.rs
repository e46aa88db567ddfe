//! Trees of files that are too deep, too broad or too long to walk carelessly.

use e2e::client::Cri;
use e2e::image::{Entry, Image, Layer, busybox};
use e2e::pods::shell;
use e2e::process::memory;
use e2e::world::{BUSYBOX, World, wait_exited};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// More than the stack of a thread or the descriptors of a process take, one a level.
const DEEP: usize = 9500;
/// Levels that one path has room for.
const HOP: usize = 1900;
const PATIENCE: Duration = Duration::from_secs(60);
/// For the sizes that were reported.
const LONG_PATIENCE: Duration = Duration::from_secs(500);

fn hop() -> String {
    vec!["d"; HOP].join("/")
}

/// Makes a directory in the other, so often.
fn chain(top: &Path, levels: usize) {
    let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY;
    let mut here: OwnedFd = fs::File::open(top).unwrap().into();
    for _ in 0..levels {
        mkdirat(&here, "d", Mode::S_IRWXU).unwrap();
        here = openat(&here, "d", flags, Mode::empty()).unwrap();
    }
}

/// Waits until a directory holds none of those entries.
fn settle(directory: &Path, counts: impl Fn(&str) -> bool) {
    let end = Instant::now() + LONG_PATIENCE;
    let left = || -> Vec<_> {
        let names = fs::read_dir(directory).unwrap().flatten().map(|entry| entry.file_name());
        names.filter(|name| counts(&name.to_string_lossy())).collect()
    };
    while !left().is_empty() {
        assert!(Instant::now() < end, "{:?} in {}", left(), directory.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_tree_of_any_depth_that_a_container_made_goes_with_it() {
    let Some(mut world) = World::new().unwrap() else { return };
    let data = world.daemon.place().data.clone();
    let pid = world.daemon.pid();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let config = world.pod("deep").unwrap();
        let pod = cri.run_pod(&config).await.unwrap();
        let hops = DEEP / HOP;
        let script = format!("for hop in $(seq {hops}); do mkdir -p {0} && cd -P {0} || exit 9; done", hop());
        let id = cri.create(&pod, &shell("main", BUSYBOX, &script), &config).await.unwrap();
        cri.start(&id).await.unwrap();
        assert_eq!(wait_exited(&cri, &id, PATIENCE).await.unwrap().exit_code, 0);
        let stats = cri.container_stats().await.unwrap();
        assert_eq!(stats.len(), 1);
        cri.remove(&id).await.unwrap();
        cri.end_pod(&pod).await.unwrap();
    });
    settle(&data.join("containers"), |_| true);
    assert_eq!(world.daemon.pid(), pid);

    // What an earlier daemon left, of removals and of a pull: the next one serves, and removes it behind.
    world.daemon.kill().unwrap();
    for trash in ["containers/.removed-by-nobody", "images/ingest/7"] {
        let trash = data.join(trash);
        fs::create_dir(&trash).unwrap();
        chain(&trash, DEEP);
    }
    world.daemon.restart().unwrap();
    settle(&data.join("containers"), |name| name.starts_with(".removed"));
    settle(&data.join("images/ingest"), |name| name == "7");
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let config = world.pod("after").unwrap();
        let pod = cri.run_pod(&config).await.unwrap();
        cri.end_pod(&pod).await.unwrap();
    });
}

/// A layer as deep as a path leads, or deeper, by links that let short paths lead there.
fn bottomless(depth: usize) -> Image {
    let mut layer = Layer::default().with(&format!("{}/file", hop()), 0o644, Entry::File(b"x".to_vec()));
    layer = layer.with("l1", 0o777, Entry::Symlink(hop()));
    for link in 1..depth / HOP {
        let way = format!("l{link}/{}", hop());
        layer = layer.with(&format!("{way}/file"), 0o644, Entry::File(b"x".to_vec()));
        layer = layer.with(&format!("l{}", link + 1), 0o777, Entry::Symlink(way));
    }
    let mut image = busybox().unwrap();
    image.layers.push(layer);
    image
}

#[test]
fn a_layer_as_deep_as_paths_lead_is_measured_and_removed() {
    let Some(world) = World::new().unwrap() else { return };
    world.registry.push("bottomless", "1", &bottomless(HOP)).unwrap();
    world.registry.push("bottomless", "2", &bottomless(DEEP)).unwrap();
    let images = world.daemon.place().data.join("images");
    let pid = world.daemon.pid();
    let crictl = world.crictl().unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull("registry.test/bottomless:1", None).await.unwrap();
    });
    assert!(fs::read_dir(images.join("layers/sha256")).unwrap().count() > 1);
    crictl.run(&["rmi", "registry.test/bottomless:1"]).unwrap();
    settle(&images.join("layers/sha256"), |_| true);
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let error = cri.pull("registry.test/bottomless:2", None).await.unwrap_err().to_string();
        assert!(error.contains("has more than 4095 bytes"), "{error}");
    });
    settle(&images.join("ingest"), |_| true);
    assert_eq!(world.daemon.pid(), pid);
}

/// Directories that a container makes below one path, as many as were reported.
const BROAD: u64 = 300_000;

/// How long the daemon takes to say what it is, how it is, and what its containers use.
async fn answer(cri: &Cri) -> Duration {
    let begin = Instant::now();
    assert!(cri.answers().await && cri.is_ready().await);
    assert_eq!(cri.container_stats().await.unwrap().len(), 1);
    begin.elapsed()
}

#[test]
fn a_layer_of_very_many_directories_keeps_nobody_waiting_and_takes_little_memory() {
    let Some(world) = World::with(|options| e2e::runtime::Options {
        extra: "[runtime]\nlayer_usage_seconds = 1\n".into(),
        ..options
    })
    .unwrap() else {
        return;
    };
    let (pid, containers) = (world.daemon.pid(), world.daemon.place().data.join("containers"));
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let config = world.pod("broad").unwrap();
        let pod = cri.run_pod(&config).await.unwrap();
        let long = vec!["n".repeat(249); 15].join("/");
        let script = format!(
            "mkdir -p {long} && cd {long} && seq {BROAD} | xargs mkdir && echo made; exec sleep 1000"
        );
        let mut main = shell("main", BUSYBOX, &script);
        // A limit of memory counts what the kernel remembers of directories, and would end the container first.
        main.linux.as_mut().unwrap().resources = None;
        let id = cri.create(&pod, &main, &config).await.unwrap();
        let mut idle = Duration::ZERO;
        for _ in 0..20 {
            idle = idle.max(answer(&cri).await);
        }
        let begin = Instant::now();
        cri.start(&id).await.unwrap();
        while !fs::read_to_string(world.log("broad", "main")).is_ok_and(|log| log.contains("made")) {
            assert!(begin.elapsed() < LONG_PATIENCE, "the directories are not made");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let made = begin.elapsed();
        // From here on the highest is what counts.
        fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
        let before = memory(pid, "VmRSS").unwrap();
        let inodes = || async {
            let stats = cri.container_stats().await.unwrap();
            stats[0].writable_layer.as_ref().unwrap().inodes_used.as_ref().map_or(0, |inodes| inodes.value)
        };
        let (begin, mut slowest) = (Instant::now(), Duration::ZERO);
        while inodes().await < BROAD {
            assert!(begin.elapsed() < LONG_PATIENCE, "the layer is not counted");
            slowest = slowest.max(answer(&cri).await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let counted = begin.elapsed();
        let begin = Instant::now();
        cri.remove(&id).await.unwrap();
        let removed = begin.elapsed();
        cri.create(&pod, &shell("next", BUSYBOX, "true"), &config).await.unwrap();
        while fs::read_dir(&containers).unwrap().count() > 1 {
            assert!(begin.elapsed() < LONG_PATIENCE, "the layer stays");
            slowest = slowest.max(answer(&cri).await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let freed = begin.elapsed();
        let more = memory(pid, "VmHWM").unwrap().saturating_sub(before);
        eprintln!(
            "made in {made:.1?}, counted in {counted:.1?}, removed in {removed:.1?}, freed in {freed:.1?}; \
             {more} KiB more than {before}; the slowest answer {slowest:.1?} instead of {idle:.1?}"
        );
        assert!(more < 64 << 10, "{more} KiB more");
        assert!(slowest < idle * 10 + Duration::from_secs(1), "{slowest:?} instead of {idle:?}");
        assert!(removed < (made + counted) / 4 + Duration::from_secs(1), "removed in {removed:?}");
        cri.end_pod(&pod).await.unwrap();
    });
}

#[test]
fn trash_of_an_earlier_daemon_keeps_nobody_waiting() {
    let (files, directories) = (300_000, 120_000);
    let Some(mut world) = World::new().unwrap() else { return };
    let data = world.daemon.place().data.clone();
    let again = |world: &mut World| {
        let begin = Instant::now();
        world.daemon.restart().unwrap();
        begin.elapsed()
    };
    world.daemon.kill().unwrap();
    let empty = again(&mut world);
    world.daemon.kill().unwrap();
    let places = [data.join("images/ingest/1"), data.join("containers/.removed-1")];
    for place in &places {
        fs::create_dir(place).unwrap();
        (0..directories).for_each(|number| fs::create_dir(place.join(number.to_string())).unwrap());
        (0..files).for_each(|number| fs::write(place.join(format!("f{number}")), "").unwrap());
    }
    let full = again(&mut world);
    let begin = Instant::now();
    eprintln!("{files} files and {directories} directories, twice: {full:?} to serve instead of {empty:?}");
    assert!(full < empty * 4 + Duration::from_secs(1), "{full:?} instead of {empty:?}");
    for place in places {
        settle(place.parent().unwrap(), |name| Some(name) == place.file_name().unwrap().to_str());
    }
    eprintln!("removed behind in {:.1} s", begin.elapsed().as_secs_f64());
}
