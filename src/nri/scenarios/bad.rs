//! Plugins that lie, flood and break the protocol.

use super::*;
use crate::api::{RegisterPluginRequest, UpdateContainersRequest};
use crate::trunk;
use crate::ttrpc;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

/// Whether the runtime closes the connection after these bytes.
async fn is_let_go(stage: &Stage, bytes: &[u8]) -> bool {
    let mut socket = UnixStream::connect(&stage.socket).await.unwrap();
    // It may be closed while this is still written.
    let _ = socket.write_all(bytes).await;
    let mut rest = Vec::new();
    let reading = async {
        // The rest may be reset.
        let _ = socket.read_to_end(&mut rest).await;
    };
    tokio::time::timeout(Duration::from_secs(2), reading).await.is_ok()
}

fn request(method: &str, payload: &impl Message) -> Vec<u8> {
    let service = "nri.pkg.api.v1alpha1.Runtime".to_owned();
    let (method, payload) = (method.to_owned(), payload.encode_to_vec());
    let request = ttrpc::Request { service, method, payload, timeout_nano: 0 };
    trunk::message(trunk::RUNTIME, 1, ttrpc::REQUEST, &request.encode_to_vec())
}

fn framed(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    trunk::put(trunk::RUNTIME, payload, &mut bytes);
    bytes
}

#[tokio::test]
async fn who_breaks_the_protocol_is_let_go() {
    let stage = Stage::new(|_| {});
    let register = RegisterPluginRequest::default();
    let cases = [
        ("an oversized frame", [1u32.to_be_bytes(), u32::MAX.to_be_bytes()].concat()),
        ("a message that is too long for a stranger", framed(&ttrpc::header(1, ttrpc::REQUEST, 65 << 10))),
        ("a message that is too long", framed(&ttrpc::header(1, ttrpc::REQUEST, usize::MAX))),
        ("an answer where a question is to come", framed(&ttrpc::header(1, ttrpc::RESPONSE, 0))),
        (
            "a request that is none",
            framed(&[&ttrpc::header(1, ttrpc::REQUEST, 2)[..], &[0xff, 0xff]].concat()),
        ),
        ("another method first", request("UpdateContainers", &UpdateContainersRequest::default())),
        ("no name", request("RegisterPlugin", &register)),
        ("no registration", request("RegisterPlugin", &ttrpc::Status { code: 7, message: String::new() })),
        ("noise", (0..4096u32).flat_map(|n| (n.wrapping_mul(2_654_435_761)).to_be_bytes()).collect()),
    ];
    for (what, bytes) in cases {
        assert!(is_let_go(&stage, &bytes).await, "{what}");
    }
    stage.create("c", Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn who_says_nothing_or_half_of_something_is_let_go_in_time() {
    let stage = Stage::new(|settings| settings.registration_timeout = Duration::from_millis(200));
    let register = RegisterPluginRequest {
        plugin_name: "half".to_owned(),
        plugin_idx: "10".to_owned(),
        ..RegisterPluginRequest::default()
    };
    let whole = request("RegisterPlugin", &register);
    for cut in [0, 4, 8, 15, 18, 20, whole.len() - 1] {
        assert!(is_let_go(&stage, &whole[..cut]).await, "after {cut} bytes");
    }
}

#[tokio::test]
async fn names_that_are_none_and_names_that_are_taken_are_refused() {
    let log = super::log::Log::catch();
    let stage = Stage::new(|_| {});
    let first = stage.join(Manner::new("10", "mine")).await;
    for (index, name) in
        [("1", "a"), ("abc", "a"), ("-1", "a"), ("10", ""), ("10", "a/b"), ("10", "ä"), ("", "")]
    {
        let error = Plugin::connect(&stage.socket, Manner::new(index, name)).await.err().unwrap();
        assert!(error.to_string().contains("no name of a plugin"), "{index} {name}: {error}");
    }
    let error = Plugin::connect(&stage.socket, Manner::new("10", "mine")).await.err().unwrap().to_string();
    assert!(error.contains(r#"another "10-mine" is there"#), "{error}");
    stage.until(|| log.lines(&["is not taken in", "another", "plugin=\"10-mine\""]).len() == 1).await;
    assert!(log.lines(&["plugin=\"\""]).is_empty(), "what is not known is left out");
    drop(first);
    // One that is going at this moment is waited for.
    stage.join(Manner::new("10", "mine")).await;
}

#[tokio::test]
async fn an_event_that_there_is_not_is_refused() {
    let stage = Stage::new(|_| {});
    let plugin =
        Plugin::connect(&stage.socket, Manner::new("10", "odd").wanting(&[Event::Last])).await.unwrap();
    plugin.ended().await;
    assert!(stage.nri.plugins().is_empty());
}

#[tokio::test]
async fn who_asks_faster_than_it_is_answered_is_told_so() {
    let stage = Arc::new(Stage::new(|_| {}));
    let plugin = Arc::new(stage.join(Manner::new("10", "floods")).await);
    let mut asks = JoinSet::new();
    for _ in 0..2000 {
        let plugin = Arc::clone(&plugin);
        asks.spawn(async move { plugin.update(&UpdateContainersRequest::default()).await.is_ok() });
    }
    let creating = Arc::clone(&stage);
    let creating = tokio::spawn(async move { creating.create("c", Duration::ZERO).await.is_ok() });
    assert!(creating.await.unwrap());
    let answered = asks.join_all().await;
    assert!(answered.iter().any(|answered| *answered));
    stage.create("d", Duration::ZERO).await.unwrap();
    // It reads what it is told, so it stays.
    assert_eq!(plugin.events().last().unwrap(), &("PostCreateContainer".to_owned(), "d".to_owned()));
}

#[tokio::test]
async fn calls_that_come_at_once_are_all_answered() {
    let stage = Stage::new(|_| {});
    let plugin = Arc::new(stage.join(Manner::new("10", "pipelines")).await);
    let mut asks = JoinSet::new();
    for _ in 0..200 {
        let plugin = Arc::clone(&plugin);
        asks.spawn(async move { plugin.update(&UpdateContainersRequest::default()).await });
    }
    for answered in asks.join_all().await {
        answered.unwrap();
    }
}

#[tokio::test]
async fn what_is_too_long_to_be_told_of_bars_nobody() {
    let stage = Stage::new(|_| {});
    let mut long = container("long", ContainerState::ContainerRunning);
    long.args = vec!["x".repeat(ttrpc::LIMIT)];
    *stage.world.containers.lock().unwrap() = vec![
        container("a", ContainerState::ContainerRunning),
        long,
        container("b", ContainerState::ContainerRunning),
    ];
    let plugin = stage.join(Manner::new("10", "late")).await;
    assert_eq!(plugin.synchronized().1, ["a", "b"]);
}

#[tokio::test]
async fn who_does_not_read_is_let_go() {
    let stage = Stage::new(|settings| settings.request_timeout = Duration::from_millis(300));
    let (register, update) = (
        RegisterPluginRequest {
            plugin_name: "deaf".to_owned(),
            plugin_idx: "10".to_owned(),
            ..Default::default()
        },
        request("UpdateContainers", &UpdateContainersRequest::default()),
    );
    let mut socket = UnixStream::connect(&stage.socket).await.unwrap();
    socket.write_all(&request("RegisterPlugin", &register)).await.unwrap();
    let flooding = async { while socket.write_all(&update).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(20), flooding).await.unwrap();
    stage.create("c", Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn a_thousand_that_come_and_go_leave_nothing() {
    let stage = Arc::new(Stage::new(|_| {}));
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let stuck = Arc::clone(&stage);
    let stuck = tokio::spawn(async move { stuck.create("stuck", Duration::from_secs(600)).await.is_ok() });
    let before = descriptors();
    for round in 0..1000 {
        match round % 4 {
            0 => drop(UnixStream::connect(&stage.socket).await.unwrap()),
            1 => drop(Plugin::connect(&stage.socket, Manner::new("10", "comes")).await),
            2 => drop(Plugin::join(&stage.socket, Manner::new("20", &format!("name-{round}"))).await),
            _ => stage.create(&format!("{round}"), Duration::ZERO).await.map(|_| ()).unwrap(),
        }
    }
    stage.until_alone().await;
    stage.until(|| descriptors() <= before + 20).await;
    assert_eq!(stage.nri.remembered(), 0);
    stuck.abort();
}

#[tokio::test]
async fn long_requests_that_wait_are_no_more_than_a_message() {
    let stage = Arc::new(Stage::new(|_| {}));
    let plugin = Arc::new(stage.join(Manner::new("10", "long")).await);
    *stage.world.slow.lock().unwrap() = Duration::from_millis(500);
    let request = |bytes: usize| UpdateContainersRequest {
        update: vec![ContainerUpdate { container_id: "x".repeat(bytes), ..ContainerUpdate::default() }],
        evict: Vec::new(),
    };
    let mut asks = JoinSet::new();
    for _ in 0..4 {
        let (plugin, request) = (Arc::clone(&plugin), request(3 << 20));
        asks.spawn(async move { plugin.update(&request).await.map_err(|error| error.to_string()) });
    }
    let answers = asks.join_all().await;
    let refused: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert!((1..=3).contains(&refused.len()), "{} are refused", refused.len());
    assert!(refused.iter().all(|error| error.contains("too many requests at once")), "{refused:?}");
    // It is still there, and one is heard that is as long as can be.
    plugin.update(&request(ttrpc::LIMIT - (1 << 10))).await.unwrap();
}

#[tokio::test]
async fn garbage_in_any_phase_is_no_answer() {
    let asked = [
        "Configure",
        "Synchronize",
        "RunPodSandbox",
        "CreateContainer",
        "PostCreateContainer",
        "UpdateContainer",
        "StopContainer",
        "RemovePodSandbox",
    ];
    for method in asked {
        let stage = Stage::new(|_| {});
        let manner = Manner::new("10", "babbles")
            .answering(move |call| (call.method == method).then(|| Ok(vec![0xff; 9])));
        let plugin = Plugin::connect(&stage.socket, manner).await.unwrap();
        if !matches!(method, "Configure" | "Synchronize") {
            stage.until(|| stage.nri.plugins().iter().any(|one| one.connected)).await;
        }
        let it = || container("c", ContainerState::ContainerRunning);
        stage.nri.section(Event::RunPodSandbox).run_pod(pod()).await.unwrap();
        stage.create("c", Duration::ZERO).await.unwrap();
        let mut update = stage.nri.section(Event::UpdateContainer);
        update.update_container(pod(), it(), crate::api::LinuxResources::default()).await.unwrap();
        stage.nri.section(Event::StopContainer).stop_container(pod(), it()).await.unwrap();
        stage.nri.section(Event::RemovePodSandbox).remove_pod(pod()).await.unwrap();
        tokio::time::timeout(Duration::from_secs(10), plugin.ended())
            .await
            .unwrap_or_else(|_| panic!("{method}: it stays"));
    }
}

#[tokio::test]
async fn a_validator_that_babbles_has_not_agreed() {
    let stage = Stage::new(|_| {});
    let judge = Manner::new("10", "babbles").wanting(&[Event::ValidateContainerAdjustment]);
    let method = "ValidateContainerAdjustment";
    let _judge =
        stage.join(judge.answering(move |call| (call.method == method).then(|| Ok(vec![0xff; 9])))).await;
    let error = stage.create("c", Duration::ZERO).await.unwrap_err().to_string();
    assert!(error.contains("10-babbles"), "{error}");
}
