//! Devices: plain ones, and those that vendors describe. What a container may do with a device is seen without any
//! driver: the numbers here belong to none, so that opening is refused by the kernel (no such device) where the container
//! may use them, and by its cgroup (not permitted) where it may not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::large_futures)]

use e2e::pod::Pod;
use e2e::pods::{secured, shell};
use e2e::proto::{Capability, CdiDevice, ContainerConfig, Device, Int64Value};
use e2e::runtime::{Kind, Options};
use e2e::world::{BUSYBOX, World};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Character devices of this major are for experiments: no driver has it.
const MAJOR: u64 = 240;

fn node(path: &Path, minor: u64) -> PathBuf {
    let mode = Mode::from_bits_truncate(0o640);
    mknod(path, SFlag::S_IFCHR, mode, makedev(MAJOR, minor)).unwrap();
    path.to_path_buf()
}

fn device(host: &Path, place: &str, permissions: &str) -> Device {
    Device {
        host_path: host.display().to_string(),
        container_path: place.into(),
        permissions: permissions.into(),
    }
}

fn with(name: &str, devices: Vec<Device>, script: &str) -> ContainerConfig {
    ContainerConfig { devices, ..shell(name, BUSYBOX, script) }
}

/// A shell function: `may FILE` says which of reading and writing the cgroup allows.
const MAY: &str = "may() { said=; \
    ( : <$1 ) 2>&1 | grep -q 'Operation not permitted' || said=r; \
    ( : >>$1 ) 2>&1 | grep -q 'Operation not permitted' || said=${said}w; echo $1 $said; }";

#[test]
fn devices_are_there_with_what_was_permitted() {
    let Some(world) = World::new().unwrap() else { return };
    let root = world.isolation.directory("devices").unwrap();
    fs::create_dir_all(root.join("many/inner")).unwrap();
    symlink(root.join("one"), root.join("link")).unwrap();
    node(&root.join("many/a"), 70);
    node(&root.join("many/inner/b"), 71);
    fs::write(root.join("many/file"), "").unwrap();
    let one = node(&root.join("one"), 77);
    world.tokio.block_on(async {
        let pod = Pod::new(&world, "plain").await;
        let devices = vec![
            device(&one, "/dev/rw", "rw"),
            device(&node(&root.join("two"), 78), "/dev/deep/er/read", "r"),
            device(&node(&root.join("three"), 79), "/dev/written", "w"),
            device(&root.join("many"), "/dev/many", "rwm"),
            device(&root.join("link"), "", "rw"),
        ];
        let link = root.join("link");
        let script = format!(
            "{MAY}; stat -c '%n %t:%T %a %u:%g' /dev/rw; for file in /dev/rw /dev/deep/er/read /dev/written \
             /dev/many/a /dev/many/inner/b {}; do may $file; done; ls /dev/many; \
             mknod /dev/other c {MAJOR} 99 2>/dev/null && may /dev/other || echo /dev/other; \
             mknod /tmp/other c {MAJOR} 70 && may /tmp/other; may /dev/null; may /dev/zero; exec sleep 1000",
            link.display()
        );
        let config = secured(with("main", devices, &script), |security| {
            security.capabilities =
                Some(Capability { add_capabilities: vec!["MKNOD".into()], ..Capability::default() });
        });
        let id = pod.create(&config).await.unwrap();
        pod.cri.start(&id).await.unwrap();
        let expected = format!(
            "/dev/rw f0:4d 640 0:0\n/dev/rw rw\n/dev/deep/er/read r\n/dev/written w\n/dev/many/a rw\n\
             /dev/many/inner/b rw\n{} rw\na\ninner\n/dev/other\n/tmp/other rw\n/dev/null rw\n/dev/zero rw",
            link.display()
        );
        let end = std::time::Instant::now() + Duration::from_secs(30);
        let said = loop {
            let lines = e2e::logs::read(&world.log("plain", "main")).unwrap_or_default();
            let said: Vec<_> = lines.into_iter().map(|line| line.text.trim_end().to_owned()).collect();
            if said.last().is_some_and(|line| line.starts_with("/dev/zero")) {
                break said.join("\n");
            }
            assert!(std::time::Instant::now() < end, "{said:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert_eq!(said, expected);
        // A command in it may no more, and another container has none of it.
        let look = format!("{MAY}; may /dev/rw; may /dev/deep/er/read; may /tmp/other");
        assert_eq!(
            pod.cri.shell(&id, &look).await.unwrap(),
            "/dev/rw rw\n/dev/deep/er/read r\n/tmp/other rw\n"
        );
        let look = format!(
            "{MAY}; ls /dev | tr '\\n' ' '; echo; mknod /tmp/x c {MAJOR} 77 && may /tmp/x || echo /tmp/x"
        );
        let other = secured(with("other", Vec::new(), &look), |security| {
            security.capabilities =
                Some(Capability { add_capabilities: vec!["MKNOD".into()], ..Capability::default() });
        });
        let said = pod.output(&other).await;
        assert!(!said[0].contains("rw") && said[0].contains("null"), "{said:?}");
        assert_eq!(said[1].trim_end(), "/tmp/x");
        pod.cri.end_pod(&pod.id).await.unwrap();
    });
}

#[test]
fn what_is_no_device_is_refused() {
    let Some(world) = World::new().unwrap() else { return };
    if world.daemon.kind() == Kind::Containerd {
        need::skip(need::Need::Corten, "the peer mounts some of it, and names no fields");
        return;
    }
    let root = world.isolation.directory("devices").unwrap();
    let one = node(&root.join("one"), 77);
    fs::write(root.join("file"), "").unwrap();
    world.tokio.block_on(async {
        let pod = Pod::new(&world, "refused").await;
        for (name, wrong, words) in [
            ("absent", device(&root.join("absent"), "/dev/x", "r"), ["devices[0].host_path", "absent"]),
            ("file", device(&root.join("file"), "/dev/x", "r"), ["devices[0].host_path", "file"]),
            ("none", device(&one, "/dev/x", ""), ["devices[0].permissions", ""]),
            ("other", device(&one, "/dev/x", "rx"), ["devices[0].permissions", ""]),
            ("twice", device(&one, "/dev/x", "rr"), ["devices[0].permissions", ""]),
            ("proc", device(&one, "/proc/x", "r"), ["devices[0].container_path", ""]),
            ("root", device(&one, "/", "r"), ["devices[0].container_path", ""]),
            ("relative", device(Path::new("x"), "/dev/x", "r"), ["devices[0].host_path", ""]),
        ] {
            let refused = pod.refusal(&with(name, vec![wrong], "true")).await;
            assert!(words.iter().all(|word| refused.contains(word)), "{name}: {refused}");
        }
        assert!(pod.cri.containers().await.unwrap().is_empty());
        pod.cri.end_pod(&pod.id).await.unwrap();
    });
}

/// A device as a user with numbers sees it, and as root does.
fn owners(setting: &str) -> Option<[String; 2]> {
    let world =
        World::with(|options| Options { extra: format!("[runtime]\n{setting}\n"), ..options }).unwrap()?;
    if world.daemon.kind() == Kind::Containerd {
        need::skip(need::Need::Corten, "Corten's setting");
        return None;
    }
    let one = node(&world.isolation.directory("devices").unwrap().join("one"), 77);
    nix::unistd::chown(&one, Some(7.into()), Some(8.into())).unwrap();
    Some(world.tokio.block_on(async {
        let pod = Pod::new(&world, "owners").await;
        let look = |name| with(name, vec![device(&one, "/dev/x", "rw")], "stat -c %u:%g /dev/x");
        let user = secured(look("user"), |security| {
            security.run_as_user = Some(Int64Value { value: 1000 });
            security.run_as_group = Some(Int64Value { value: 2000 });
        });
        let owners = [pod.output(&user).await.concat(), pod.output(&look("root")).await.concat()];
        pod.cri.end_pod(&pod.id).await.unwrap();
        owners
    }))
}

#[test]
fn devices_belong_to_whom_the_setting_says() {
    let Some(of_host) = owners("device_ownership_from_security_context = false") else { return };
    assert_eq!(of_host, ["7:8", "7:8"]);
    let taken_over = owners("device_ownership_from_security_context = true").unwrap();
    assert_eq!(taken_over, ["1000:2000", "7:8"]);
}

/// A specification of one vendor: a device `one` whose value is seen in the environment.
fn vendor(device: &Path, mount: &Path, value: &str) -> String {
    serde_json::json!({
        "cdiVersion": "0.6.0", "kind": "vendor.test/widget",
        "containerEdits": {"env": ["WIDGETS=all"]},
        "devices": [
            {"name": "one", "containerEdits": {
                "env": [format!("ONE={value}")],
                "deviceNodes": [{"path": "/dev/widget", "hostPath": device, "permissions": "r"}],
                "mounts": [{"hostPath": mount, "containerPath": "/usr/lib/widget", "options": ["ro", "bind"]}],
                "additionalGids": [4242]
            }},
            {"name": "two", "containerEdits": {"env": ["TWO=2"]}}
        ]
    })
    .to_string()
}

fn named(mut config: ContainerConfig, field: &[&str], annotations: &[(&str, &str)]) -> ContainerConfig {
    config.cdi_devices = field.iter().map(|name| CdiDevice { name: (*name).into() }).collect();
    for (key, value) in annotations {
        config.annotations.insert((*key).into(), (*value).into());
    }
    config
}

#[test]
fn vendors_describe_devices_while_the_daemon_runs() {
    let specs = tempfile::tempdir().unwrap();
    let (first, second) = (specs.path().join("first"), specs.path().join("second"));
    let setting = format!("[runtime]\ncdi_spec_dirs = [{first:?}, {second:?}]\n");
    let Some(world) = World::with(|options| Options { extra: setting, ..options }).unwrap() else { return };
    if world.daemon.kind() == Kind::Containerd {
        need::skip(need::Need::Corten, "the peer's directories are the host's own");
        return;
    }
    let root = world.isolation.directory("devices").unwrap();
    let one = node(&root.join("one"), 77);
    fs::write(root.join("driver"), "driver\n").unwrap();
    let (field, annotation) = (["vendor.test/widget=one"], [("cdi.k8s.io/plugin", "vendor.test/widget=two")]);
    let script = format!(
        "{MAY}; env | grep -E '^(WIDGETS|ONE|TWO)=' | sort; may /dev/widget; cat /usr/lib/widget/driver; \
         touch /usr/lib/widget/x 2>/dev/null && echo writes; id -G"
    );
    world.tokio.block_on(async {
        let pod = Pod::new(&world, "vendors").await;
        let main = |name: &str| shell(name, BUSYBOX, &script);
        // Not even the directories are there.
        let refused = pod.refusal(&named(main("early"), &field, &[])).await;
        assert!(refused.contains("vendor.test/widget=one"), "{refused}");
        fs::create_dir(&first).unwrap();
        fs::write(first.join("vendor.json"), vendor(&one, &root, "first")).unwrap();
        let said = pod.output(&named(main("field"), &field, &[])).await;
        let of = |value: &str| {
            [&format!("ONE={value}"), "WIDGETS=all", "/dev/widget r", "driver", "0 4242"].map(str::to_owned)
        };
        assert_eq!(said, of("first"));
        let both = [("cdi.k8s.io/plugin", "vendor.test/widget=two,vendor.test/widget=one")];
        let said = pod.output(&named(main("both"), &field, &both)).await;
        assert_eq!(said[..3], ["ONE=first", "TWO=2", "WIDGETS=all"], "each once: {said:?}");
        let said = pod
            .output(&named(
                shell("annotation", BUSYBOX, "env | grep -c =2; ls /dev/widget"),
                &[],
                &annotation,
            ))
            .await;
        assert_eq!(said, ["1"], "only what was asked for");

        // A later directory goes before, and a damaged file hides no other.
        fs::create_dir(&second).unwrap();
        fs::write(second.join("vendor.json"), vendor(&one, &root, "second")).unwrap();
        fs::write(second.join("broken.yaml"), "cdiVersion: 0.6.0\nkind: [broken\n").unwrap();
        assert_eq!(pod.output(&named(main("later"), &field, &[])).await, of("second"));
        let other = named(main("broken"), &["broken.test/thing=one"], &[]);
        let refused = pod.refusal(&other).await;
        assert!(refused.contains("broken.test/thing=one") && refused.contains("broken.yaml"), "{refused}");
        // Changed in place, it is read again.
        fs::write(second.join("vendor.json"), vendor(&one, &root, "third")).unwrap();
        assert_eq!(pod.output(&named(main("changed"), &field, &[])).await, of("third"));
        // Two that say the same of one directory: neither is right.
        fs::write(second.join("again.json"), vendor(&one, &root, "again")).unwrap();
        let refused = pod.refusal(&named(main("twice"), &field, &[])).await;
        assert!(refused.contains("again.json") && refused.contains("vendor.json"), "{refused}");
        fs::remove_dir_all(&second).unwrap();
        assert_eq!(pod.output(&named(main("back"), &field, &[])).await, of("first"));
        for (name, wrong, words) in [
            ("form", named(main("form"), &["widget"], &[]), ["CDI_devices[0].name", "widget"]),
            ("value", named(main("value"), &[], &[("cdi.k8s.io/p", "x,y")]), ["cdi.k8s.io/p", "x"]),
            (
                "device",
                named(main("device"), &["vendor.test/widget=six"], &[]),
                ["CDI_devices", "widget=six"],
            ),
        ] {
            let refused = pod.refusal(&wrong).await;
            assert!(words.iter().all(|word| refused.contains(word)), "{name}: {refused}");
        }
        pod.cri.end_pod(&pod.id).await.unwrap();
    });
}
