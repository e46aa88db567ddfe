//! Commands in a running container.

use std::time::{Duration, Instant};

use wire::msg::{ErrorCode, Reply, Request};

use crate::harness::{Conn, Pod, busybox};
use crate::life::wait_for;

fn running(pod: &mut Pod) {
    let plan = pod.plan("c", "while :; do sleep 1000; done");
    pod.run(&plan);
}

/// How many processes run with this argument, anywhere on the machine.
fn count(argument: &str) -> usize {
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .filter(|line| line.split(|byte| *byte == 0).any(|part| part == argument.as_bytes()))
        .count()
}

#[test]
fn a_command_runs_inside_the_container() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    running(&mut pod);
    let script =
        "echo out; echo err >&2; readlink /proc/self/ns/pid; cat /proc/1/cmdline; ls /proc/self/fd; exit 5";
    let Reply::Exec { exit_code, stdout, stderr, timed_out, truncated } =
        pod.exec("c", &["sh", "-c", script], 0)
    else {
        panic!("no exec");
    };
    let stdout = String::from_utf8(stdout).unwrap();
    assert_eq!((exit_code, stderr.as_slice(), timed_out, truncated), (5, &b"err\n"[..], false, false));
    let own = std::fs::read_link("/proc/self/ns/pid").unwrap();
    assert!(stdout.starts_with("out\npid:[") && !stdout.contains(own.to_str().unwrap()), "{stdout}");
    assert!(stdout.contains("while :"), "{stdout}");
    assert!(stdout.ends_with("0\n1\n2\n3\n"), "ls itself has opened the fourth: {stdout}");
}

#[test]
fn a_timeout_kills_everything_that_the_command_started() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    running(&mut pod);
    // In the background, in a session of its own, orphaned by a double fork, and ignoring signals.
    let argument = format!("{}.25", 7000 + std::process::id());
    let script = format!(
        "trap '' TERM HUP INT; sleep {argument} & setsid sleep {argument} & (setsid sh -c 'sleep {argument} & exec sleep {argument}' &) ; echo up; sleep {argument}"
    );
    let since = Instant::now();
    let reply = pod.exec("c", &["sh", "-c", &script], 400);
    let Reply::Exec { exit_code, stdout, timed_out, .. } = reply else { panic!("{reply:?}") };
    assert_eq!((exit_code, stdout.as_slice(), timed_out), (137, &b"up\n"[..], true));
    assert!(since.elapsed() >= Duration::from_millis(400), "{:?}", since.elapsed());
    assert_eq!(count(&argument), 0);
    let reply = pod.exec("c", &["true"], 1000);
    assert!(matches!(reply, Reply::Error { kind: ErrorCode::Exec, .. }), "true is no link here: {reply:?}");
    assert!(matches!(pod.exec("c", &["cat", "/dev/null"], 1000), Reply::Exec { exit_code: 0, .. }));
}

#[test]
fn a_command_that_nobody_waits_for_is_killed_with_what_it_started() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    running(&mut pod);
    // One without a limit of time has no cgroup of its own: there, what has lost its parent is nobody's.
    let orphans = "(setsid sh -c 'sleep ARG & exec sleep ARG' &)";
    for (number, timeout, more, processes) in [(1, 0, "true", 3), (2, 600_000, orphans, 5)] {
        let argument = format!("{}.{number}5", 9000 + std::process::id());
        let script = format!("trap '' TERM HUP INT; sleep ARG & setsid sleep ARG & {more}; sleep ARG");
        let script = script.replace("ARG", &argument);
        let plan = pod.exec_plan("c", &["sh", "-c", &script], timeout);
        let asked = pod.conn.send(&Request::Exec(plan));
        wait_for(|| count(&argument) == processes);
        assert_eq!(pod.conn.ask(&Request::KillExec { request: asked + 1000 }), Reply::Ok);
        let mut another = Conn::open(&pod.path("shim.sock"));
        assert_eq!(another.ask(&Request::KillExec { request: asked }), Reply::Ok);
        assert_eq!(count(&argument), processes, "that was of another connection");
        assert_eq!(pod.conn.ask(&Request::KillExec { request: asked }), Reply::Ok);
        let reply = pod.conn.wait(asked);
        let Reply::Exec { exit_code: 137, timed_out: true, .. } = reply else { panic!("{reply:?}") };
        assert_eq!(count(&argument), 0);
        assert_eq!(pod.conn.ask(&Request::KillExec { request: asked }), Reply::Ok);
    }
}

#[test]
fn a_background_process_may_outlive_its_exec_but_not_the_container() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    running(&mut pod);
    let argument = format!("{}.5", 8000 + std::process::id());
    let since = Instant::now();
    let reply = pod.exec("c", &["sh", "-c", &format!("sleep {argument} & echo done")], 10_000);
    let Reply::Exec { exit_code: 0, stdout, timed_out: false, .. } = reply else { panic!("{reply:?}") };
    assert_eq!(stdout, b"done\n");
    let took = since.elapsed();
    assert!(took >= Duration::from_millis(300), "the drain's bound: {took:?}");
    assert_eq!(count(&argument), 1);
    assert_eq!(pod.conn.ask(&Request::Remove { id: "c".to_owned() }), Reply::Ok);
    assert_eq!(count(&argument), 0);
}

/// The cgroups of commands below the container's; `None` where the kernel kills none at once.
fn exec_cgroups(pod: &Pod) -> Option<usize> {
    let dir = sys::fd::as_path(pod.cgroup.v2.as_ref()?);
    let names = std::fs::read_dir(dir).unwrap().flatten().map(|entry| entry.file_name());
    let count = names.filter(|name| name.as_encoded_bytes().starts_with(b"exec-")).count();
    dir.join("cgroup.kill").exists().then_some(count)
}

fn place(reply: Reply) -> String {
    let Reply::Exec { stdout, exit_code: 0, .. } = reply else { panic!("{reply:?}") };
    let lines = String::from_utf8(stdout).unwrap();
    lines.lines().find(|line| line.starts_with("0::")).unwrap().to_owned()
}

#[test]
fn a_cgroup_that_a_command_leaves_empty_is_the_next_ones_and_none_is_left() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    running(&mut pod);
    let Some(0) = exec_cgroups(&pod) else { return };
    let look = "cat /proc/self/cgroup";
    let first = place(pod.exec("c", &["sh", "-c", look], 10_000));
    assert_eq!(place(pod.exec("c", &["sh", "-c", look], 10_000)), first);
    assert_eq!(exec_cgroups(&pod), Some(1));
    let both = [1, 2].map(|_| {
        let plan = pod.exec_plan("c", &["sh", "-c", &format!("{look}; sleep 0.3")], 10_000);
        pod.conn.send(&Request::Exec(plan))
    });
    let [one, other] = both.map(|id| place(pod.conn.wait(id)));
    assert_ne!(one, other, "each at a time has its own");
    let full = place(pod.exec("c", &["sh", "-c", &format!("sleep 1000 & {look}")], 10_000));
    let killed = pod.exec("c", &["sleep", "1000"], 100);
    assert!(matches!(killed, Reply::Exec { timed_out: true, .. }), "{killed:?}");
    let next = place(pod.exec("c", &["sh", "-c", look], 10_000));
    assert_ne!(next, full, "somebody is in there");
    assert_eq!(exec_cgroups(&pod), Some(2));
    for _ in 0..3 {
        place(pod.exec("c", &["sh", "-c", &format!("sleep 0.2 >/dev/null 2>&1 & {look}")], 10_000));
    }
    assert_eq!(exec_cgroups(&pod), Some(4), "that one, and one for each that sleeps");
    std::thread::sleep(std::time::Duration::from_millis(500));
    place(pod.exec("c", &["sh", "-c", look], 10_000));
    assert_eq!(exec_cgroups(&pod), Some(2), "those that were left empty are gone");
    assert_eq!(pod.conn.ask(&Request::Remove { id: "c".to_owned() }), Reply::Ok);
    assert_eq!(exec_cgroups(&pod), Some(0));
}

#[test]
fn output_is_capped_and_the_command_still_ends() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    running(&mut pod);
    let reply = pod.exec("c", &["sh", "-c", "head -c 3000000 /dev/zero; echo end >&2"], 10_000);
    let Reply::Exec { exit_code: 0, stdout, stderr, truncated: true, .. } = reply else { panic!("no exec") };
    assert_eq!((stdout.len(), stderr.as_slice()), (1 << 20, &b"end\n"[..]));
}

#[test]
fn commands_that_cannot_run_say_why() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    running(&mut pod);
    match pod.exec("c", &["nope"], 500) {
        Reply::Error { kind: ErrorCode::Exec, errno: 2, message } => {
            assert_eq!(message, "exec: \"nope\": executable file not found in $PATH");
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(pod.exec("x", &["sh"], 0), Reply::Error { kind: ErrorCode::NotFound, .. }));
    assert!(matches!(pod.exec("c", &[], 0), Reply::Error { kind: ErrorCode::Invalid, .. }));
    assert_eq!(pod.conn.ask(&Request::Signal { id: "c".to_owned(), signal: 9, all: false }), Reply::Ok);
    pod.conn.exit("c");
    assert!(matches!(pod.exec("c", &["sh"], 0), Reply::Error { kind: ErrorCode::BadState, .. }));
}

#[test]
fn many_commands_are_in_flight_at_once() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    running(&mut pod);
    let since = Instant::now();
    let ids: Vec<u64> = (0..40)
        .map(|number| {
            let plan = pod.exec_plan("c", &["sh", "-c", &format!("sleep 0.3; echo {number}")], 10_000);
            pod.conn.send(&Request::Exec(plan))
        })
        .collect();
    for (number, id) in ids.into_iter().enumerate() {
        let reply = pod.conn.wait(id);
        let Reply::Exec { exit_code: 0, stdout, .. } = reply else { panic!("{reply:?}") };
        assert_eq!(stdout, format!("{number}\n").into_bytes());
    }
    assert!(since.elapsed() < Duration::from_secs(4), "not one after the other: {:?}", since.elapsed());
}

#[test]
fn an_exec_ends_with_its_container() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    running(&mut pod);
    let plan = pod.exec_plan("c", &["sh", "-c", "echo in; echo > /done; sleep 1000"], 0);
    let id = pod.conn.send(&Request::Exec(plan));
    wait_for(|| pod.path("c/upper/done").exists());
    assert!(!pod.conn.has_reply(id));
    assert_eq!(pod.conn.ask(&Request::Signal { id: "c".to_owned(), signal: 9, all: false }), Reply::Ok);
    let reply = pod.conn.wait(id);
    assert!(matches!(&reply, Reply::Exec { exit_code: 137, stdout, .. } if stdout == b"in\n"), "{reply:?}");
    assert_eq!(pod.conn.exit("c").code, 137);
}

#[test]
fn a_request_as_large_as_a_grpc_message_is_answered() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    running(&mut pod);
    // Longer than the kernel lets one argument be: the command fails, the connection does not.
    let argument = "x".repeat(16 << 20);
    let reply = pod.exec("c", &["cat", &argument], 0);
    assert!(matches!(reply, Reply::Error { kind: ErrorCode::Exec, errno: 7, .. }), "{reply:?}");
    assert_eq!(pod.conn.hello().len(), 1);
}

#[test]
fn large_answers_wait_for_a_daemon_that_reads_slowly() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    running(&mut pod);
    const SIZE: usize = 14 << 20;
    let script = format!("head -c {SIZE} /dev/zero; echo >> /done");
    let mut plan = pod.exec_plan("c", &["sh", "-c", &script], 0);
    plan.output_cap = 16 << 20;
    let asked: Vec<u64> = (0..6).map(|_| pod.conn.send(&Request::Exec(plan.clone()))).collect();
    // All have run and nothing is read: more than the shim takes further requests with.
    wait_for(|| std::fs::metadata(pod.path("c/upper/done")).is_ok_and(|done| done.len() == 6));
    assert_eq!(Conn::open(&pod.path("shim.sock")).hello().len(), 1, "others are served");
    let late = pod.conn.send(&Request::Hello);
    for id in asked {
        let reply = pod.conn.wait(id);
        let Reply::Exec { stdout, exit_code: 0, .. } = reply else { panic!("no answer to {id}") };
        assert_eq!(stdout.len(), SIZE);
    }
    assert!(matches!(pod.conn.wait(late), Reply::Hello { .. }));
}
