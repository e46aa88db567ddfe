//! The daemon killed in the middle of pulls: the next try brings the right content and fetches what is missing.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use e2e::command;
use e2e::image::{Entry, Image, Layer};
use e2e::runtime::Kind;
use e2e::world::World;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Kills; more of them with `PULL_KILLS=100`.
const KILLS: u64 = 4;
const LAYERS: u8 = 4;
const SIZE: usize = 6 << 20;
/// What one request costs beside the content: heads, manifests, the config.
const OVERHEAD: u64 = 64 << 10;

/// A registry that is reached through a narrow pipe: it counts what it sends, and sends it slowly.
struct Narrow {
    address: SocketAddr,
    sent: Arc<AtomicU64>,
}

impl Narrow {
    fn start(registry: SocketAddr) -> Self {
        let sent = Arc::<AtomicU64>::default();
        let count = Arc::clone(&sent);
        let address = e2e::pipe::to(registry, move |piece, _| {
            count.fetch_add(piece as u64, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(1));
        });
        Self { address: address.unwrap(), sent }
    }
}

fn content(round: u64, layer: u8) -> Vec<u8> {
    let mut state = round * 1000 + u64::from(layer) + 1;
    let mut bytes = Vec::with_capacity(SIZE);
    while bytes.len() < SIZE {
        // xorshift: nothing that compresses, another for each round.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

/// Bytes of the layers that are on the disk, whole or in part. As they are not compressed, a layer's note and its part
/// have the same name, and a kill may leave both.
fn there(data: &Path) -> u64 {
    let mut sizes = BTreeMap::new();
    for path in fs::read_dir(data.join("images/unfinished")).unwrap().flatten().map(|entry| entry.path()) {
        let name = path.file_stem().unwrap().to_owned();
        let placed = data.join("images/layers/sha256").join(&name).is_dir();
        let size = match path.extension().and_then(|kind| kind.to_str()) {
            Some("part") => path.metadata().map_or(0, |file| file.len()),
            Some("layer") if placed => SIZE as u64,
            _ => 0,
        };
        let known = sizes.entry(name).or_insert(0);
        *known = size.max(*known);
    }
    sizes.values().sum()
}

fn image_command(world: &World, arguments: &[&str]) -> String {
    let (program, config) = world.daemon.invocation();
    let mut corten = Command::new(program);
    let line = corten.arg("image").args(arguments).arg("--config").arg(config);
    command::run(line, Duration::from_secs(60)).unwrap()
}

#[test]
fn a_pull_that_a_kill_ends_goes_on_where_it_was() {
    let small_parts = "[images]\nresume_layer_bytes = 65536\nparallel_layers = 2\n";
    let Some(mut world) = World::with(|options| options).unwrap() else { return };
    if world.daemon.kind() != Kind::Corten {
        return;
    }
    let drop_ins = world.daemon.place().root.join("conf.d");
    fs::create_dir_all(&drop_ins).unwrap();
    fs::write(drop_ins.join("parts.toml"), small_parts).unwrap();
    let narrow = Narrow::start(world.registry.address());
    let directory = world.daemon.place().certs.join("narrow.test");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("hosts.toml"), format!("server = \"http://{}\"\n", narrow.address)).unwrap();
    world.daemon.kill().unwrap();
    world.daemon.restart().unwrap();

    let kills = std::env::var("PULL_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    for round in 0..kills {
        let repository = format!("kill/{round}");
        let layers = (0..LAYERS).map(|layer| {
            // As it is, so that its size is known.
            Layer::default().with(&layer.to_string(), 0o644, Entry::File(content(round, layer))).plain()
        });
        let image = Image { layers: layers.collect(), ..Image::default() };
        world.registry.push(&repository, "1", &image).unwrap();
        let reference = format!("narrow.test/{repository}:1");

        let before = narrow.sent.load(Ordering::SeqCst);
        let (program, config) = world.daemon.invocation();
        let mut pull = Command::new(program)
            .args(["image", "pull", &reference, "--config"])
            .arg(config)
            .spawn()
            .unwrap();
        // A moment that differs from round to round: after so much of it came in, and a little later.
        let total = u64::from(LAYERS) * SIZE as u64;
        let moment = total * ((round * 37 + 11) % 100) / 100;
        while narrow.sent.load(Ordering::SeqCst) - before < moment && pull.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(round * 7919 % 20_000));
        world.daemon.kill().unwrap();
        pull.wait().unwrap();

        let missing = total.saturating_sub(there(&world.daemon.place().data));
        world.daemon.restart().unwrap();
        let before = narrow.sent.load(Ordering::SeqCst);
        image_command(&world, &["pull", &reference]);
        let fetched = narrow.sent.load(Ordering::SeqCst) - before;
        assert!(
            fetched <= missing * 11 / 10 + OVERHEAD,
            "round {round}: {fetched} fetched, {missing} missing"
        );

        let view: Value = serde_json::from_str(&image_command(&world, &["inspect", &reference])).unwrap();
        for (layer, directory) in view["layers"].as_array().unwrap().iter().rev().enumerate() {
            let file = Path::new(directory.as_str().unwrap()).join(layer.to_string());
            assert!(fs::read(file).unwrap() == content(round, u8::try_from(layer).unwrap()), "round {round}");
        }
        image_command(&world, &["prune", "--all"]);
        let images = world.daemon.place().data.join("images");
        for name in ["blobs/sha256", "layers/sha256", "unfinished", "ingest"] {
            assert_eq!(fs::read_dir(images.join(name)).unwrap().count(), 0, "round {round}: {name}");
        }
    }
}
