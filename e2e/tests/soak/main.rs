//! The soak: pods live at random, and the node is broken at random, with a seed that decides the same again. The invariants
//! of `docs/reliability.md` are looked at all the time; the first breach ends it, and everything that tells of it is saved
//! below `target/evidence`.
//!
//! `CORTEN_SOAK_SEED`, `CORTEN_SOAK_MINUTES`, `CORTEN_SOAK_KILLS` and `CORTEN_SOAK_PODS` say how (`make soak`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::large_futures)]

mod chance;
mod container;
mod faults;
mod node;
mod plan;
mod plugin;
mod pod;
mod report;
mod rest;
mod stage;
mod streams;
mod watch;
mod weather;

use plan::Kinds;
use stage::Run;
use std::fmt::Debug;
use std::str::FromStr;
use std::time::Duration;

/// A number of the environment.
fn setting<T: FromStr<Err: Debug>>(name: &str) -> Option<T> {
    std::env::var(name).ok().filter(|text| !text.is_empty()).map(|text| text.parse().expect(name))
}

#[test]
fn whatever_breaks_at_random_the_node_goes_on() {
    let minutes = setting("CORTEN_SOAK_MINUTES").unwrap_or(1.0);
    let run = Run {
        name: "soak",
        kinds: Kinds::All,
        lasts: Duration::from_secs_f64(60.0 * minutes),
        kills: u64::MAX,
        pods: u64::MAX,
    };
    stage::play(&run);
}

#[test]
fn kills_at_random_moments_lose_nothing() {
    let kills = setting("CORTEN_SOAK_KILLS").unwrap_or(60);
    let lasts = Duration::from_secs(3600);
    stage::play(&Run { name: "soak-kills", kinds: Kinds::Kills, lasts, kills, pods: u64::MAX });
}

#[test]
fn kills_during_the_recovery_of_kills_lose_nothing() {
    if !e2e::tools::failpoints().join("corten").exists() {
        return need::skip(need::Need::Tools, "e2e/failpoints.sh has not built target/failpoints");
    }
    let kills = setting("CORTEN_SOAK_KILLS").unwrap_or(40);
    stage::play(&Run {
        name: "soak-recovery",
        kinds: Kinds::Recoveries,
        lasts: Duration::from_secs(3600),
        kills,
        pods: u64::MAX,
    });
}

/// Pods that come and go, until there were so many.
fn many(name: &'static str, kinds: Kinds, pods: u64) {
    stage::play(&Run { name, kinds, lasts: Duration::from_secs(6 * 3600), kills: u64::MAX, pods });
}

#[test]
fn pods_one_after_the_other_leave_nothing_that_adds_up() {
    many("soak-many", Kinds::Many, setting("CORTEN_SOAK_PODS").unwrap_or(100));
}

#[test]
fn pods_one_after_the_other_leave_nothing_in_a_daemon_that_lives_on() {
    let Some(pods) = setting("CORTEN_SOAK_PODS") else {
        return need::skip(need::Need::Measurement, "it rests for minutes: make soak PODS=10000");
    };
    many("soak-many-of-one", Kinds::ManyOfOneDaemon, pods);
}
