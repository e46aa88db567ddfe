//! What plugins are told, and what they change.

use super::*;
use crate::api::{
    ConfigureRequest, ContainerAdjustment, CreateContainerRequest, CreateContainerResponse, Hooks, KeyValue,
    LinuxContainerAdjustment, LinuxContainerUpdate, LinuxCpu, LinuxResources, StateChangeEvent,
    SynchronizeResponse, UpdateContainerResponse, UpdateContainersRequest,
    ValidateContainerAdjustmentRequest, ValidateContainerAdjustmentResponse,
};
use crate::testing::{Call, answer, refusal};
use crate::ttrpc::code;

fn update(id: &str, cpus: &str) -> ContainerUpdate {
    let cpu = Some(LinuxCpu { cpus: cpus.to_owned(), ..LinuxCpu::default() });
    let resources = Some(LinuxResources { cpu, ..LinuxResources::default() });
    let (container_id, linux) = (id.to_owned(), Some(LinuxContainerUpdate { resources }));
    ContainerUpdate { container_id, linux, ignore_failure: false }
}

fn variable(key: &str, value: &str) -> CreateContainerResponse {
    let env = vec![KeyValue { key: key.to_owned(), value: value.to_owned() }];
    let adjust = Some(ContainerAdjustment { env, ..ContainerAdjustment::default() });
    CreateContainerResponse { adjust, ..CreateContainerResponse::default() }
}

#[tokio::test]
async fn a_plugin_is_told_of_everything_in_order() {
    let stage = Stage::new(|settings| "v1".clone_into(&mut settings.runtime_version));
    let plugin = stage.join(Manner::new("10", "all")).await;
    let configured: ConfigureRequest = plugin.calls()[0].argument();
    assert_eq!((configured.runtime_name.as_str(), configured.runtime_version.as_str()), ("corten", "v1"));
    assert_eq!((configured.registration_timeout, configured.request_timeout), (5000, 2000));
    let it = || container("c", ContainerState::ContainerRunning);
    stage.nri.section(Event::RunPodSandbox).run_pod(pod()).await.unwrap();
    stage.create("c", Duration::ZERO).await.unwrap();
    let mut section = stage.nri.section(Event::StartContainer);
    section.start_container(pod(), it()).await.unwrap();
    section.post(Event::PostStartContainer, pod(), it()).await.unwrap();
    let mut section = stage.nri.section(Event::UpdateContainer);
    section.update_container(pod(), it(), LinuxResources::default()).await.unwrap();
    section.post(Event::PostUpdateContainer, pod(), it()).await.unwrap();
    let mut section = stage.nri.section(Event::UpdatePodSandbox);
    section.update_pod(pod(), LinuxResources::default(), LinuxResources::default()).await.unwrap();
    section.post_update_pod(pod()).await.unwrap();
    stage.nri.section(Event::StopContainer).stop_container(pod(), it()).await.unwrap();
    stage.nri.section(Event::RemoveContainer).remove_container(pod(), it()).await.unwrap();
    stage.nri.section(Event::StopPodSandbox).stop_pod(pod()).await.unwrap();
    stage.nri.section(Event::RemovePodSandbox).remove_pod(pod()).await.unwrap();
    stage.nri.shutdown().await;
    let expected = events(&[
        ("RunPodSandbox", POD),
        ("CreateContainer", "c"),
        ("ValidateContainerAdjustment", "c"),
        ("PostCreateContainer", "c"),
        ("StartContainer", "c"),
        ("PostStartContainer", "c"),
        ("UpdateContainer", "c"),
        ("PostUpdateContainer", "c"),
        ("UpdatePodSandbox", POD),
        ("PostUpdatePodSandbox", POD),
        ("StopContainer", "c"),
        ("RemoveContainer", "c"),
        ("StopPodSandbox", POD),
        ("RemovePodSandbox", POD),
        ("Shutdown", ""),
    ]);
    assert_eq!(plugin.events(), expected);
}

#[tokio::test]
async fn plugins_are_asked_by_index_and_see_what_others_changed() {
    let stage = Stage::new(|_| {});
    let manner = |index, name, key: &'static str| {
        Manner::new(index, name)
            .wanting(&[Event::CreateContainer])
            .answering(move |call| (call.method == "CreateContainer").then(|| answer(&variable(key, "1"))))
    };
    let second = stage.join(manner("20", "second", "B")).await;
    let first = stage.join(manner("10", "first", "A")).await;
    let created = stage.create("c", Duration::ZERO).await.unwrap().unwrap();
    let keys: Vec<_> = created.adjustment.env.iter().map(|pair| pair.key.as_str()).collect();
    assert_eq!(keys, ["A", "B"]);
    let seen = |plugin: &Plugin| {
        let request: CreateContainerRequest = plugin.calls().last().unwrap().argument();
        request.container.unwrap().env
    };
    assert_eq!((seen(&first), seen(&second)), (vec![], vec!["A=1".to_owned()]));
    let names: Vec<_> = stage.nri.plugins().into_iter().map(|plugin| plugin.name).collect();
    assert_eq!(names, ["10-first", "20-second"]);
    let third = stage.join(manner("30", "third", "A")).await;
    let error = stage.create("d", Duration::ZERO).await.unwrap_err().to_string();
    assert!(error.contains("10-first") && error.contains("30-third"), "{error}");
    drop(third);
}

#[tokio::test]
async fn nobody_is_asked_who_did_not_subscribe() {
    let stage = Stage::new(|_| {});
    assert!(stage.nri.section(Event::CreateContainer).is_idle());
    let plugin = stage.join(Manner::new("10", "few").wanting(&[Event::PostCreateContainer])).await;
    let section = stage.nri.section(Event::CreateContainer);
    assert!(!section.is_idle() && section.wants(Event::PostCreateContainer));
    assert!(!section.wants(Event::CreateContainer));
    drop(section);
    stage.create("c", Duration::ZERO).await.unwrap();
    assert_eq!(plugin.events(), events(&[("PostCreateContainer", "c")]));
    drop(plugin);
    stage.until_alone().await;
    assert!(stage.nri.section(Event::CreateContainer).is_idle());
}

#[tokio::test]
async fn a_plugin_without_a_method_gets_the_general_event() {
    let stage = Stage::new(|_| {});
    let old = ["RunPodSandbox", "StartContainer", "PostCreateContainer"];
    let manner = Manner::new("10", "old").answering(move |call| {
        old.contains(&call.method.as_str()).then(|| refusal(code::UNIMPLEMENTED, "no such method"))
    });
    let plugin = stage.join(manner).await;
    for _ in 0..2 {
        stage.nri.section(Event::RunPodSandbox).run_pod(pod()).await.unwrap();
        let it = container("c", ContainerState::ContainerCreated);
        stage.nri.section(Event::StartContainer).start_container(pod(), it).await.unwrap();
    }
    let told: Vec<StateChangeEvent> =
        plugin.calls().iter().filter(|call| call.method == "StateChange").map(Call::argument).collect();
    let kinds: Vec<_> = told.iter().map(StateChangeEvent::event).collect();
    let (run, start) = (Event::RunPodSandbox, Event::StartContainer);
    assert_eq!(kinds, [run, start, run, start]);
    assert_eq!(told[1].container.as_ref().unwrap().id, "c");
    // It is asked once whether it has the method.
    assert_eq!(plugin.events().iter().filter(|(method, _)| method == "RunPodSandbox").count(), 1);
}

#[tokio::test]
async fn plugins_change_containers_at_any_time() {
    let stage = Stage::new(|_| {});
    let manner = Manner::new("10", "changes").answering(|call| match call.method.as_str() {
        "Synchronize" => Some(answer(&SynchronizeResponse { update: vec![update("a", "0")], more: false })),
        "UpdateContainer" => {
            let update = vec![update("c", "1"), update("other", "2")];
            Some(answer(&UpdateContainerResponse { update, evict: Vec::new() }))
        }
        _ => None,
    });
    let plugin = stage.join(manner).await;
    stage.until(|| stage.world.updates.lock().unwrap().len() == 1).await;
    let request = UpdateContainersRequest {
        update: vec![update("b", "3"), update("missing", "3")],
        evict: vec![ContainerEviction { container_id: "bad".to_owned(), reason: "it is bad".to_owned() }],
    };
    let failed = plugin.update(&request).await.unwrap().failed;
    assert_eq!(failed, [update("missing", "3")]);
    let updates = stage.world.updates.lock().unwrap().clone();
    let by = |id: &str, cpus: &str| ("10-changes".to_owned(), update(id, cpus));
    assert_eq!(updates, [by("a", "0"), by("b", "3")]);
    assert_eq!(*stage.world.evictions.lock().unwrap(), ["bad"]);
    let it = container("c", ContainerState::ContainerRunning);
    let mut section = stage.nri.section(Event::UpdateContainer);
    let (limits, others) = section.update_container(pod(), it, LinuxResources::default()).await.unwrap();
    assert_eq!(limits.cpu.unwrap().cpus, "1");
    assert_eq!(others.updates, [update("other", "2")]);
}

#[tokio::test]
async fn a_validator_sees_everything_and_may_reject() {
    let stage = Stage::new(|_| {});
    let adjuster = Manner::new("10", "adjuster").wanting(&[Event::CreateContainer]);
    let _adjuster = stage
        .join(
            adjuster
                .answering(|call| (call.method == "CreateContainer").then(|| answer(&variable("A", "1")))),
        )
        .await;
    let validator = Manner::new("90", "judge").wanting(&[Event::ValidateContainerAdjustment]);
    let judge = stage
        .join(validator.answering(|call| {
            let verdict = ValidateContainerAdjustmentResponse {
                reject: call.container() == "bad",
                reason: "for a reason".to_owned(),
            };
            (call.method == "ValidateContainerAdjustment").then(|| answer(&verdict))
        }))
        .await;
    stage.create("good", Duration::ZERO).await.unwrap();
    let request: ValidateContainerAdjustmentRequest = judge.calls().last().unwrap().argument();
    assert!(request.container.unwrap().env.is_empty());
    assert_eq!(request.adjust.unwrap().env[0].key, "A");
    assert!(
        request.owners.unwrap().owners["good"]
            .compound
            .values()
            .any(|field| field.owners["A"] == "10-adjuster")
    );
    let plugins: Vec<_> = request.plugins.iter().map(|plugin| plugin.name.as_str()).collect();
    assert_eq!(plugins, ["adjuster", "judge"]);
    let error = stage.create("bad", Duration::ZERO).await.unwrap_err().to_string();
    assert!(error.contains("90-judge") && error.contains("for a reason"), "{error}");
}

#[tokio::test]
async fn what_is_there_is_told_in_as_many_messages_as_it_takes() {
    let stage = Stage::new(|_| {});
    let large = |number: usize| {
        let annotations = [("big".to_owned(), "x".repeat(200_000))].into();
        Container { annotations, ..container(&format!("{number}"), ContainerState::ContainerRunning) }
    };
    stage.world.containers.lock().unwrap().extend((0..100).map(large));
    let plugin = stage.join(Manner::new("10", "many")).await;
    let (pods, containers) = plugin.synchronized();
    assert_eq!((pods, containers.len()), (vec![POD.to_owned()], 100));
    assert_eq!(containers, (0..100).map(|number| number.to_string()).collect::<Vec<_>>());
    assert!(plugin.calls().iter().filter(|call| call.method == "Synchronize").count() > 4);
    let small = Manner::new("20", "small").answering(|call| {
        (call.payload.len() > 2_000_000).then(|| refusal(code::RESOURCE_EXHAUSTED, "too large"))
    });
    let small = stage.join(small).await;
    let mut containers = small.synchronized().1;
    containers.dedup();
    assert!(containers.ends_with(&["99".to_owned()]));
    // One that does not take them in several gets nothing.
    let whole = Manner::new("30", "whole")
        .answering(|call| (call.method == "Synchronize").then(|| answer(&SynchronizeResponse::default())));
    let whole = Plugin::connect(&stage.socket, whole).await.unwrap();
    whole.ended().await;
    let names: Vec<_> = stage.nri.plugins().into_iter().map(|plugin| plugin.name).collect();
    assert_eq!(names, ["10-many", "20-small"]);
}

#[tokio::test]
async fn one_that_went_is_missed_with_its_figures_until_it_comes_back() {
    let stage = Stage::new(|settings| settings.request_timeout = Duration::from_millis(100));
    let hangs = stage.join(Manner::new("10", "hangs").hanging("CreateContainer")).await;
    stage.create("c", Duration::ZERO).await.unwrap();
    stage.until_alone().await;
    let [missed] = stage.nri.plugins().try_into().unwrap();
    assert!(!missed.connected && missed.name == "10-hangs" && missed.restarts == 0);
    let why = missed.absence.unwrap().why;
    assert!(why.contains("CreateContainer"), "{why}");
    let unanswered = |calls: &[crate::Calls]| calls.iter().map(|calls| calls.unanswered).sum::<u64>();
    assert_eq!(unanswered(&missed.calls), 1);
    drop(hangs);
    let _again = stage.join(Manner::new("10", "hangs")).await;
    let [back] = stage.nri.plugins().try_into().unwrap();
    assert!(back.connected && back.absence.is_none() && back.restarts == 1);
    assert_eq!(unanswered(&back.calls), 1);
}

#[tokio::test]
async fn a_reply_that_changes_nothing_is_not_counted_as_an_adjustment() {
    let stage = Stage::new(|_| {});
    let empty = || {
        let linux = LinuxContainerAdjustment {
            resources: Some(LinuxResources { cpu: Some(LinuxCpu::default()), ..LinuxResources::default() }),
            ..LinuxContainerAdjustment::default()
        };
        let hooks = Some(Hooks::default());
        ContainerAdjustment { linux: Some(linux), hooks, ..ContainerAdjustment::default() }
    };
    let manner = Manner::new("10", "silent").answering(move |call| match call.method.as_str() {
        "CreateContainer" => {
            let update = vec![update("other", "")];
            let adjust = Some(empty());
            Some(answer(&CreateContainerResponse { adjust, update, ..CreateContainerResponse::default() }))
        }
        _ => None,
    });
    let plugin = stage.join(manner).await;
    let _changes = stage
        .join(
            Manner::new("20", "changes")
                .answering(|call| (call.method == "CreateContainer").then(|| answer(&variable("A", "b")))),
        )
        .await;
    stage.create("c", Duration::ZERO).await.unwrap();
    let request = |updates| UpdateContainersRequest { update: updates, ..UpdateContainersRequest::default() };
    plugin.update(&request(Vec::new())).await.unwrap();
    plugin.update(&request(vec![update("c", "")])).await.unwrap();
    let adjusted = |name: &str| -> u64 {
        let plugins = stage.nri.plugins();
        let plugin = plugins.iter().find(|plugin| plugin.name == name).unwrap();
        plugin.calls.iter().map(|calls| calls.adjusted).sum()
    };
    assert_eq!((adjusted("10-silent"), adjusted("20-changes")), (0, 1));
    plugin.update(&request(vec![update("c", "0")])).await.unwrap();
    assert_eq!(adjusted("10-silent"), 1);
}
