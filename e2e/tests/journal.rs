//! What somebody on call reads in the daemon's log: a line a step, each with names and ids, and every exit once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::large_futures)]

use e2e::pods::shell;
use e2e::runtime::Kind;
use e2e::world::{BUSYBOX, World, wait_exited};
use std::time::Duration;

/// The lines of the log with all of some words.
fn lines(log: &str, words: &[&str]) -> Vec<String> {
    log.lines().filter(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned).collect()
}

#[test]
fn every_step_of_a_pods_life_is_a_line_with_names_and_ids() {
    let Some(world) = World::new().unwrap() else { return };
    if world.daemon.kind() == Kind::Containerd {
        need::skip(need::Need::Corten, "Corten's own log");
        return;
    }
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let image = cri.pull(BUSYBOX, None).await.unwrap();
        let missing = "127.0.0.1:1/no/such:1";
        cri.pull(missing, None).await.unwrap_err();
        let config = world.pod("told").unwrap();
        let pod = cri.run_pod(&config).await.unwrap();
        let id = cri.create(&pod, &shell("main", BUSYBOX, "exit 7"), &config).await.unwrap();
        cri.start(&id).await.unwrap();
        wait_exited(&cri, &id, Duration::from_secs(30)).await.unwrap();
        cri.end_pod(&pod).await.unwrap();

        let log = std::fs::read_to_string(&world.daemon.place().log).unwrap();
        let (pod_id, container_id) = (format!("pod_id={pod:?}"), format!("container_id={id:?}"));
        let pod_name = "pod=\"test/told\"";
        for (method, words) in [
            ("RunPodSandbox", vec![pod_name, &pod_id, "addresses=\"10.88."]),
            ("CreateContainer", vec![pod_name, &pod_id, "container=\"main\"", &container_id, &image]),
            ("StartContainer", vec![pod_name, &pod_id, "container=\"main\"", &container_id]),
            ("RemovePodSandbox", vec![pod_name, &pod_id]),
        ] {
            let method = format!("method=\"{method}\"");
            let words: Vec<&str> = words.into_iter().chain([method.as_str(), "answered"]).collect();
            assert_eq!(lines(&log, &words).len(), 1, "{words:?} in\n{log}");
        }
        // However it ends, a pull is one line.
        for (words, pulled) in [(["answered", &image], BUSYBOX), (["failed", "127.0.0.1:1"], missing)] {
            let pulls = lines(&log, &["PullImage", pulled]);
            assert!(pulls.len() == 1 && words.iter().all(|word| pulls[0].contains(word)), "{pulls:?}");
        }
        assert!(lines(&log, &["image pull"]).is_empty(), "{log}");
        let exits = lines(&log, &["the container ended"]);
        assert_eq!(exits.len(), 1, "{log}");
        for word in [pod_name, "container=\"main\"", "code=7", "reason=\"Error\"", "ran=", &id, &pod] {
            assert!(exits[0].contains(word), "{word} is not in {}", exits[0]);
        }
    });
}

/// What the daemon says of itself on SIGUSR1 once all of these words are in one of its lines.
fn in_flight(world: &World, words: &[&str]) -> String {
    let begin = std::time::Instant::now();
    let path = &world.daemon.place().log;
    loop {
        let before = std::fs::read_to_string(path).unwrap().len();
        let daemon = nix::unistd::Pid::from_raw(world.daemon.pid());
        nix::sys::signal::kill(daemon, nix::sys::signal::Signal::SIGUSR1).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        let log = std::fs::read_to_string(path).unwrap();
        let found = lines(&log[before..], words);
        if let Some(line) = found.into_iter().next() {
            return line;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "{words:?} in\n{}", &log[before..]);
    }
}

#[test]
fn commands_and_stops_in_flight_are_told_with_what_they_are_at() {
    let Some(world) = World::new().unwrap() else { return };
    if world.daemon.kind() == Kind::Containerd {
        println!("skipped: Corten's own log");
        return;
    }
    let crictl = world.crictl().unwrap();
    let (pod, id) = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let config = world.pod("busy").unwrap();
        let pod = cri.run_pod(&config).await.unwrap();
        let script = "trap '' TERM; while :; do sleep 0.2; done";
        let id = cri.create(&pod, &shell("main", BUSYBOX, script), &config).await.unwrap();
        cri.start(&id).await.unwrap();
        (pod, id)
    });
    std::thread::scope(|scope| {
        scope.spawn(|| crictl.finish(&["exec", "-s", &id, "sleep", "20"]));
        scope.spawn(|| crictl.finish(&["exec", &id, "sleep", "20"]));
        scope.spawn(|| crictl.finish(&["attach", &id]));
        for verb in ["ExecSync", "Exec"] {
            in_flight(&world, &[&format!("in flight: {verb} test/busy/main {id} for "), ", in command for "]);
        }
        in_flight(&world, &[&format!("in flight: Attach test/busy/main {id} for "), ", in session for "]);
        scope.spawn(|| crictl.finish(&["stop", "-t", "8", &id]));
        in_flight(
            &world,
            &[&format!("in flight: StopContainer test/busy/main {id} for "), ", in grace for "],
        );
    });
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.end_pod(&pod).await.unwrap();
    });
}

#[test]
fn a_container_whose_supervisor_was_killed_says_so() {
    let Some(world) = World::new().unwrap() else { return };
    if world.daemon.kind() == Kind::Containerd {
        need::skip(need::Need::Corten, "Corten's own supervisor");
        return;
    }
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let config = world.pod("orphan").unwrap();
        let pod = cri.run_pod(&config).await.unwrap();
        let id = cri.create(&pod, &shell("main", BUSYBOX, "exec sleep 1000"), &config).await.unwrap();
        cri.start(&id).await.unwrap();
        let is_shim = |line: &str| line.split(' ').next().is_some_and(|word| word.ends_with("corten-shim"));
        let processes = world.isolation.processes();
        let (shim, _) = processes.iter().find(|(_, line)| is_shim(line)).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(*shim), nix::sys::signal::Signal::SIGKILL).unwrap();
        let status = wait_exited(&cri, &id, Duration::from_secs(30)).await.unwrap();
        assert_eq!((status.exit_code, status.reason.as_str()), (137, "Error"));
        assert_eq!(status.message, "the pod's supervisor was killed");
        cri.end_pod(&pod).await.unwrap();
    });
}
