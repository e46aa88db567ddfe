//! Plugins: what every verb asks and tells them, and what comes of what they want.

mod absent;
mod turns;

use super::World;
use crate::supervisor::fake::{Act, Verb};
use crate::{EngineError, NriSettings, Settings};
use model::{CpuShares, Resources};
use nri::api::{
    ContainerAdjustment, ContainerEviction, ContainerState, ContainerUpdate, CreateContainerResponse, Event,
    KeyValue, LinuxContainerUpdate, LinuxCpu, LinuxResources, OptionalUInt64, PosixRlimit,
    StopContainerResponse, SynchronizeRequest, UpdateContainerResponse, UpdateContainersRequest,
};
use nri::testing::{Call, Manner, Plugin, answer, refusal};
use std::path::PathBuf;
use std::time::Duration;

fn socket(world: &World) -> PathBuf {
    world.path("nri/nri.sock")
}

fn world() -> World {
    patient(NriSettings::default().plugin_request_timeout_ms)
}

/// One that lets plugins think for as long.
fn patient(plugin_request_timeout_ms: u64) -> World {
    World::with(move |settings, dir| {
        settings.nri = NriSettings {
            plugin_request_timeout_ms,
            socket_path: dir.join("nri/nri.sock"),
            plugin_path: dir.join("plugins"),
            plugin_config_path: dir.join("conf.d"),
            ..NriSettings::default()
        };
    })
}

fn join(world: &World, manner: Manner) -> Plugin {
    let name = format!("{}-{}", manner.index, manner.name);
    let plugin = world.on(Plugin::join(&socket(world), manner)).unwrap();
    world.until("it is connected", || {
        world.engine().plugins().iter().any(|one| one.name == name && one.connected)
    });
    plugin
}

/// Those that went are told for a while.
fn connected(engine: &crate::Engine) -> usize {
    engine.plugins().iter().filter(|one| one.connected).count()
}

fn told(plugin: &Plugin) -> Vec<(String, String)> {
    plugin.events()
}

fn are(events: &[(&str, &str)]) -> Vec<(String, String)> {
    events.iter().map(|(method, id)| ((*method).to_owned(), (*id).to_owned())).collect()
}

fn update(id: &str, shares: u64) -> ContainerUpdate {
    let cpu = LinuxCpu { shares: Some(OptionalUInt64 { value: shares }), ..LinuxCpu::default() };
    let resources = Some(LinuxResources { cpu: Some(cpu), ..LinuxResources::default() });
    let linux = Some(LinuxContainerUpdate { resources });
    ContainerUpdate { container_id: id.to_owned(), linux, ignore_failure: false }
}

fn shares(shares: i64) -> Resources {
    Resources { cpu_shares: CpuShares::new(shares).ok(), ..Resources::default() }
}

/// The file of a container's share of processors, which this world's cgroups do not have by themselves.
fn share_file(world: &World, container: &str) -> PathBuf {
    let all = super::directories(&world.path("cgroup"));
    let own = all.iter().find(|path| path.contains(container)).unwrap();
    let file = PathBuf::from(own).join("cpu.shares");
    std::fs::write(&file, "2").unwrap();
    file
}

#[test]
fn every_verb_asks_and_tells_in_its_order() {
    let world = world();
    let engine = world.engine();
    let plugin = join(&world, Manner::new("10", "sees"));
    let pod = world.pod("web");
    let id = world.running(&pod, "app");
    let change = Resources { oom_score_adj: model::OomScore::new(5).unwrap(), ..Resources::default() };
    world.on(engine.containers().update_container(&id, change, Default::default())).unwrap();
    // Its turn is among what is told of the container, not of the pod.
    let is_told = || told(&plugin).iter().any(|(method, _)| method == "PostUpdateContainer");
    world.until("the update is told", is_told);
    world.on(engine.pods().update_pod(&pod, None, None)).unwrap();
    world.node.exit(&id, 3);
    world.until("its end is told", || told(&plugin).iter().any(|(method, _)| method == "StopContainer"));
    // Nothing is told twice, whoever comes again.
    world.on(engine.containers().stop_container(&id, Duration::ZERO)).unwrap();
    world.on(engine.containers().remove_container(&id)).unwrap();
    let idle = world.container(&pod, "idle");
    for _ in 0..2 {
        world.on(engine.pods().stop_pod(&pod)).unwrap();
    }
    world.on(engine.pods().remove_pod(&pod)).unwrap();
    let made = |id: &'static str| {
        ["CreateContainer", "ValidateContainerAdjustment", "PostCreateContainer"].map(|method| (method, id))
    };
    let (pod, id, idle): (&'static str, &'static str, &'static str) = (pod.leak(), id.leak(), idle.leak());
    let mut expected = vec![("RunPodSandbox", pod)];
    expected.extend(made(id));
    expected.extend(["StartContainer", "PostStartContainer"].map(|method| (method, id)));
    expected.extend(["UpdateContainer", "PostUpdateContainer"].map(|method| (method, id)));
    expected.extend(["UpdatePodSandbox", "PostUpdatePodSandbox"].map(|method| (method, pod)));
    expected.extend(["StopContainer", "RemoveContainer"].map(|method| (method, id)));
    expected.extend(made(idle));
    expected.push(("StopContainer", idle));
    expected.push(("StopPodSandbox", pod));
    expected.push(("RemoveContainer", idle));
    expected.push(("RemovePodSandbox", pod));
    assert_eq!(told(&plugin), are(&expected));
    world.nothing_left();
}

fn adjusting(index: &str) -> Manner {
    let wanted = ContainerAdjustment {
        env: vec![KeyValue { key: format!("FROM_{index}"), value: "hello".to_owned() }],
        rlimits: vec![PosixRlimit { r#type: "RLIMIT_CORE".to_owned(), hard: 7, soft: 6 }],
        ..ContainerAdjustment::default()
    };
    Manner::new(index, "adjusts").answering(move |call| {
        let reply = CreateContainerResponse { adjust: Some(wanted.clone()), ..Default::default() };
        (call.method == "CreateContainer").then(|| answer(&reply))
    })
}

#[test]
fn what_a_plugin_wants_is_in_what_the_supervisor_gets() {
    let world = world();
    let _plugin = join(&world, adjusting("10"));
    let pod = world.pod("web");
    let id = world.container(&pod, "app");
    let process = world.node.plan(&id).unwrap().process;
    assert!(process.env.contains(&b"FROM_10=hello".to_vec()), "{:?}", process.env);
    assert!(process.rlimits.iter().any(|limit| (limit.1, limit.2) == (6, 7)), "{:?}", process.rlimits);
}

#[test]
fn a_create_that_fails_leaves_nothing_and_whoever_was_asked_hears_of_it() {
    let world = world();
    let engine = world.engine();
    let first = join(&world, adjusting("10"));
    let pod = world.pod("web");
    let before = told(&first).len();
    let gone = |id: &str| {
        let of = told(&first);
        let of: Vec<&str> = of.iter().filter(|(_, of)| of == id).map(|(method, _)| method.as_str()).collect();
        of.starts_with(&["CreateContainer"]) && of.ends_with(&["StopContainer", "RemoveContainer"])
    };
    let last = || told(&first).last().unwrap().1.clone();
    {
        // One that wants the same, and one that refuses.
        let second = join(&world, adjusting("20"));
        let error = world.try_container(&pod, "app").unwrap_err().to_string();
        assert!(error.contains("10-adjusts") && error.contains("20-adjusts"), "{error}");
        assert!(gone(&last()));
        drop(second);
        world.until("it is gone", || connected(&engine) == 1);
    }
    {
        let refuses = Manner::new("20", "refuses")
            .answering(|call| (call.method == "CreateContainer").then(|| refusal(2, "not here")));
        let second = join(&world, refuses);
        let error = world.try_container(&pod, "app").unwrap_err().to_string();
        assert!(error.contains("20-refuses") && error.contains("not here"), "{error}");
        assert!(gone(&last()));
        drop(second);
        world.until("it is gone", || connected(&engine) == 1);
    }
    // What fails behind the plugins.
    world.node.on(Verb::Create, Act::Refuse(wire::msg::ErrorCode::Setup, 22));
    world.try_container(&pod, "app").unwrap_err();
    world.until("its end is told", || gone(&last()));
    assert_eq!(told(&first).len(), before + 3 * 3 + 1, "{:?}", told(&first));
    assert!(engine.containers().list_containers(&crate::ContainerFilter::default()).is_empty());
    world.container(&pod, "app");
    world.on(engine.pods().remove_pod(&pod)).unwrap();
    world.nothing_left();
}

#[test]
fn what_cannot_be_is_refused_by_who_wants_it_and_counts_as_its_failure() {
    let world = world();
    let _first = join(&world, adjusting("10"));
    let variable = KeyValue { key: "A=b".to_owned(), value: String::new() };
    let adjust = Some(ContainerAdjustment { env: vec![variable], ..ContainerAdjustment::default() });
    let reply = CreateContainerResponse { adjust, ..CreateContainerResponse::default() };
    let wants = Manner::new("20", "wants")
        .answering(move |call| (call.method == "CreateContainer").then(|| answer(&reply)));
    let _second = join(&world, wants);
    let pod = world.pod("web");
    let error = world.try_container(&pod, "app").unwrap_err().to_string();
    assert!(error.contains(r#"env "A=b" by plugin "20-wants": "#), "{error}");
    let plugins = world.engine().plugins();
    let rejected = plugins.iter().map(|one| one.calls.iter().map(|calls| calls.rejected).sum::<u64>());
    assert_eq!(rejected.collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_pod_that_a_plugin_refuses_leaves_nothing() {
    let world = world();
    let first = join(&world, Manner::new("10", "agrees"));
    let refuses = Manner::new("20", "refuses")
        .answering(|call| (call.method == "RunPodSandbox").then(|| refusal(2, "not here")));
    let second = join(&world, refuses);
    let error = world.try_pod("web").unwrap_err().to_string();
    assert!(error.contains("20-refuses") && error.contains("not here"), "{error}");
    world.nothing_left();
    let methods: Vec<String> = told(&first).into_iter().map(|(method, _)| method).collect();
    assert_eq!(methods, ["RunPodSandbox", "StopPodSandbox", "RemovePodSandbox"]);
    drop(second);
    world.until("it is gone", || connected(&world.engine()) == 1);
    world.pod("web");
}

#[test]
fn the_next_daemon_tells_plugins_the_truth() {
    let mut world = world();
    let before = join(&world, Manner::new("10", "stays"));
    let pod = world.pod("web");
    let (ended, running) = (world.running(&pod, "ended"), world.running(&pod, "running"));
    let (created, had_ended) = (world.container(&pod, "created"), world.running(&pod, "had-ended"));
    world.node.exit(&had_ended, 5);
    world.await_state(&had_ended, "exited");
    world.kill();
    drop(before);
    world.node.exit(&ended, 9);
    world.start();
    let plugin = join(&world, Manner::new("10", "stays"));
    let told_of: SynchronizeRequest =
        plugin.calls().iter().find(|call| call.method == "Synchronize").map(Call::argument).unwrap();
    let mut states: Vec<(&str, ContainerState, i32)> =
        told_of.containers.iter().map(|one| (one.id.as_str(), one.state(), one.exit_code)).collect();
    states.sort_unstable();
    let mut truth = [
        (ended.as_str(), ContainerState::ContainerStopped, 9),
        (running.as_str(), ContainerState::ContainerRunning, 0),
        (created.as_str(), ContainerState::ContainerCreated, 0),
        (had_ended.as_str(), ContainerState::ContainerStopped, 5),
    ];
    truth.sort_unstable();
    assert_eq!(states, truth);
    world.on(world.engine().pods().remove_pod(&pod)).unwrap();
    let ends = told(&plugin);
    let ends = |id: &str| ends.iter().filter(|(method, of)| method == "StopContainer" && of == id).count();
    // Of those that it was told have ended it hears no more.
    assert_eq!([&ended, &running, &created, &had_ended].map(|id| ends(id)), [0, 1, 1, 0]);
    world.nothing_left();
}

#[test]
fn limits_that_plugins_want_are_set_and_those_of_others_too() {
    let world = world();
    let engine = world.engine();
    let pod = world.pod("web");
    let (own, other) = (world.running(&pod, "own"), world.running(&pod, "other"));
    let files = [share_file(&world, &own), share_file(&world, &other)];
    let set = || files.each_ref().map(|file| std::fs::read_to_string(file).unwrap());
    let (by, of) = (own.clone(), other.clone());
    let manner = Manner::new("10", "limits").answering(move |call| match call.method.as_str() {
        "UpdateContainer" if call.container() == by => {
            let update = vec![update(&by, 333), update(&of, 444)];
            Some(answer(&UpdateContainerResponse { update, evict: Vec::new() }))
        }
        "StopContainer" if call.container() == by => {
            Some(answer(&StopContainerResponse { update: vec![update(&of, 555)] }))
        }
        _ => None,
    });
    let plugin = join(&world, manner);
    world.on(engine.containers().update_container(&own, shares(512), Default::default())).unwrap();
    assert_eq!(set(), ["333", "444"]);
    let shown = engine.containers().container_status(&own).unwrap();
    assert_eq!(shown.resources.cpu_shares, CpuShares::new(333).ok());
    let request =
        UpdateContainersRequest { update: vec![update(&own, 222), update("absent", 222)], evict: Vec::new() };
    let failed = world.on(plugin.update(&request)).unwrap().failed;
    assert_eq!(failed.iter().map(|one| one.container_id.as_str()).collect::<Vec<_>>(), ["absent"]);
    assert_eq!(set(), ["222", "444"]);
    world.node.exit(&own, 0);
    world.until("the other has its room", || set() == ["222", "555"]);
}

#[test]
fn who_is_evicted_again_and_again_is_stopped_once() {
    let world = world();
    let engine = world.engine();
    let pod = world.pod("web");
    let id = world.running(&pod, "app");
    // It takes its time to end.
    world.node.ignore(15);
    let plugin = join(&world, Manner::new("10", "evicts"));
    let evict =
        |container: &str| ContainerEviction { container_id: container.to_owned(), reason: "room".to_owned() };
    let request =
        UpdateContainersRequest { update: Vec::new(), evict: vec![evict(&id), evict(&id), evict("absent")] };
    for _ in 0..50 {
        world.on(plugin.update(&request)).unwrap();
    }
    let stops = || {
        let of = engine.explain_container(&id).unwrap().operations;
        of.iter().filter(|one| one.verb == "StopContainer" && one.in_flight).count()
    };
    world.until("it is being stopped", || stops() > 0);
    assert_eq!(stops(), 1);
    world.on(engine.containers().stop_container(&id, Duration::ZERO)).unwrap();
    world.await_state(&id, "exited");
    world.until("that has ended", || stops() == 0);
}

#[test]
fn a_pod_that_waits_for_a_plugin_is_explained() {
    let world = world();
    let engine = world.engine();
    let _plugin = join(&world, Manner::new("10", "hangs").hanging("CreateContainer"));
    let pod = world.pod("web");
    let (asked, of) = (engine.clone(), pod.clone());
    let creating = world.spawn(async move {
        asked.containers().create_container(&of, super::container("app"), None).await.is_ok()
    });
    let pending = || engine.plugins()[0].pending.map(|(request, _)| request);
    world.until("it is asked", || pending() == Some("CreateContainer"));
    let waits = engine.explain_pod(&pod).unwrap().waits;
    let named = "NRI plugin 10-hangs is asked CreateContainer, and has not answered for ";
    assert!(waits.iter().any(|wait| wait.starts_with(named)), "{waits:?}");
    assert!(world.on(creating).unwrap(), "it goes on without the plugin");
    let waits = engine.explain_pod(&pod).unwrap().waits;
    assert!(!waits.iter().any(|wait| wait.contains("NRI")), "{waits:?}");
}

fn changed(world: &World, change: impl FnOnce(&mut Settings)) -> Result<(), EngineError> {
    let mut settings = world.settings.clone();
    change(&mut settings);
    world.on(world.engine().reconfigure(settings))
}

#[test]
fn settings_of_plugins_hold_at_once_and_wrong_ones_change_nothing() {
    let world = world();
    let engine = world.engine();
    let plugin = join(&world, Manner::new("10", "stays").wanting(&[Event::CreateContainer]));
    let others = world.path("others.sock");
    let _other = std::os::unix::net::UnixListener::bind(&others).unwrap();
    let refused = changed(&world, |settings| {
        settings.nri.socket_path.clone_from(&others);
        settings.exec_output_limit = 4096;
    });
    assert!(matches!(refused, Err(EngineError::Nri(_))), "{refused:?}");
    assert_ne!(engine.core.live().settings.exec_output_limit, 4096, "the rest was taken");
    changed(&world, |settings| {
        settings.nri.default_validator.enable = true;
        settings.nri.default_validator.required_plugins = vec!["needed".to_owned()];
    })
    .unwrap();
    let pod = world.pod("web");
    let error = world.try_container(&pod, "app").unwrap_err().to_string();
    assert!(error.contains("needed"), "{error}");
    let elsewhere = world.path("elsewhere/nri.sock");
    changed(&world, |settings| settings.nri.socket_path.clone_from(&elsewhere)).unwrap();
    assert!(!socket(&world).exists());
    let second = world.on(Plugin::join(&elsewhere, Manner::new("20", "comes"))).unwrap();
    let id = world.container(&pod, "app");
    for plugin in [&plugin, &second] {
        assert!(told(plugin).contains(&("CreateContainer".to_owned(), id.clone())));
    }
    changed(&world, |settings| settings.nri.enable = false).unwrap();
    world.on(plugin.ended());
    world.until("nobody is there", || connected(&engine) == 0);
    // One that ends meanwhile is known by then.
    world.on(engine.containers().start_container(&id)).unwrap();
    world.node.exit(&id, 1);
    world.await_state(&id, "exited");
    changed(&world, |_| {}).unwrap();
    let third = join(&world, Manner::new("30", "late"));
    assert_eq!(third.synchronized().1, [id]);
    world.on(engine.pods().remove_pod(&pod)).unwrap();
    assert!(!told(&third).iter().any(|(method, _)| method == "StopContainer"));
}
