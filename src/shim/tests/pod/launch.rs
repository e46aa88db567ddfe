//! What a container finds when its program begins.

use std::os::unix::fs::PermissionsExt;

use wire::msg::{Reply, Request};
use wire::plan::PidNamespace;

use crate::harness::{ALL_CAPABILITIES, Pod, bind, busybox, filesystem, process};
use crate::life::wait_for;

#[test]
fn identity_and_privileges_are_those_of_the_plan() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let script = "id; umask; pwd; echo x > /proc/self/fd/1; grep -E '^(Cap|NoNewPrivs|Seccomp:|SigBlk|SigIgn)' /proc/self/status";
    let mut plan = pod.plan("c", script);
    plan.process.uid = 1000;
    plan.process.gid = 1001;
    plan.process.groups = vec![7, 8];
    plan.process.umask = Some(0o27);
    plan.process.cwd = b"/made/here".to_vec();
    plan.process.no_new_privs = true;
    plan.process.bounding = 0x401;
    plan.process.permitted = 0x401;
    plan.process.effective = 0x400;
    plan.process.inheritable = 0x400;
    plan.process.ambient = 0x400;
    // `ret ALLOW`
    plan.process.seccomp = vec![6, 0, 0, 0, 0, 0, 0xff, 0x7f];
    let (record, text) = pod.output(&plan);
    assert_eq!(record.code, 0, "{text}");
    let text: Vec<String> = text.lines().map(|line| line.replace('\t', " ")).collect();
    let expected = [
        "uid=1000 gid=1001 groups=7,8",
        "0027",
        "/made/here",
        "x",
        "SigBlk: 0000000000000000",
        // SIGQUIT: busybox's shell ignores it by itself.
        "SigIgn: 0000000000000004",
        "CapInh: 0000000000000400",
        "CapPrm: 0000000000000400",
        "CapEff: 0000000000000400",
        "CapBnd: 0000000000000401",
        "CapAmb: 0000000000000400",
        "NoNewPrivs: 1",
        "Seccomp: 2",
    ];
    assert_eq!(text, expected);
}

#[test]
fn a_filter_without_no_new_privs_is_loaded_for_any_user() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let mut plan = pod.plan("c", "grep -E '^(NoNewPrivs|Seccomp:)' /proc/self/status");
    plan.process.uid = 1000;
    plan.process.effective = 0;
    plan.process.permitted = 0;
    plan.process.seccomp = vec![6, 0, 0, 0, 0, 0, 0xff, 0x7f];
    let (_, text) = pod.output(&plan);
    assert_eq!(text.replace('\t', " "), "NoNewPrivs: 0\nSeccomp: 2");
}

#[test]
fn mounts_are_made_where_nothing_was() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    std::fs::create_dir(pod.path("volume")).unwrap();
    std::fs::write(pod.path("volume/file"), "content").unwrap();
    // A dangling link of the image, as /etc/resolv.conf often is one.
    std::os::unix::fs::symlink("../run/stub/resolv.conf", pod.path("layer/etc/resolv.conf")).unwrap();
    let script = "cat /new/deep/dir/file /etc/new-file /run/stub/resolv.conf; echo; echo w > /new/deep/dir/out; echo w > /read-only/out || echo refused; stat -c %s /shm/x 2>/dev/null; echo s > /shm/x && echo shm";
    let mut plan = pod.plan("c", script);
    let (volume, file) = (pod.path("volume"), pod.path("volume/file"));
    plan.mounts.push(bind(&volume, "/new/deep/dir", 0));
    plan.mounts.push(bind(&file, "/etc/new-file", 1));
    plan.mounts.push(bind(&file, "/etc/resolv.conf", 1));
    plan.mounts.push(bind(&volume, "/read-only", 1));
    plan.mounts.push(filesystem("/shm", "tmpfs", "mode=1777,size=64k", 0xe));
    let (record, text) = pod.output(&plan);
    assert_eq!(record.code, 0, "{text}");
    assert!(
        text.contains("contentcontentcontent")
            && text.contains("refused")
            && text.lines().any(|line| line == "shm"),
        "{text}"
    );
    assert!(pod.path("volume/out").exists());
}

#[test]
fn a_read_only_root_takes_no_writes_but_its_volumes_do() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let mut plan = pod.plan("c", "echo x > /tmp/x && echo wrong; echo y > /data/y && echo right; pwd");
    plan.rootfs.readonly = true;
    plan.process.cwd = b"/made".to_vec();
    plan.mounts.push(filesystem("/data", "tmpfs", "", 0));
    let (_, text) = pod.output(&plan);
    assert!(text.ends_with("right\n/made") && !text.contains("wrong"), "{text}");
}

#[test]
fn a_working_directory_that_only_root_may_enter_is_entered() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let closed = pod.path("layer/closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
    let mut plan = pod.plan("c", "readlink /proc/self/cwd; while :; do sleep 1000; done");
    plan.process.cwd = b"/closed".to_vec();
    (plan.process.uid, plan.process.gid) = (1000, 1000);
    for set in [&mut plan.process.bounding, &mut plan.process.effective, &mut plan.process.permitted] {
        *set = 0;
    }
    pod.run(&plan);
    let mut exec = pod.exec_plan("c", &["readlink", "/proc/self/cwd"], 0);
    exec.process = wire::plan::ProcessPlan { argv: exec.process.argv, env: exec.process.env, ..plan.process };
    let reply = pod.conn.ask(&Request::Exec(exec));
    let Reply::Exec { exit_code: 0, stdout, .. } = reply else { panic!("{reply:?}") };
    assert_eq!(stdout, b"/closed\n");
}

#[test]
fn masked_and_read_only_paths_are_just_that() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let script = "cat /proc/version; ls /sys/firmware; ls /proc/irq; stat -c %t:%T /proc/keys; echo 1 > /proc/sys/kernel/hostname; echo $?; ls /proc/self/fd";
    let mut plan = pod.plan("c", script);
    let paths = |list: &[&str]| list.iter().map(|path| path.as_bytes().to_vec()).collect();
    plan.masked_paths =
        paths(&["/proc/version", "/sys/firmware", "/proc/irq", "/proc/keys", "/proc/no-such"]);
    plan.readonly_paths = paths(&["/proc/sys", "/proc/bus", "/proc/no-such"]);
    plan.process.effective = ALL_CAPABILITIES & plan.process.bounding;
    let (_, text) = pod.output(&plan);
    let text: Vec<&str> = text.lines().filter(|line| !line.contains("can't create")).collect();
    assert_eq!(text, ["1:3", "1", "0", "1", "2", "3"], "the fourth is of ls itself");
}

#[test]
fn a_device_of_the_image_is_no_trap() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    // Without a tmpfs on /dev the image decides what lies there.
    std::fs::create_dir(pod.path("layer/dev")).unwrap();
    std::os::unix::fs::symlink("/proc/sys/kernel/hostname", pod.path("layer/dev/null")).unwrap();
    let mut plan = pod.plan("c", "true");
    plan.mounts.retain(|mount| !mount.target.starts_with(b"/dev"));
    let reply = pod.conn.ask(&Request::Create(plan));
    assert!(matches!(&reply, Reply::Error { message, .. } if message.contains("/dev/null")), "{reply:?}");
}

#[test]
fn a_proc_that_the_image_redirects_is_refused() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    std::fs::create_dir(pod.path("layer/fake")).unwrap();
    std::os::unix::fs::symlink("/fake", pod.path("layer/proc")).unwrap();
    let plan = pod.plan("c", "true");
    let reply = pod.conn.ask(&Request::Create(plan));
    assert!(matches!(&reply, Reply::Error { message, .. } if message.contains("/proc")), "{reply:?}");
    std::fs::remove_file(pod.path("layer/proc")).unwrap();
    std::fs::create_dir(pod.path("over")).unwrap();
    let mut plan = pod.plan("d", "true");
    let over = pod.path("over");
    plan.mounts.push(bind(&over, "/proc", 0));
    let reply = pod.conn.ask(&Request::Create(plan));
    assert!(matches!(&reply, Reply::Error { message, .. } if message.contains("procfs")), "{reply:?}");
}

#[test]
fn namespaces_are_shared_as_planned() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let script = "for n in ipc uts net pid mnt cgroup; do readlink /proc/self/ns/$n; done; sleep 1000";
    let mut first = pod.plan("a", script);
    first.new_cgroup_namespace = true;
    pod.run(&first);
    let mut second = pod.plan("b", script);
    second.pid_namespace = PidNamespace::Container("a".to_owned());
    pod.run(&second);
    let mut third = pod.plan("d", script);
    third.pid_namespace = PidNamespace::Host;
    pod.run(&third);
    crate::life::wait_for(|| ["a", "b", "d"].iter().all(|id| pod.log_lines(id).len() == 6));
    let lines = |id: &str| pod.log_text(id).lines().map(str::to_owned).collect::<Vec<_>>();
    let (a, b, d) = (lines("a"), lines("b"), lines("d"));
    let own: Vec<String> = ["ipc", "uts", "net", "pid", "mnt", "cgroup"]
        .iter()
        .map(|name| std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap().to_str().unwrap().to_owned())
        .collect();
    assert!(a[..3] == b[..3] && a[..3] == d[..3], "one pod");
    assert!(a[0] != own[0] && a[1] != own[1] && a[2] == own[2], "new IPC and UTS, the host's network");
    assert!(a[3] == b[3] && a[3] != own[3] && d[3] == own[3]);
    assert!(a[4] != b[4] && a[4] != own[4]);
    assert!(a[5] != own[5] && b[5] == own[5]);
}

#[test]
fn a_pod_can_share_one_pid_namespace_held_by_the_pause() {
    let Some(busybox) = busybox() else { return };
    let Some(pause) = crate::harness::pause() else { return };
    let mut pod = Pod::with(&busybox, |plan| {
        plan.pause = pause.as_os_str().as_encoded_bytes().to_vec();
        plan.pause_process = process(&[]);
        plan.pause_process.uid = 65535;
        plan.pause_process.gid = 65535;
        plan.pause_process.effective = 0;
        plan.pause_process.permitted = 0;
        plan.pause_process.no_new_privs = true;
    });
    let script = "cat /proc/1/comm; ls /proc/1/root/ 2>&1; (setsid sleep 0.05 &); sleep 1000";
    let mut plans = [pod.plan("a", script), pod.plan("b", "sleep 0.2; ls /proc | grep -c '^[0-9]'")];
    for plan in &mut plans {
        plan.pid_namespace = PidNamespace::Pod;
    }
    pod.run(&plans[0]);
    pod.run(&plans[1]);
    assert_eq!(pod.conn.exit("b").code, 0);
    // The pause, a's shell or sleep, b's shell, ls and grep, some of them replaced by their last command: the
    // orphan has been reaped.
    let count: u32 = pod.log_text("b").trim().parse().unwrap();
    assert!((4..=6).contains(&count), "{count}");
    let text = pod.log_text("a");
    assert!(text.starts_with("corten-pause"), "{text}");
    assert!(!text.contains("etc") && !text.contains("home"), "no root of the host: {text}");
    assert_eq!(pod.conn.ask(&Request::Remove { id: "a".to_owned() }), Reply::Ok);
    let Reply::Hello { pause_pid: Some(pause), .. } = pod.conn.ask(&Request::Hello) else {
        panic!("the pause is not named")
    };
    let stat = || std::fs::read_to_string(format!("/proc/{pause}/stat")).unwrap_or_default();
    assert!(stat().contains("(corten-pause)"), "{}", stat());
    let table = std::fs::read_to_string(format!("/proc/{pause}/mountinfo")).unwrap();
    assert!(!table.is_empty() && !table.contains(" - proc "), "an unmasked procfs: {table}");
    pod.kill_shim();
    wait_for(|| !stat().contains("(corten-pause)") || stat().contains(") Z"));
}

const CAP_SYS_ADMIN: u64 = 1 << 21;

/// The host's mounts below a directory.
fn mounted_below(dir: &std::path::Path) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let place = |line: &str| line.split(' ').nth(4).unwrap_or_default().to_owned();
    table.lines().map(place).filter(|place| std::path::Path::new(place).starts_with(dir)).collect()
}

#[test]
fn mounts_below_a_shared_volume_are_the_container_s_own() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let volume = pod.path("volume");
    std::fs::create_dir(&volume).unwrap();
    let mount = |path: &std::path::Path| {
        let path = path.as_os_str().as_encoded_bytes();
        sys::mount::classic(b"tmpfs", path, b"tmpfs", 0, b"").unwrap();
        sys::mount::classic(b"", path, b"", sys::fd::propagation::SHARED, b"").unwrap();
    };
    mount(&volume);
    std::fs::create_dir(volume.join("sub")).unwrap();
    mount(&volume.join("sub"));
    std::fs::write(pod.path("file"), "a message\n").unwrap();
    let before = mounted_below(&volume);
    for id in ["first", "second"] {
        let script = format!(
            "cat /volume/log; echo x > /volume/sub/own; busybox mkdir -p /volume/{id} && busybox mount -t tmpfs none /volume/{id}; echo ready; while :; do sleep 1000; done"
        );
        let mut plan = pod.plan(id, &script);
        let shared = sys::fd::propagation::SHARED | sys::fd::propagation::RECURSIVE;
        plan.rootfs.propagation = shared;
        let mut bound = bind(&volume, "/volume", 0);
        bound.propagation = shared;
        plan.mounts.extend([
            bound,
            bind(&pod.path("file"), "/volume/log", 0),
            filesystem("/volume/sub", "tmpfs", "", 0),
        ]);
        for set in [&mut plan.process.bounding, &mut plan.process.effective, &mut plan.process.permitted] {
            *set |= CAP_SYS_ADMIN;
        }
        pod.run(&plan);
        wait_for(|| pod.log_text(id).contains("ready"));
        assert_eq!(pod.log_text(id), "a message\nready");
        let seen = mounted_below(&volume);
        assert!(seen.contains(&volume.join(id).display().to_string()), "its own mount is seen: {seen:?}");
        sys::mount::detach(volume.join(id).as_os_str().as_encoded_bytes()).unwrap();
        assert_eq!(mounted_below(&volume), before);
        assert!(!volume.join("sub/own").exists());
    }
    pod.shut_down();
    for path in [volume.join("sub"), volume] {
        sys::mount::detach(path.as_os_str().as_encoded_bytes()).unwrap();
    }
}
