//! Those that wait, played by programs that do nothing: what they hear is looked at here.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use prometheus::Registry;
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use sys::shim_spawn::{Given, spawn_shim};
use sys::socket;

const POD: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const PATIENCE: Duration = Duration::from_secs(10);

/// A launcher's, and the ends of all that it has started, by their processes.
struct Stage {
    warm: Arc<Warm>,
    ends: Arc<Mutex<Vec<(i32, OwnedFd)>>>,
    metrics: Registry,
}

fn sleeper(ends: &Mutex<Vec<(i32, OwnedFd)>>) -> Nameless {
    let (link, theirs) = socket::message_pair().unwrap();
    let args = ["sleep", "1000"].map(|text| CString::new(text).unwrap());
    let given = Given { socket: link.as_fd(), bare: None, log: None };
    let process = spawn_shim(Path::new("/bin/sleep"), given, &args, &[]).unwrap();
    lock(ends).push((process.pid, theirs));
    Nameless { process, link }
}

impl Stage {
    fn new() -> Self {
        let ends = Arc::<Mutex<Vec<_>>>::default();
        let held = ends.clone();
        let metrics = Registry::new();
        let meter = Meter::register(&metrics).unwrap();
        Self { warm: Arc::new(Warm::by(Arc::new(move || Ok(sleeper(&held))), meter)), ends, metrics }
    }

    /// Asks for one, as the thread does that makes a pod.
    async fn hand(&self) -> Option<ShimProcess> {
        let warm = self.warm.clone();
        let null = File::open("/dev/null").unwrap();
        let hand = move || warm.hand(POD, [null.as_fd(), null.as_fd()]).inspect(|_| warm.started_warm());
        tokio::task::spawn_blocking(hand).await.unwrap()
    }

    async fn until_waiting(&self, count: usize) {
        until(&format!("{count} wait"), || lock(&self.warm.state).waiting.len() == count).await;
        assert_eq!(self.metric("corten_shims_waiting"), count);
    }

    /// The sum of a family.
    fn metric(&self, name: &str) -> usize {
        let families = self.metrics.gather();
        let family = families.iter().find(|family| family.name() == name).unwrap();
        let values = family.get_metric().iter();
        let values = values.map(|one| one.get_counter().get_value() + one.get_gauge().get_value());
        format!("{}", values.sum::<f64>()).parse().unwrap()
    }

    fn link_of(&self, pid: i32) -> OwnedFd {
        let mut ends = lock(&self.ends);
        let index = ends.iter().position(|(known, _)| *known == pid).unwrap();
        ends.remove(index).1
    }
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "it never came to be that {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn is_there(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

fn finish(process: ShimProcess) {
    Nameless { link: process.pidfd.try_clone().unwrap(), process }.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_is_told_one_pod_and_another_one_takes_its_place() {
    let stage = Stage::new();
    assert!(stage.hand().await.is_none(), "nobody said that any may wait");
    stage.warm.keep(8);
    stage.until_waiting(2).await;
    let process = stage.hand().await.unwrap();
    assert!(process.link.is_some(), "or it would take the daemon for dead");
    let theirs = stage.link_of(process.pid);
    let (mut name, mut passed) = ([0; 100], VecDeque::new());
    let length = socket::read(theirs.as_fd(), &mut name, &mut passed).unwrap();
    assert_eq!((&name[..length], passed.len()), (POD.as_bytes(), 2));
    stage.until_waiting(2).await;
    assert_eq!(lock(&stage.ends).len(), 2, "as many were started as are wanted");
    assert_eq!(stage.metric("corten_shim_starts_total"), 1);
    let other = stage.hand().await.unwrap();
    assert_ne!(other.pid, process.pid);
    // One of a name that does not fit would not be known by it.
    assert!(stage.warm.hand("p", [theirs.as_fd(), theirs.as_fd()]).is_none());
    [process, other].into_iter().for_each(finish);
    stage.warm.keep(0);
    stage.until_waiting(0).await;
    let gone = || !lock(&stage.ends).iter().any(|(pid, _)| is_there(*pid));
    until("those that were given up are gone and waited for", gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_takes_all_and_more_wait_for_the_next_one() {
    let stage = Stage::new();
    stage.warm.keep(5);
    stage.until_waiting(2).await;
    let mut taken = Vec::new();
    for _ in 0..20 {
        taken.extend(stage.hand().await);
    }
    assert!(taken.len() >= 2, "those that waited");
    stage.until_waiting(5).await;
    stage.warm.keep(3);
    stage.until_waiting(3).await;
    taken.into_iter().for_each(finish);
    stage.warm.keep(0);
    stage.until_waiting(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_has_died_serves_nobody_and_is_replaced() {
    let stage = Stage::new();
    stage.warm.keep(2);
    stage.until_waiting(2).await;
    let dead: Vec<_> = lock(&stage.ends).drain(..).collect();
    for (pid, theirs) in dead {
        drop(theirs);
        sys::process::kill(pid, 9).unwrap();
        until("it is waited for", || !is_there(pid)).await;
    }
    stage.until_waiting(2).await;
    // Nobody has noticed yet.
    lock(&stage.ends).clear();
    // Unless somebody has after all, and it is a new one.
    if let Some(process) = stage.hand().await {
        let found = lock(&stage.ends).iter().position(|(pid, _)| *pid == process.pid);
        lock(&stage.ends).remove(found.unwrap());
        finish(process);
    }
    stage.until_waiting(2).await;
    stage.warm.keep(0);
    stage.until_waiting(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_none_can_be_started_it_is_not_tried_for_every_pod() {
    let tried = Arc::new(AtomicUsize::new(0));
    let counted = tried.clone();
    let start = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        Err(EngineError::io("start", "/nowhere")(std::io::ErrorKind::NotFound.into()))
    };
    let meter = Meter::register(&Registry::new()).unwrap();
    let warm = Arc::new(Warm::by(Arc::new(start), meter));
    warm.keep(8);
    for _ in 0..5 {
        let null = File::open("/dev/null").unwrap();
        assert!(warm.hand(POD, [null.as_fd(), null.as_fd()]).is_none());
        tokio::time::sleep(PAUSE * 2).await;
    }
    assert_eq!(tried.load(Ordering::Relaxed), 1);
    // Whoever changes the setting may have mended what was wrong.
    warm.keep(4);
    until("it is tried again", || tried.load(Ordering::Relaxed) > 1).await;
}

#[test]
fn a_program_that_does_not_wait_is_no_supervisor_for_later() {
    // As a supervisor of 0.1.0, it ends of an argument that it does not know.
    let refused = Nameless::start(Path::new("/bin/cat"), None).unwrap_err();
    assert!(refused.to_string().contains("/bin/cat"), "{refused}");
    assert!(chain(&refused).contains("does not wait for a pod"), "{}", chain(&refused));
    assert!(Nameless::start(Path::new("/nowhere"), None).is_err());
}
