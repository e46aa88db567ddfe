//! A shim that was started ahead and waits for its pod.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use sys::socket;
use wire::msg::{Reply, Request};
use wire::naming::{NAMELESS, WAITS};

use crate::conn::Conn;
use crate::harness::binary;

const POD: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// One that waits, and what it is named over; `None`, with the reason printed, where there can be none.
fn waiting() -> Option<(Child, OwnedFd)> {
    if !need::root("only root reaches the arguments of a process that cannot be dumped") {
        return None;
    }
    let (link, theirs) = socket::message_pair().unwrap();
    let mut command = Command::new(binary());
    command.arg0("corten-shim").arg(NAMELESS).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    sys::handover::pass(&mut command, &theirs).unwrap();
    let process = command.spawn().unwrap();
    // Both hold its end.
    drop((command, theirs));
    let mut said = [0; 64];
    let (length, _) = socket::receive(link.as_fd(), &mut said).unwrap();
    assert_eq!(&said[..length], WAITS);
    Some((process, link))
}

fn arguments(process: &Child) -> String {
    std::fs::read_to_string(format!("/proc/{}/cmdline", process.id())).unwrap()
}

#[test]
fn it_ends_when_there_is_nobody_any_more_who_could_name_it() {
    let Some((mut process, link)) = waiting() else { return };
    assert_eq!(arguments(&process), format!("corten-shim\0{NAMELESS}\0"));
    drop(link);
    assert!(process.wait().unwrap().success());
}

#[test]
fn it_serves_the_pod_that_it_is_told_and_is_known_by_it() {
    let Some((mut process, link)) = waiting() else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shim.sock");
    let listener = socket::listen(&path).unwrap();
    let log = std::fs::File::create(dir.path().join("shim.log")).unwrap();
    socket::write(link.as_fd(), POD.as_bytes(), &[listener.as_fd(), log.as_fd()]).unwrap();
    drop(listener);
    let mut conn = Conn::open(&path);
    assert!(conn.hello().is_empty());
    assert_eq!(arguments(&process), format!("corten-shim\0{POD}\0"));
    let target = |number| std::fs::read_link(format!("/proc/{}/fd/{number}", process.id())).unwrap();
    assert_eq!([1, 2].map(target), [(); 2].map(|()| dir.path().join("shim.log")));
    // Its input, both outputs, the poller, signals, the listener, this connection: nothing is left of the waiting.
    let open = std::fs::read_dir(format!("/proc/{}/fd", process.id())).unwrap().count();
    assert_eq!(open, 7);
    assert!(socket::is_abandoned(link.as_fd()), "it hears of one pod only");
    assert_eq!(conn.ask(&Request::Shutdown), Reply::Ok);
    assert!(process.wait().unwrap().success());
}

#[test]
fn what_is_no_name_ends_it() {
    let log = std::fs::File::open("/dev/null").unwrap();
    let passed: [BorrowedFd<'_>; 3] = [log.as_fd(); 3];
    for (name, count) in [(POD, 0), (POD, 1), (POD, 3), (&POD[1..], 2), (&format!("{POD}0"), 2)] {
        let Some((mut process, link)) = waiting() else { return };
        socket::write(link.as_fd(), name.as_bytes(), &passed[..count]).unwrap();
        assert!(!process.wait().unwrap().success(), "{name} with {count}");
    }
}

#[test]
fn a_pod_of_a_daemon_that_has_died_gets_no_shim_any_more() {
    let Some((mut process, link)) = waiting() else { return };
    let dir = tempfile::tempdir().unwrap();
    let listener = socket::listen(&dir.path().join("shim.sock")).unwrap();
    let log = std::fs::File::create(dir.path().join("shim.log")).unwrap();
    let pid = process.id().cast_signed();
    // It comes to hear of both at once.
    sys::process::kill(pid, 19).unwrap();
    socket::write(link.as_fd(), POD.as_bytes(), &[listener.as_fd(), log.as_fd()]).unwrap();
    drop(link);
    sys::process::kill(pid, 18).unwrap();
    assert!(process.wait().unwrap().success());
}
