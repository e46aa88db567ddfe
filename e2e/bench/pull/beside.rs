//! Pulls by this build and by another one, alternating: what a change between the two costs.

use super::Bench;
use super::fixture::{Fixture, Pushed};
use crate::figures::percentile;
use crate::stats::cpu_time;
use e2e::Error;
use e2e::runtime::Kind;
use std::path::Path;

/// What was measured of one build.
#[derive(Default)]
struct Pulls {
    /// Nanoseconds of each.
    times: Vec<u128>,
    /// CPU time of the daemon in each, in nanoseconds.
    cpu: Vec<u128>,
}

/// The large images by both, so often each, and prints how they compare.
///
/// # Errors
/// When something is missing, or a pull fails.
pub(super) fn measure(bench: &Bench, fixture: &Fixture, other: &Path, rounds: usize) -> Result<(), Error> {
    println!(
        "\n| {rounds} pulls of each, alternating | | this build | the other | this by the other |\n|---|---|---:|---:|---:|"
    );
    for image in fixture.images.iter().filter(|image| image.layers.len() > 1) {
        let (mut own, mut others) = (Pulls::default(), Pulls::default());
        for round in 0..rounds {
            // Each goes first in turn.
            for turn in 0..2 {
                if (round + turn) % 2 == 0 {
                    pull(bench, &e2e::tools::dist(), image, &mut own)?;
                } else {
                    pull(bench, other, image, &mut others)?;
                }
            }
        }
        print(&image.title, "time", &own.times, &others.times);
        print("", "CPU time", &own.cpu, &others.cpu);
    }
    Ok(())
}

/// One pull by a fresh daemon.
fn pull(bench: &Bench, programs: &Path, image: &Pushed, pulls: &mut Pulls) -> Result<(), Error> {
    let reference = format!("registry.test/{}:1", image.repository);
    bench.with_programs(programs, Kind::Corten, bench.registry, "", |daemon| {
        let before = cpu_time(daemon.pid());
        pulls.times.push(bench.time(daemon, &reference)?);
        pulls.cpu.push(u128::from(cpu_time(daemon.pid()) - before) * 1_000_000);
        Ok(())
    })
}

fn print(title: &str, what: &str, own: &[u128], others: &[u128]) {
    let [own, others] = [own, others].map(|times| percentile(times, 50) / 1e3);
    println!("| {title} | {what}, s, median | {own:.3} | {others:.3} | {:.3}x |", own / others);
}
