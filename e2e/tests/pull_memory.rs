//! Pulls take little memory, however large the image is or claims to be.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use e2e::image::{Entry, Image, Layer};
use e2e::runtime::Kind;
use e2e::world::World;
use std::fs;
use std::time::{Duration, Instant};

/// KiB of the daemon at its largest.
const MOST_RSS: u64 = 100 << 10;
/// The most bytes that a layer may have here, and what the bomb unpacks to: each more than the daemon may take.
const LIMIT: u64 = 160 << 20;
const BOMB: usize = 256 << 20;

/// MiB of what does not compress: it repeats itself only where no window of gzip reaches.
fn noise(seed: u32, size: usize) -> Vec<u8> {
    let byte = |at: u32| ((at ^ seed).wrapping_mul(2_654_435_761) >> 11).to_le_bytes()[0];
    (0..1 << 20).map(byte).collect::<Vec<_>>().repeat(size)
}

fn peak(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn neither_a_large_image_nor_a_bomb_fills_the_memory() {
    let Some(mut world) = World::new().unwrap() else { return };
    if world.daemon.kind() != Kind::Corten {
        return;
    }
    let drop_ins = world.daemon.place().root.join("conf.d");
    fs::create_dir_all(&drop_ins).unwrap();
    fs::write(drop_ins.join("limit.toml"), format!("[images]\nmax_layer_bytes = {LIMIT}\n")).unwrap();
    world.daemon.kill().unwrap();
    world.daemon.restart().unwrap();

    // Together more than the daemon may take.
    let layers = (0..4).map(|layer| {
        let file = Entry::File(noise(layer, 30));
        Layer::default().with(&layer.to_string(), 0o644, file)
    });
    world.registry.push("large", "1", &Image { layers: layers.collect(), ..Image::default() }).unwrap();
    let bomb = Layer::default().with("zeros", 0o644, Entry::File(vec![0; BOMB]));
    world.registry.push("bomb", "1", &Image { layers: vec![bomb], ..Image::default() }).unwrap();
    let images = world.daemon.place().data.join("images");
    let left = || {
        let names = ["blobs/sha256", "layers/sha256", "unfinished", "ingest"];
        names.iter().map(|name| fs::read_dir(images.join(name)).unwrap().count()).sum::<usize>()
    };
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let error = cri.pull("registry.test/bomb:1", None).await.unwrap_err().to_string();
        assert!(error.contains(&format!("more than {LIMIT} bytes")), "{error}");
    });
    let end = Instant::now() + Duration::from_secs(30);
    while left() > 0 {
        assert!(Instant::now() < end, "{} files left", left());
        std::thread::sleep(Duration::from_millis(20));
    }
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull("registry.test/large:1", None).await.unwrap();
    });
    let peak = peak(world.daemon.pid());
    assert!(peak <= MOST_RSS, "{peak} KiB at the most");
}
