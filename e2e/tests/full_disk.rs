//! A disk that fills up during a pull: a clear error, nothing left behind, and room for what fits.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use e2e::image::{Entry, Image, Layer};
use e2e::runtime::Kind;
use e2e::tools;
use e2e::world::World;
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
