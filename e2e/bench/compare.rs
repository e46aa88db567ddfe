//! Two builds of Corten and the floor in one run, pods alternating: whether one build starts pods sooner than the other.

use crate::Floor;
use crate::figures::percentile;
use crate::scene::Scene;
use crate::subject::{POD_START, STEPS, Subject};
use e2e::runtime::Daemon;
use e2e::{Error, tools};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// So often pods are drawn again to learn how far chance alone moves a ratio.
const DRAWS: usize = 2000;

/// Measures the build in `target/dist` beside the one whose programs lie in `base`; without one, beside the floor alone.
///
/// # Errors
/// When something is missing or the runtime fails.
pub(crate) fn measure(base: Option<&Path>, rounds: usize, limit: Duration) -> Result<(), Error> {
    let scene = Scene::set(limit)?;
    let mut floor = Floor::start(&scene.isolation)?;
    let mut subjects = Vec::new();
    let programs = [("this build", Some(tools::dist())), ("base", base.map(Path::to_path_buf))];
    for (number, (name, programs)) in programs.into_iter().enumerate() {
        let Some(programs) = programs else { continue };
        let subject = subject(number, name, programs, &scene);
        subjects.push(scene.tokio.block_on(Box::pin(subject))?);
    }
    let mut floors = Vec::new();
    for round in 0..rounds {
        let count = subjects.len();
        for turn in 0..count {
            // Each goes first equally often.
            let subject = &mut subjects[(round + turn) % count];
            scene.tokio.block_on(Box::pin(subject.one(&format!("round-{round}"))))?;
        }
        floors.push(floor.pod()?);
    }
    print(&subjects, &floors);
    Ok(())
}

/// The build whose programs lie there, with a daemon, a bridge and a directory of its own.
pub(crate) async fn subject(
    number: usize,
    name: &'static str,
    programs: PathBuf,
    scene: &Scene,
) -> Result<Subject, Error> {
    let directory = scene.isolation.directory(["a", "b"][number])?;
    let daemon = Daemon::start(&directory, &scene.options(number, programs))?;
    Subject::new(name, daemon, &scene.isolation).await
}

fn print(subjects: &[Subject], floors: &[u128]) {
    let names: Vec<&str> = subjects.iter().map(|subject| subject.name).collect();
    println!(
        "\n| ms, p50 (p90) | {} | this build / base (95 of 100 draws) | |\n|---|{}---:|---|",
        names.join(" | "),
        "---:|".repeat(names.len())
    );
    for (index, step) in STEPS.iter().enumerate() {
        let cells: Vec<String> = subjects.iter().map(|subject| cell(&subject.times[index])).collect();
        let verdict = match subjects {
            [this, base] => Verdict::of(&this.times[index], &base.times[index]).told(),
            _ => "| ".to_owned(),
        };
        println!("| {step} | {} | {verdict} |", cells.join(" | "));
    }
    let ratios: Vec<String> = subjects
        .iter()
        .map(|subject| format!("{:.2}x", percentile(&subject.times[POD_START], 50) / percentile(floors, 50)))
        .collect();
    println!("| pod start / floor ({} ms) | {} | | |", cell(floors), ratios.join(" | "));
}

pub(crate) fn cell(times: &[u128]) -> String {
    format!("{:.2} ({:.2})", percentile(times, 50), percentile(times, 90))
}

/// The ratio of two medians, and between what 95 of 100 draws from the same times lie (a bootstrap).
pub(crate) struct Verdict {
    ratio: f64,
    low: f64,
    high: f64,
}

impl Verdict {
    pub(crate) fn of(this: &[u128], base: &[u128]) -> Self {
        // Of no quality that matters here, and the same in every run.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut draw = |times: &[u128]| -> Vec<u128> {
            let one = |_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                times[usize::try_from(state % times.len().max(1) as u64).unwrap_or(0)]
            };
            (0..times.len()).map(one).collect()
        };
        let mut ratios: Vec<f64> =
            (0..DRAWS).map(|_| percentile(&draw(this), 50) / percentile(&draw(base), 50)).collect();
        ratios.sort_by(f64::total_cmp);
        let ratio = percentile(this, 50) / percentile(base, 50);
        let at = |share: usize| ratios.get(DRAWS * share / 1000).copied().unwrap_or(ratio);
        Self { ratio, low: at(25), high: at(975) }
    }

    pub(crate) fn told(&self) -> String {
        let Self { ratio, low, high } = self;
        let words = match () {
            () if *high < 1.0 => "faster",
            () if *low > 1.0 => "slower",
            () => "no difference shown",
        };
        format!("{ratio:.3} ({low:.3} to {high:.3}) | {words}")
    }
}
