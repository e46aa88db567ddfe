//! What is done.

use super::*;
use oci_spec::runtime as oci;

fn text(value: &str) -> String {
    value.to_owned()
}

fn pair(key: &str, value: &str) -> KeyValue {
    KeyValue { key: text(key), value: text(value) }
}

/// The spec of an OCI runtime's container, as JSON.
fn foreign(adjustment: ContainerAdjustment) -> serde_json::Value {
    serde_json::to_value(run(adjustment, false).unwrap().0).unwrap()
}

#[test]
fn nothing_asked_for_changes_nothing() {
    let (made, applied) = run(ContainerAdjustment::default(), true).unwrap();
    assert_eq!((made, applied), (spec(), Applied::default()));
}

#[test]
fn annotations_environment_and_arguments() {
    let made = foreign(ContainerAdjustment {
        annotations: [(text("-a"), text("")), (text("b"), text("3")), (text("c"), text("4"))].into(),
        env: vec![pair("B", "new"), pair("-C", ""), pair("D", "4=4")],
        args: vec![text("echo"), text("x")],
        ..Default::default()
    });
    assert_eq!(made["annotations"], serde_json::json!({"b": "3", "c": "4"}));
    assert_eq!(made["process"]["env"], serde_json::json!(["A=1", "B=new", "D=4=4"]));
    assert_eq!(made["process"]["args"], serde_json::json!(["echo", "x"]));
}

#[test]
fn hooks_of_all_kinds() {
    let hook = |path: &str| {
        vec![Hook {
            path: text(path),
            args: vec![text("h")],
            env: vec![text("A=1")],
            timeout: Some(OptionalInt { value: 3 }),
        }]
    };
    let made = foreign(ContainerAdjustment {
        hooks: Some(Hooks {
            prestart: hook("/1"),
            create_runtime: hook("/2"),
            create_container: hook("/3"),
            start_container: hook("/4"),
            poststart: hook("/5"),
            poststop: hook("/6"),
        }),
        ..Default::default()
    });
    let kinds = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    for (kind, path) in kinds.iter().zip(1..) {
        let expected =
            serde_json::json!([{"path": format!("/{path}"), "args": ["h"], "env": ["A=1"], "timeout": 3}]);
        assert_eq!(made["hooks"][kind], expected, "{kind}");
    }
}

#[test]
fn devices_come_with_the_right_to_use_them() {
    let device = |path: &str, kind: &str| LinuxDevice {
        path: text(path),
        r#type: text(kind),
        major: 10,
        minor: 200,
        file_mode: Some(OptionalFileMode { value: 0o660 }),
        uid: Some(OptionalUInt32 { value: 5 }),
        ..Default::default()
    };
    let devices =
        vec![device("/dev/x", "c"), device("/dev/y", "b"), device("/dev/p", "p"), device("-/dev/gone", "")];
    let made = foreign(linux(LinuxContainerAdjustment { devices, ..Default::default() }));
    let paths: Vec<_> =
        made["linux"]["devices"].as_array().unwrap().iter().map(|one| one["path"].clone()).collect();
    assert_eq!(paths, ["/dev/x", "/dev/y", "/dev/p"]);
    assert_eq!(
        (&made["linux"]["devices"][0]["uid"], &made["linux"]["devices"][0]["fileMode"]),
        (&5.into(), &0o660.into())
    );
    let rules = serde_json::json!([
        {"allow": false, "type": "a", "access": "rwm"},
        {"allow": true, "type": "c", "major": 10, "minor": 200, "access": "rw"},
        {"allow": true, "type": "b", "major": 10, "minor": 200, "access": "rwm"},
    ]);
    assert_eq!(made["linux"]["resources"]["devices"], rules);
}

#[test]
fn rules_without_devices_and_the_whole_taken_back() {
    let rule = |allow, kind: &str| LinuxDeviceCgroup {
        allow,
        r#type: text(kind),
        access: text("r"),
        ..Default::default()
    };
    let made = foreign(limits(LinuxResources {
        devices: vec![rule(true, "c"), rule(false, "a"), rule(true, "b")],
        ..Default::default()
    }));
    let rules = serde_json::json!([{"allow": false, "type": "a", "access": "r"}, {"allow": true, "type": "b", "access": "r"}]);
    assert_eq!(made["linux"]["resources"]["devices"], rules);
}

#[test]
fn scores_priorities_and_schedulers() {
    let made = foreign(linux(LinuxContainerAdjustment {
        oom_score_adj: Some(OptionalInt { value: 5000 }),
        io_priority: Some(LinuxIoPriority { class: IoPrioClass::IoprioClassRt as i32, priority: 4 }),
        scheduler: Some(LinuxScheduler {
            policy: LinuxSchedulerPolicy::SchedFifo as i32,
            priority: 50,
            flags: vec![LinuxSchedulerFlag::SchedFlagKeepPolicy as i32],
            ..Default::default()
        }),
        ..Default::default()
    }));
    let process = &made["process"];
    assert_eq!(process["oomScoreAdj"], 1000, "the nearest that there is");
    assert_eq!(process["ioPriority"], serde_json::json!({"class": "IOPRIO_CLASS_RT", "priority": 4}));
    assert_eq!(
        process["scheduler"],
        serde_json::json!({"policy": "SCHED_FIFO", "priority": 50, "flags": ["SCHED_FLAG_KEEP_POLICY"]})
    );
    let none = linux(LinuxContainerAdjustment {
        io_priority: Some(LinuxIoPriority::default()),
        scheduler: Some(LinuxScheduler::default()),
        ..Default::default()
    });
    assert_eq!(run(none, true).unwrap().0, spec(), "no class and no policy are none");
}

#[test]
fn a_filter_takes_the_place_of_the_container_s() {
    let arg = LinuxSeccompArg { index: 1, value: 7, value_two: 0, op: text("SCMP_CMP_EQ") };
    let made = foreign(linux(LinuxContainerAdjustment {
        seccomp_policy: Some(LinuxSeccomp {
            default_action: text("SCMP_ACT_ERRNO"),
            default_errno: Some(OptionalUInt32 { value: 38 }),
            architectures: vec![text("SCMP_ARCH_X86_64")],
            flags: vec![text("SECCOMP_FILTER_FLAG_LOG")],
            syscalls: vec![LinuxSyscall {
                names: vec![text("read")],
                action: text("SCMP_ACT_ALLOW"),
                args: vec![arg],
                ..Default::default()
            }],
            ..Default::default()
        }),
        ..Default::default()
    }));
    let filter = &made["linux"]["seccomp"];
    assert_eq!(
        (&filter["defaultAction"], &filter["defaultErrnoRet"]),
        (&"SCMP_ACT_ERRNO".into(), &38.into())
    );
    assert_eq!(filter["syscalls"][0]["args"][0]["op"], "SCMP_CMP_EQ");
}

#[test]
fn namespaces_and_what_is_kept_in_them() {
    let namespace = |kind: &str, path: &str| LinuxNamespace { r#type: text(kind), path: text(path) };
    let made = foreign(linux(LinuxContainerAdjustment {
        namespaces: vec![namespace("-ipc", ""), namespace("pid", "/pid"), namespace("network", "/other")],
        sysctl: [(text("net.ipv4.ip_forward"), text("1"))].into(),
        net_devices: [
            (text("eth9"), LinuxNetDevice::default()),
            (text("eth8"), LinuxNetDevice { name: text("data") }),
        ]
        .into(),
        ..Default::default()
    }));
    let expected = serde_json::json!([{"type": "mount"}, {"type": "pid", "path": "/pid"}, {"type": "network", "path": "/other"}]);
    assert_eq!(made["linux"]["namespaces"], expected);
    assert_eq!(made["linux"]["sysctl"], serde_json::json!({"net.ipv4.ip_forward": "1"}));
    assert_eq!(
        made["linux"]["netDevices"],
        serde_json::json!({"eth8": {"name": "data"}, "eth9": {"name": "eth9"}})
    );
    // The pod's, as they are, may be named.
    let same = linux(LinuxContainerAdjustment {
        namespaces: vec![namespace("ipc", "/ipc"), namespace("cgroup", "")],
        ..Default::default()
    });
    let spec = run(same, true).unwrap().0;
    assert_eq!(spec.linux().as_ref().unwrap().namespaces().as_ref().unwrap().len(), 4);
}

#[test]
fn memory_s_policy_and_every_limit() {
    let memory = LinuxMemoryPolicy {
        mode: MpolMode::MpolBind as i32,
        nodes: text("0-1"),
        flags: vec![MpolFlag::MpolFStaticNodes as i32],
    };
    let made = foreign(linux(LinuxContainerAdjustment { memory_policy: Some(memory), ..Default::default() }));
    let expected = serde_json::json!({"mode": "MPOL_BIND", "nodes": "0-1", "flags": ["MPOL_F_STATIC_NODES"]});
    assert_eq!(made["linux"]["memoryPolicy"], expected);
    let (signed, unsigned) = (|value| Some(OptionalInt64 { value }), |value| Some(OptionalUInt64 { value }));
    let made = foreign(limits(LinuxResources {
        memory: Some(LinuxMemory {
            limit: signed(900),
            reservation: signed(7),
            swappiness: unsigned(1),
            ..Default::default()
        }),
        cpu: Some(LinuxCpu {
            shares: unsigned(2),
            quota: signed(3000),
            period: unsigned(4000),
            realtime_runtime: signed(5),
            cpus: text("0"),
            mems: text("0"),
            ..Default::default()
        }),
        hugepage_limits: vec![HugepageLimit { page_size: text("2MB"), limit: 8 }],
        unified: [(text("memory.high"), text("5"))].into(),
        pids: Some(LinuxPids { limit: -1 }),
        ..Default::default()
    }));
    let limits = &made["linux"]["resources"];
    // A limit without a word about swap allows none.
    assert_eq!(
        limits["memory"],
        serde_json::json!({"limit": 900, "swap": 900, "reservation": 7, "swappiness": 1})
    );
    assert_eq!(
        limits["cpu"],
        serde_json::json!({"shares": 2, "quota": 3000, "period": 4000, "realtimeRuntime": 5, "cpus": "0", "mems": "0"})
    );
    assert_eq!(limits["pids"]["limit"], -1);
    assert_eq!(limits["hugepageLimits"], serde_json::json!([{"pageSize": "2MB", "limit": 8}]));
    assert_eq!(limits["unified"], serde_json::json!({"memory.high": "5"}));
}

#[test]
fn mounts_are_sorted_and_replaced_by_place() {
    let mount = |place: &str, options: &[&str]| Mount {
        destination: text(place),
        r#type: text("bind"),
        source: text("/"),
        options: options.iter().map(|one| text(one)).collect(),
    };
    let asked = ContainerAdjustment {
        mounts: vec![
            mount("/a", &["rbind", "ro", "relabel"]),
            mount("-/z", &[]),
            mount("/a/b/c", &["rbind"]),
        ],
        ..Default::default()
    };
    let (made, applied) = run(asked, true).unwrap();
    let places: Vec<_> =
        made.mounts().as_ref().unwrap().iter().map(|one| one.destination().display().to_string()).collect();
    assert_eq!(places, ["/a", "/proc", "/a/b", "/a/b/c"]);
    assert_eq!(made.mounts().as_ref().unwrap()[0].options().as_ref().unwrap(), &["rbind", "ro"]);
    assert_eq!(applied.relabel, [PathBuf::from("/")]);
}

#[test]
fn limits_of_processes_take_the_place_of_those_of_their_kind() {
    let limit = |kind: &str, value| PosixRlimit { r#type: text(kind), hard: value, soft: value };
    let asked = ContainerAdjustment {
        rlimits: vec![limit("RLIMIT_CORE", 5), limit("RLIMIT_NOFILE", 6)],
        ..Default::default()
    };
    let made = run(asked, true).unwrap().0;
    let limits = made.process().as_ref().unwrap().rlimits().clone().unwrap();
    let shown: Vec<_> = limits.iter().map(|limit| (limit.typ(), limit.soft(), limit.hard())).collect();
    assert_eq!(shown, [(oci::PosixRlimitType::RlimitCore, 5, 5), (oci::PosixRlimitType::RlimitNofile, 6, 6)]);
}
