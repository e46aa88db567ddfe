//! Settings that change while the engine runs.

use super::{World, pod};
use crate::supervisor::fake::{Act, Gate, Verb};
use crate::{EngineError, HandlerKind, HandlerSettings, Settings};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Another name of the native handler.
fn extra() -> HandlerSettings {
    HandlerSettings {
        kind: HandlerKind::Native,
        binary: PathBuf::new(),
        root: PathBuf::new(),
        args: Vec::new(),
        rlimits: BTreeMap::new(),
        privileged_without_host_devices: false,
        privileged_without_host_devices_all_devices_allowed: false,
    }
}

fn world() -> World {
    World::with(|settings, _| drop(settings.handlers.insert("extra".to_owned(), extra())))
}

fn changed(world: &World, change: impl FnOnce(&mut Settings)) -> Result<(), EngineError> {
    let mut settings = world.settings.clone();
    change(&mut settings);
    world.on(world.engine().reconfigure(settings))
}

fn by(world: &World, name: &str, handler: &str) -> Result<String, EngineError> {
    let made = world.on(world.engine().pods().run_pod(pod(name), handler.to_owned()));
    made.map(|id| id.as_str().to_owned())
}

fn limits(world: &World, container: &str) -> Vec<(u32, u64, u64)> {
    world.node.plan(container).unwrap().process.rlimits
}

#[test]
fn what_begins_after_a_change_goes_by_it_and_what_is_there_stays() {
    let world = world();
    let pod = world.pod("web");
    let before = world.running(&pod, "before");
    changed(&world, |settings| {
        settings.rlimits = BTreeMap::from([("core".to_owned(), "7".to_owned())]);
        settings.exec_output_limit = 4096;
        settings.exec_drain_ms = 11;
    })
    .unwrap();
    let after = world.running(&pod, "after");
    assert!(limits(&world, &after).iter().any(|limit| (limit.1, limit.2) == (7, 7)));
    assert!(!limits(&world, &before).iter().any(|limit| (limit.1, limit.2) == (7, 7)));
    // A command begins now, in whichever container.
    world.on(world.engine().containers().exec_sync(&before, super::command("true"), None)).unwrap();
    let plan = world.node.commands().pop().unwrap();
    assert_eq!((plan.output_cap, plan.drain_ms), (4096, 11));
}

#[test]
fn settings_that_make_no_sense_change_nothing() {
    let world = world();
    let refused = changed(&world, |settings| {
        settings.exec_output_limit = 4096;
        settings.default_capabilities = vec!["FLY".to_owned()];
    });
    assert!(crate::chain(&refused.unwrap_err()).contains("runtime.default_capabilities"));
    let id = world.running(&world.pod("web"), "app");
    world.on(world.engine().containers().exec_sync(&id, super::command("true"), None)).unwrap();
    assert_eq!(world.node.commands().pop().unwrap().output_cap, world.settings.exec_output_limit);
}

#[test]
fn a_handler_comes_at_once_and_goes_once_no_pod_needs_it() {
    let mut world = world();
    let refused = by(&world, "early", "late").unwrap_err();
    assert!(matches!(refused, EngineError::UnknownHandler { .. }), "{refused}");
    let with_late = |settings: &mut Settings| drop(settings.handlers.insert("late".to_owned(), extra()));
    changed(&world, with_late).unwrap();
    let (own, late) = (by(&world, "own", "extra").unwrap(), by(&world, "late", "late").unwrap());
    for (gone, pod) in [("extra", own), ("late", late)] {
        let refused = changed(&world, |settings| {
            with_late(settings);
            settings.handlers.remove(gone);
        });
        let said = crate::chain(&refused.unwrap_err());
        assert!(said.contains(&format!("handlers.{gone}")) && said.contains("1 pod runs by it"), "{said}");
        // It may not become another one either.
        let refused = changed(&world, |settings| {
            with_late(settings);
            settings.handlers.get_mut(gone).unwrap().root = "/elsewhere".into();
        });
        assert!(refused.is_err());
        world.on(world.engine().pods().remove_pod(&pod)).unwrap();
    }
    // What their runtimes have left goes with them, where that is nothing.
    let kept = world.path("state/handlers");
    for name in ["extra", "late", "late/of-somebody"] {
        std::fs::create_dir_all(kept.join(name)).unwrap();
    }
    changed(&world, |settings| settings.handlers.clear()).unwrap();
    assert!(!kept.join("extra").exists() && kept.join("late/of-somebody").exists());
    std::fs::remove_dir(kept.join("late/of-somebody")).unwrap();
    world.restart();
    // The world's own handler is configured again.
    assert!(!kept.join("late").exists());
    changed(&world, |settings| settings.handlers.clear()).unwrap();
    for name in ["extra", "late"] {
        assert!(by(&world, "again", name).is_err());
    }
    by(&world, "native", "").unwrap();
}

#[test]
fn a_handler_does_not_go_while_a_pod_begins_by_it() {
    let world = world();
    let gate = Gate::new();
    world.node.on(Verb::Sandbox, Act::Late(gate.clone()));
    let engine = world.engine();
    let beginning = world.spawn(async move { engine.pods().run_pod(pod("slow"), "extra".to_owned()).await });
    world.on(gate.reached());
    let refused = changed(&world, |settings| settings.handlers.clear());
    assert!(crate::chain(&refused.unwrap_err()).contains("handlers.extra"));
    gate.open();
    world.on(beginning).unwrap().unwrap();
}

#[test]
fn a_pod_that_begins_goes_by_the_settings_that_it_was_checked_by() {
    let world = world();
    let parameter = |value: &str| BTreeMap::from([("kernel.shm_rmid_forced".to_owned(), value.to_owned())]);
    changed(&world, |settings| settings.default_sysctls = parameter("0")).unwrap();
    let gate = Gate::new();
    world.node.on(Verb::Connect, Act::Wait(gate.clone()));
    let engine = world.engine();
    let beginning = world.spawn(async move { engine.pods().run_pod(pod("slow"), String::new()).await });
    world.on(gate.reached());
    changed(&world, |settings| settings.default_sysctls = parameter("1")).unwrap();
    gate.open();
    let slow = world.on(beginning).unwrap().unwrap();
    let written = |pod: &str| world.node.sandbox(pod).unwrap().sysctls;
    assert_eq!(written(slow.as_str()), [(b"kernel.shm_rmid_forced".to_vec(), b"0".to_vec())]);
    assert_eq!(written(&world.pod("next")), [(b"kernel.shm_rmid_forced".to_vec(), b"1".to_vec())]);
}

#[test]
fn the_default_handler_is_that_of_the_start() {
    let world = world();
    changed(&world, |settings| settings.default_handler = "extra".to_owned()).unwrap();
    changed(&world, |settings| settings.handlers.clear()).unwrap();
    by(&world, "native", "").unwrap();
}
