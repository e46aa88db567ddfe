//! Interactive commands and attached clients.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use wire::msg::{ErrorCode, Reply, Request, Streams};

use crate::harness::{Conn, Pod, busybox};
use crate::life::wait_for;

const ALL: Streams = Streams { stdin: true, stdout: true, stderr: true };
const OUTPUT: Streams = Streams { stdin: false, stdout: true, stderr: false };
const SOON: Duration = Duration::from_secs(30);

fn running(pod: &mut Pod) {
    let plan = pod.plan("c", "while :; do sleep 1000; done");
    pod.run(&plan);
}

fn open(pod: &Pod, script: &str, streams: Streams, tty: bool) -> Request {
    Request::OpenExec { plan: pod.exec_plan("c", &["/bin/sh", "-c", script], 0), streams, tty }
}

fn attach(id: &str, streams: Streams) -> Request {
    Request::Attach { id: id.to_owned(), streams }
}

fn files(descriptors: Vec<OwnedFd>) -> Vec<File> {
    descriptors.into_iter().map(File::from).collect()
}

fn all_of(mut file: File) -> String {
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    text
}

/// Reads until the text is there; pipes and terminals may or may not be non-blocking.
fn expect(file: &mut File, wanted: &str) -> String {
    let (since, mut text) = (Instant::now(), String::new());
    while !text.contains(wanted) {
        assert!(since.elapsed() < SOON, "only {text:?}");
        let mut buffer = [0; 4096];
        match file.read(&mut buffer) {
            Ok(0) => panic!("the end, behind {text:?}"),
            Ok(count) => text += &String::from_utf8_lossy(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) => panic!("{error} behind {text:?}"),
        }
    }
    text
}

fn wait(conn: &mut Conn, number: u64) -> i32 {
    match conn.ask(&Request::WaitExec { number }) {
        Reply::Exec { exit_code, .. } => exit_code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_caller_holds_the_three_streams_of_a_command() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    running(&mut pod);
    let request = open(&pod, "cat; echo problem >&2; exit 7", ALL, false);
    let (number, streams) = pod.conn.open_streams(&request);
    let [mut stdin, mut stdout, stderr] = <[File; 3]>::try_from(files(streams)).unwrap();
    stdin.write_all(b"first").unwrap();
    expect(&mut stdout, "first");
    stdin.write_all(b"second").unwrap();
    drop(stdin);
    assert_eq!(all_of(stdout), "second");
    assert_eq!(all_of(stderr), "problem\n");
    assert_eq!(wait(&mut pod.conn, number), 7);
    let unknown = pod.conn.ask(&Request::WaitExec { number });
    assert!(matches!(unknown, Reply::Error { kind: ErrorCode::NotFound, .. }), "{unknown:?}");
}

#[test]
fn streams_that_nobody_wants_are_the_null_device() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    running(&mut pod);
    let script = "readlink /proc/self/fd/0; readlink /proc/self/fd/2 >&2; cat";
    let (number, streams) = pod.conn.open_streams(&open(&pod, script, OUTPUT, false));
    let [stdout] = <[File; 1]>::try_from(files(streams)).unwrap();
    assert_eq!(all_of(stdout), "/dev/null\n");
    assert_eq!(wait(&mut pod.conn, number), 0);
}

#[test]
fn a_command_s_terminal_is_the_container_s_and_hangs_up_with_its_caller() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    running(&mut pod);
    let script = "readlink /proc/self/fd/0; [ -t 0 ] && [ -t 2 ] && echo terminal; read line; echo got $line; sleep 1000";
    let (number, streams) = pod.conn.open_streams(&open(&pod, script, ALL, true));
    let [mut master] = <[File; 1]>::try_from(files(streams)).unwrap();
    let text = expect(&mut master, "terminal");
    assert!(text.starts_with("/dev/pts/"), "{text}");
    master.write_all(b"hello\n").unwrap();
    expect(&mut master, "got hello");
    drop(master);
    assert_eq!(wait(&mut pod.conn, number), 129, "SIGHUP");
}

#[test]
fn a_command_that_cannot_run_opens_nothing() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    running(&mut pod);
    for (program, errno) in [("no-such-program", 2), ("/etc", 13)] {
        let plan = pod.exec_plan("c", &[program], 0);
        for tty in [false, true] {
            let reply = pod.conn.ask(&Request::OpenExec { plan: plan.clone(), streams: ALL, tty });
            let Reply::Error { kind: ErrorCode::Exec, errno: said, message } = reply else {
                panic!("{reply:?}")
            };
            assert!(said == errno && message.starts_with("exec: "), "{said}: {message}");
            assert_eq!(message == "exec: \"/etc\": is a directory", program == "/etc", "{message}");
        }
    }
    let mut plan = pod.exec_plan("c", &["true"], 0);
    plan.container = "unknown".to_owned();
    let reply = pod.conn.ask(&Request::OpenExec { plan, streams: ALL, tty: false });
    assert!(matches!(reply, Reply::Error { kind: ErrorCode::NotFound, .. }), "{reply:?}");
}

#[test]
fn a_daemon_that_hangs_up_leaves_nothing_open() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let mut plan = pod.plan("c", "cat; echo over; sleep 1000");
    plan.stdio.stdin = true;
    plan.stdio.stdin_once = true;
    pod.run(&plan);
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", pod.shim.pid)).unwrap().count();
    let before = descriptors();
    let mut second = Conn::open(&pod.path("shim.sock"));
    let (_, command) = second.open_streams(&open(&pod, "cat", ALL, false));
    let (_, ended) = second.open_streams(&open(&pod, "true", ALL, false));
    let (_, client) = second.open_streams(&attach("c", ALL));
    assert_eq!(client.len(), 3);
    drop((second, command, ended, client));
    wait_for(|| pod.log_text("c") == "over");
    // The container's stdin is closed now, too.
    wait_for(|| descriptors() < before);
}

#[test]
fn a_client_sees_the_output_from_now_on_and_the_log_all_of_it() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let mut plan =
        pod.plan("c", "echo before; while read line; do echo out $line; echo err $line >&2; done; exit 3");
    plan.stdio.stdin = true;
    pod.run(&plan);
    wait_for(|| pod.log_text("c") == "before");
    let (_, streams) = pod.conn.open_streams(&attach("c", ALL));
    let [mut stdin, mut stdout, mut stderr] = <[File; 3]>::try_from(files(streams)).unwrap();
    stdin.write_all(b"one\n").unwrap();
    assert_eq!(expect(&mut stdout, "\n"), "out one\n");
    assert_eq!(expect(&mut stderr, "\n"), "err one\n");
    let (_, others) = pod.conn.open_streams(&attach("c", OUTPUT));
    let [mut other] = <[File; 1]>::try_from(files(others)).unwrap();
    stdin.write_all(b"two\n").unwrap();
    assert_eq!(expect(&mut other, "\n"), "out two\n");
    // A client that leaves takes nothing with it where stdin is not once for all.
    drop((stdin, stdout, stderr));
    let (_, streams) = pod.conn.open_streams(&attach("c", ALL));
    let [mut stdin, mut stdout, _stderr] = <[File; 3]>::try_from(files(streams)).unwrap();
    stdin.write_all(b"three\n").unwrap();
    assert_eq!(expect(&mut stdout, "\n"), "out three\n");
    drop(stdin);
    assert_eq!(pod.conn.ask(&Request::CloseStdin { id: "c".to_owned() }), Reply::Ok);
    assert_eq!(pod.conn.exit("c").code, 3);
    assert_eq!((all_of(stdout), all_of(other)), (String::new(), "out three\n".to_owned()));
    assert!(pod.log_text("c").starts_with("before\n"));
    let late = pod.conn.ask(&attach("c", ALL));
    assert!(matches!(late, Reply::Error { kind: ErrorCode::BadState, .. }), "{late:?}");
}

#[test]
fn stdin_once_ends_with_the_first_client_that_has_it() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let mut plan = pod.plan("c", "cat; echo over");
    plan.stdio.stdin = true;
    plan.stdio.stdin_once = true;
    pod.run(&plan);
    let (_, watcher) = pod.conn.open_streams(&attach("c", OUTPUT));
    let (_, streams) = pod.conn.open_streams(&attach("c", ALL));
    let [mut stdin, stdout, stderr] = <[File; 3]>::try_from(files(streams)).unwrap();
    stdin.write_all(b"input\n").unwrap();
    drop((stdin, stdout, stderr));
    assert_eq!(pod.conn.exit("c").code, 0);
    let [watcher] = <[File; 1]>::try_from(files(watcher)).unwrap();
    assert_eq!(all_of(watcher), "input\nover\n");
}

#[test]
fn a_client_that_never_reads_is_dropped_and_holds_up_nobody() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let plan = pod.plan(
        "c",
        "until [ -e /tmp/go ]; do sleep 0.05; done; i=0; while [ $i -lt 60000 ]; do echo $i and so on and on; i=$((i+1)); done",
    );
    pod.run(&plan);
    let (_, lazy) = pod.conn.open_streams(&attach("c", OUTPUT));
    let (_, eager) = pod.conn.open_streams(&attach("c", OUTPUT));
    let [eager] = <[File; 1]>::try_from(files(eager)).unwrap();
    let reader = std::thread::spawn(move || all_of(eager));
    let reply = pod.exec("c", &["/bin/sh", "-c", ": >/tmp/go"], 0);
    assert!(matches!(reply, Reply::Exec { exit_code: 0, .. }), "{reply:?}");
    assert_eq!(pod.conn.exit("c").code, 0);
    let numbers = |text: &str| {
        text.lines().filter_map(|line| line.split(' ').next()?.parse().ok()).collect::<Vec<u32>>()
    };
    let wanted: Vec<u32> = (0..60_000).collect();
    assert!(numbers(&pod.log_text("c")) == wanted, "the log has a gap");
    assert!(numbers(&reader.join().unwrap()) == wanted, "the other client has a gap");
    let [lazy] = <[File; 1]>::try_from(files(lazy)).unwrap();
    let seen = numbers(&all_of(lazy));
    assert!(seen.len() < wanted.len() && seen[..100] == wanted[..100], "{} lines", seen.len());
    wait_for(|| pod.shim_log().contains("is dropped"));
}

#[test]
fn a_terminal_is_shared_with_its_clients() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let mut plan = pod.plan("c", "read line; echo got $line; sleep 1000");
    plan.stdio.tty = true;
    plan.stdio.stdin = true;
    plan.symlinks.push((b"pts/ptmx".to_vec(), b"/dev/ptmx".to_vec()));
    pod.run(&plan);
    let (_, streams) = pod.conn.open_streams(&attach("c", ALL));
    let [mut master, mut output] = <[File; 2]>::try_from(files(streams)).unwrap();
    master.write_all(b"hello\n").unwrap();
    expect(&mut output, "got hello");
    // The terminal stays when the client has left.
    drop((master, output));
    let (_, again) = pod.conn.open_streams(&attach("c", OUTPUT));
    assert_eq!(again.len(), 2);
    wait_for(|| pod.log_text("c").contains("got hello"));
    assert_eq!(pod.conn.hello().first().map(|one| one.exit.is_none()), Some(true));
}
