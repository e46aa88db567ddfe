//! Many different images at once from a registry that is far away.

use super::Bench;
use super::far::{LATENCY, far_away};
use crate::figures::percentile;
use e2e::Error;
use e2e::image::{Entry, Image, Layer};
use e2e::registry::Registry;
use e2e::runtime::Kind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const IMAGES: usize = 50;
const AT_ONCE: usize = 8;
/// Of each runtime.
const ROUNDS: usize = 3;

/// Pulls all of them with each runtime in turn and prints the wall times.
///
/// # Errors
/// When any pull fails.
pub(super) fn measure(bench: &Bench, registry: &Registry) -> Result<(), Error> {
    for number in 0..IMAGES {
        let layer = |part: &str| {
            let content: Vec<u8> = (0..100_000_u32)
                .map(|byte| (byte.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0])
                .collect();
            Layer::default().with(&format!("{part}-{number}"), 0o644, Entry::File(content))
        };
        let image = Image { layers: vec![layer("a"), layer("b")], ..Image::default() };
        registry.push(&format!("many/{number}"), "1", &image)?;
    }
    let far = far_away(registry.address(), None)?;
    let (mut corten, mut containerd) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        // Each goes first in turn.
        for turn in 0..2 {
            if (round + turn) % 2 == 0 {
                corten.push(all(bench, Kind::Corten, far)?);
            } else {
                containerd.push(all(bench, Kind::Containerd, far)?);
            }
        }
    }
    println!(
        "\n| {IMAGES} images, {AT_ONCE} at once, {} ms away | seconds, median | each |\n|---|---:|---|",
        LATENCY.as_millis()
    );
    for (name, times) in [("Corten", &corten), ("containerd", &containerd)] {
        let each: Vec<_> = times.iter().map(|time| format!("{:.2}", seconds(*time))).collect();
        println!("| {name} | {:.2} | {} |", percentile(times, 50) / 1e3, each.join(", "));
    }
    let [corten, containerd] = [&corten, &containerd].map(|times| percentile(times, 50));
    println!(
        "\nCorten takes {:.2} of containerd's time. None of these {} pulls failed.",
        corten / containerd,
        2 * ROUNDS * IMAGES
    );
    Ok(())
}

/// All images by a fresh daemon: nanoseconds.
fn all(bench: &Bench, kind: Kind, registry: SocketAddr) -> Result<u128, Error> {
    bench.with_daemon(kind, registry, "", |daemon| {
        bench.tokio.block_on(async {
            let cri = daemon.client().await?;
            let permits = Arc::new(Semaphore::new(AT_ONCE));
            let begin = Instant::now();
            let mut pulls = JoinSet::new();
            for number in 0..IMAGES {
                let (cri, permits) = (cri.clone(), Arc::clone(&permits));
                pulls.spawn(async move {
                    // The semaphore is never closed.
                    let _permit = permits.acquire_owned().await.ok();
                    cri.pull(&format!("registry.test/many/{number}:1"), None).await
                });
            }
            pulls.join_all().await.into_iter().collect::<Result<Vec<_>, _>>()?;
            Ok(begin.elapsed().as_nanos())
        })
    })
}

#[allow(clippy::cast_precision_loss)]
fn seconds(nanoseconds: u128) -> f64 {
    nanoseconds as f64 / 1e9
}
