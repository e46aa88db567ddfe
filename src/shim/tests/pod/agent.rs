//! Filters that ask an agent, which the test itself is.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use sys::{notify, socket};
use wire::msg::{ErrorCode, Reply, Request};
use wire::plan::{ProcessPlan, SeccompAgent};

use crate::harness::{Pod, busybox};

/// `SECCOMP_RET_USER_NOTIF` for every call whatsoever.
const ASK_ABOUT_EVERYTHING: [u8; 8] = [6, 0, 0, 0, 0, 0, 0xc0, 0x7f];
const UMASK: i64 = if cfg!(target_arch = "x86_64") { 95 } else { 166 };
const ANSWER: i64 = 0o123;

/// Answers for umask(2) itself, and lets everything else go on. What it is told comes out of the channel.
pub(crate) fn agent(path: &Path) -> Receiver<String> {
    let listener = socket::listen(path).unwrap();
    let (tell, told) = channel();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let (mut passed, mut buffer) = (VecDeque::<OwnedFd>::new(), [0; 4096]);
            let length = socket::read(stream.as_fd(), &mut buffer, &mut passed).unwrap();
            let calls = passed.pop_front().unwrap();
            tell.send(String::from_utf8(buffer[..length].to_vec()).unwrap()).unwrap();
            std::thread::spawn(move || {
                while let Ok(call) = notify::receive(calls.as_fd()) {
                    // A caller that was killed meanwhile needs no answer.
                    let _ = notify::answer(calls.as_fd(), call, (call.number == UMASK).then_some(ANSWER));
                }
            });
        }
    });
    told
}

pub(crate) fn asking(process: &mut ProcessPlan, socket: &Path) {
    process.seccomp = ASK_ABOUT_EVERYTHING.to_vec();
    process.seccomp_flags = sys::privilege::NEW_LISTENER;
    process.seccomp_agent = Some(SeccompAgent {
        socket: socket.as_os_str().as_encoded_bytes().to_vec(),
        before_pid: b"asks:".to_vec(),
        between_pids: b",of:".to_vec(),
        after_pids: b".".to_vec(),
    });
}

#[test]
fn an_agent_answers_for_a_container_and_its_commands() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let path = pod.path("agent");
    let told = agent(&path);
    let heard = |told: &Receiver<String>| told.recv_timeout(Duration::from_secs(30)).unwrap();
    for no_new_privs in [false, true] {
        let id = format!("c{no_new_privs}");
        let mut plan = pod.plan(&id, "umask; sleep 1000 & cat < /dev/null; wait");
        asking(&mut plan.process, &path);
        plan.process.no_new_privs = no_new_privs;
        let pid = pod.run(&plan);
        assert_eq!(heard(&told), format!("asks:{pid},of:{pid}."));
        let mut exec = pod.exec_plan(&id, &["sh", "-c", "umask; readlink /proc/self/fd/0"], 0);
        asking(&mut exec.process, &path);
        exec.process.no_new_privs = no_new_privs;
        exec.process.seccomp_agent.as_mut().unwrap().after_pids.clear();
        let reply = pod.conn.ask(&Request::Exec(exec));
        let Reply::Exec { exit_code: 0, stdout, .. } = reply else { panic!("{reply:?}") };
        assert!(stdout.starts_with(b"0123\n"), "{}", String::from_utf8_lossy(&stdout));
        let text = heard(&told);
        let asks = text.strip_prefix("asks:").and_then(|rest| rest.strip_suffix(",of:")).unwrap();
        assert!(asks.parse::<i32>().is_ok_and(|command| command != pid), "{text}");
        // The shell has to ask about many a call before it comes to this.
        let end = Instant::now() + Duration::from_secs(30);
        while pod.log_text(&id) != "0123" {
            assert!(Instant::now() < end, "logged {:?}", pod.log_text(&id));
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(pod.conn.ask(&Request::Signal { id: id.clone(), signal: 9, all: false }), Reply::Ok);
        assert_eq!(pod.conn.exit(&id).signal, Some(9));
    }
}

#[test]
fn without_its_agent_nothing_runs() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let mut plan = pod.plan("c", "echo ran");
    asking(&mut plan.process, &pod.path("nobody"));
    pod.create(&plan);
    let reply = pod.conn.ask(&Request::Start { id: "c".to_owned() });
    let Reply::Error { kind: ErrorCode::Setup, message, .. } = reply else { panic!("{reply:?}") };
    assert!(message.contains("seccomp agent") && message.contains("nobody"), "{message}");
    assert_eq!(pod.conn.exit("c").code, 128);
    let plan = pod.plan("d", "while :; do sleep 1000; done");
    pod.run(&plan);
    let mut exec = pod.exec_plan("d", &["true"], 0);
    asking(&mut exec.process, &pod.path("nobody"));
    let reply = pod.conn.ask(&Request::Exec(exec));
    assert!(matches!(reply, Reply::Error { kind: ErrorCode::Setup, .. }), "{reply:?}");
}
