//! A disk that fills up during a pull: a clear error, nothing left behind, and room for what fits.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use e2e::image::{Entry, Image, Layer};
use e2e::pods::shell;
use e2e::proto::ListImagesRequest;
use e2e::runtime::Kind;
use e2e::tools;
use e2e::world::{BUSYBOX, World};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

fn mount(arguments: &[&str], on: &Path) {
    let mut mount = Command::new(tools::system("mount").unwrap());
    e2e::command::run(mount.args(arguments).arg(on), Duration::from_secs(10)).unwrap();
}

fn noise(size: u32) -> Vec<u8> {
    (0..size).map(|byte| (byte.wrapping_mul(2_654_435_761) >> 11).to_le_bytes()[0]).collect()
}

/// Pulls must end with the error, and then nothing of them is left.
fn refused(world: &World, image: &str) {
    let error = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(image, None).await.unwrap_err().to_string()
    });
    assert!(error.contains("No space left on device"), "{error}");
    let images = world.daemon.place().data.join("images");
    let left = || {
        let names = ["blobs/sha256", "layers/sha256", "unfinished", "ingest"];
        names.iter().map(|name| fs::read_dir(images.join(name)).unwrap().count()).sum::<usize>()
    };
    let end = Instant::now() + Duration::from_secs(30);
    while left() > 0 {
        assert!(Instant::now() < end, "{image}: {} files left", left());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_full_disk_is_an_error_that_leaves_nothing() {
    let Some(mut world) = World::new().unwrap() else { return };
    if world.daemon.kind() != Kind::Corten {
        return;
    }
    let small = Layer::default().with("small", 0o644, Entry::File(noise(100_000)));
    let large = Layer::default().with("large", 0o644, Entry::File(noise(40 << 20))).plain();
    let many = (0..200).fold(Layer::default(), |layer, number| {
        layer.with(&number.to_string(), 0o644, Entry::File(b"x".to_vec()))
    });
    for (name, layers) in
        [("fits", vec![small.clone()]), ("large", vec![small.clone(), large]), ("many", vec![small, many])]
    {
        world.registry.push(name, "1", &Image { layers, ..Image::default() }).unwrap();
    }
    let images = world.daemon.place().data.join("images");
    world.daemon.kill().unwrap();
    mount(&["-t", "tmpfs", "-o", "size=24m,nr_inodes=100,mode=700", "tmpfs"], &images);
    world.daemon.restart().unwrap();

    refused(&world, "registry.test/large:1");
    refused(&world, "registry.test/many:1");
    // The daemon starts on such a disk too.
    world.daemon.kill().unwrap();
    world.daemon.restart().unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull("registry.test/fits:1", None).await.unwrap();
        assert!(cri.pull("registry.test/large:1", None).await.is_err());
        cri.pull("registry.test/fits:1", None).await.unwrap();
    });
}

/// Takes what room there is, for bytes and for names.
fn fill(directory: &Path) {
    let ballast = fs::File::create(directory.join("ballast")).unwrap();
    let free = || {
        let found = nix::sys::statvfs::statvfs(directory).unwrap();
        found.blocks_free() * found.fragment_size()
    };
    let mut taken = 0;
    while free() > 0 {
        taken += free();
        let length = i64::try_from(taken).unwrap();
        nix::fcntl::fallocate(&ballast, nix::fcntl::FallocateFlags::empty(), 0, length).unwrap();
    }
    let names = directory.join("names");
    if fs::create_dir(&names).is_ok() {
        let mut number = 0;
        while fs::write(names.join(format!("{number}")), "").is_ok() {
            number += 1;
        }
    }
    assert!(fs::write(directory.join("more"), "x").is_err());
}

#[test]
fn a_full_disk_can_be_emptied() {
    let Some(mut world) = World::new().unwrap() else { return };
    if world.daemon.kind() != Kind::Corten {
        return;
    }
    let names = ["registry.test/large:1", "registry.test/last:1"];
    for (name, size) in [("large", 4 << 20), ("last", 12 << 20)] {
        let layer = Layer::default().with(name, 0o644, Entry::File(noise(size))).plain();
        world.registry.push(name, "1", &Image { layers: vec![layer], ..Image::default() }).unwrap();
    }
    let data = world.daemon.place().data.clone();
    world.daemon.kill().unwrap();
    mount(&["-t", "tmpfs", "-o", "size=80m,nr_inodes=3000,mode=700", "tmpfs"], &data);
    world.daemon.restart().unwrap();
    let config = world.pod("full").unwrap();
    let (pod, container) = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        for image in names.into_iter().chain([BUSYBOX]) {
            cri.pull(image, None).await.unwrap();
        }
        let pod = cri.run_pod(&config).await.unwrap();
        let script = "dd if=/dev/zero of=/big bs=1M count=8 2>/dev/null; exec sleep 1000";
        let id = cri.create(&pod, &shell("main", BUSYBOX, script), &config).await.unwrap();
        cri.start(&id).await.unwrap();
        let written = "until [ $(stat -c %s /big) = 8388608 ]; do sleep 0.02; done";
        cri.shell(&id, written).await.unwrap();
        (pod, id)
    });
    let used = || {
        let found = nix::sys::statvfs::statvfs(&data).unwrap();
        (found.blocks() - found.blocks_free()) * found.fragment_size()
    };
    let until = |freed: u64, from: u64, what: &str| {
        let end = Instant::now() + Duration::from_secs(30);
        while used() + freed > from {
            assert!(Instant::now() < end, "{what}: {} of {from} bytes are still taken", used());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    // What the daemon writes behind its answers shows nowhere, and would take what is to be filled here.
    std::thread::sleep(Duration::from_secs(1));

    fill(&data);
    let full = used();
    world.crictl().unwrap().run(&["rmi", names[0]]).unwrap();
    assert!(used() + (3 << 20) <= full, "{} of {full} bytes are still taken", used());
    // It was true: the image does not come back, on a disk that is full again.
    fs::remove_dir_all(data.join("names")).unwrap();
    fill(&data);
    world.daemon.kill().unwrap();
    world.daemon.restart().unwrap();
    let full = used();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let images = cri.images.clone().list_images(ListImagesRequest::default()).await.unwrap();
        assert_eq!(images.into_inner().images.len(), 2);
    });
    // The first one of a new daemon gives the room back at once, too.
    let crictl = world.crictl().unwrap();
    crictl.run(&["rmi", names[1]]).unwrap();
    assert!(used() + (3 << 20) <= full, "{} of {full} bytes are still taken", used());
    fill(&data);
    let full = used();
    if world.daemon.kind() == e2e::runtime::Kind::Corten {
        let pull = async { world.daemon.client().await.unwrap().pull(names[0], None).await };
        let refused = world.tokio.block_on(pull).unwrap_err().to_string();
        assert!(refused.contains("`corten image df` shows what images take"), "{refused}");
    }
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.stop(&container, 0).await.unwrap();
        cri.remove(&container).await.unwrap();
        cri.end_pod(&pod).await.unwrap();
    });
    until(8 << 20, full, "the container");
    assert!(!data.join("containers").join(&container).exists());
}

/// A kubelet that has evicted a pod measures as soon as it is listed no more: with less room than there is to be, another
/// one goes.
#[test]
fn a_container_is_listed_until_its_room_is_free() {
    let Some(mut world) = World::new().unwrap() else { return };
    let data = world.daemon.place().data.clone();
    world.daemon.kill().unwrap();
    mount(&["-t", "tmpfs", "-o", "size=256m,nr_inodes=100000,mode=700", "tmpfs"], &data);
    world.daemon.restart().unwrap();
    let figures = || nix::sys::statvfs::statvfs(&data).unwrap();
    let inodes = || figures().files() - figures().files_free();
    // Of a disk with much room, what has written much; of one with little, everything.
    for (written, is_short) in [(8000, false), (450, true)] {
        world.tokio.block_on(async {
            let cri = world.daemon.client().await.unwrap();
            cri.pull(BUSYBOX, None).await.unwrap();
            let config = world.pod("greedy").unwrap();
            for whole_pod in [false, true] {
                let pod = cri.run_pod(&config).await.unwrap();
                let script = format!(
                    "n=0; while [ $n -lt {written} ]; do echo x >/$n; n=$((n + 1)); done; exec sleep 1000"
                );
                let id = cri.create(&pod, &shell("main", BUSYBOX, &script), &config).await.unwrap();
                cri.start(&id).await.unwrap();
                let all = format!("until [ -s /{} ]; do sleep 0.02; done", written - 1);
                cri.shell(&id, &all).await.unwrap();
                let ballast = data.join("ballast");
                if is_short {
                    let free = figures().blocks_free() * figures().fragment_size();
                    let length = i64::try_from(free - free / 10).unwrap();
                    let file = fs::File::create(&ballast).unwrap();
                    nix::fcntl::fallocate(&file, nix::fcntl::FallocateFlags::empty(), 0, length).unwrap();
                }
                cri.stop(&id, 0).await.unwrap();
                let before = inodes();
                let (remover, container, of) = (cri.clone(), id.clone(), pod.clone());
                let removal = tokio::spawn(async move {
                    match whole_pod {
                        false => remover.remove(&container).await,
                        true => remover.end_pod(&of).await,
                    }
                });
                while cri.containers().await.unwrap().iter().any(|listed| listed.id == id) {}
                let left = inodes();
                assert!(left + written <= before, "{left} of {before} inodes are still taken");
                removal.await.unwrap().unwrap();
                cri.end_pod(&pod).await.unwrap();
                let _ = fs::remove_file(&ballast);
            }
        });
    }
}
