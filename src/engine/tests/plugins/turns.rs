//! Who waits for plugins, and what is undone when they do not agree.

use super::*;
use nri::api::ValidateContainerAdjustmentResponse;

#[test]
fn limits_that_cannot_be_set_are_told_with_who_wants_them() {
    let world = world();
    let engine = world.engine();
    let pod = world.pod("web");
    // Cgroups of this world have no such file by themselves.
    let (own, other) = (world.running(&pod, "own"), world.running(&pod, "other"));
    let by = own.clone();
    let manner = Manner::new("10", "limits").wanting(&[Event::UpdateContainer]).answering(move |call| {
        // Its own limits, or those of another.
        let update = vec![update(&by, 333)];
        (call.method == "UpdateContainer")
            .then(|| answer(&UpdateContainerResponse { update, evict: Vec::new() }))
    });
    let _plugin = join(&world, manner);
    let scored = || Resources { oom_score_adj: model::OomScore::new(5).unwrap(), ..Resources::default() };
    for id in [&own, &other] {
        let error = world.on(engine.containers().update_container(id, scored(), Default::default()));
        let error = crate::chain(&error.unwrap_err());
        assert!(error.starts_with(r#"as asked for by NRI plugin "10-limits": "#), "{error}");
    }
}

#[test]
fn nobody_waits_for_what_plugins_are_told_but_the_next_that_they_hear() {
    let world = patient(60_000);
    let engine = world.engine();
    let pod = world.pod("web");
    let (open, gate) = tokio::sync::watch::channel(false);
    let answers: nri::testing::Answers = std::sync::Arc::new(move |call| {
        let mut gate = gate.clone();
        Box::pin(async move {
            if call.method.starts_with("Post") {
                let _ = gate.wait_for(|open| *open).await;
            }
            None
        })
    });
    let plugin = join(&world, Manner { answers, ..Manner::new("10", "thinks") });
    // It is there before the plugin has answered that it knows.
    let id = world.container(&pod, "app");
    let methods = || told(&plugin).into_iter().map(|(method, _)| method).collect::<Vec<_>>();
    world.until("it is told", || methods().last().is_some_and(|last| last == "PostCreateContainer"));
    let (containers, started) = (engine.containers().clone(), id.clone());
    let starting = world.spawn(async move { containers.start_container(&started).await });
    // Another container is made meanwhile, and this one not started.
    world.container(&pod, "other");
    assert!(!methods().contains(&"StartContainer".to_owned()) && !starting.is_finished());
    open.send_replace(true);
    world.on(starting).unwrap().unwrap();
    world.node.exit(&id, 0);
    world.until("its end is told", || methods().contains(&"StopContainer".to_owned()));
    let of: Vec<String> =
        told(&plugin).into_iter().filter(|(_, of)| *of == id).map(|(method, _)| method).collect();
    let wanted = [
        "CreateContainer",
        "ValidateContainerAdjustment",
        "PostCreateContainer",
        "StartContainer",
        "PostStartContainer",
        "StopContainer",
    ];
    assert_eq!(of, wanted);
}

#[test]
fn a_container_that_a_validator_rejects_leaves_nothing() {
    let world = world();
    let pod = world.pod("web");
    let rejects = Manner::new("10", "rejects").answering(|call| {
        let verdict = ValidateContainerAdjustmentResponse { reject: true, reason: "not so".to_owned() };
        (call.method == "ValidateContainerAdjustment").then(|| answer(&verdict))
    });
    let plugin = join(&world, rejects);
    for _ in 0..3 {
        let error = world.try_container(&pod, "app").unwrap_err().to_string();
        assert!(error.contains("10-rejects") && error.contains("not so"), "{error}");
        assert!(told(&plugin).ends_with(&{
            let id = told(&plugin).last().unwrap().1.clone();
            ["StopContainer", "RemoveContainer"].map(|method| (method.to_owned(), id.clone()))
        }));
    }
    world.on(world.engine().pods().stop_pod(&pod)).unwrap();
    world.on(world.engine().pods().remove_pod(&pod)).unwrap();
    world.nothing_left();
}

#[test]
fn a_start_or_an_update_that_a_plugin_refuses_changes_nothing() {
    let world = world();
    let engine = world.engine();
    let refuses = Manner::new("10", "refuses").answering(|call| {
        matches!(call.method.as_str(), "StartContainer" | "UpdateContainer" | "UpdatePodSandbox")
            .then(|| refusal(2, "not here"))
    });
    let pod = world.pod("web");
    let running = world.running(&pod, "running");
    let file = share_file(&world, &running);
    let _plugin = join(&world, refuses);
    let id = world.container(&pod, "app");
    world.on(engine.containers().start_container(&id)).unwrap_err();
    assert_eq!(world.state(&id), "created");
    world.on(engine.containers().update_container(&running, shares(512), Default::default())).unwrap_err();
    assert_eq!(std::fs::read_to_string(file).unwrap(), "2");
    world.on(engine.pods().update_pod(&pod, None, None)).unwrap_err();
}
