//! Settings that make no sense, and those that do not fit the host.

use super::World;
use crate::{HandlerKind, HandlerSettings, Settings};
use std::collections::BTreeMap;
use std::path::Path;

fn handler(binary: &str) -> HandlerSettings {
    HandlerSettings {
        kind: HandlerKind::Oci,
        binary: binary.into(),
        root: Default::default(),
        args: Vec::new(),
        rlimits: BTreeMap::new(),
        privileged_without_host_devices: false,
        privileged_without_host_devices_all_devices_allowed: false,
    }
}

#[test]
fn what_makes_no_sense_is_refused_by_its_key() {
    assert_eq!(Settings::default().check(), []);
    let text = |pair: (&str, &str)| BTreeMap::from([(pair.0.to_owned(), pair.1.to_owned())]);
    let table = [
        (
            Settings { default_capabilities: vec!["NOSUCH".to_owned()], ..Settings::default() },
            "runtime.default_capabilities",
        ),
        (
            Settings { default_sysctls: text(("kernel.panic", "1")), ..Settings::default() },
            "runtime.default_sysctls",
        ),
        (Settings { rlimits: text(("nofile", "many")), ..Settings::default() }, "runtime.rlimits"),
        (Settings { default_handler: "gone".to_owned(), ..Settings::default() }, "runtime.default_handler"),
    ];
    for (settings, key) in table {
        let refused: Vec<String> = settings.check().into_iter().map(|problem| problem.key).collect();
        assert_eq!(refused, [key]);
    }
}

#[test]
fn what_does_not_fit_the_host_is_told_each_by_its_key() {
    let settings = Settings {
        shim: "/nowhere/shim".into(),
        pause: "/etc/passwd".into(),
        handlers: BTreeMap::from([("other".to_owned(), handler("/nowhere/runtime"))]),
        nri: crate::NriSettings {
            default_validator: crate::NriValidatorSettings {
                required_plugins: vec!["policy".to_owned()],
                ..Default::default()
            },
            ..Default::default()
        },
        ..Settings::default()
    };
    let told: Vec<String> = settings
        .check_host(Some(Path::new("/nowhere/data")))
        .into_iter()
        .map(|problem| format!("{} {}", problem.gravity == crate::Gravity::PreventsStart, problem.setting))
        .collect();
    let has = |fatal: bool, words: &[&str]| {
        let begins = |line: &&String| line.starts_with(&fatal.to_string());
        told.iter().filter(begins).any(|line| words.iter().all(|word| line.contains(word)))
    };
    assert!(has(false, &["runtime.shim", "/nowhere/shim"]), "{told:?}");
    assert!(has(false, &["runtime.pause", "/etc/passwd", "not an executable"]), "{told:?}");
    assert!(has(false, &["handlers.other.binary", "/nowhere/runtime"]), "{told:?}");
    assert!(has(false, &["nri.default_validator.required_plugins", "has no effect"]), "{told:?}");
}

#[test]
fn a_daemon_without_its_programs_keeps_the_pods_that_run_and_says_that_there_can_be_no_others() {
    let place = tempfile::tempdir().unwrap();
    let (shim, aside) = (place.path().join("shim"), place.path().join("aside"));
    std::fs::copy(std::env::current_exe().unwrap(), &shim).unwrap();
    let mut world = World::with(|settings, _| settings.shim = shim.clone());
    let id = world.running(&world.pod("web"), "app");
    let unfit =
        |world: &World| world.engine().status().unfit.map(|unfit| (unfit.reason(), unfit.to_string()));
    assert_eq!(unfit(&world), None);
    std::fs::rename(&shim, &aside).unwrap();
    let (reason, told) = unfit(&world).unwrap();
    assert!(reason == "ProgramMissing" && told.contains(shim.to_str().unwrap()), "{reason}: {told}");
    world.restart();
    assert_eq!(unfit(&world).unwrap().0, "ProgramMissing");
    assert_eq!(world.state(&id), "running");
    std::fs::rename(&aside, &shim).unwrap();
    assert_eq!(unfit(&world), None);
}
