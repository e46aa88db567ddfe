//! What a container finds mounted, whatever its mount namespace is made of.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sys::fd::{namespace, propagation};
use wire::plan::{ContainerPlan, MountPlan, MountSource, PidNamespace};

use crate::harness::{Pod, bind, busybox, filesystem};

type Adjustment = Box<dyn Fn(&mut ContainerPlan)>;

/// A table of mounts without the numbers that no two namespaces share: of mounts, devices and peer groups.
fn comparable(table: &str, dir: &Path) -> Vec<String> {
    let dir = dir.display().to_string();
    let line = |line: &str| {
        let fields = line.replace(&dir, "DIR");
        let fields = fields.split_whitespace().skip(3).map(|field| match field.split_once(':') {
            Some((kind @ ("master" | "shared" | "propagate_from"), _)) => kind.to_owned(),
            _ => field.to_owned(),
        });
        fields.collect::<Vec<_>>().join(" ")
    };
    table.lines().map(line).collect()
}

/// All kinds of mounts that a container may have, with a host's mount in what it shares.
fn everything(pod: &Pod, id: &str) -> ContainerPlan {
    let script = "readlink /proc/self/ns/mnt; cat /proc/self/mountinfo; cat /image/etc/name /file; \
                  cat /masked; ls /masked.d; (echo x > /volume/ro) 2>/dev/null || echo refused";
    let mut plan = pod.plan(id, script);
    for (name, text) in [("file", "of the host\n"), ("layer/etc/name", "of the image\n")] {
        fs::write(pod.path(name), text).unwrap();
    }
    fs::create_dir_all(pod.path("volume/sub")).unwrap();
    fs::create_dir_all(pod.path("empty")).unwrap();
    fs::create_dir_all(pod.path("layer/masked.d/secret")).unwrap();
    fs::write(pod.path("layer/masked"), "secret\n").unwrap();
    let volume = pod.path("volume");
    let slave = propagation::SLAVE | propagation::RECURSIVE;
    let image = MountSource::Overlay {
        layers: ["layer", "empty"]
            .map(|name| pod.path(name).as_os_str().as_encoded_bytes().to_vec())
            .to_vec(),
        label: Vec::new(),
    };
    let cgroup = MountPlan { source: MountSource::Cgroup, ..filesystem("/sys/fs/cgroup", "", "", 0xf) };
    plan.mounts.extend([
        bind(&volume, "/volume", 1),
        MountPlan { propagation: slave, ..bind(&volume, "/follows", 0) },
        bind(&pod.path("file"), "/file", 1),
        MountPlan { source: image, ..bind(Path::new("/"), "/image", 1) },
        cgroup,
    ]);
    plan.masked_paths = ["/masked", "/masked.d", "/proc/kcore"].map(|path| path.as_bytes().to_vec()).to_vec();
    plan.readonly_paths = vec![b"/proc/sys".to_vec()];
    plan.new_cgroup_namespace = true;
    plan
}

/// What such a container says, its mounts made comparable.
fn seen(bare: Option<&OwnedFd>, adjust: impl FnOnce(&mut ContainerPlan)) -> Option<Vec<String>> {
    let busybox = busybox()?;
    let mut pod = Pod::given(&busybox, bare, |_| {});
    let dir = pod.dir.path().to_owned();
    let shared = pod.path("volume");
    fs::create_dir_all(&shared).unwrap();
    let path = shared.as_os_str().as_encoded_bytes();
    sys::mount::classic(b"tmpfs", path, b"tmpfs", 0, b"").unwrap();
    fs::create_dir_all(shared.join("below")).unwrap();
    let below = shared.join("below");
    sys::mount::classic(b"tmpfs", below.as_os_str().as_encoded_bytes(), b"tmpfs", 0, b"").unwrap();
    for path in [path, below.as_os_str().as_encoded_bytes()] {
        sys::mount::classic(b"", path, b"", propagation::SHARED, b"").unwrap();
    }
    let mut plan = everything(&pod, "c");
    adjust(&mut plan);
    let (record, text) = pod.output(&plan);
    sys::mount::detach(path).unwrap();
    assert_eq!(record.code, 0, "{text}");
    assert!(text.ends_with("of the image\nof the host\nrefused"), "{text}");
    let (namespace, rest) = text.split_once('\n').unwrap();
    let own = fs::read_link("/proc/self/ns/mnt").unwrap();
    assert_ne!(Some(namespace), own.to_str(), "a mount namespace of its own");
    Some(comparable(rest, &dir))
}

#[test]
fn mounts_are_the_same_of_a_bare_namespace_and_of_a_copy_of_the_hosts() {
    if !need::root("needs root") {
        return;
    }
    // Of the volume alone, or with what lies below it.
    let spread = |plan: &mut ContainerPlan, kind| {
        plan.mounts
            .iter_mut()
            .filter(|mount| mount.target == b"/follows")
            .for_each(|mount| mount.propagation = kind);
    };
    let adjustments: [(&str, Adjustment); 8] = [
        ("as it is", Box::new(|_| {})),
        // What masks a file is the host's then.
        (
            "without a null device",
            Box::new(|plan| plan.devices.retain(|device| !device.path.ends_with(b"null"))),
        ),
        ("on the host's processes", Box::new(|plan| plan.pid_namespace = PidNamespace::Host)),
        ("with a writable cgroup", Box::new(|plan| plan.mounts.last_mut().unwrap().attributes = 0xe)),
        ("one that follows alone", Box::new(move |plan| spread(plan, propagation::SLAVE))),
        ("one that is private alone", Box::new(move |plan| spread(plan, propagation::PRIVATE))),
        ("one that is shared alone", Box::new(move |plan| spread(plan, propagation::SHARED))),
        (
            "with a filesystem of paths",
            Box::new(|plan| {
                let MountSource::Overlay { layers, .. } = &plan.mounts[7].source else { panic!("{plan:?}") };
                let data = [b"lowerdir=".as_slice(), &layers.join(&b':')].concat();
                let data = String::from_utf8(data).unwrap();
                plan.mounts.push(filesystem("/paths", "overlay", &data, 1));
            }),
        ),
    ];
    for (case, adjust) in adjustments {
        let Some(of_bare) = seen(Some(&sys::bare::make().unwrap()), &adjust) else { return };
        let Some(of_copy) = seen(None, &adjust) else { return };
        assert_eq!(of_bare, of_copy, "{case}");
        assert!(of_bare.iter().any(|line| line.contains("master")), "{case}: {of_bare:?}");
    }
}

#[test]
fn a_start_leaves_the_hosts_mounts_as_they_are() {
    let Some(busybox) = busybox() else { return };
    let table = || fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    // Mounts of other tests come and go in the namespace that they share.
    let seen = std::thread::spawn(move || {
        sys::process::unshare(namespace::MOUNT).unwrap();
        sys::mount::classic(b"", b"/", b"", propagation::PRIVATE | propagation::RECURSIVE, b"").unwrap();
        sys::mount::classic(b"", b"/", b"", propagation::SHARED | propagation::RECURSIVE, b"").unwrap();
        let bare = sys::bare::make().unwrap();
        let before = table();
        let mut pod = Pod::given(&busybox, Some(&bare), |_| {});
        let good = pod.output(&everything(&pod, "c")).0.code;
        let mut plan = everything(&pod, "other");
        // Fails once all else is mounted: a directory over a file.
        plan.mounts.push(bind(&pod.path("volume"), "/etc/name", 0));
        let bad = pod.conn.ask(&wire::msg::Request::Create(plan));
        (before, table(), good, format!("{bad:?}"))
    });
    let (before, after, good, bad) = seen.join().unwrap();
    assert_eq!((good, bad.contains("/etc/name")), (0, true), "{bad}");
    assert_eq!(after, before);
}

#[test]
fn something_else_in_the_place_of_a_bare_namespace_is_not_taken_for_one() {
    let Some(busybox) = busybox() else { return };
    let network = fs::File::open("/proc/self/ns/net").unwrap();
    for other in [OwnedFd::from(network), OwnedFd::from(fs::File::open("/etc").unwrap())] {
        let mut pod = Pod::given(&busybox, Some(&other), |_| {});
        let plan = pod.plan("c", "echo runs");
        assert_eq!(pod.output(&plan).1, "runs");
        let held = fs::read_dir(format!("/proc/{}/fd", pod.shim.pid)).unwrap();
        let held = held.filter_map(|fd| fs::metadata(fd.unwrap().path()).ok());
        let same = |found: fs::Metadata| {
            let given = sys::fd::identity(&other).unwrap();
            (found.ino(), found.dev()) == (given.inode, given.dev)
        };
        assert!(!held.into_iter().any(same), "nor kept");
    }
}
