//! Containers that join a PID namespace: built outside of it, and succeeded there by their program.

use sys::fd::errno;
use wire::msg::{ContainerState, ErrorCode, Reply, Request};
use wire::plan::{CgroupPlan, ContainerPlan, DevicePlan, PidNamespace};

use crate::agent::{agent, asking};
use crate::harness::{Pod, busybox};
use crate::life::{alive, wait_for};

/// A pod with a container whose namespace others join.
fn pod() -> Option<Pod> {
    let mut pod = Pod::new(&busybox()?);
    pod.run(&pod.plan("first", "trap '' TERM; while :; do sleep 1000; done"));
    Some(pod)
}

/// In no cgroup: the end of one takes with it what shares its cgroup, which is the others here.
fn joining(pod: &Pod, id: &str, script: &str) -> ContainerPlan {
    ContainerPlan {
        pid_namespace: PidNamespace::Container("first".to_owned()),
        cgroup: CgroupPlan::default(),
        ..pod.plan(id, script)
    }
}

fn pids(pid: i32) -> std::path::PathBuf {
    std::fs::read_link(format!("/proc/{pid}/ns/pid")).unwrap()
}

fn started(pod: &mut Pod, id: &str) -> i32 {
    match pod.conn.ask(&Request::Start { id: id.to_owned() }) {
        Reply::Started { pid, .. } => pid,
        other => panic!("{other:?}: {}", pod.shim_log()),
    }
}

#[test]
fn a_container_that_joins_waits_outside_and_runs_inside() {
    let Some(mut pod) = pod() else { return };
    let builder = pod.create(&joining(&pod, "c", "exec sleep 1000"));
    assert_eq!(pids(builder), pids(std::process::id().cast_signed()));
    let pid = started(&mut pod, "c");
    let snapshot = |pod: &mut Pod, id: &str| pod.conn.hello().into_iter().find(|one| one.id == id).unwrap();
    let first = snapshot(&mut pod, "first").pid;
    assert_eq!(pids(pid), pids(first));
    wait_for(|| !alive(builder));
    let told = snapshot(&mut pod, "c");
    assert_eq!((told.pid, told.state), (pid, ContainerState::Running));
    let mut third = joining(&pod, "d", "exec sleep 1000");
    third.pid_namespace = PidNamespace::Container("c".to_owned());
    pod.create(&third);
    let third = started(&mut pod, "d");
    assert_eq!(pids(third), pids(first), "that of whom it joins, whoever made it");
    match pod.exec("c", &["/bin/ls", "/proc"], 0) {
        Reply::Exec { stdout, .. } => {
            assert!(String::from_utf8(stdout).unwrap().lines().any(|name| name == "1"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(pod.conn.ask(&Request::Signal { id: "c".to_owned(), signal: 9, all: false }), Reply::Ok);
    assert_eq!(pod.conn.exit("c").signal, Some(9));
    assert!(alive(first) && !alive(pid));
}

#[test]
fn a_container_that_ends_at_once_has_started() {
    let Some(mut pod) = pod() else { return };
    for number in 0..40 {
        let id = format!("c{number}");
        pod.create(&joining(&pod, &id, "exit 3"));
        assert!(started(&mut pod, &id) > 0);
        assert_eq!(pod.conn.exit(&id).code, 3);
    }
    let mut missing = joining(&pod, "missing", "");
    missing.process.argv = vec![b"/bin/missing".to_vec()];
    pod.create(&missing);
    let reply = pod.conn.ask(&Request::Start { id: "missing".to_owned() });
    assert!(matches!(reply, Reply::Error { kind: ErrorCode::Exec, errno: errno::ENOENT, .. }), "{reply:?}");
    assert_eq!(pod.conn.exit("missing").code, 128);
}

#[test]
fn what_waits_can_be_ended_and_what_starts_too() {
    let Some(mut pod) = pod() else { return };
    let removed = pod.create(&joining(&pod, "removed", "exec sleep 1000"));
    assert_eq!(pod.conn.ask(&Request::Remove { id: "removed".to_owned() }), Reply::Ok);
    assert!(!alive(removed));
    pod.create(&joining(&pod, "killed", "exec sleep 1000"));
    let kill = |id: &str| Request::Signal { id: id.to_owned(), signal: 9, all: false };
    assert_eq!(pod.conn.ask(&kill("killed")), Reply::Ok);
    assert_eq!(pod.conn.exit("killed").code, 137);
    for number in 0..30 {
        let id = format!("c{number}");
        pod.create(&joining(&pod, &id, "exec sleep 1000"));
        pod.conn.send(&Request::Start { id: id.clone() });
        std::thread::sleep(std::time::Duration::from_micros(100 * number));
        if number % 2 == 0 {
            pod.conn.send(&kill(&id));
            assert_eq!(pod.conn.exit(&id).signal, Some(9));
        } else {
            assert_eq!(pod.conn.ask(&Request::Remove { id }), Reply::Ok);
        }
    }
    let left: Vec<String> =
        pod.conn.hello().into_iter().filter(|one| one.pid != 0).map(|one| one.id).collect();
    assert_eq!(left, ["first"]);
}

#[test]
fn a_namespace_that_has_ended_meanwhile_is_not_entered() {
    let Some(mut pod) = pod() else { return };
    pod.create(&joining(&pod, "c", "exec sleep 1000"));
    assert_eq!(pod.conn.ask(&Request::Remove { id: "first".to_owned() }), Reply::Ok);
    let reply = pod.conn.ask(&Request::Start { id: "c".to_owned() });
    assert!(matches!(reply, Reply::Error { kind: ErrorCode::Setup, .. }), "{reply:?}");
    assert_eq!(pod.conn.exit("c").code, 128);
}

#[test]
fn the_terminal_is_the_program_s() {
    let Some(mut pod) = pod() else { return };
    let mut plan = joining(&pod, "c", "echo heard > /dev/tty; exec sleep 0.1");
    plan.stdio.tty = true;
    plan.devices.push(DevicePlan {
        path: b"/dev/tty".to_vec(),
        major: 5,
        minor: 0,
        ..plan.devices[0].clone()
    });
    let (record, text) = pod.output(&plan);
    assert_eq!((record.code, text.trim()), (0, "heard"));
}

#[test]
fn an_agent_is_told_of_the_program() {
    let Some(mut pod) = pod() else { return };
    let path = pod.path("agent");
    let told = agent(&path);
    for no_new_privs in [false, true] {
        let id = format!("c{no_new_privs}");
        let mut plan = joining(&pod, &id, "exec sleep 1000");
        plan.process.no_new_privs = no_new_privs;
        asking(&mut plan.process, &path);
        pod.create(&plan);
        let pid = started(&mut pod, &id);
        let heard = told.recv_timeout(std::time::Duration::from_secs(30)).unwrap();
        assert_eq!(heard, format!("asks:{pid},of:{pid}."));
        assert_eq!(pod.conn.ask(&Request::Remove { id }), Reply::Ok);
    }
}
