//! What happens while no daemon is there, or none that knows.

use crate::{SOON, pid_of, running, unlimited, world};
use e2e::pods::shell;
use e2e::proto::{ContainerState, Mount, NamespaceMode, NamespaceOption, PodSandboxState};
use e2e::stall::Stall;
use e2e::world::{BUSYBOX, wait_exited};
use e2e::{process, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// 500 lines of 100 bytes, and the time: 5 MB a second, if nobody is in the way.
const BATCHES: usize = 1000;
const WRITER: &str = r#"exec awk 'BEGIN {
    pad = sprintf("%90s", ""); gsub(" ", "x", pad)
    for (batch = 0; batch < 1000; batch++) {
        for (line = 0; line < 500; line++) print batch * 500 + line, pad
        fflush()
        getline time < "/proc/uptime"; close("/proc/uptime"); print time > "/marker/times"; fflush("/marker/times")
        system("usleep 9000")
    }
}'"#;

/// F2.
#[test]
fn f2_a_writer_is_not_held_up_by_a_daemon_that_is_dead() {
    let Some(mut world) = world() else { return };
    let pod = world.pod("f2").unwrap();
    let marker = world.isolation.directory("marker").unwrap();
    let mut writer = unlimited("writer", WRITER);
    let (container_path, host_path) = ("/marker".to_owned(), marker.display().to_string());
    writer.mounts.push(Mount { container_path, host_path, ..Mount::default() });
    let (_, id) = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        running(&cri, &pod, &writer).await
    });
    let times = marker.join("times");
    wait::until("the writer", SOON, || times.exists()).unwrap();
    world.daemon.kill().unwrap();
    let stall = Stall::watch();
    let told = || fs::read_to_string(&times).unwrap_or_default();
    let begun = told().lines().count();
    wait::until("all batches", Duration::from_secs(180), || told().lines().count() == BATCHES).unwrap();
    let seconds = |line: &str| line.split(' ').next().unwrap().parse::<f64>().unwrap();
    let times: Vec<f64> = told().lines().skip(begun).map(seconds).collect();
    let longest = times.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    // A batch sleeps 9 ms; three threads follow each other, and each may have to wait for a processor.
    let allowed = Duration::from_millis(100) + 3 * stall.worst();
    assert!(longest <= allowed.as_secs_f64(), "a write took {longest} s, {allowed:?} are allowed");
    world.daemon.restart().unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        assert_eq!(wait_exited(&cri, &id, SOON).await.unwrap().exit_code, 0);
    });
    let lines = e2e::logs::read(&world.log("f2", "writer")).unwrap();
    let numbers = lines.iter().map(|line| line.text.split(' ').next().unwrap().parse::<usize>().unwrap());
    assert!(numbers.eq(0..BATCHES * 500), "a line is lost, doubled or torn");
}

/// F3.
#[test]
fn f3_a_container_that_ends_while_its_stop_is_killed_has_ended_with_its_code() {
    let Some(mut world) = world() else { return };
    let pod = world.pod("f3").unwrap();
    let script = "trap 'echo asked; sleep 1; exit 43' TERM; echo up; while :; do usleep 10000; done";
    let (pod_id, id, main) = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let (pod_id, id) = running(&cri, &pod, &shell("main", BUSYBOX, script)).await;
        let main = pid_of(&cri, &id).await;
        let log = world.log("f3", "main");
        let says = |word: &'static str| {
            let log = log.clone();
            tokio::task::spawn_blocking(move || {
                wait::until(word, SOON, || fs::read_to_string(&log).is_ok_and(|text| text.contains(word)))
            })
        };
        says("up").await.unwrap().unwrap();
        let (other, held) = (world.daemon.client().await.unwrap(), id.clone());
        tokio::spawn(async move { other.stop(&held, 30).await });
        says("asked").await.unwrap().unwrap();
        (pod_id, id, main)
    });
    world.daemon.kill().unwrap();
    wait::until("its end", SOON, || process::stat(main).is_none_or(|stat| stat[0] == "Z")).unwrap();
    world.daemon.restart().unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let status = wait_exited(&cri, &id, Duration::from_secs(5)).await.unwrap();
        assert_eq!((status.exit_code, status.state()), (43, ContainerState::ContainerExited));
        // The kubelet asks again.
        cri.stop(&id, 30).await.unwrap();
        cri.end_pod(&pod_id).await.unwrap();
    });
}

/// F4: where its containers share a PID namespace, nothing runs without the pod's pause, with a daemon or without.
#[test]
fn f4_a_pod_whose_pause_is_killed_is_not_ready_and_what_it_ran_has_ended() {
    let Some(mut world) = world() else { return };
    for is_dead in [false, true] {
        let mut pod = world.pod(if is_dead { "f4-dead" } else { "f4" }).unwrap();
        let options = NamespaceOption { pid: NamespaceMode::Pod.into(), ..NamespaceOption::default() };
        let security = pod.linux.get_or_insert_default().security_context.get_or_insert_default();
        security.namespace_options = Some(options.clone());
        let mut main = shell("main", BUSYBOX, "exec sleep 1000");
        let security = main.linux.get_or_insert_default().security_context.get_or_insert_default();
        security.namespace_options = Some(options.clone());
        let (pod_id, id, waits, pause) = world.tokio.block_on(async {
            let cri = world.daemon.client().await.unwrap();
            let (pod_id, id) = running(&cri, &pod, &main).await;
            let shim: i32 = process::stat(pid_of(&cri, &id).await).unwrap()[1].parse().unwrap();
            main.metadata.as_mut().unwrap().name = "waits".to_owned();
            let waits = cri.create(&pod_id, &main, &pod).await.unwrap();
            (pod_id, id, waits, first_of(shim).unwrap())
        });
        if is_dead {
            world.daemon.kill().unwrap();
        }
        kill(Pid::from_raw(pause), Signal::SIGKILL).unwrap();
        if is_dead {
            world.daemon.restart().unwrap();
        }
        world.tokio.block_on(async {
            let cri = world.daemon.client().await.unwrap();
            for container in [&id, &waits] {
                assert_eq!(wait_exited(&cri, container, SOON).await.unwrap().exit_code, 137);
            }
            let is_left = async || cri.pods().await.unwrap()[0].state() == PodSandboxState::SandboxNotready;
            let end = Instant::now() + SOON;
            while !is_left().await {
                assert!(Instant::now() < end, "the pod is ready without its pause");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            cri.end_pod(&pod_id).await.unwrap();
        });
    }
}

/// The child of a supervisor that is the first process of a PID namespace.
fn first_of(shim: i32) -> Option<i32> {
    let children = fs::read_to_string(format!("/proc/{shim}/task/{shim}/children")).ok()?;
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(|pid: &i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        numbers.is_some_and(|numbers| numbers.split_whitespace().nth(1) == Some("1"))
    })
}

/// F5.
#[test]
fn f5_an_init_process_that_somebody_kills_has_ended_by_that_signal() {
    let Some(world) = world() else { return };
    let pod = world.pod("f5").unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let (pod_id, id) = running(&cri, &pod, &shell("runs", BUSYBOX, "exec sleep 1000")).await;
        let stall = Stall::watch();
        let patience = || Duration::from_secs(1) + 3 * stall.worst();
        kill(Pid::from_raw(pid_of(&cri, &id).await), Signal::SIGKILL).unwrap();
        let status = wait_exited(&cri, &id, SOON).await.unwrap();
        assert_eq!(status.exit_code, 137);

        let id = cri.create(&pod_id, &shell("waits", BUSYBOX, "exec sleep 1000"), &pod).await.unwrap();
        let killed = Instant::now();
        kill(Pid::from_raw(pid_of(&cri, &id).await), Signal::SIGKILL).unwrap();
        // Whether it is too late for a start is the supervisor's to see; that it has ended, everybody's.
        if let Err(error) = cri.start(&id).await {
            let text = error.to_string();
            assert!(["ended", "exited"].iter().any(|word| text.contains(word)), "{text}");
        }
        let status = wait_exited(&cri, &id, SOON).await.unwrap();
        assert!(killed.elapsed() <= patience(), "it takes {:?}", killed.elapsed());
        assert_eq!(status.exit_code, 137, "{status:?}");
        cri.end_pod(&pod_id).await.unwrap();
    });
}

/// F10: while the daemon is dead the pod goes, and strangers get the ids that its processes had.
#[test]
fn f10_a_stranger_with_the_id_of_a_process_on_record_is_left_alone() {
    let Some(mut world) = world() else { return };
    let pod = world.pod("f10").unwrap();
    let (pod_id, id, pids) = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let (pod_id, id) = running(&cri, &pod, &shell("main", BUSYBOX, "exec sleep 1000")).await;
        let main = pid_of(&cri, &id).await;
        let shim: i32 = process::stat(main).unwrap()[1].parse().unwrap();
        (pod_id, id, [shim, main])
    });
    world.daemon.kill().unwrap();
    for pid in pids {
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        wait::until("its end", SOON, || process::stat(pid).is_none()).unwrap();
    }
    let mut strangers: Vec<Child> = pids.into_iter().filter_map(stranger).collect();
    if strangers.len() < pids.len() {
        strangers.iter_mut().for_each(|child| drop(child.kill()));
        need::skip(need::Need::Kernel, "this kernel gives no process an id of one's choice");
        return;
    }
    world.daemon.restart().unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let status = wait_exited(&cri, &id, Duration::from_secs(5)).await.unwrap();
        assert_ne!(status.state(), ContainerState::ContainerRunning);
        cri.stop(&id, 0).await.unwrap();
        cri.end_pod(&pod_id).await.unwrap();
    });
    for child in &mut strangers {
        assert!(child.try_wait().unwrap().is_none(), "the stranger {} was killed", child.id());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

/// A process with this id, which the kernel gives to the next one after `ns_last_pid`, if nobody else is faster.
fn stranger(pid: i32) -> Option<Child> {
    for _ in 0..200 {
        fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).ok()?;
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        if child.id().cast_signed() == pid {
            return Some(child);
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    None
}

/// Part of F7: a supervisor lives on, and somebody has deleted what was written of its pod.
#[test]
fn f7_what_lives_is_known_again_although_its_records_are_deleted() {
    let Some(mut world) = world() else { return };
    let [one, other] = ["f7-record", "f7-directory"].map(|name| world.pod(name).unwrap());
    let script = "trap 'exit 7' TERM; while :; do sleep 0.1; done";
    let [(pod, id), (gone, lost)] = world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        [
            running(&cri, &one, &unlimited("main", script)).await,
            running(&cri, &other, &unlimited("main", script)).await,
        ]
    });
    // The durable copies are written behind the answers.
    std::thread::sleep(Duration::from_secs(2));
    world.daemon.kill().unwrap();
    let pods = world.daemon.place().state.join("pods");
    fs::remove_file(pods.join(&pod).join("pod.json")).unwrap();
    fs::remove_file(pods.join(&pod).join("containers").join(format!("{id}.json"))).unwrap();
    for mount in ["files", "shm"] {
        let _ = nix::mount::umount2(&pods.join(&gone).join(mount), nix::mount::MntFlags::MNT_DETACH);
    }
    fs::remove_dir_all(pods.join(&gone)).unwrap();
    world.daemon.restart().unwrap();
    world.tokio.block_on(async {
        let cri = world.daemon.client().await.unwrap();
        let states: Vec<_> =
            cri.pods().await.unwrap().into_iter().map(|it| (it.id.clone(), it.state())).collect();
        assert_eq!(states.len(), 2, "{states:?}");
        assert!(states.contains(&(pod.clone(), PodSandboxState::SandboxReady)), "{states:?}");
        assert!(states.contains(&(gone.clone(), PodSandboxState::SandboxNotready)), "{states:?}");
        assert_eq!(cri.shell(&id, "echo here").await.unwrap(), "here\n");
        assert_eq!(cri.container_status(&lost).await.unwrap().state(), ContainerState::ContainerExited);
        cri.stop(&id, 10).await.unwrap();
        assert_eq!(cri.container_status(&id).await.unwrap().exit_code, 7);
        for pod in [&pod, &gone] {
            cri.end_pod(pod).await.unwrap();
        }
    });
}

/// The same where nothing is left by which the pod could be known.
#[test]
fn f7_what_lives_without_any_record_is_taken_down_and_its_address_is_free() {
    let Some(mut world) = world() else { return };
    let pod = world.pod("f7-stray").unwrap();
    for lost in ["", "pod.json"] {
        let (id, container, process) = world.tokio.block_on(async {
            let cri = world.daemon.client().await.unwrap();
            let (id, container) = running(&cri, &pod, &unlimited("main", "exec sleep 1000")).await;
            let process = pid_of(&cri, &container).await;
            (id, container, process)
        });
        world.daemon.kill().unwrap();
        let place = world.daemon.place();
        let dir = place.state.join("pods").join(&id);
        if lost.is_empty() {
            for mount in ["files", "shm"] {
                let _ = nix::mount::umount2(&dir.join(mount), nix::mount::MntFlags::MNT_DETACH);
            }
            fs::remove_dir_all(&dir).unwrap();
        } else {
            fs::remove_file(dir.join(lost)).unwrap();
        }
        fs::remove_file(place.data.join("state.redb")).unwrap();
        world.daemon.restart().unwrap();
        wait::until("its end", SOON, || process::stat(process).is_none()).unwrap();
        wait::until("its directory to go", SOON, || !dir.exists()).unwrap();
        world.tokio.block_on(async {
            let cri = world.daemon.client().await.unwrap();
            assert!(cri.pods().await.unwrap().is_empty());
            let listed = cri.containers().await.unwrap();
            assert!(listed.iter().all(|it| it.id != container), "{listed:?}");
            let again = cri.run_pod(&pod).await.unwrap();
            cri.end_pod(&again).await.unwrap();
        });
    }
}
