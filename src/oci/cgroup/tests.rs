#![allow(clippy::unwrap_used)]

mod hierarchies;
mod members;
mod meter;
mod v2;

use super::files::Hierarchy;
use super::*;
use crate::OciError;
use model::{CgroupFile, HugePages, PageSize};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A cgroup parent of this test alone, removed at the end.
struct Parent {
    host: Host,
    path: CgroupPath,
    created: Vec<PathBuf>,
}

impl Parent {
    fn new(name: &str) -> Option<Self> {
        if !need::root("cgroups need root") {
            return None;
        }
        let host = Host::detect().unwrap();
        let unique = format!("/corten-test-{name}-{}", std::process::id());
        let path = CgroupPath::parse("test", &unique).unwrap();
        let created = host.create_sandbox(&path, "sandbox").unwrap().created;
        Some(Self { host, path, created })
    }

    fn file(&self, controller: &str, child: &CgroupPath, file: &str) -> String {
        let hierarchy = self.host.unified().or_else(|| self.host.v1_of(controller)).unwrap();
        hierarchy.read(child.relative(), file).unwrap().unwrap().trim().to_owned()
    }

    fn has(&self, child: &CgroupPath) -> bool {
        self.host.v1.iter().chain(&self.host.v2).any(|hierarchy| hierarchy.exists(child.relative()))
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        // A process that has just been reaped may keep its cgroup busy for a moment.
        for _ in 0..200 {
            self.host.remove_dirs(&self.created);
            if self.created.iter().all(|dir| !dir.exists()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Starts a script inside a cgroup, as the shim's child does it: the process writes itself there. Returns when the
/// script has said `ready`.
fn run_in(plan: &CgroupPlan, script: &str) -> Child {
    let mut join = String::new();
    for dir in &plan.v1 {
        join += &format!("echo 0 > '{}/tasks' || exit 99; ", String::from_utf8_lossy(dir));
    }
    if let Some(dir) = &plan.v2 {
        join += &format!("echo 0 > '{}/cgroup.procs' || exit 99; ", String::from_utf8_lossy(dir));
    }
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("{join} {script}")]).stdout(Stdio::piped()).process_group(0);
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line)
        .unwrap();
    assert_eq!(line, "ready\n");
    child
}

fn huge_pages(limit: u64) -> Vec<HugePages> {
    vec![HugePages { size: PageSize::new("2MB").unwrap(), limit }]
}

fn limits() -> Resources {
    Resources {
        cpu_shares: Some(512),
        cpu_quota: Some(50_000),
        cpu_period: Some(100_000),
        memory_limit: Some(64 << 20),
        memory_swap: Some(64 << 20),
        pids_limit: Some(50),
        devices: DeviceAccess::Only(Vec::new()),
        ..Resources::default()
    }
}

#[test]
fn a_real_cgroup_is_made_limited_updated_killed_and_removed() {
    let Some(parent) = Parent::new("life") else { return };
    let (host, id) = (&parent.host, parent.path.join("container"));
    let foreseen = host.plan(&id);
    assert!(host.procs(&id).is_empty() && !parent.has(&id), "nothing is made");
    let plan = host.create(&id, &limits()).unwrap();
    assert_eq!(plan, foreseen);
    let mut child = run_in(&plan, "sleep 100 & echo ready; wait");
    assert!(host.procs(&id).contains(&child.id().try_into().unwrap()));
    assert!(host.stats(&id).unwrap().pids >= 2);
    let meter = host.meter(&id).unwrap();
    assert_eq!(meter.processes(), host.procs(&id).len() as u64);
    assert_eq!(host.stats(&id).unwrap().memory_limit, Some(64 << 20));
    assert_eq!(host.oom_count(&id).unwrap(), 0);
    if host.mode() != Mode::Unified {
        assert_eq!(parent.file("cpu", &id, "cpu.shares"), "512");
        assert_eq!(parent.file("cpu", &id, "cpu.cfs_quota_us"), "50000");
        assert_eq!(parent.file("pids", &id, "pids.max"), "50");
        let devices = parent.file("devices", &id, "devices.list");
        assert!(devices.contains("c 1:3 rwm") && !devices.contains("a *:* rwm"), "{devices}");
    }
    let larger = Resources { memory_limit: Some(128 << 20), memory_swap: Some(128 << 20), ..limits() };
    host.update(&id, &larger).unwrap();
    assert_eq!(host.stats(&id).unwrap().memory_limit, Some(128 << 20));
    host.update(&id, &limits()).unwrap();
    assert_eq!(host.stats(&id).unwrap().memory_limit, Some(64 << 20));
    let pinned =
        Resources { cpuset_cpus: CpuList::new("0").ok(), cpuset_mems: CpuList::new("0").ok(), ..limits() };
    host.update(&id, &pinned).unwrap();
    assert_eq!(parent.file("cpuset", &id, "cpuset.cpus"), "0");
    let busy = host.remove(&id).unwrap_err();
    assert!(matches!(busy, OciError::CgroupBusy { .. }), "{busy}");
    host.kill(&id).unwrap();
    assert!(!child.wait().unwrap().success());
    host.remove(&id).unwrap();
    host.remove(&id).unwrap();
    assert!(host.procs(&id).is_empty());
    assert_eq!(meter.processes(), 0, "the files that are open tell that it is gone");
    assert_eq!(host.stats(&id).unwrap(), Stats::default());
}

#[test]
fn a_frozen_container_is_killed_all_the_same() {
    let Some(parent) = Parent::new("frozen") else { return };
    let host = &parent.host;
    let (hierarchy, file, value) = match host.unified() {
        Some(v2) => (v2, "cgroup.freeze", "1"),
        None => (host.v1_of("freezer").unwrap(), "freezer.state", "FROZEN"),
    };
    for below in [None, Some("made by itself")] {
        let id = parent.path.join("container");
        let plan = host.create(&id, &Resources::default()).unwrap();
        let mut child = run_in(&plan, "echo ready; while :; do sleep 1; done");
        let frozen = below.map_or_else(|| id.clone(), |name| id.join(name));
        if below.is_some() {
            hierarchy.mkdir(frozen.relative()).unwrap();
            hierarchy.write(frozen.relative(), "cgroup.procs", child.id().to_string()).unwrap();
        }
        hierarchy.write(frozen.relative(), file, value).unwrap();
        host.kill(&id).unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        while child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "still alive: frozen in {frozen}");
            std::thread::sleep(Duration::from_millis(5));
        }
        host.remove(&id).unwrap();
        host.thaw_tree(&id).unwrap();
    }
}

#[test]
fn nested_cgroups_of_a_container_go_with_it() {
    let Some(parent) = Parent::new("nested") else { return };
    let (host, id) = (&parent.host, parent.path.join("container"));
    host.create(&id, &Resources::default()).unwrap();
    let hierarchy = host.unified().or_else(|| host.v1_of("memory")).unwrap();
    for below in [id.join("a"), id.join("a").join("b")] {
        hierarchy.mkdir(below.relative()).unwrap();
    }
    host.remove(&id).unwrap();
    assert!(!hierarchy.exists(id.relative()));
}

#[test]
fn a_failure_leaves_nothing_behind() {
    let Some(parent) = Parent::new("failure") else { return };
    let (host, id) = (&parent.host, parent.path.join("container"));
    let bad = Resources { memory_limit: Some(64 << 20), memory_swap: Some(32 << 20), ..Resources::default() };
    assert!(host.create(&id, &bad).is_err());
    for hierarchy in host.v1.iter().chain(host.unified()) {
        assert!(!hierarchy.exists(id.relative()), "{}", hierarchy.path(id.relative()).display());
    }
    if host.mode() != Mode::Unified {
        let unified = Resources {
            unified: [(CgroupFile::new("memory.high").unwrap(), "1".to_owned())].into(),
            ..Resources::default()
        };
        assert_eq!(host.create(&id, &unified).unwrap_err().kind(), model::ErrorKind::InvalidArgument);
        let huge = Resources { hugepages: huge_pages(1 << 21), ..Resources::default() };
        // With the controller or without it.
        host.create(&id, &huge).unwrap();
        host.remove(&id).unwrap();
    }
}

#[test]
fn the_oom_killer_is_counted() {
    let Some(parent) = Parent::new("oom") else { return };
    let (host, id) = (&parent.host, parent.path.join("container"));
    let tight = Resources { memory_limit: Some(8 << 20), memory_swap: Some(8 << 20), ..Resources::default() };
    let plan = host.create(&id, &tight).unwrap();
    let mut child = run_in(&plan, "echo ready; exec tail /dev/zero");
    assert!(!child.wait().unwrap().success());
    assert!(host.oom_count(&id).unwrap() >= 1);
    host.remove(&id).unwrap();
}

#[test]
fn directories_are_foreseen_and_removed_without_waiting() {
    let Some(parent) = Parent::new("foreseen") else { return };
    let host = &parent.host;
    assert!(host.sandbox_dirs(&parent.path, "sandbox").is_empty());
    let deep = parent.path.join("burstable").join("pod");
    let foreseen = host.sandbox_dirs(&deep, "sandbox");
    assert!(!foreseen.is_empty() && foreseen.iter().all(|dir| !dir.exists()));
    assert_eq!(host.create_sandbox(&deep, "sandbox").unwrap().created, foreseen);
    let leaf = foreseen.last().unwrap().join("other");
    std::fs::create_dir(&leaf).unwrap();
    host.remove_dirs(&foreseen);
    assert!(leaf.exists(), "what others made stays");
    std::fs::remove_dir(&leaf).unwrap();
    host.remove_dirs(&foreseen);
    host.remove_dirs(&foreseen);
    assert!(foreseen.iter().all(|dir| !dir.exists()));
}

#[test]
fn a_sandbox_joins_its_parent_and_lists_what_it_made() {
    let Some(parent) = Parent::new("pod") else { return };
    let again = parent.host.create_sandbox(&parent.path, "sandbox").unwrap();
    assert!(again.created.is_empty(), "{:?}", again.created);
    assert!(!parent.created.is_empty() && parent.created.iter().all(|dir| dir.is_dir()));
    let mut child = run_in(&again.plan, "echo ready; exec sleep 100");
    let pid = child.id().to_string();
    let own = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(own.contains(&parent.path.to_string()), "{own}");
    child.kill().unwrap();
    child.wait().unwrap();
    let (created, host) = (parent.created.clone(), Host::detect().unwrap());
    drop(parent);
    assert!(created.iter().all(|dir| !dir.exists()));
    host.remove_dirs(&[PathBuf::from("/etc/passwd"), PathBuf::from("/")]);
    assert!(Path::new("/etc/passwd").exists());
}

/// A v2 tree of plain files: the leaf is there already, because no kernel fills a new directory.
fn fixture(leaf_files: &[&str]) -> (TempDir, Host, CgroupPath) {
    let dir = tempfile::tempdir().unwrap();
    for level in ["", "pods", "pods/c"] {
        let here = dir.path().join(level);
        std::fs::create_dir_all(&here).unwrap();
        std::fs::write(here.join("cgroup.subtree_control"), "").unwrap();
    }
    std::fs::write(dir.path().join("cgroup.controllers"), "cpuset cpu io memory pids").unwrap();
    for file in leaf_files {
        std::fs::write(dir.path().join("pods/c").join(file), "").unwrap();
    }
    let line = format!("1 0 0:1 / {} rw - cgroup2 cgroup2 rw\n", dir.path().display());
    let host = Host::from_proc(&line, "0::/\n").unwrap();
    (dir, host, CgroupPath::parse("test", "/pods/c").unwrap())
}

const V2_FILES: [&str; 7] =
    ["cpu.weight", "cpu.max", "cpuset.cpus", "memory.max", "memory.swap.max", "pids.max", "memory.high"];

#[test]
fn layouts_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path.display().to_string()
    };
    let v1 = format!("3 1 0:3 / {} rw - cgroup cgroup rw,cpu,cpuacct\n", at("cpu"));
    let named = format!("4 1 0:4 / {} rw - cgroup cgroup rw,xattr,name=systemd\n", at("systemd"));
    let v2 = format!("5 1 0:5 / {} rw - cgroup2 cgroup2 rw,nsdelegate\n", at("unified"));
    let own = "3:cpu,cpuacct:/svc\n4:name=systemd:/svc\n0::/svc\n";
    let mode = |table: &str| Host::from_proc(table, own).map(|host| host.mode());
    assert_eq!(mode(&format!("{v1}{named}")).unwrap(), Mode::Legacy);
    assert_eq!(mode(&format!("{v1}{named}{v2}")).unwrap(), Mode::Hybrid);
    assert_eq!(mode(&format!("{named}{v2}")).unwrap(), Mode::Unified);
    assert!(matches!(mode(&named).unwrap_err(), OciError::NoCgroups));
    let host = Host::from_proc(&format!("{v1}{named}{v2}"), own).unwrap();
    assert_eq!(host.controllers(), ["cpu", "cpuacct", "name=systemd"]);
    assert_eq!(host.v1_of("cpuacct").map(|hierarchy: &Hierarchy| hierarchy.own.as_str()), Some("svc"));
}

/// A hybrid host has a v2 hierarchy too: the device program can be tried there.
#[test]
fn the_device_program_allows_the_defaults_and_what_rules_of_a_device_add_up_to() {
    let Some(parent) = Parent::new("devices") else { return };
    let Some(v2) = &parent.host.v2 else { return need::skip(need::Need::Kernel, "no cgroup v2 is mounted") };
    let cases: [(&[&str], &str); 2] = [
        (&["c 1:11 r"], "(: < kmsg) || exit 3; (: > kmsg) 2>/dev/null && exit 4; exit 0"),
        (&["c 1:11 r", "c 1:11 w"], "(: <> kmsg) || exit 5; exit 0"),
    ];
    for (at, (rules, tried)) in cases.into_iter().enumerate() {
        let leaf = format!("{}-{at}", parent.path.join("v2").relative().replace('/', "-"));
        v2.mkdir(&leaf).unwrap();
        let rules: Vec<String> = rules.iter().map(|rule| (*rule).to_owned()).collect();
        let outcome = device_program::attach(&v2.path(&leaf), &rules).map(|()| {
            let v2 = Some(v2.path(&leaf).to_str().unwrap().into());
            let dir = tempfile::tempdir().unwrap();
            let script = format!(
                "echo ready; cd {}; mknod mem c 1 1; mknod null c 1 3; mknod kmsg c 1 11; \
                 (: < mem) 2>/dev/null && exit 1; (: > null) || exit 2; {tried}",
                dir.path().display()
            );
            run_in(&CgroupPlan { v2, ..CgroupPlan::default() }, &script).wait().unwrap().code()
        });
        remove_soon(v2, &leaf);
        match outcome {
            Ok(code) => assert_eq!(code, Some(0), "{rules:?}"),
            Err(OciError::Sys(error))
                if [sys::fd::errno::EPERM, sys::fd::errno::ENOSYS, sys::fd::errno::EINVAL]
                    .contains(&error.errno) =>
            {
                return need::skip(
                    need::Need::Kernel,
                    &format!("this kernel has no device programs: {error}"),
                );
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn remove_soon(hierarchy: &Hierarchy, path: &str) {
    for _ in 0..100 {
        if hierarchy.rmdir(path).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Prints what a container's cgroup costs; `CORTEN_MEASURE=1 cargo test --release -p oci -- --nocapture cost`.
#[test]
fn cost_of_a_cgroup() {
    if std::env::var_os("CORTEN_MEASURE").is_none() {
        need::skip(need::Need::Measurement, "a measurement, made where CORTEN_MEASURE is set");
        return;
    }
    let Some(parent) = Parent::new("cost") else { return };
    let mut made = Vec::new();
    let mut removed = Vec::new();
    for n in 0..200 {
        let id = parent.path.join(&format!("c{n}"));
        let start = Instant::now();
        parent.host.create(&id, &limits()).unwrap();
        made.push(start.elapsed().as_micros());
        let start = Instant::now();
        parent.host.remove(&id).unwrap();
        removed.push(start.elapsed().as_micros());
    }
    made.sort_unstable();
    removed.sort_unstable();
    println!(
        "create p50 {} p90 {} µs, remove p50 {} p90 {} µs",
        made[100], made[180], removed[100], removed[180]
    );
}

#[test]
fn rates_of_a_device_and_a_reservation_are_the_kernel_s() {
    let Some(parent) = Parent::new("block-io") else { return };
    let child = parent.path.join("container");
    let Some(device) = std::fs::read_dir("/sys/block").unwrap().flatten().find_map(|device| {
        std::fs::read_to_string(device.path().join("dev")).ok().map(|number| number.trim().to_owned())
    }) else {
        return need::skip(need::Need::Kernel, "no block device");
    };
    let (major, minor) = device.split_once(':').unwrap();
    let spec = format!(
        r#"{{"memory": {{"reservation": 8388608}},
        "blockIO": {{"throttleReadBpsDevice": [{{"major": {major}, "minor": {minor}, "rate": 1048576}}]}}}}"#
    );
    let resources = Resources::from_spec(&serde_json::from_str(&spec).unwrap()).unwrap();
    parent.host.create(&child, &resources).unwrap();
    if parent.host.unified().is_some() {
        assert!(parent.file("io", &child, "io.max").starts_with(&format!("{device} rbps=1048576")));
        assert_eq!(parent.file("memory", &child, "memory.low"), "8388608");
    } else {
        assert_eq!(
            parent.file("blkio", &child, "blkio.throttle.read_bps_device"),
            format!("{device} 1048576")
        );
        assert_eq!(parent.file("memory", &child, "memory.soft_limit_in_bytes"), "8388608");
    }
    parent.host.remove(&child).unwrap();
}
