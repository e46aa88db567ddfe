//! Containers with user namespaces, and mounts with other owners.

use crate::harness::Bundle;
use serde_json::{Value, json};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const FIRST: u32 = 0x28_0000;

fn ids() -> Value {
    json!([{ "containerID": 0, "hostID": FIRST, "size": 65536 }])
}

/// A new user namespace; the container's root and /out belong to its root.
fn users(config: &mut Value) {
    let linux = &mut config["linux"];
    linux["uidMappings"] = ids();
    linux["gidMappings"] = ids();
    linux["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
    config["mounts"].as_array_mut().unwrap().push(json!({
        "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]
    }));
    give(config);
}

fn give(config: &Value) {
    let out = Path::new(config["mounts"][4]["source"].as_str().unwrap());
    for dir in [out, out.parent().unwrap()] {
        std::os::unix::fs::chown(dir, Some(FIRST), Some(FIRST)).unwrap();
    }
}

#[test]
fn root_of_a_user_namespace_is_nobody_outside() {
    let script = "id -u > /out/log; echo $$ >> /out/log; cat /proc/self/uid_map >> /out/log; hostname >> /out/log; \
        stat -c %t:%T /dev/null >> /out/log; mount -t tmpfs none /tmp && echo mounts >> /out/log; \
        ls /sys/class/net >> /out/log; exec sleep 600";
    let Some(bundle) = Bundle::with(script, |config| {
        users(config);
        config["process"]["capabilities"] = json!({ "bounding": ["CAP_SYS_ADMIN"], "effective": ["CAP_SYS_ADMIN"], "permitted": ["CAP_SYS_ADMIN"] });
        config["linux"]["devices"] =
            json!([{ "path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666 }]);
    }) else {
        return;
    };
    bundle.create();
    let pid = bundle.state()["pid"].as_i64().unwrap();
    assert_eq!(std::fs::metadata(format!("/proc/{pid}")).unwrap().uid(), FIRST);
    bundle.ok(&["start", &bundle.id]);
    bundle.wait_out("log", "lo\n");
    let log = bundle.out("log");
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(&lines[..2], ["0", "1"], "{log}");
    assert_eq!(lines[2].split_whitespace().collect::<Vec<_>>(), ["0", "2621440", "65536"], "{log}");
    assert_eq!(&lines[3..], ["inside", "1:3", "mounts", "lo"], "{log}");
    assert_eq!(std::fs::metadata(bundle.path("rootfs/out/log")).unwrap().uid(), FIRST);
    bundle.ok(&[
        "exec",
        &bundle.id,
        "sh",
        "-c",
        "id -u > /out/exec; readlink /proc/self/ns/user >> /out/exec",
    ]);
    let exec = bundle.out("exec");
    let own = std::fs::read_link(format!("/proc/{pid}/ns/user")).unwrap();
    assert_eq!(exec.lines().collect::<Vec<_>>(), ["0", own.to_str().unwrap()]);
    bundle.ok(&["delete", "--force", &bundle.id]);
}

#[test]
fn a_user_namespace_is_joined_with_the_others_of_its_pod() {
    let Some(first) = Bundle::with("exec sleep 600", users) else { return };
    first.create();
    first.ok(&["start", &first.id]);
    let pid = first.state()["pid"].as_i64().unwrap();
    let join = |config: &mut Value| {
        for namespace in config["linux"]["namespaces"].as_array_mut().unwrap() {
            let kind = namespace["type"].as_str().unwrap();
            if matches!(kind, "ipc" | "uts" | "network") {
                let file = if kind == "network" { "net" } else { kind };
                namespace["path"] = json!(format!("/proc/{pid}/ns/{file}"));
            }
        }
        let user = json!({ "type": "user", "path": format!("/proc/{pid}/ns/user") });
        config["linux"]["namespaces"].as_array_mut().unwrap().push(user);
        config.as_object_mut().unwrap().remove("hostname");
        give(config);
    };
    let script = "id -u > /out/log; hostname >> /out/log; echo $$ >> /out/log";
    let second = Bundle::with(script, join).unwrap();
    second.create();
    let own = second.state()["pid"].as_i64().unwrap();
    for kind in ["user", "net", "ipc", "uts"] {
        let of = |pid: i64| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
        assert_eq!(of(own), of(pid), "{kind}");
    }
    second.ok(&["start", &second.id]);
    second.wait_for("stopped");
    assert_eq!(second.out("log"), "0\ninside\n1\n");
    let other = Bundle::with("true", |config| {
        join(config);
        config["linux"]["uidMappings"] = json!([{ "containerID": 0, "hostID": 1, "size": 65536 }]);
    })
    .unwrap();
    let error = other.fails(&["create", "--bundle", &other.bundle(), &other.id]);
    assert!(error.contains("linux.uidMappings"), "{error}");
    first.ok(&["delete", "--force", &first.id]);
}

#[test]
fn hooks_see_the_process_that_stays() {
    let Some(bundle) = Bundle::with("true", |config| {
        users(config);
        let out = config["mounts"][4]["source"].as_str().unwrap().to_owned();
        let script = format!("cat > {out}/state.json");
        config["hooks"] =
            json!({ "createRuntime": [{ "path": "/usr/bin/sh", "args": ["sh", "-c", script] }] });
    }) else {
        return;
    };
    bundle.create();
    let state: Value = serde_json::from_str(&bundle.out("state.json")).unwrap();
    assert_eq!(state["pid"], bundle.state()["pid"]);
    assert!(Path::new(&format!("/proc/{}", state["pid"])).exists());
    bundle.ok(&["delete", "--force", &bundle.id]);
}

/// tmpfs can be idmapped since Linux 6.3, the usual filesystems of disks before.
fn can_map(path: &Path) -> bool {
    const TMPFS: i64 = 0x0102_1994;
    const OTHERS: [i64; 3] = [0xef53, 0x5846_5342, 0x9123_683e];
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut parts = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (parts.next().unwrap(), parts.next().unwrap());
    let magic = sys::fd::filesystem_magic(std::fs::File::open(path).unwrap()).unwrap();
    version >= (5, 12) && OTHERS.contains(&magic) || version >= (6, 3) && magic == TMPFS
}

#[test]
fn a_mount_shows_the_owners_that_were_asked_for() {
    if !can_map(&std::env::temp_dir()) {
        need::skip(need::Need::Kernel, "the kernel or the filesystem of temporary files cannot map owners");
        return;
    }
    let volume = |config: &mut Value, mount: Value| {
        let out = Path::new(config["mounts"][4]["source"].as_str().unwrap());
        let dir = out.parent().unwrap().parent().unwrap().join("volume");
        std::fs::create_dir_all(&dir).unwrap();
        let mut mount = mount;
        mount["destination"] = json!("/volume");
        mount["type"] = json!("bind");
        mount["source"] = json!(dir);
        config["mounts"].as_array_mut().unwrap().push(mount);
    };
    let script = "stat -c %u:%g /volume > /out/log";
    let shown = |bundle: &Bundle| {
        bundle.create();
        bundle.ok(&["start", &bundle.id]);
        bundle.wait_for("stopped");
        bundle.out("log")
    };
    let map = json!([{ "containerID": 0, "hostID": 1000, "size": 10 }]);
    let own = Bundle::with(script, |config| {
        volume(config, json!({ "options": ["rbind"], "uidMappings": map, "gidMappings": map }));
    });
    let Some(own) = own else { return };
    assert_eq!(shown(&own), "1000:1000\n");
    let of_container = Bundle::with(script, |config| {
        users(config);
        volume(config, json!({ "options": ["rbind", "idmap"] }));
    });
    assert_eq!(shown(&of_container.unwrap()), "0:0\n");
    let none =
        Bundle::with(script, |config| volume(config, json!({ "options": ["rbind", "idmap"] }))).unwrap();
    let error = none.fails(&["create", "--bundle", &none.bundle(), &none.id]);
    assert!(error.contains("mount at /volume") && error.contains("idmapped"), "{error}");
}
