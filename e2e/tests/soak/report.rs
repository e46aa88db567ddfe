//! What is told of a run.

use crate::node::{Node, lock};
use crate::watch::{FIGURES, Seen};
use e2e::error::Error;
use std::fmt::Write;
use std::time::Duration;

/// How much more there may be of something in the last third, and how much of anything does not count.
const STEEP: f64 = 1.3;
const LITTLE: f64 = 40.0;
/// What is too short tells nothing of slopes.
const LONG: Duration = Duration::from_secs(600);

/// So much slower commands may be while something is wrong with the node (I6), and how many there must be of either kind:
/// of fewer the slowest hundredth is one or two.
const SLOWER: f64 = 2.0;
const MANY: usize = 1000;

/// Mean figures of the first and the last third.
fn thirds(seen: &Seen) -> Vec<(&'static str, f64, f64)> {
    let samples = lock(&seen.samples);
    let end = samples.last().map_or(Duration::ZERO, |(at, _)| *at);
    let mean = |figure: usize, from: Duration, to: Duration| {
        let of = samples.iter().filter(|(at, _)| *at >= from && *at <= to);
        let values: Vec<u64> = of.filter_map(|(_, figures)| figures[figure]).collect();
        let sum = values.iter().sum::<u64>() as f64;
        let count = values.len().max(1) as f64;
        sum / count
    };
    let row = |(at, name): (usize, &&'static str)| {
        (*name, mean(at, Duration::ZERO, end / 3), mean(at, end * 2 / 3, end))
    };
    FIGURES.iter().enumerate().map(row).collect()
}

/// What only one of a hundred commands exceeds.
fn percentile(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len().saturating_sub(1) * 99 / 100).copied().unwrap_or_default()
}

/// How long commands took while something was wrong with the node, or nothing.
fn commands(seen: &Seen, bad: bool) -> Vec<Duration> {
    let commands = lock(&seen.commands);
    commands.iter().filter(|(_, was_bad)| *was_bad == bad).map(|(time, _)| *time).collect()
}

/// Whether a pod that nobody touches was as fast as ever while something was wrong (I6), where there is enough to tell.
pub(crate) fn others_are_as_fast(node: &Node, seen: &Seen) -> Result<(), Error> {
    let [well, wrong] = [false, true].map(|bad| commands(seen, bad));
    if well.len().min(wrong.len()) < MANY {
        return Ok(());
    }
    let [well, wrong] = [well, wrong].map(percentile);
    let allowed = well.mul_f64(SLOWER) + 3 * node.stall.worst();
    let outcome = if wrong <= allowed {
        Ok(())
    } else {
        let seen = format!("{wrong:?} while something was wrong, {well:?} while nothing was");
        Err(Error::Unexpected { what: "the slowest hundredth of commands elsewhere (I6)", seen })
    };
    node.holds("I6", outcome)
}

/// The table.
pub(crate) fn table(node: &Node, seen: &Seen, took: Duration, rest: &[String]) -> String {
    let mut text = format!("seed {}; {:.0} s\n", node.seed, took.as_secs_f64());
    let counts = node.counts();
    let of = |begins: &str| {
        counts.iter().filter(|(name, _)| name.starts_with(begins)).map(|(_, count)| count).sum::<u64>()
    };
    let is_operation =
        |name: &str| !["checks of ", "faults: ", "requests that"].iter().any(|other| name.starts_with(other));
    let operations: u64 = counts.iter().filter(|(name, _)| is_operation(name)).map(|(_, count)| count).sum();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{operations} operations, {} faults, {} checks", of("faults: "), of("checks of "));
    for (name, count) in &counts {
        let _ = writeln!(text, "  {count:>8} {name}");
    }
    for line in rest {
        let _ = writeln!(text, "{line}");
    }
    let [well, wrong] = [false, true].map(|bad| percentile(commands(seen, bad)));
    let _ = writeln!(
        text,
        "a command in a pod that nobody touches, 99th percentile: {well:?} while all is well, {wrong:?} while something is \
         wrong",
    );
    if lock(&seen.samples).is_empty() {
        return text;
    }
    let _ = writeln!(text, "{:<24} {:>12} {:>12}", "mean of", "first third", "last third");
    // A daemon that never lives for long has no figures.
    for (name, first, last) in thirds(seen).into_iter().filter(|(_, first, last)| first.min(*last) > 0.0) {
        let _ = writeln!(text, "{name:<24} {first:>12.1} {last:>12.1}");
    }
    text
}

/// Whether something has grown all the time.
pub(crate) fn slopes_are_flat(seen: &Seen, took: Duration) -> Result<(), Error> {
    let steep = |(_, first, last): &(&str, f64, f64)| *last > first * STEEP + LITTLE;
    match thirds(seen).into_iter().find(steep) {
        Some((name, first, last)) if took >= LONG => {
            Err(Error::Unexpected { what: "a slope", seen: format!("{name}: {first:.1}, then {last:.1}") })
        }
        _ => Ok(()),
    }
}
