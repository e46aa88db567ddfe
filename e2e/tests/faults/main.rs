//! Faults of the catalogue that no other scenario carries out, each named by its number: the daemon dead for long, killed
//! in the middle of a stop, init processes that somebody kills, process ids that are taken again, a daemon without
//! descriptors, crowds of exits and of commands, logs that are cut while they are flooded, clocks that jump,
//! the loss of power.
//!
//! `docs/reliability.md` says for every fault which test it is, and is held to it here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::large_futures)]

mod boot;
mod clock;
mod crowds;
mod dead;
mod floods;
mod power;
mod shortage;

use e2e::client::Cri;
use e2e::pods::shell;
use e2e::proto::{ContainerConfig, PodSandboxConfig};
use e2e::runtime::{Kind, Options};
use e2e::world::{BUSYBOX, World};
use std::time::Duration;

/// Nothing here takes longer, unless it never comes.
const SOON: Duration = Duration::from_secs(60);

/// A world on Corten: what is promised here the peer does not promise.
fn world() -> Option<World> {
    world_with(|options| options)
}

fn world_with(change: impl FnOnce(Options) -> Options) -> Option<World> {
    let world = World::with(change).unwrap()?;
    if world.daemon.kind() == Kind::Corten {
        return Some(world);
    }
    need::skip(need::Need::Corten, "Corten's own promise");
    None
}

/// A container without limits.
fn unlimited(name: &str, script: &str) -> ContainerConfig {
    let mut config = shell(name, BUSYBOX, script);
    config.linux.as_mut().unwrap().resources = None;
    config
}

/// A pod with a container that runs; their ids.
async fn running(cri: &Cri, pod: &PodSandboxConfig, container: &ContainerConfig) -> (String, String) {
    cri.pull(BUSYBOX, None).await.unwrap();
    let pod_id = cri.run_pod(pod).await.unwrap();
    let id = cri.create(&pod_id, container, pod).await.unwrap();
    cri.start(&id).await.unwrap();
    (pod_id, id)
}

/// The process of a container, as the host sees it.
async fn pid_of(cri: &Cri, id: &str) -> i32 {
    i32::try_from(cri.container_info(id).await.unwrap()["pid"].as_i64().unwrap()).unwrap()
}

/// The rows of a list: number, and the files with the tests that are named in them.
fn rows(list: &str) -> impl Iterator<Item = (&str, Vec<(&str, &str)>)> {
    list.lines().filter_map(|line| {
        let [_, numbers, _, tests, _] = line.split('|').collect::<Vec<_>>().try_into().ok()?;
        let named = tests.split(';').flat_map(|part| {
            let mut quoted = part.split('`').skip(1).step_by(2);
            let file = quoted.next().unwrap_or_default();
            quoted.map(move |test| (file, test)).collect::<Vec<_>>()
        });
        Some((numbers.trim(), named.collect()))
    })
}

#[test]
fn every_number_of_the_catalogue_is_told_and_every_test_that_is_named_is_there() {
    let root = e2e::tools::repository();
    let list = std::fs::read_to_string(root.join("docs/reliability.md")).unwrap();
    let mut named = 0;
    let is_number = |numbers: &str| {
        numbers.starts_with(['F', 'S', 'A']) && numbers.ends_with(|end: char| end.is_ascii_digit())
    };
    for (numbers, tests) in rows(&list).filter(|(numbers, _)| is_number(numbers)) {
        assert!(!tests.is_empty(), "{numbers} has no test");
        for (file, test) in tests {
            let code = std::fs::read_to_string(root.join(file))
                .unwrap_or_else(|error| panic!("{numbers}: {file}: {error}"));
            assert!(code.contains(&format!("fn {test}(")), "{numbers}: {file} has no {test}");
            named += 1;
        }
    }
    assert!(named > 100, "{named}");
    let words: Vec<&str> = list.split(|letter: char| !letter.is_ascii_alphanumeric()).collect();
    for (kind, last) in [('F', 24), ('S', 25), ('A', 10)] {
        for number in 1..=last {
            assert!(words.contains(&format!("{kind}{number}").as_str()), "{kind}{number} is not told of");
        }
    }
}
