//! Older kernels, imitated: a filter that the shim inherits answers `ENOSYS` to newer system calls.

use wire::msg::{ErrorCode, Reply, Request};

use crate::harness::{Pod, bind, busybox};

/// One instruction of a filter.
fn instruction(code: u16, jump: u8, value: u32) -> Vec<u8> {
    let mut out = code.to_ne_bytes().to_vec();
    out.extend_from_slice(&[jump, 0]);
    out.extend_from_slice(&value.to_ne_bytes());
    out
}

#[test]
fn kernels_without_clone3_and_mount_setattr_are_served() {
    let Some(busybox) = busybox() else { return };
    assert!(sys::mount::has_mount_setattr());
    let (clone3, mount_setattr, allow, no_such_call) = (435, 442, 0x7fff_0000, 0x0005_0026);
    let filter = [
        instruction(0x20, 0, 0),
        instruction(0x15, 2, clone3),
        instruction(0x15, 1, mount_setattr),
        instruction(0x06, 0, allow),
        instruction(0x06, 0, no_such_call),
    ]
    .concat();
    // A filter holds for one thread and what it starts.
    let thread = std::thread::spawn(move || {
        sys::privilege::set_no_new_privileges().unwrap();
        sys::privilege::load_seccomp(&filter, 0).unwrap();
        let mut pod = Pod::new(&busybox);
        std::fs::create_dir(pod.path("volume")).unwrap();
        let script = "echo x > /read-only/x || echo refused; echo 1 > /proc/sys/kernel/hostname || echo refused; echo x > /x || echo refused; cat /proc/self/cgroup";
        let mut plan = pod.plan("c", script);
        let volume = pod.path("volume");
        plan.mounts.push(bind(&volume, "/read-only", 1));
        plan.readonly_paths = vec![b"/proc/sys".to_vec()];
        plan.rootfs.readonly = true;
        let (record, text) = pod.output(&plan);
        assert_eq!(record.code, 0, "{text}");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.iter().filter(|line| **line == "refused").count(), 3, "{text}");
        assert!(!sys::mount::has_mount_setattr());
        let mut deep = pod.plan("deep", "true");
        deep.mounts.push(bind(&volume, "/read-only", 1));
        deep.mounts.last_mut().unwrap().deep_attributes = 1;
        let reply = pod.conn.ask(&Request::Create(deep));
        let Reply::Error { kind: ErrorCode::Setup, errno: 38, message } = reply else { panic!("{reply:?}") };
        assert!(message.starts_with("mount /read-only: recursive"), "{message}");
        if pod.cgroup.v2.is_some() {
            assert!(text.contains("0::/corten-shim-test-"), "{text}");
        }
    });
    thread.join().unwrap();
}

#[test]
fn layers_with_long_names_are_mounted_the_classic_way() {
    let Some(busybox) = busybox() else { return };
    let mut pod = Pod::new(&busybox);
    let deep = pod.path(&format!("{}/{}", "d".repeat(200), "e".repeat(200)));
    let mut plan = pod.plan("c", "cat /where; cat /too; echo w > /written; cat /proc/self/mountinfo");
    for (name, file) in [("one", "where"), ("two:,\\", "too")] {
        std::fs::create_dir_all(deep.join(name)).unwrap();
        std::fs::write(deep.join(name).join(file), format!("{file}\n")).unwrap();
        plan.rootfs.layers.insert(0, deep.join(name).as_os_str().as_encoded_bytes().to_vec());
    }
    // Mounted so, the layers must share a directory: the base image moves there.
    let base = deep.join("base");
    std::fs::rename(pod.path("layer"), &base).unwrap();
    *plan.rootfs.layers.last_mut().unwrap() = base.as_os_str().as_encoded_bytes().to_vec();
    let (record, text) = pod.output(&plan);
    assert_eq!(record.code, 0, "{text}");
    assert!(text.starts_with("where\ntoo\n") && text.contains("overlay"), "{text}");
    assert!(pod.path("c/upper/written").exists());
}
