//! What whoever asks why is told of a pod or container that waits.

use super::{World, networked};
use crate::supervisor::fake::{Act, Gate, Verb};
use net::Command;
use std::os::unix::fs::PermissionsExt;

/// Without what threads of this process, those of other tests among them, do on the disk at this moment.
fn lasting(waits: Vec<String>) -> Vec<String> {
    waits.into_iter().filter(|sentence| !sentence.contains(" is in state D, ")).collect()
}

/// Waits until one of the sentences has a part; it.
fn told(world: &World, waits: impl Fn() -> Vec<String>, part: &str) -> String {
    let mut found = String::new();
    world.until(part, || match waits().into_iter().find(|sentence| sentence.contains(part)) {
        Some(sentence) => {
            found = sentence;
            true
        }
        None => false,
    });
    found
}

#[test]
fn a_verb_that_waits_for_another_names_it_and_the_stage_that_it_is_in() {
    let world = World::new();
    let pod = world.pod("web");
    let id = world.container(&pod, "app");
    let waits = || world.engine().explain_container(&id).unwrap().waits;
    assert_eq!(lasting(waits()), [""; 0]);
    let gate = Gate::new();
    world.node.on(Verb::Start, Act::Wait(gate.clone()));
    let (engine, held) = (world.engine(), id.clone());
    let start = world.spawn(async move { engine.containers().start_container(&held).await });
    world.on(gate.reached());
    let sentence = told(&world, waits, &format!("StartContainer {id} for "));
    assert!(sentence.contains(", in "), "{sentence}");

    let (engine, held) = (world.engine(), id.clone());
    let remove = world.spawn(async move { engine.containers().remove_container(&held).await });
    let behind = format!("RemoveContainer waits for its turn behind StartContainer {id} for ");
    told(&world, waits, &behind);
    let of_pod = world.engine().explain_pod(&pod[..13]).unwrap();
    assert!(of_pod.waits.iter().any(|sentence| sentence.contains(&behind)), "{:?}", of_pod.waits);
    assert_eq!((of_pod.name.as_str(), of_pod.state.as_str()), ("test/web", "ready"));

    gate.open();
    world.on(start).unwrap().unwrap();
    world.on(remove).unwrap().unwrap();
    let gone = world.engine().explain_container(&id).unwrap();
    assert_eq!((gone.state.as_str(), gone.waits.as_slice()), ("gone", [].as_slice()));
    let verbs: Vec<&str> = gone.operations.iter().map(|one| one.verb.as_str()).collect();
    assert!(verbs.ends_with(&["StartContainer", "RemoveContainer"]), "{verbs:?}");
}

#[test]
fn a_pod_that_waits_for_its_network_says_so() {
    let world = World::new();
    world.network.hold(Command::Add);
    let engine = world.engine();
    let making = world.spawn(async move { engine.pods().run_pod(networked("web"), String::new()).await });
    let waits =
        || world.engine().explain_pod("test/web").map(|explained| explained.waits).unwrap_or_default();
    let sentence = told(&world, waits, "cni_add for ");
    assert!(sentence.starts_with("RunPodSandbox test/web"), "{sentence}");
    world.network.let_go(Command::Add);
    world.on(making).unwrap().unwrap();
    assert_eq!(lasting(world.engine().explain_pod("test/web").unwrap().waits), [""; 0]);
}

#[test]
fn a_plugin_that_executes_is_named_by_its_file_also_where_it_is_a_script() {
    let world = World::new();
    let pod = world.pod("web");
    let script = world.path("slow-plugin");
    std::fs::write(&script, "#!/bin/sh -e\nread -r line\n").unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    for program in [script.display().to_string(), "/bin/cat".to_owned()] {
        let mut plugin = std::process::Command::new(&program)
            .env("CNI_CONTAINERID", &pod)
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let sentence = format!("CNI plugin {program} executes (process {})", plugin.id());
        told(&world, || world.engine().explain_pod(&pod).unwrap().waits, &sentence);
        drop(plugin.stdin.take());
        plugin.wait().unwrap();
    }
    assert_eq!(lasting(world.engine().explain_pod(&pod).unwrap().waits), [""; 0]);
}

#[test]
fn names_do_as_they_do_elsewhere() {
    let world = World::new();
    let (web, other) = (world.pod("web"), world.pod("other"));
    let (id, _) = (world.container(&web, "app"), world.container(&other, "app"));
    let engine = world.engine();
    for named in ["web", "test/web", &web, &web[..13]] {
        assert_eq!(engine.explain_pod(named).unwrap().id, web, "{named}");
    }
    for named in ["web/app", "test/web/app", &id, &id[..13]] {
        assert_eq!(engine.explain_container(named).unwrap().id, id, "{named}");
    }
    let error = engine.explain_container("app").unwrap_err().to_string();
    assert!(error.contains(&format!("{id} (test/web/app)")) && error.contains("test/other/app"), "{error}");
    for named in ["", "eb", "st/web", "nobody"] {
        assert!(engine.explain_pod(named).is_err(), "{named}");
    }
    assert!(engine.explain_container("web/nobody").is_err());
}

#[test]
fn what_failed_says_why() {
    let world = World::new();
    world.network.fail(Command::Add, "no address is left");
    let engine = world.engine();
    let failure = world.on(engine.pods().run_pod(networked("web"), String::new())).unwrap_err();
    let gone = engine.explain_pod("web").unwrap();
    assert_eq!(gone.state, "gone");
    let told = gone.operations.last().unwrap().failure.clone().unwrap();
    assert!(told.starts_with(&failure.to_string()), "{told}");
}
