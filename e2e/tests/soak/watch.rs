//! Looks all the time: that whatever was told is listed, that events come in their order, that a pod which nobody touches
//! goes on, and how much of everything there is.

use crate::container::One;
use crate::node::{Node, lock};
use crate::plan::Role;
use crate::pod::Pod;
use e2e::client::Cri;
use e2e::error::Error;
use e2e::isolation::cgroup_directories;
use e2e::process;
use e2e::proto::GetEventsRequest;
use nix::sys::statvfs::statvfs;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

/// What is counted again and again.
pub(crate) const FIGURES: [&str; 8] = [
    "daemon, KiB",
    "daemon, descriptors",
    "daemon, threads",
    "a supervisor, KiB",
    "cgroups",
    "network namespaces",
    "mounts",
    "store, KiB",
];

/// How much of each there was, at the time.
pub(crate) type Sample = (Duration, [Option<u64>; FIGURES.len()]);

/// Everything that is kept of what was seen.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) samples: Mutex<Vec<Sample>>,
    /// How long a command took, and whether something was wrong with the node, but for its daemon.
    pub(crate) commands: Mutex<Vec<(Duration, bool)>>,
    /// The supervisor of the pod that nobody touches, while there is one.
    pub(crate) supervisor: AtomicI32,
}

/// I1.
pub(crate) async fn lists(node: &Node) -> Result<(), Error> {
    while !node.is_over() {
        let turn = node.turn.read().await;
        let before = node.told().clone();
        let pods = node.ask("ListPodSandbox", &[], |cri| async move { cri.pods().await }).await?;
        let containers = node.ask("ListContainers", &[], |cri| async move { cri.containers().await }).await?;
        // What was removed meanwhile need not be listed.
        let told = before.and(&node.told());
        node.holds("I1", told.are_listed(&pods, &containers))?;
        drop(turn);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Events have an order in time as long as a connection lasts.
pub(crate) async fn events(node: &Node) -> Result<(), Error> {
    while !node.is_over() {
        let open = |cri: Cri| async move {
            let opened = cri.runtime.clone().get_container_events(GetEventsRequest {}).await;
            opened.map_err(|status| Error::Rpc { method: "GetContainerEvents", status: Box::new(status) })
        };
        let mut stream = node.ask("GetContainerEvents", &[], open).await?.into_inner();
        let (begin, mut last) = (Instant::now(), 0);
        while !node.is_over() {
            let Ok(next) = tokio::time::timeout(Duration::from_millis(200), stream.message()).await else {
                continue;
            };
            match next {
                Ok(Some(event)) if event.created_at >= last => last = event.created_at,
                Ok(Some(event)) => {
                    return Err(Error::Unexpected { what: "an event's time", seen: format!("{event:?}") });
                }
                Ok(None) | Err(_) if node.weather.explains(&[], begin) => break,
                other => return Err(Error::Unexpected { what: "the events", seen: format!("{other:?}") }),
            }
            node.count("events");
        }
    }
    Ok(())
}

/// A pod that nobody touches, and commands in it.
pub(crate) async fn witness(node: &Node, seen: &Seen) -> Result<(), Error> {
    let config = e2e::pods::pod("witness", &node.logs, &node.cgroup_parent);
    let mut pod = Pod::run(node, config).await?;
    pod.add(Role::Counts(5), None).await?;
    let one: &One = &pod.containers[0];
    let parent = process::stat(one.pid(node).await?).and_then(|stat| stat.get(1)?.parse().ok());
    seen.supervisor.store(parent.unwrap_or_default(), Ordering::Relaxed);
    while !node.is_over() {
        let turn = node.turn.read().await;
        let begin = Instant::now();
        let ran =
            node.once("ExecSync", &[], |cri| async move { cri.exec(&one.id, &["/bin/true"], 60).await });
        let took = || begin.elapsed();
        if ran.await?.is_ok() && !node.weather.explains(&[], begin) {
            lock(&seen.commands).push((took(), node.weather.is_bad(begin)));
        }
        drop(turn);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    seen.supervisor.store(0, Ordering::Relaxed);
    pod.end(true).await
}

/// Looks how much there is of everything.
pub(crate) async fn sample(node: &Node, seen: &Seen, daemon: &AtomicI32) {
    let begin = Instant::now();
    while !node.is_over() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (pid, shim) = (daemon.load(Ordering::Relaxed), seen.supervisor.load(Ordering::Relaxed));
        // A daemon that has just begun has not much.
        let is_settled = node.weather.daemon_is_there_for() > Duration::from_millis(300);
        let memory = |pid| process::memory(pid, "VmRSS").ok();
        let entries = |path: &str| fs::read_dir(path).ok().map(|entries| entries.count() as u64);
        let of_daemon = |figure: Option<u64>| figure.filter(|_| is_settled);
        let figures = [
            of_daemon(memory(pid)),
            of_daemon(entries(&format!("/proc/{pid}/fd"))),
            of_daemon(entries(&format!("/proc/{pid}/task"))),
            memory(shim),
            Some(cgroup_directories(&node.cgroup_parent).len() as u64),
            entries("/run/netns"),
            fs::read_to_string("/proc/thread-self/mountinfo").ok().map(|text| text.lines().count() as u64),
            stored(&node.data).filter(|_| !node.weather.is_bad(Instant::now())),
        ];
        lock(&seen.samples).push((begin.elapsed(), figures));
    }
}

/// How much is taken on the disk of images, layers and durable records, in KiB.
pub(crate) fn stored(data: &Path) -> Option<u64> {
    let found = statvfs(data).ok()?;
    Some((found.blocks() - found.blocks_free()) * found.fragment_size() / 1024)
}
