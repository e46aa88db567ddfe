//! Plugins that join while something changes miss nothing, are told nothing twice, and keep nobody waiting.

use super::*;
use crate::api::{
    ContainerAdjustment, CreateContainerResponse, KeyValue, LinuxContainerAdjustment, LinuxCpu,
    LinuxResources,
};
use crate::testing::answer;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How often a plugin came to know of each container: at its joining, and by an event.
fn times(plugin: &Plugin) -> BTreeMap<String, (usize, usize)> {
    let mut times = BTreeMap::<String, (usize, usize)>::new();
    for id in plugin.synchronized().1 {
        times.entry(id).or_default().0 += 1;
    }
    for (method, id) in plugin.events() {
        if method == "CreateContainer" {
            times.entry(id).or_default().1 += 1;
        }
    }
    times
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_joins_amid_two_hundred_creates_learns_of_each_once() {
    const COUNT: u64 = 200;
    let stage = Arc::new(Stage::new(|_| {}));
    // The last wait for those who join, and those for some that are made, however slow the host is.
    let (made, joined) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
    let mut creates = JoinSet::new();
    for number in 0..COUNT {
        let (stage, made, joined) = (Arc::clone(&stage), Arc::clone(&made), joined.clone());
        creates.spawn(async move {
            if number < COUNT * 3 / 4 {
                tokio::time::sleep(Duration::from_millis(number)).await;
            } else {
                joined.cancelled().await;
            }
            stage.create(&format!("{number}"), Duration::from_millis(number * 7 % 50)).await.unwrap();
            made.fetch_add(1, Ordering::Relaxed);
        });
    }
    let mut plugins = Vec::new();
    for (index, name, behind) in [("10", "a", 20), ("20", "b", 60), ("30", "c", 100)] {
        while made.load(Ordering::Relaxed) < behind {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        plugins.push(stage.join(Manner::new(index, name)).await);
    }
    joined.cancel();
    creates.join_all().await;
    for plugin in &plugins {
        let times = times(plugin);
        assert_eq!(times.len() as u64, COUNT);
        let odd: Vec<_> = times.iter().filter(|(_, times)| times.0 + times.1 != 1).collect();
        assert!(odd.is_empty(), "{odd:?}");
        let (synchronized, told) =
            (plugin.synchronized().1.len(), times.values().filter(|one| one.1 == 1).count());
        assert!(synchronized > 0 && told > 0, "{synchronized} and {told}: it did not join in the middle");
        // Each that it was told of by an event was created before it was there, also in its eyes.
        let posts = plugin.events().iter().filter(|(method, _)| method == "PostCreateContainer").count();
        assert_eq!(posts, told);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_create_that_is_stuck_holds_nobody_up() {
    let stage = Arc::new(Stage::new(|_| {}));
    let stuck = Arc::clone(&stage);
    let stuck = tokio::spawn(async move { stuck.create("stuck", Duration::from_secs(3)).await.is_ok() });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let plugin = stage.join(Manner::new("10", "joins")).await;
    for number in 0..20 {
        stage.create(&format!("{number}"), Duration::ZERO).await.unwrap();
    }
    let second = stage.join(Manner::new("20", "too")).await;
    assert!(!stuck.is_finished(), "the others waited for it");
    assert_eq!(times(&plugin).len(), 20);
    assert!(stuck.await.unwrap());
    for plugin in [&plugin, &second] {
        assert_eq!(times(plugin).get("stuck"), Some(&(0, 1)));
        assert!(times(plugin).values().all(|times| times.0 + times.1 == 1));
    }
}

#[tokio::test]
async fn creates_go_on_side_by_side() {
    let stage = Arc::new(Stage::new(|_| {}));
    let _plugin = stage.join(Manner::new("10", "quick")).await;
    let begun = std::time::Instant::now();
    let mut creates = JoinSet::new();
    for number in 0..20 {
        let stage = Arc::clone(&stage);
        creates.spawn(async move { stage.create(&format!("{number}"), Duration::from_millis(300)).await });
    }
    for created in creates.join_all().await {
        created.unwrap();
    }
    assert!(begun.elapsed() < Duration::from_millis(300) * 10, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn limits_of_a_late_plugin_are_set_and_the_rest_is_too_late() {
    let stage = Arc::new(Stage::new(|_| {}));
    let manner = Manner::new("10", "late").answering(|call| {
        let cpu = Some(LinuxCpu { cpus: "3".to_owned(), ..LinuxCpu::default() });
        let resources = Some(LinuxResources { cpu, ..LinuxResources::default() });
        let adjust = Some(ContainerAdjustment {
            env: vec![KeyValue::default()],
            linux: Some(LinuxContainerAdjustment { resources, ..LinuxContainerAdjustment::default() }),
            ..ContainerAdjustment::default()
        });
        let reply = CreateContainerResponse { adjust, ..CreateContainerResponse::default() };
        (call.method == "CreateContainer").then(|| answer(&reply))
    });
    let slow = Arc::clone(&stage);
    let slow = tokio::spawn(async move { slow.create("c", Duration::from_millis(500)).await.is_ok() });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let _plugin = stage.join(manner).await;
    assert!(slow.await.unwrap());
    stage.until(|| stage.world.updates.lock().unwrap().len() == 1).await;
    let (by, update) = stage.world.updates.lock().unwrap()[0].clone();
    let limits = update.linux.unwrap().resources.unwrap();
    assert_eq!(
        (by.as_str(), update.container_id.as_str(), limits.cpu.unwrap().cpus.as_str()),
        ("10-late", "c", "3")
    );
}

#[tokio::test]
async fn other_changes_are_told_late_where_they_are_news() {
    let stage = Stage::new(|_| {});
    stage.world.containers.lock().unwrap().push(container("there", ContainerState::ContainerCreated));
    let begin = |event| stage.nri.section(event);
    let (mut start, mut stop, mut remove) =
        (begin(Event::StartContainer), begin(Event::StopContainer), begin(Event::RemoveContainer));
    let (mut run, mut stop_pod) = (begin(Event::RunPodSandbox), begin(Event::StopPodSandbox));
    let plugin = stage.join(Manner::new("10", "late")).await;
    let it = |id: &str| (pod(), Some(container(id, ContainerState::ContainerRunning)));
    start.commit(|| it("there")).await;
    start.post(Event::PostStartContainer, pod(), it("there").1.unwrap()).await.unwrap();
    stop.commit(|| it("there")).await;
    remove.commit(|| it("there")).await;
    run.commit(|| (pod(), None)).await;
    stop_pod.commit(|| (pod(), None)).await;
    let expected = events(&[
        ("StartContainer", "there"),
        ("PostStartContainer", "there"),
        ("StopContainer", "there"),
        ("RemoveContainer", "there"),
        ("StopPodSandbox", POD),
    ]);
    assert_eq!(plugin.events(), expected);
}

#[tokio::test]
async fn an_end_between_the_joining_and_what_is_told_of_it_is_told_once() {
    let stage = Stage::new(|_| {});
    let it = |state| container("c", state);
    stage.world.containers.lock().unwrap().push(it(ContainerState::ContainerRunning));
    *stage.world.slow.lock().unwrap() = Duration::from_millis(300);
    let plugin = Plugin::connect(&stage.socket, Manner::new("10", "joins")).await.unwrap();
    stage.until(|| !stage.nri.plugins().is_empty()).await;
    // It is among those that are asked, and has not been told of anything yet.
    let mut section = stage.nri.section(Event::StopContainer);
    *stage.world.containers.lock().unwrap() = vec![it(ContainerState::ContainerStopped)];
    section.stop_container(pod(), it(ContainerState::ContainerStopped)).await.unwrap();
    assert_eq!(plugin.synchronized().1, ["c"]);
    assert_eq!(plugin.events(), []);
    // Of others it hears.
    let other = container("d", ContainerState::ContainerStopped);
    stage.nri.section(Event::StopContainer).stop_container(pod(), other).await.unwrap();
    assert_eq!(plugin.events(), events(&[("StopContainer", "d")]));
}
