//! The CRI log as containers fill it.

use wire::msg::{ErrorCode, Reply, Request};
use wire::plan::PidNamespace;

use crate::harness::{Pod, bind, busybox};
use crate::life::wait_for;

#[test]
fn long_lines_are_split_and_the_last_one_may_lack_its_end() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let script = "head -c 40000 /dev/zero | tr '\\0' x; echo; echo short; echo problem >&2; printf tail";
    let plan = pod.plan("c", script);
    pod.run(&plan);
    pod.conn.exit("c");
    let lines = pod.log_lines("c");
    let out: Vec<(&str, usize)> =
        lines.iter().filter(|line| line.0 == "stdout").map(|line| (line.1.as_str(), line.2.len())).collect();
    assert_eq!(out, [("P", 16384), ("P", 16384), ("F", 7232), ("F", 5), ("P", 4)]);
    assert!(lines.contains(&("stderr".to_owned(), "F".to_owned(), "problem".to_owned())));
}

#[test]
fn a_reopened_log_loses_and_doubles_nothing() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let plan = pod.plan("c", "i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done");
    pod.run(&plan);
    let log = pod.path("logs/c.log");
    let mut all = String::new();
    for _ in 0..5 {
        std::thread::sleep(std::time::Duration::from_millis(5));
        let rotated = pod.path("logs/c.log.1");
        // Nothing is opened for a container that has ended meanwhile.
        if std::fs::rename(&log, &rotated).is_err() {
            break;
        }
        assert_eq!(pod.conn.ask(&Request::ReopenLog { id: "c".to_owned() }), Reply::Ok);
        all += &std::fs::read_to_string(&rotated).unwrap();
    }
    pod.conn.exit("c");
    all += &std::fs::read_to_string(&log).unwrap_or_default();
    let numbers: Vec<usize> =
        all.lines().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    assert_eq!(numbers.len(), 20_000);
    assert!(numbers.iter().enumerate().all(|(index, number)| index == *number));
    let unknown = pod.conn.ask(&Request::ReopenLog { id: "x".to_owned() });
    assert!(matches!(unknown, Reply::Error { kind: ErrorCode::NotFound, .. }));
}

#[test]
fn reopening_makes_a_missing_directory_again() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let plan = pod.plan("c", "while :; do echo line; sleep 0.01; done");
    pod.run(&plan);
    let (dir, aside) = (pod.path("logs"), pod.path("aside"));
    std::fs::rename(&dir, &aside).unwrap();
    let reply = pod.conn.ask(&Request::ReopenLog { id: "c".to_owned() });
    assert_eq!(reply, Reply::Ok);
    wait_for(|| pod.log_lines("c").len() > 3);
    // One that cannot be there leaves the log where it was.
    std::fs::remove_dir_all(&aside).unwrap();
    std::fs::rename(&dir, &aside).unwrap();
    std::fs::write(&dir, "").unwrap();
    let reply = pod.conn.ask(&Request::ReopenLog { id: "c".to_owned() });
    assert!(matches!(reply, Reply::Error { kind: ErrorCode::Io, .. }), "{reply:?}");
    std::fs::remove_file(&dir).unwrap();
    std::fs::rename(&aside, &dir).unwrap();
    let before = pod.log_lines("c").len();
    wait_for(|| pod.log_lines("c").len() > before + 3);
}

#[test]
fn a_terminal_is_one_stream_and_a_session_of_its_own() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let mut plan = pod.plan(
        "c",
        "readlink /proc/self/fd/0; [ -t 1 ] && echo terminal; stat -c %t:%T /dev/console; echo err >&2",
    );
    plan.stdio.tty = true;
    plan.symlinks.push((b"pts/ptmx".to_vec(), b"/dev/ptmx".to_vec()));
    let (record, text) = pod.output(&plan);
    assert_eq!(record.code, 0, "{text}");
    assert_eq!(text.replace('\r', ""), "/dev/pts/0\nterminal\n88:0\nerr");
    assert!(pod.log_lines("c").iter().all(|line| line.0 == "stdout"));
}

#[test]
fn stdin_is_kept_open_until_it_is_closed() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let mut plan = pod.plan("c", "echo ready; cat; echo over");
    plan.stdio.stdin = true;
    pod.run(&plan);
    wait_for(|| pod.log_text("c") == "ready");
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(pod.log_text("c"), "ready");
    assert_eq!(pod.conn.ask(&Request::CloseStdin { id: "c".to_owned() }), Reply::Ok);
    assert_eq!(pod.conn.exit("c").code, 0);
    assert_eq!(pod.log_text("c"), "ready\nover");
    let plan = pod.plan("d", "cat; echo over");
    assert_eq!(pod.output(&plan).1, "over");
}

#[test]
fn a_slow_container_holds_up_no_others_output() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let mut flood = pod.plan("flood", "cat /dev/zero");
    flood.pid_namespace = PidNamespace::New;
    flood.stdio.log_path = Vec::new();
    pod.run(&flood);
    let plan = pod.plan("c", "i=0; while [ $i -lt 500 ]; do echo $i; i=$((i+1)); done; exit 4");
    let (record, text) = pod.output(&plan);
    assert_eq!((record.code, text.lines().count()), (4, 500));
}

#[test]
fn a_container_that_never_came_to_be_leaves_no_empty_log() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let log = pod.path("logs/c.log");
    let mut absent = pod.plan("c", "true");
    absent.mounts.push(bind(&pod.path("absent"), "/volume", 0));
    let mut alone = pod.plan("c", "true");
    alone.pid_namespace = PidNamespace::Container("nobody".to_owned());
    for plan in [absent, alone] {
        let refused = |reply| matches!(reply, Reply::Error { kind: ErrorCode::Setup, .. });
        assert!(refused(pod.conn.ask(&Request::Create(plan.clone()))));
        assert!(!log.exists(), "made for it, and empty");
        for content in ["", "of an earlier try\n"] {
            std::fs::write(&log, content).unwrap();
            assert!(refused(pod.conn.ask(&Request::Create(plan.clone()))));
            assert_eq!(std::fs::read_to_string(&log).unwrap(), content);
            std::fs::remove_file(&log).unwrap();
        }
    }
}
