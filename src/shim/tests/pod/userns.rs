//! Pods with a user namespace of their own.

use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use wire::msg::{Reply, Request, Streams};
use wire::plan::{ContainerPlan, IdMap, IdMaps, PidNamespace, SandboxPlan};

use crate::harness::{ALL_CAPABILITIES, Pod, bind, busybox, filesystem};

const FIRST: u32 = 0x20_0000;

fn ids() -> IdMaps {
    let map = vec![IdMap { inside: 0, outside: FIRST, count: 0x1_0000 }];
    IdMaps { uids: map.clone(), gids: map }
}

/// Overlays on idmapped layers came with Linux 5.19; tmpfs can be idmapped since 6.3, ext4, xfs and btrfs before.
fn can_map(path: &Path) -> bool {
    const TMPFS: i64 = 0x0102_1994;
    const OTHERS: [i64; 3] = [0xef53, 0x5846_5342, 0x9123_683e];
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut parts = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (parts.next().unwrap(), parts.next().unwrap());
    let magic = sys::fd::filesystem_magic(std::fs::File::open(path).unwrap()).unwrap();
    version >= (5, 19) && OTHERS.contains(&magic) || version >= (6, 3) && magic == TMPFS
}

fn pod(adjust: impl FnOnce(&mut SandboxPlan)) -> Option<Pod> {
    let busybox = busybox()?;
    if !can_map(&std::env::temp_dir()) {
        need::skip(
            need::Need::Kernel,
            "the kernel or the filesystem of temporary files cannot map owners of overlays",
        );
        return None;
    }
    Some(Pod::with(&busybox, |plan| {
        plan.ids = ids();
        adjust(plan);
    }))
}

fn plan(pod: &Pod, id: &str, script: &str) -> ContainerPlan {
    ContainerPlan { ids: ids(), ..pod.plan(id, script) }
}

#[test]
fn its_root_is_nobody_outside() {
    let Some(mut pod) = pod(|_| {}) else { return };
    let script = "id -u; stat -c %u:%g /bin/busybox /; echo x > /made; stat -c %u /made /proc/self/fd/1; \
        echo $$; cat /proc/self/uid_map; stat -c %t:%T /dev/null; readlink /proc/self/ns/user";
    let plan = plan(&pod, "c", script);
    let (record, text) = pod.output(&plan);
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    assert_eq!(record.code, 0, "{text}");
    assert_eq!(&lines[..6], ["0", "0:0", "0:0", "0", "0", "1"], "{text}");
    assert_eq!(lines[6].split_whitespace().collect::<Vec<_>>(), ["0", "2097152", "65536"]);
    assert_eq!(lines[7], "1:3");
    let host = std::fs::read_link("/proc/self/ns/user").unwrap();
    assert_ne!(Path::new(lines[8]), host);
    for name in ["c/upper/made", "c/upper"] {
        assert_eq!(std::fs::metadata(pod.path(name)).unwrap().uid(), FIRST, "{name}");
    }
    assert_eq!(std::fs::metadata(pod.path("layer/bin/busybox")).unwrap().uid(), 0);
}

#[test]
fn its_capabilities_hold_over_the_pods_namespaces_only() {
    let netns = std::env::temp_dir().join(format!("corten-userns-{}", std::process::id()));
    let pinned = netns.as_os_str().as_encoded_bytes().to_vec();
    let Some(mut pod) = pod(|plan| plan.netns = pinned) else { return };
    let script = "busybox mount -t tmpfs none /tmp && busybox hostname renamed && busybox hostname; \
        busybox ip link set lo up && echo up; echo 1 > /proc/sys/net/ipv4/ip_forward && echo forwards; \
        echo 1 > /proc/sys/vm/overcommit_memory || echo denied";
    let mut plan = plan(&pod, "c", script);
    plan.mounts.push(filesystem("/dev/mqueue", "mqueue", "", 0));
    for set in [&mut plan.process.bounding, &mut plan.process.effective, &mut plan.process.permitted] {
        *set = ALL_CAPABILITIES;
    }
    let (_, text) = pod.output(&plan);
    for word in ["renamed", "up", "forwards", "denied"] {
        assert!(text.lines().any(|line| line == word), "{word}: {text}");
    }
    drop(pod);
    sys::netns::remove(&netns).unwrap();
}

#[test]
fn commands_enter_it_too() {
    let Some(mut pod) = pod(|_| {}) else { return };
    let keeper = plan(&pod, "c", "while :; do sleep 1000; done");
    pod.run(&keeper);
    let mut plan =
        pod.exec_plan("c", &["sh", "-c", "id -u; cat /proc/self/uid_map; echo x > /tmp/by-exec"], 0);
    plan.process.uid = 7;
    plan.process.gid = 8;
    std::fs::create_dir_all(pod.path("c/upper/tmp")).unwrap();
    chown(pod.path("c/upper/tmp"), Some(FIRST + 7), None).unwrap();
    let reply = pod.conn.ask(&wire::msg::Request::Exec(plan));
    let Reply::Exec { exit_code: 0, stdout, .. } = &reply else { panic!("{reply:?}") };
    let text = String::from_utf8_lossy(stdout);
    assert!(text.starts_with("7\n") && text.contains("2097152"), "{text}");
    let made = std::fs::metadata(pod.path("c/upper/tmp/by-exec")).unwrap();
    assert_eq!((made.uid(), made.gid()), (FIRST + 7, FIRST + 8));
}

#[test]
fn commands_have_terminals_in_it() {
    let Some(mut pod) = pod(|_| {}) else { return };
    let mut keeper = plan(&pod, "c", "while :; do sleep 1000; done");
    keeper.mounts.push(filesystem("/dev", "tmpfs", "mode=755", 0));
    keeper.mounts.push(filesystem("/dev/pts", "devpts", "newinstance,ptmxmode=0666,mode=0620", 0));
    pod.run(&keeper);
    let mut plan = pod.exec_plan(
        "c",
        &[
            "sh",
            "-c",
            "stat -c %u /proc/$$/fd/0; read line < /proc/$$/stat; set -- $line; [ $7 != 0 ] && echo own",
        ],
        0,
    );
    (plan.process.uid, plan.process.gid) = (7, 8);
    let streams = Streams { stdin: true, stdout: true, stderr: false };
    let (_, mut passed) = pod.conn.open_streams(&Request::OpenExec { plan, streams, tty: true });
    let mut text = String::new();
    // A terminal whose other end is closed says EIO.
    let _ = std::fs::File::from(passed.remove(0)).read_to_string(&mut text);
    assert_eq!(text, "7\r\nown\r\n");
}

/// Root may not enter a directory of somebody who is nobody in its namespace; who is of its group may.
#[test]
fn a_working_directory_that_only_the_user_may_enter_is_entered() {
    let Some(mut pod) = pod(|_| {}) else { return };
    let closed = pod.path("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o070)).unwrap();
    chown(&closed, Some(FIRST - 1), Some(FIRST + 9)).unwrap();
    let mut own = plan(&pod, "c", "pwd; while :; do sleep 1000; done");
    own.mounts.push(bind(&closed, "/closed", 0));
    own.process.cwd = b"/closed".to_vec();
    (own.process.uid, own.process.gid) = (7, 9);
    pod.run(&own);
    for (gid, enters) in [(9, true), (8, false)] {
        let mut exec = pod.exec_plan("c", &["/bin/busybox", "pwd"], 0);
        exec.process.cwd = b"/closed".to_vec();
        (exec.process.uid, exec.process.gid) = (7, gid);
        match pod.conn.ask(&Request::Exec(exec)) {
            Reply::Exec { exit_code: 0, stdout, .. } if enters => assert_eq!(stdout, b"/closed\n"),
            Reply::Error { message, .. } if !enters => {
                assert_eq!(message, "enter working directory /closed: chdir /closed: permission denied");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_volume_shows_its_owners_through_its_own_ids() {
    let Some(mut pod) = pod(|_| {}) else { return };
    for name in ["mapped", "plain", "shifted"] {
        std::fs::create_dir(pod.path(name)).unwrap();
        std::fs::write(pod.path(name).join("file"), "x").unwrap();
    }
    let script =
        "stat -c %u /mapped/file /plain/file /shifted/file; echo y > /mapped/made; echo y > /shifted/made";
    let mut plan = plan(&pod, "c", script);
    for (name, outside) in [("mapped", Some(FIRST)), ("plain", None), ("shifted", Some(FIRST + 5))] {
        let mut mount = bind(&pod.path(name), &format!("/{name}"), 0);
        if let Some(outside) = outside {
            let map = vec![IdMap { inside: 0, outside, count: 1000 }];
            mount.idmap = if outside == FIRST { ids() } else { IdMaps { uids: map.clone(), gids: map } };
        }
        plan.mounts.push(mount);
    }
    let (_, text) = pod.output(&plan);
    assert_eq!(text.lines().take(3).collect::<Vec<_>>(), ["0", "65534", "5"], "{text}");
    assert_eq!(std::fs::metadata(pod.path("mapped/made")).unwrap().uid(), 0);
    assert!(!pod.path("shifted/made").exists(), "the root inside is no owner there");
}

#[test]
fn containers_share_a_pid_namespace_that_it_owns() {
    let Some(pause) = crate::harness::pause() else { return };
    let Some(mut pod) = pod(|plan| {
        plan.pause = pause.as_os_str().as_encoded_bytes().to_vec();
        plan.pause_process = crate::harness::process(&["pause"]);
        plan.pause_process.uid = 65_534;
    }) else {
        return;
    };
    let mut keeper = plan(&pod, "keeper", "while :; do sleep 1000; done");
    keeper.pid_namespace = PidNamespace::Pod;
    pod.run(&keeper);
    let mut other = plan(&pod, "c", "cat /proc/1/comm; test $$ != 1 && ls /proc | grep -c '^[0-9]'");
    other.pid_namespace = PidNamespace::Pod;
    let (record, text) = pod.output(&other);
    assert_eq!(record.code, 0, "{text}");
    let count: u32 = text.lines().last().unwrap().trim().parse().unwrap();
    assert!(count >= 3, "{text}");
}

#[test]
fn a_container_joins_the_pid_namespace_of_another() {
    let Some(mut pod) = pod(|_| {}) else { return };
    let first = plan(&pod, "first", "while :; do sleep 1000; done");
    pod.run(&first);
    let mut other = plan(&pod, "c", "cat /proc/1/cmdline; test $$ != 1 && cat /proc/$$/uid_map");
    other.pid_namespace = PidNamespace::Container("first".to_owned());
    let (record, text) = pod.output(&other);
    assert_eq!(record.code, 0, "{text}");
    assert!(text.contains("sleep 1000") && text.contains("65536"), "{text}");
}
