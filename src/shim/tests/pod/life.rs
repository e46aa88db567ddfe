//! Creation, exits, signals, reconnecting.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wire::msg::{ContainerState, ErrorCode, Reply, Request};
use wire::plan::PidNamespace;

use crate::harness::{Conn, Pod, busybox, process};

pub(crate) fn alive(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn a_container_runs_and_its_exit_is_known_exactly() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let plan =
        pod.plan("c", "echo $GREETING from $(hostname 2>/dev/null || cat /proc/sys/kernel/hostname); exit 7");
    let pid = pod.create(&plan);
    assert!(alive(pid));
    assert_eq!(pod.log_lines("c"), []);
    let snapshot = pod.conn.hello();
    assert_eq!((snapshot[0].state, snapshot[0].pid), (ContainerState::Created, pid));
    pod.start("c");
    let record = pod.conn.exit("c");
    assert_eq!((record.code, record.signal, record.oom), (7, None, false));
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap();
    assert!(record.started_at_ns > 0 && record.finished_at_ns > record.started_at_ns);
    assert!(now - record.finished_at_ns < 2_000_000_000);
    let file = std::fs::read(pod.path("exits/c.exit")).unwrap();
    assert_eq!(wire::exit::decode(&file).unwrap(), record);
    assert_eq!(pod.log_text("c"), "hello from pod-host");
    assert!(!alive(pid));
    assert_eq!(pod.conn.ask(&Request::Remove { id: "c".to_owned() }), Reply::Ok);
    assert_eq!(pod.conn.ask(&Request::Remove { id: "c".to_owned() }), Reply::Ok);
    assert!(pod.conn.hello().is_empty() && !pod.path("exits/c.exit").exists());
}

#[test]
fn signals_reach_the_first_process_or_all_of_them() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let plan = pod.plan("c", "trap 'exit 42' TERM; sleep 1000 & echo ready; while :; do wait; done");
    let pid = pod.run(&plan);
    wait_for(|| pod.log_text("c") == "ready");
    let signal = |signal, all| Request::Signal { id: "c".to_owned(), signal, all };
    assert!(matches!(pod.conn.ask(&signal(999, false)), Reply::Error { kind: ErrorCode::Invalid, .. }));
    assert_eq!(pod.conn.ask(&signal(15, false)), Reply::Ok);
    let record = pod.conn.exit("c");
    assert_eq!((record.code, record.signal), (42, None));
    assert!(!alive(pid));
    let plan = pod.plan("d", "sleep 1000 & wait; sleep 1000");
    pod.run(&plan);
    let all = Request::Signal { id: "d".to_owned(), signal: 9, all: true };
    assert_eq!(pod.conn.ask(&all), Reply::Ok);
    let record = pod.conn.exit("d");
    assert_eq!((record.code, record.signal, record.oom), (137, Some(9), false));
    assert!(matches!(pod.conn.ask(&all), Reply::Error { kind: ErrorCode::BadState, .. }));
    let unknown = Request::Signal { id: "x".to_owned(), signal: 9, all: false };
    assert!(matches!(pod.conn.ask(&unknown), Reply::Error { kind: ErrorCode::NotFound, .. }));
}

#[test]
fn a_frozen_container_can_be_killed() {
    let Some(busybox) = busybox() else { return };
    for (name, below) in [("all", ""), ("part", "made by itself")] {
        let mut pod = Pod::new(&busybox);
        let plan = pod.plan(name, "sleep 1000");
        let pid = pod.run(&plan);
        let dir = String::from_utf8(pod.cgroup.kill.clone().unwrap()).unwrap();
        let dir = Path::new(&dir).join(below);
        if !below.is_empty() {
            std::fs::create_dir(&dir).unwrap();
            std::fs::write(dir.join("cgroup.procs"), pid.to_string()).unwrap();
        }
        let v1 = dir.join("freezer.state");
        if v1.exists() {
            std::fs::write(v1, "FROZEN").unwrap();
        } else {
            std::fs::write(dir.join("cgroup.freeze"), "1").unwrap();
        }
        let kill = Request::Signal { id: name.to_owned(), signal: 9, all: false };
        assert_eq!(pod.conn.ask(&kill), Reply::Ok);
        assert_eq!(pod.conn.exit(name).signal, Some(9), "{name}");
    }
}

#[test]
fn a_program_that_cannot_run_is_a_start_error_with_code_128() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let cases = [
        (
            "missing",
            process(&["no-such-program"]),
            2,
            "exec: \"no-such-program\": executable file not found in $PATH",
        ),
        ("absent", process(&["/no/such"]), 2, "exec: \"/no/such\": no such file or directory"),
        ("plain", process(&["/bin"]), 13, "exec: \"/bin\": is a directory"),
    ];
    for (id, process, number, text) in cases {
        let mut plan = pod.plan(id, "");
        plan.process = process;
        pod.create(&plan);
        match pod.conn.ask(&Request::Start { id: id.to_owned() }) {
            Reply::Error { kind: ErrorCode::Exec, errno, message } => {
                assert_eq!((errno, message.as_str()), (number, text));
            }
            other => panic!("{other:?}"),
        }
        let record = pod.conn.exit(id);
        assert_eq!((record.code, record.started_at_ns), (128, 0));
        assert_eq!(record.start_error.as_deref(), Some(text));
    }
}

#[test]
fn a_container_that_cannot_be_built_leaves_nothing() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let mut plan = pod.plan("c", "true");
    plan.mounts.push(crate::harness::bind(Path::new("/no/such/source"), "/data", 0));
    match pod.conn.ask(&Request::Create(plan)) {
        Reply::Error { kind: ErrorCode::Setup, errno: 2, message } => {
            assert!(message.contains("/data") && message.contains("/no/such/source"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    assert!(pod.conn.hello().is_empty());
    let mut plan = pod.plan("../up", "true");
    plan.stdio.log_path = Vec::new();
    assert!(matches!(pod.conn.ask(&Request::Create(plan)), Reply::Error { kind: ErrorCode::Invalid, .. }));
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(pod.dir.path().to_str().unwrap()));
    let plan = pod.plan("c", "exit 0");
    assert_eq!(pod.output(&plan).0.code, 0);
}

#[test]
fn a_new_daemon_finds_what_it_missed() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let (created, running, ended) = (
        pod.plan("a", "true"),
        pod.plan("b", "i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done"),
        pod.plan("d", "sleep 0.3; exit 9"),
    );
    pod.create(&created);
    pod.run(&running);
    pod.run(&ended);
    let socket = pod.path("shim.sock");
    // Gone without a word, as with kill -9.
    pod.conn = Conn::open(&socket);
    std::thread::sleep(Duration::from_millis(600));
    let states: Vec<_> =
        pod.conn.hello().into_iter().map(|one| (one.id, one.state, one.exit.map(|exit| exit.code))).collect();
    assert_eq!(
        states,
        [
            ("a".to_owned(), ContainerState::Created, None),
            ("b".to_owned(), ContainerState::Running, None),
            ("d".to_owned(), ContainerState::Exited, Some(9)),
        ]
    );
    assert!(pod.path("exits/d.exit").exists());
    let numbers: Vec<usize> = pod.log_lines("b").iter().map(|(_, _, text)| text.parse().unwrap()).collect();
    assert!(numbers.len() > 10 && numbers.iter().enumerate().all(|(index, number)| index == *number));
    let mut second = Conn::open(&socket);
    assert_eq!(second.hello().len(), 3);
    assert_eq!(second.ask(&Request::Signal { id: "b".to_owned(), signal: 9, all: false }), Reply::Ok);
    assert_eq!((second.exit("b").code, pod.conn.exit("b").code), (137, 137));
    pod.start("a");
    assert_eq!(pod.conn.exit("a").code, 0);
}

#[test]
fn a_container_killed_before_its_start_has_an_exit() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let plan = pod.plan("c", "true");
    let pid = pod.create(&plan);
    sys::process::kill(pid, 9).unwrap();
    let record = pod.conn.exit("c");
    assert_eq!((record.code, record.signal, record.started_at_ns), (137, Some(9), 0));
    let reply = pod.conn.ask(&Request::Start { id: "c".to_owned() });
    assert!(matches!(reply, Reply::Error { kind: ErrorCode::BadState, .. }));
}

#[test]
fn an_oom_kill_is_told_apart_from_any_other() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let dir = String::from_utf8(pod.cgroup.oom.clone().unwrap()).unwrap();
    let (v1, v2) = (Path::new(&dir).join("memory.limit_in_bytes"), Path::new(&dir).join("memory.max"));
    let file = if v1.exists() { v1 } else { v2 };
    if std::fs::write(file, "16777216").is_err() {
        need::skip(need::Need::Kernel, "no memory controller");
        return;
    }
    let plan = pod.plan("c", "exec dd if=/dev/zero of=/dev/null bs=64M");
    pod.run(&plan);
    let record = pod.conn.exit("c");
    assert_eq!((record.code, record.signal, record.oom), (137, Some(9), true));
    let plan = pod.plan("d", "sleep 1000");
    pod.run(&plan);
    assert_eq!(pod.conn.ask(&Request::Signal { id: "d".to_owned(), signal: 9, all: false }), Reply::Ok);
    assert!(!pod.conn.exit("d").oom, "an earlier kill is not this one's");
}

/// Limits the memory of the pod's one cgroup; `false` where that cannot be.
fn limited(pod: &Pod) -> bool {
    let dir = String::from_utf8(pod.cgroup.oom.clone().unwrap()).unwrap();
    let (v1, v2) = (Path::new(&dir).join("memory.limit_in_bytes"), Path::new(&dir).join("memory.max"));
    let limited = std::fs::write(if v1.exists() { v1 } else { v2 }, "16777216").is_ok();
    if !limited {
        need::skip(need::Need::Kernel, "no memory controller");
    }
    limited
}

const HOG: &str = "dd if=/dev/zero of=/dev/null bs=64M 2>/dev/null";

#[test]
fn a_kill_that_the_container_survives_is_not_its_own() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    if !limited(&pod) {
        return;
    }
    let plan = pod.plan("completes", &format!("{HOG}; echo $?; exit 0"));
    let (record, text) = pod.output(&plan);
    assert_eq!((record.code, record.oom, text.as_str()), (0, false, "137"));
    let plan = pod.plan("dies-of-it", &format!("{HOG}; exit $?"));
    let (record, _) = pod.output(&plan);
    assert_eq!((record.code, record.signal, record.oom), (137, None, true), "its last command was killed");
    survivor(&mut pod, "stopped");
    let request = Request::Signal { id: "stopped".to_owned(), signal: 9, all: true };
    assert_eq!(pod.conn.ask(&request), Reply::Ok);
    assert_eq!(ending(&mut pod, "stopped"), (137, Some(9), false));
    // Somebody else's signal comes unannounced: by then the shim must have seen that the container lives on, which
    // takes it a moment and on a busy machine more.
    let mut shot = [1, 4, 16].into_iter().map(|seconds| {
        let id = format!("shot-{seconds}");
        let pid = survivor(&mut pod, &id);
        std::thread::sleep(Duration::from_secs(seconds));
        sys::process::kill(pid, 9).unwrap();
        ending(&mut pod, &id)
    });
    assert!(shot.any(|ending| ending == (137, Some(9), false)));
}

/// Starts a container that survives the kill of a child.
fn survivor(pod: &mut Pod, id: &str) -> i32 {
    let pid = pod.run(&pod.plan(id, &format!("{HOG}; echo $?; exec sleep 1000")));
    wait_for(|| pod.log_text(id) == "137");
    pid
}

fn ending(pod: &mut Pod, id: &str) -> (i32, Option<i32>, bool) {
    let record = pod.conn.exit(id);
    (record.code, record.signal, record.oom)
}

#[test]
fn an_exec_s_want_of_memory_is_not_the_container_s() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    if !limited(&pod) {
        return;
    }
    pod.run(&pod.plan("c", "exec sleep 1000"));
    match pod.exec("c", &["/bin/dd", "if=/dev/zero", "of=/dev/null", "bs=64M"], 0) {
        Reply::Exec { exit_code, .. } => assert_eq!(exit_code, 137),
        other => panic!("{other:?}"),
    }
    assert_eq!(pod.conn.ask(&Request::Signal { id: "c".to_owned(), signal: 9, all: false }), Reply::Ok);
    assert!(!pod.conn.exit("c").oom);
}

#[test]
fn what_the_first_process_leaves_in_the_hosts_namespace_is_killed() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let mut plan = pod.plan("c", "setsid sleep 987 & setsid sleep 987 & echo $!; exit 3");
    plan.pid_namespace = PidNamespace::Host;
    let (record, text) = pod.output(&plan);
    assert_eq!(record.code, 3);
    // Dead by now; the shim may have yet to reap it.
    wait_for(|| !alive(text.trim().parse().unwrap()));
    assert!(
        sys::cgroup::processes(Path::new(std::str::from_utf8(pod.cgroup.kill.as_ref().unwrap()).unwrap()))
            .is_empty()
    );
}

#[test]
fn a_shutdown_leaves_no_process() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let plans = [pod.plan("a", "sleep 1000"), pod.plan("b", "sleep 1000")];
    let first = pod.run(&plans[0]);
    let second = pod.create(&plans[1]);
    pod.shut_down();
    assert!(!alive(first) && !alive(second));
}

pub(crate) fn wait_for(mut condition: impl FnMut() -> bool) {
    for _ in 0..8000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("it does not come true");
}

#[test]
fn who_runs_it_by_hand_is_told_what_it_is() {
    let told = std::process::Command::new(env!("CARGO_BIN_EXE_corten-shim")).arg("--help").output().unwrap();
    let text = String::from_utf8_lossy(&told.stderr);
    assert_eq!(told.status.code(), Some(2), "{text}");
    assert!(text.contains("supervises one pod") && text.contains("corten starts it"), "{text}");
    let Some(pause) = crate::harness::pause() else { return };
    let told = std::process::Command::new(pause).arg("--help").output().unwrap();
    assert_eq!(told.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&told.stderr).contains("corten-shim starts it"), "{told:?}");
}

#[test]
fn what_a_newer_daemon_asks_is_refused_by_name_and_the_pod_goes_on() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let mut unknown = wire::frame::request(1000, &Request::Hello);
    // Behind length, kind and id stands which request it is.
    unknown[4 + 1 + 8] = 99;
    pod.conn.send_frame(&unknown);
    let Reply::Error { kind: ErrorCode::BadState, message, .. } = pod.conn.wait(1000) else {
        panic!("{}", pod.shim_log())
    };
    assert_eq!(
        message,
        "the pod's supervisor is older: message holds a Request of number 99, which is not known here"
    );
    let plan = pod.plan("c", "exit 3");
    assert_eq!(pod.output(&plan).0.code, 3);
}
