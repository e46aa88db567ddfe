//! Limits of cgroup v2.

use super::*;

#[test]
fn v2_limits_go_to_their_files() {
    let (dir, host, id) = fixture(&V2_FILES);
    assert_eq!(host.mode(), Mode::Unified);
    let resources = Resources {
        cpu_shares: Some(1024),
        cpuset_cpus: CpuList::new("0-1").ok(),
        memory_limit: Some(100),
        memory_swap: Some(150),
        unified: [(CgroupFile::new("memory.high").unwrap(), "90".to_owned())].into(),
        hugepages: huge_pages(0),
        devices: DeviceAccess::All,
        ..limits()
    };
    let plan = host.create(&id, &resources).unwrap();
    let read = |file: &str| std::fs::read_to_string(dir.path().join(file)).unwrap();
    let expected = [
        ("cpu.weight", "100"),
        ("cpu.max", "50000 100000"),
        ("cpuset.cpus", "0-1"),
        ("memory.max", "100"),
        ("memory.swap.max", "50"),
        ("pids.max", "50"),
        ("memory.high", "90"),
    ];
    for (file, value) in expected {
        assert_eq!(read(&format!("pods/c/{file}")), value, "{file}");
    }
    let enabled = "+cpu +cpuset +memory +pids +io";
    assert_eq!([read("cgroup.subtree_control"), read("pods/cgroup.subtree_control")], [enabled, enabled]);
    assert_eq!(read("pods/c/cgroup.subtree_control"), "");
    let leaf = dir.path().join("pods/c").to_str().unwrap().as_bytes().to_vec();
    assert_eq!((plan.v1.len(), plan.v2, plan.oom), (0, Some(leaf.clone()), Some(leaf)));
}

#[test]
fn v2_without_limits_or_swap() {
    let (dir, host, id) = fixture(&["memory.max", "cpu.max"]);
    let resources = Resources {
        cpu_quota: Some(-1),
        memory_limit: Some(100),
        memory_swap: Some(100),
        ..Resources::default()
    };
    host.create(&id, &resources).unwrap();
    let read = |file: &str| std::fs::read_to_string(dir.path().join("pods/c").join(file)).unwrap();
    assert_eq!(read("cpu.max"), "max 100000");
    assert_eq!(read("memory.max"), "100");
    let huge = Resources { hugepages: huge_pages(1), ..Resources::default() };
    host.create(&id, &huge).unwrap();
    let files = std::fs::read_dir(dir.path().join("pods/c")).unwrap().flatten();
    let names: Vec<_> = files.map(|file| file.file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.starts_with("hugetlb")), "{names:?}");
    std::fs::write(dir.path().join("cgroup.controllers"), "cpu memory").unwrap();
    let line = format!("1 0 0:1 / {} rw - cgroup2 cgroup2 rw\n", dir.path().display());
    let host = Host::from_proc(&line, "0::/\n").unwrap();
    let many = Resources { pids_limit: Some(7), ..Resources::default() };
    assert!(matches!(host.create(&id, &many).unwrap_err(), OciError::NoController { .. }));
}
