//! The tables that the benchmark prints.

use crate::figures::percentile;
use crate::subject::{POD_START, Parallel, STEPS, Subject};
use e2e::Error;
use std::path::Path;

/// How many times slower than the floor containerd with runc must at least be for the run to say anything.
const VALID: f64 = 25.0;

/// A row of the second table: its name, its value, and whether more is better.
type Part = (&'static str, fn(&Parallel) -> f64, bool);

fn head(title: &str, names: &[String]) {
    println!("\n| {title} | {} |", names.join(" | "));
    println!("|---|{}", "---:|".repeat(names.len()));
}

/// Prints all tables; Corten's columns come first, the peer's last.
pub(crate) fn print(subjects: &[Subject], floor: &[u128], workers: usize, pods: usize) {
    let Some((peer, ours)) = subjects.split_last() else { return };
    let mut names: Vec<String> = subjects.iter().map(|subject| subject.name.to_owned()).collect();
    names.extend(ours.iter().map(|subject| format!("{} / {}", peer.name, subject.name)));
    head("ms, p50 (p90)", &names);
    for (index, step) in STEPS.iter().enumerate() {
        let p50 = |subject: &Subject| percentile(&subject.times[index], 50);
        let mut cells: Vec<String> = subjects
            .iter()
            .map(|subject| format!("{:.2} ({:.2})", p50(subject), percentile(&subject.times[index], 90)))
            .collect();
        cells.extend(ours.iter().map(|subject| format!("{:.1}x", p50(peer) / p50(subject))));
        println!("| {step} | {} |", cells.join(" | "));
    }
    let floor_p50 = percentile(floor, 50);
    let mut cells: Vec<String> = subjects
        .iter()
        .map(|subject| format!("{:.2}x", percentile(&subject.times[POD_START], 50) / floor_p50))
        .collect();
    cells.extend(ours.iter().map(|_| String::new()));
    println!(
        "| pod start / floor ({floor_p50:.2} ({:.2}) ms) | {} |",
        percentile(floor, 90),
        cells.join(" | ")
    );

    head(&format!("{pods} pods, {workers} in parallel"), &names);
    let parts: [Part; 5] = [
        ("pods started a second", |part| part.starts, true),
        ("pods stopped and removed a second", |part| part.ends, true),
        ("ListContainerStats of all of them, ms p50", |part| part.stats, false),
        ("PSS a pod (shim and pause), KiB", |part| part.pod_pss, false),
        (
            "PSS of the daemon with the pods, KiB",
            |part| f64::from(u32::try_from(part.daemon_pss).unwrap_or(u32::MAX)),
            false,
        ),
    ];
    for (name, part, more_is_better) in parts {
        let value = |subject: &Subject| subject.parallel.as_ref().map_or(f64::NAN, part);
        row(name, subjects, value, more_is_better);
    }
    let idle = |subject: &Subject| f64::from(u32::try_from(subject.idle_pss).unwrap_or(u32::MAX));
    row("PSS of the idle daemon, KiB", subjects, idle, false);
}

fn row(name: &str, subjects: &[Subject], value: impl Fn(&Subject) -> f64, more: bool) {
    let Some((peer, ours)) = subjects.split_last() else { return };
    let mut cells: Vec<String> = subjects.iter().map(|subject| format!("{:.1}", value(subject))).collect();
    cells.extend(ours.iter().map(|subject| {
        let ratio = value(peer) / value(subject);
        format!("{:.1}x", if more { 1.0 / ratio } else { ratio })
    }));
    println!("| {name} | {} |", cells.join(" | "));
}

/// Prints how large the installed programs are.
pub(crate) fn print_sizes(dist: &Path) {
    let size = |name: &str| Some(format!("{name} {}", std::fs::metadata(dist.join(name)).ok()?.len()));
    let names = ["corten", "corten-shim", "corten-pause", "corten-oci"];
    println!("Bytes: {}", names.into_iter().filter_map(size).collect::<Vec<_>>().join(", "));
}

/// Prints where Corten's time goes, as it counts itself.
pub(crate) fn print_stages(text: &str) {
    let sums = samples(text, "corten_pod_stage_seconds_sum");
    let counts = samples(text, "corten_pod_stage_seconds_count");
    if sums.is_empty() {
        println!("\nCorten exports no times of its stages.");
        return;
    }
    head("Corten's stages, in process", &["mean ms".to_owned(), "times".to_owned()]);
    for (stage, sum) in sums {
        let count = counts.iter().find(|(name, _)| *name == stage).map_or(0.0, |(_, count)| *count);
        println!("| {stage} | {:.3} | {count} |", sum * 1e3 / count.max(1.0));
    }
}

/// The samples of a metric: the text between the braces, and the value.
fn samples(text: &str, metric: &str) -> Vec<(String, f64)> {
    text.lines()
        .filter_map(|line| line.strip_prefix(metric)?.strip_prefix('{'))
        .filter_map(|rest| {
            let (labels, value) = rest.rsplit_once("} ")?;
            Some((labels.replace("stage=", "").replace('"', ""), value.trim().parse().ok()?))
        })
        .collect()
}

/// Whether the run says anything: the floor must lie far enough below the peer.
///
/// # Errors
/// When it does not.
pub(crate) fn judge(subjects: &[Subject], floor: &[u128]) -> Result<(), Error> {
    let Some(peer) = subjects.last() else { return Ok(()) };
    let (peer, floor) = (percentile(&peer.times[POD_START], 50), percentile(floor, 50));
    println!(
        "\nThe floor is 1/{:.1} of the peer's pod start (1/{VALID} or less makes the run valid).",
        peer / floor
    );
    if floor * VALID > peer {
        let reason = format!("the floor is {floor:.2} ms, more than 1/{VALID} of the peer's {peer:.2} ms");
        return Err(Error::Invalid { reason });
    }
    Ok(())
}
