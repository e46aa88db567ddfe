//! The daemon is killed with -9 while containers log and exit: nothing may be lost, doubled, torn or guessed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use e2e::death::Death;
use e2e::logs;
use e2e::pods::shell;
use e2e::runtime::Kind;
use e2e::stall::Stall;
use e2e::wait;
use e2e::world::{BUSYBOX, World, wait_exited};
use std::path::Path;
use std::time::{Duration, Instant};

const LINES: usize = 20_000;
const LONG: usize = 40_000;
/// The bytes of a log that about half a second of lines takes.
const SOME: u64 = 50_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// About 1,000 numbered lines a second on each stream, in batches of ten; the line in the middle is longer than two
/// parts of a log line.
fn logger() -> String {
    format!(
        "long=$(head -c {LONG} /dev/zero | tr '\\0' x)\n\
         i=0\n\
         while [ $i -lt {LINES} ]; do\n\
           n=0; while [ $n -lt 10 ]; do echo \"o $i\"; echo \"e $i\" >&2; i=$((i+1)); n=$((n+1)); done\n\
           [ $i = {middle} ] && echo \"long $long\"\n\
           usleep 8500\n\
         done",
        middle = LINES / 2,
    )
}

fn assert_complete(path: &Path) {
    let lines = logs::read(path).unwrap();
    for (stream, prefix) in [("stdout", "o "), ("stderr", "e ")] {
        let numbers: Vec<usize> = lines
            .iter()
            .filter(|line| line.stream == stream && !line.text.starts_with("long "))
            .map(|line| {
                line.text.strip_prefix(prefix).and_then(|number| number.parse().ok()).unwrap_or_else(|| {
                    panic!("a torn line on {stream}: {:?}", line.text);
                })
            })
            .collect();
        let gap = numbers.iter().enumerate().find(|(index, number)| index != *number);
        assert_eq!(gap, None, "{stream}: a line is lost or doubled");
        assert_eq!(numbers.len(), LINES, "{stream}");
    }
    let long: Vec<_> = lines.iter().filter(|line| line.text.starts_with("long ")).collect();
    assert_eq!(long.len(), 1);
    assert_eq!(long[0].text.len(), LONG + 5);
    assert!(long[0].parts >= 3 && long[0].longest_part <= 16 << 10, "{} parts", long[0].parts);
}

#[test]
fn kill_nine_loses_no_line_and_no_exit_code() {
    let Some(mut world) = World::new().unwrap() else { return };
    if world.daemon.kind() == Kind::Containerd {
        need::skip(need::Need::Corten, "the peer loses logs and exit codes here by design");
        return;
    }
    let pod = world.pod("restart").unwrap();
    let (logging, exiting, killed, pod_id, marker) = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let pod_id = cri.run_pod(&pod).await.unwrap();
        let mut ids = Vec::new();
        let script = "while [ ! -e /marker/go ]; do usleep 10000; done; sleep 2; exit 7";
        let mut exiting = shell("exiting", BUSYBOX, script);
        let marker = world.isolation.directory("marker").unwrap();
        exiting.mounts.push(e2e::proto::Mount {
            container_path: "/marker".into(),
            host_path: marker.display().to_string(),
            ..Default::default()
        });
        for config in
            [shell("logging", BUSYBOX, &logger()), exiting, shell("killed", BUSYBOX, "exec sleep 1000")]
        {
            let id = cri.create(&pod_id, &config, &pod).await.unwrap();
            cri.start(&id).await.unwrap();
            ids.push(id);
        }
        let killed = ids.pop().unwrap();
        let exiting = ids.pop().unwrap();
        (ids.pop().unwrap(), exiting, killed, pod_id, marker)
    });
    let [victim, ends] = [&killed, &exiting].map(|id| {
        let info = async { world.daemon.client().await.unwrap().container_info(id).await.unwrap() };
        i32::try_from(world.tokio.block_on(info)["pid"].as_i64().unwrap()).unwrap()
    });

    let stall = Stall::watch();
    let log = world.log("restart", "logging");
    let more_lines = || {
        let size = || std::fs::metadata(&log).map_or(0, |file| file.len());
        let before = size();
        wait::until("more lines", PATIENCE, || size() > before + SOME).unwrap();
    };
    more_lines();
    world.daemon.kill().unwrap();
    let exit = world.tokio.spawn(Death::witness(ends, PATIENCE));
    std::fs::write(marker.join("go"), "").unwrap();
    more_lines();
    let kill = world.tokio.block_on(Death::cause(victim)).unwrap();
    let exit = world.tokio.block_on(exit).unwrap();
    more_lines();
    let begin = Instant::now();
    world.daemon.restart().unwrap();
    println!("the daemon answers {:?} after its start", begin.elapsed());

    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let pods = cri.pods().await.unwrap();
        assert_eq!(pods.iter().map(|pod| pod.id.as_str()).collect::<Vec<_>>(), [pod_id.as_str()]);
        assert_eq!(cri.containers().await.unwrap().len(), 3);

        let status = wait_exited(&cri, &exiting, Duration::from_secs(30)).await.unwrap();
        assert_eq!((status.exit_code, status.reason.as_str()), (7, "Error"));
        exit.is_told_as(status.finished_at, &stall).unwrap();

        let status = wait_exited(&cri, &killed, Duration::from_secs(30)).await.unwrap();
        assert_eq!(status.exit_code, 137);
        kill.is_told_as(status.finished_at, &stall).unwrap();

        let status = wait_exited(&cri, &logging, Duration::from_secs(60)).await.unwrap();
        assert_eq!((status.exit_code, status.reason.as_str()), (0, "Completed"));
        assert_complete(&world.log("restart", "logging"));
        cri.end_pod(&pod_id).await.unwrap();
        assert!(cri.pods().await.unwrap().is_empty());
    });
}

#[test]
fn a_pod_goes_on_and_ends_under_the_next_daemon() {
    let Some(mut world) = World::new().unwrap() else { return };
    let baseline = world.baseline().unwrap().without("process").without("fd");
    let pod = e2e::pods::with_host_port(world.pod("survivor").unwrap(), 31_000, 80);
    let (pod_id, container) = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let pod_id = cri.run_pod(&pod).await.unwrap();
        let config = shell("main", BUSYBOX, "trap 'exit 5' TERM; while :; do sleep 0.1; done");
        let container = cri.create(&pod_id, &config, &pod).await.unwrap();
        cri.start(&container).await.unwrap();
        (pod_id, container)
    });
    for _ in 0..3 {
        world.daemon.kill().unwrap();
        world.daemon.restart().unwrap();
    }
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        assert_eq!(cri.shell(&container, "echo alive").await.unwrap(), "alive\n");
        assert!(!cri.pod_ip(&pod_id).await.unwrap().is_empty());
        cri.stop(&container, 10).await.unwrap();
        let status = cri.container_status(&container).await.unwrap();
        assert_eq!(status.exit_code, 5);
        cri.end_pod(&pod_id).await.unwrap();
    });
    baseline.settle(&world.isolation, &world.daemon).unwrap();
}

#[test]
fn a_daemon_that_is_asked_to_end_finishes_what_it_began_for_a_client_that_hung_up() {
    let Some(mut world) = World::new().unwrap() else { return };
    if world.daemon.kind() == Kind::Containerd {
        need::skip(need::Need::Corten, "Corten's own promise");
        return;
    }
    let pod = world.pod("hung-up").unwrap();
    let (pod_id, pid) = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.pull(BUSYBOX, None).await.unwrap();
        let pod_id = cri.run_pod(&pod).await.unwrap();
        let stubborn =
            shell("stubborn", BUSYBOX, "trap 'echo asked' TERM; echo up; while :; do usleep 10000; done");
        let id = cri.create(&pod_id, &stubborn, &pod).await.unwrap();
        cri.start(&id).await.unwrap();
        let pid = cri.container_info(&id).await.unwrap()["pid"].as_i64().unwrap();
        let log = world.log("hung-up", "stubborn");
        let said = async |word: &str| {
            let end = Instant::now() + Duration::from_secs(30);
            while !std::fs::read_to_string(&log).is_ok_and(|text| text.contains(word)) {
                assert!(Instant::now() < end, "the container never says {word}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        said("up").await;
        let other = world.daemon.client().await.unwrap();
        let stopping = tokio::spawn(async move { other.stop(&id, 3).await });
        said("asked").await;
        stopping.abort();
        assert!(stopping.await.unwrap_err().is_cancelled());
        (pod_id, pid)
    });
    world.daemon.stop().unwrap();
    // The grace was over before the daemon ended, and the end of the container known.
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    assert!(status.is_empty() || status.contains("State:\tZ"), "the container still runs: {status}");
    world.daemon.restart().unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        cri.end_pod(&pod_id).await.unwrap();
    });
}
