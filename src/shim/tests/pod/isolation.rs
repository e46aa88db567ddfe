//! What a container must not reach, and what the shim survives.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use wire::msg::{ErrorCode, Reply, Request};

use crate::harness::{Pod, bind, busybox};

#[test]
fn a_working_directory_cannot_be_a_leaked_descriptor() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let keeper = pod.plan("keeper", "sleep 1000");
    pod.run(&keeper);
    for number in 0..24 {
        let id = format!("c{number}");
        let mut plan = pod.plan(&id, "ls; ls ../../../../..; true");
        plan.process.cwd = format!("/proc/self/fd/{number}").into_bytes();
        let refused = match pod.conn.ask(&Request::Create(plan)) {
            Reply::Created { .. } => matches!(
                pod.conn.ask(&Request::Start { id }),
                Reply::Error { kind: ErrorCode::Exec | ErrorCode::Setup, .. }
            ),
            Reply::Error { .. } => true,
            _ => false,
        };
        assert!(refused, "descriptor {number}");
        let mut plan = pod.exec_plan("keeper", &["ls"], 0);
        plan.process.cwd = format!("/proc/self/fd/{number}").into_bytes();
        let reply = pod.conn.ask(&Request::Exec(plan));
        assert!(
            matches!(reply, Reply::Error { kind: ErrorCode::Exec, .. }),
            "descriptor {number}: {reply:?}"
        );
    }
}

#[test]
fn a_mount_target_that_is_a_link_stays_inside() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let canary = tempfile::tempdir().unwrap();
    let outside = canary.path().join("made");
    std::os::unix::fs::symlink(&outside, pod.path("layer/escape")).unwrap();
    std::fs::create_dir(pod.path("volume")).unwrap();
    let volume = pod.path("volume");
    let mut plan = pod.plan("c", &format!("echo x > {}/canary; cat /proc/self/mountinfo", outside.display()));
    plan.mounts.push(bind(&volume, "/escape", 0));
    let (record, text) = pod.output(&plan);
    assert_eq!(record.code, 0, "{text}");
    assert!(text.contains(outside.to_str().unwrap()), "mounted at the link's target inside the root: {text}");
    assert!(!outside.exists() && volume.join("canary").exists());
}

#[test]
fn the_containers_mounts_are_not_the_hosts() {
    let Some(busybox) = busybox() else { return };
    let before = std::fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count();
    let mut pod = Pod::new(&busybox);
    let plan = pod.plan("c", "cat /proc/self/mountinfo");
    let (_, text) = pod.output(&plan);
    assert!(text.lines().count() < 10 && text.lines().next().unwrap().contains(" / / "), "{text}");
    let mount = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mount.contains(pod.dir.path().to_str().unwrap()), "{before} mounts before: {mount}");
}

#[test]
fn the_shims_binary_is_out_of_reach() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    // An entry point through /proc/self/exe runs the shim's own program: it must not start, and not be writable.
    let mut plan = pod.plan("c", "");
    plan.process.argv = vec![b"/proc/self/exe".to_vec()];
    pod.create(&plan);
    let reply = pod.conn.ask(&Request::Start { id: "c".to_owned() });
    let record = pod.conn.exit("c");
    assert!(record.code != 0, "{reply:?} {record:?}");
    let name = std::fs::read_to_string(format!("/proc/{}/comm", pod.shim.pid)).unwrap();
    assert_eq!(name.trim(), "corten-shim");
    let shim = format!("/proc/{}/exe", pod.shim.pid);
    let file = std::fs::File::open(&shim).unwrap();
    let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    let error = std::fs::OpenOptions::new().write(true).open(again).unwrap_err();
    // 30: the mount is read-only; 26 would only say that the program runs at the moment.
    assert!(matches!(error.raw_os_error(), Some(30 | 26)), "{error}");
}

#[test]
fn nonsense_on_the_socket_costs_only_its_own_connection() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let plan = pod.plan("c", "sleep 1000");
    pod.run(&plan);
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 64], &[9, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0]] {
        let mut stream = UnixStream::connect(pod.path("shim.sock")).unwrap();
        stream.write_all(bytes).unwrap();
        let mut rest = Vec::new();
        // A reset says the same as an end.
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.is_empty());
    }
    assert_eq!(pod.conn.hello().len(), 1);
}

#[test]
fn nobody_waits_for_a_daemon_that_does_not_read() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let plan = pod.plan("c", "i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done");
    pod.run(&plan);
    let open = Path::new("/proc").join(pod.shim.pid.to_string()).join("fd");
    let descriptors = || std::fs::read_dir(&open).unwrap().count();
    let idle = descriptors();
    let mut deaf = UnixStream::connect(pod.path("shim.sock")).unwrap();
    deaf.set_write_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
    let mut exec = pod.exec_plan("c", &["head", "-c", "16000000", "/dev/zero"], 0);
    exec.output_cap = 16 << 20;
    for id in 0..6 {
        deaf.write_all(&wire::frame::request(id, &Request::Exec(exec.clone()))).unwrap();
    }
    // The answers wait in the shim, on no more than the deaf connection, and the log goes on.
    crate::life::wait_for(|| descriptors() <= idle + 1 && pod.log_lines("c").len() > 20);
    assert_eq!(pod.conn.hello().len(), 1);
    let before = descriptors();
    drop(deaf);
    crate::life::wait_for(|| descriptors() < before);
}
