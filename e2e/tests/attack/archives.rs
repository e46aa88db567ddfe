//! Layers that are small and cost much: in memory, in processor time, in the turns of other pulls.

use crate::many;
use e2e::image::{Entry, Image, Layer, architecture, digest};
use e2e::process::memory;
use e2e::runtime::Kind;
use e2e::world::World;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::io::{self, Write};
use std::time::Instant;

/// KiB that a layer may add to what the daemon takes.
const MOST_RSS: u64 = 64 << 10;
/// Seconds of processor time for each layer, and for each MiB of it; so much more in a build that is not optimised.
const EACH: f64 = 1.0;
const EACH_MIB: f64 = 3.0;
const DEBUG: f64 = 4.0;

/// An archive that is compressed and hashed as it is made.
struct Archive {
    compressed: GzEncoder<Vec<u8>>,
    hasher: Sha256,
}

impl Write for Archive {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hasher.update(bytes);
        self.compressed.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

type Tar = tar::Builder<Archive>;

/// Compressed bytes and diff id.
fn layer(fill: impl FnOnce(&mut Tar)) -> (Vec<u8>, String) {
    let compressed = GzEncoder::new(Vec::new(), Compression::default());
    let mut tar = tar::Builder::new(Archive { compressed, hasher: Sha256::new() });
    fill(&mut tar);
    let archive = tar.into_inner().unwrap();
    let diff_id = format!("sha256:{}", hex::encode(archive.hasher.finalize()));
    (archive.compressed.finish().unwrap(), diff_id)
}

fn entry(tar: &mut Tar, kind: tar::EntryType, path: &str, target: &str) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_size(0);
    match target {
        "" => tar.append_data(&mut header, path, io::empty()).unwrap(),
        target => tar.append_link(&mut header, path, target).unwrap(),
    }
}

fn push(world: &World, name: &str, layers: &[(Vec<u8>, String)]) {
    let ids: Vec<&String> = layers.iter().map(|(_, diff_id)| diff_id).collect();
    let config = serde_json::json!({
        "architecture": architecture(), "os": "linux", "rootfs": {"type": "layers", "diff_ids": ids},
    });
    let config = config.to_string().into_bytes();
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let described = |bytes: &[u8], kind: &str| serde_json::json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()});
    let layer =
        |(bytes, _): &(Vec<u8>, String)| described(bytes, "application/vnd.oci.image.layer.v1.tar+gzip");
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": kind,
        "config": described(&config, "application/vnd.oci.image.config.v1+json"),
        "layers": layers.iter().map(layer).collect::<Vec<_>>(),
    });
    for bytes in layers.iter().map(|(bytes, _)| bytes).chain([&config]) {
        world.registry.push_blob(name, &digest(bytes), bytes).unwrap();
    }
    world.registry.push_manifest(name, "1", kind, manifest.to_string().as_bytes()).unwrap();
}

/// Processor time of the daemon, user's and kernel's.
fn processor_seconds(pid: i32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u32 = fields[11].parse::<u32>().unwrap() + fields[12].parse::<u32>().unwrap();
    f64::from(ticks) / 100.0
}

/// Each directory's path is 3.7 KB long: remembered whole, they are 100 MB and more.
#[test]
fn directories_with_long_paths_take_no_memory() {
    let Some(world) = World::new().unwrap() else { return };
    if world.daemon.kind() != Kind::Corten {
        return;
    }
    let deep = "d/".repeat(1850);
    let described = layer(|tar| {
        (0..many(24_000, 300_000))
            .for_each(|number| entry(tar, tar::EntryType::Directory, &format!("{deep}{number}"), ""));
    });
    let implied = layer(|tar| {
        (0..many(2_000, 25_000))
            .for_each(|number| entry(tar, tar::EntryType::Regular, &format!("{deep}e{number}/f"), ""));
    });
    let bytes = described.0.len() + implied.0.len();
    push(&world, "paths", &[described, implied]);
    let before = memory(world.daemon.pid(), "VmRSS").unwrap();
    let begin = Instant::now();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull("registry.test/paths:1", None).await.unwrap();
    });
    let more = memory(world.daemon.pid(), "VmHWM").unwrap().saturating_sub(before);
    eprintln!("{bytes} bytes: {more} KiB more than {before}, {:.1} s", begin.elapsed().as_secs_f64());
    assert!(more <= MOST_RSS, "{more} KiB more than before");
}

/// A layer of a few hundred bytes nests nine thousand directories, through links.
#[test]
fn no_layer_nests_deeper_than_paths_reach() {
    let Some(world) = World::new().unwrap() else { return };
    if world.daemon.kind() != Kind::Corten {
        return;
    }
    let down = "d/".repeat(1900);
    let nested = layer(|tar| {
        let mut above = String::new();
        for number in 0..5 {
            entry(tar, tar::EntryType::Directory, &format!("{above}{down}"), "");
            let link = format!("l{number}");
            entry(tar, tar::EntryType::Symlink, &link, &format!("{above}{down}"));
            above = format!("{link}/");
        }
    });
    assert!(nested.0.len() < 1000, "{} bytes", nested.0.len());
    push(&world, "nested", &[nested]);
    let small = Layer::default().with("file", 0o644, Entry::File(b"small".to_vec()));
    world.registry.push("small", "1", &Image { layers: vec![small], ..Image::default() }).unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let error = cri.pull("registry.test/nested:1", None).await.unwrap_err().to_string();
        assert!(error.contains("4095 bytes"), "{error}");
        cri.pull("registry.test/small:1", None).await.unwrap();
    });
}

/// More hostile layers than there are turns, each as costly as could be made of it; meanwhile another image is pulled.
#[test]
fn hostile_layers_cost_no_more_than_they_were_sent_bytes_for() {
    let Some(world) = World::new().unwrap() else { return };
    if world.daemon.kind() != Kind::Corten {
        return;
    }
    let hostile: Vec<(Vec<u8>, String)> = (0..5).map(|seed| layer(|tar| fill(tar, seed))).collect();
    let bytes: usize = hostile.iter().map(|(bytes, _)| bytes.len()).sum();
    let count = u32::try_from(hostile.len()).unwrap();
    push(&world, "hostile", &hostile);
    let small = Layer::default().with("file", 0o644, Entry::File(b"small".to_vec()));
    world.registry.push("small", "1", &Image { layers: vec![small], ..Image::default() }).unwrap();
    let pid = world.daemon.pid();
    let before = processor_seconds(pid);
    world.tokio.block_on(async {
        let (one, other) = (world.daemon.client().await.unwrap(), world.daemon.client().await.unwrap());
        let (hostile, small) = tokio::join!(
            one.pull("registry.test/hostile:1", None),
            other.pull("registry.test/small:1", None)
        );
        hostile.unwrap();
        small.unwrap();
    });
    let spent = processor_seconds(pid) - before;
    let may = DEBUG * (EACH * f64::from(count) + EACH_MIB * bytes as f64 / f64::from(1 << 20));
    eprintln!("{spent:.2} s for {bytes} bytes in {count} layers");
    assert!(spent <= may, "{spent:.2} s for {bytes} bytes in {count} layers");
}

/// Attributes by the ten thousand, directories that are replaced among many, and a deep one that nothing describes.
fn fill(tar: &mut Tar, seed: u32) {
    entry(tar, tar::EntryType::Regular, &format!("seed{seed}"), "");
    for round in 0..3 {
        let names: Vec<String> = (0..10_000).map(|number| format!("SCHILY.xattr.{round}.{number}")).collect();
        tar.append_pax_extensions(names.iter().map(|name| (name.as_str(), &b"x"[..]))).unwrap();
        entry(tar, tar::EntryType::Regular, &format!("attributes{round}"), "");
    }
    (0..300).for_each(|number| entry(tar, tar::EntryType::Directory, &format!("known{number}"), ""));
    for _ in 0..300 {
        entry(tar, tar::EntryType::Directory, "again", "");
        entry(tar, tar::EntryType::Regular, "again", "");
    }
    entry(tar, tar::EntryType::Regular, &format!("{}f", "d/".repeat(1900)), "");
}
