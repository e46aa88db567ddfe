//! A large layer from a registry whose every connection is slow.

use super::Bench;
use super::far::{LATENCY, far_away};
use crate::figures::percentile;
use e2e::Error;
use e2e::image::{Entry, Image, Layer};
use e2e::registry::Registry;
use e2e::runtime::Kind;

/// Bytes of the layer, and of a file in it.
const LAYER: usize = 1 << 30;
const FILE: usize = 64 << 20;
/// Bytes a second of a connection.
const RATE: u64 = 50_000_000;
/// Of each.
const ROUNDS: usize = 2;
const ONE_CONNECTION: &str = "[images]\nsplit_layer_bytes = 0\n";

/// Pulls it in parts and over one connection, and with containerd, and prints the wall times.
///
/// # Errors
/// When any pull fails.
pub(super) fn measure(bench: &Bench, registry: &Registry) -> Result<(), Error> {
    // Not compressed: how fast that is unpacked is measured elsewhere.
    let files = 0..u64::try_from(LAYER / FILE).unwrap_or_default();
    let layer = files.fold(Layer::default().plain(), |layer, number| {
        layer.with(&number.to_string(), 0o644, Entry::File(noise(number)))
    });
    registry.push("slow", "1", &Image { layers: vec![layer], ..Image::default() })?;
    let far = far_away(registry.address(), Some(RATE))?;
    let kinds = [
        ("Corten", Kind::Corten, ""),
        ("Corten, one connection", Kind::Corten, ONE_CONNECTION),
        ("containerd", Kind::Containerd, ""),
    ];
    let mut times = [const { Vec::new() }; 3];
    let mut memory = [0; 3];
    for _ in 0..ROUNDS {
        for ((times, memory), (_, kind, settings)) in times.iter_mut().zip(&mut memory).zip(kinds) {
            bench.with_daemon(kind, far, settings, |daemon| {
                times.push(bench.time(daemon, "registry.test/slow:1")?);
                *memory = super::peak(daemon.pid()).max(*memory);
                Ok(())
            })?;
        }
    }
    println!(
        "\n| {} MiB in one layer, {} MB/s a connection, {} ms away | seconds, median | MB/s | peak RSS, MiB |\n|---|---:|---:|---:|",
        LAYER >> 20,
        RATE / 1_000_000,
        LATENCY.as_millis()
    );
    for (((name, ..), times), memory) in kinds.iter().zip(&times).zip(memory) {
        let seconds = percentile(times, 50) / 1e3;
        println!("| {name} | {seconds:.2} | {:.0} | {} |", rate(seconds), memory >> 10);
    }
    let [parts, one, _] = times.map(|times| percentile(&times, 50));
    println!("\nIn parts it is {:.1} times as fast.", one / parts);
    Ok(())
}

#[allow(clippy::cast_precision_loss)]
fn rate(seconds: f64) -> f64 {
    LAYER as f64 / 1e6 / seconds
}

/// What no compression makes smaller, for each number something else.
fn noise(number: u64) -> Vec<u8> {
    let mut state = number + 1;
    let mut bytes = Vec::with_capacity(FILE);
    while bytes.len() < FILE {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}
