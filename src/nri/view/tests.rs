//! What plugins are shown of pods, containers and limits.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::api::*;
use model::{ContainerMetadata, ContainerState, Exit, ImageSpec, SandboxMetadata, SecurityContext};

const SPEC: &str = r#"{
    "ociVersion": "1.2.0",
    "root": {"path": "/root"},
    "annotations": {"a": "spec", "io.kubernetes.cri.container-type": "container"},
    "process": {
        "cwd": "/", "args": ["sleep", "9"], "env": ["A=1"],
        "user": {"uid": 7, "gid": 8, "additionalGids": [9]},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}],
        "oomScoreAdj": -998,
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 3},
        "scheduler": {"policy": "SCHED_BATCH", "nice": 5}
    },
    "mounts": [{"destination": "/d", "type": "bind", "source": "/s", "options": ["ro"]}],
    "hooks": {"poststop": [{"path": "/hook", "args": ["hook", "x"], "env": ["B=2"], "timeout": 5}]},
    "linux": {
        "cgroupsPath": "/pod/container",
        "namespaces": [{"type": "mount"}, {"type": "network", "path": "/net"}, {"type": "pid", "path": "/pid"}],
        "devices": [{"path": "/dev/x", "type": "c", "major": 1, "minor": 2, "fileMode": 438, "uid": 3, "gid": 4}],
        "sysctl": {"net.x": "1"},
        "netDevices": {"eth1": {"name": "data"}},
        "intelRdt": {"closID": "gold", "schemata": ["L3:0=f"], "enableMonitoring": true},
        "seccomp": {
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "architectures": ["SCMP_ARCH_X86_64"],
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 1, "value": 2, "valueTwo": 3, "op": "SCMP_CMP_MASKED_EQ"}]}]
        },
        "resources": {
            "devices": [{"allow": true, "type": "c", "major": 1, "access": "rw"}],
            "memory": {"limit": 100, "swap": 200, "reservation": 50},
            "cpu": {"shares": 512, "quota": 1000, "period": 2000, "cpus": "0-1", "mems": "0"},
            "pids": {"limit": 11},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 4}],
            "unified": {"memory.high": "9"}
        }
    }
}"#;

fn config() -> ContainerConfig {
    ContainerConfig {
        metadata: ContainerMetadata { name: "main".into(), attempt: 0 },
        image: ImageSpec {
            image: "sha256:id".into(),
            user_specified_image: "registry/a:1".into(),
            ..Default::default()
        },
        labels: [("l".to_owned(), "1".to_owned())].into(),
        annotations: [("a".to_owned(), "request".to_owned())].into(),
        cdi_devices: vec!["v/c=d".into()],
        security: SecurityContext { seccomp: Some(Seccomp::RuntimeDefault), ..Default::default() },
        ..Default::default()
    }
}

fn shown(state: Option<&ContainerState>, updated: Option<&Resources>) -> Container {
    let (config, spec) = (config(), serde_json::from_str(SPEC).unwrap());
    container(&Contained {
        id: "container",
        pod: "pod",
        config: &config,
        spec: &spec,
        state,
        created_at: 5,
        pid: Some(77),
        image_ref: "registry/a@sha256:digest",
        image_id: "sha256:id",
        updated,
    })
}

#[test]
fn everything_of_a_container_is_shown() {
    let made = shown(Some(&ContainerState::Created), None);
    assert_eq!(
        (made.id.as_str(), made.pod_sandbox_id.as_str(), made.name.as_str()),
        ("container", "pod", "main")
    );
    assert_eq!((made.state(), made.created_at, made.pid), (State::ContainerCreated, 5, 77));
    assert_eq!(made.labels["l"], "1");
    // The request's own goes before what the runtime adds.
    assert_eq!(made.annotations["a"], "request");
    assert_eq!(made.annotations["io.kubernetes.cri.container-type"], "container");
    assert_eq!((made.args, made.env), (vec!["sleep".to_owned(), "9".to_owned()], vec!["A=1".to_owned()]));
    let mount = Mount {
        destination: "/d".into(),
        r#type: "bind".into(),
        source: "/s".into(),
        options: vec!["ro".into()],
    };
    assert_eq!(made.mounts, [mount]);
    let hook = Hook {
        path: "/hook".into(),
        args: vec!["hook".into(), "x".into()],
        env: vec!["B=2".into()],
        timeout: Some(OptionalInt { value: 5 }),
    };
    assert_eq!(made.hooks.unwrap(), Hooks { poststop: vec![hook], ..Default::default() });
    assert_eq!(made.rlimits, [PosixRlimit { r#type: "RLIMIT_NOFILE".into(), hard: 2, soft: 1 }]);
    assert_eq!(made.user.unwrap(), User { uid: 7, gid: 8, additional_gids: vec![9] });
    assert_eq!(made.cdi_devices, [CdiDevice { name: "v/c=d".into() }]);
    let image = Image {
        name: "registry/a:1".into(),
        digest: "sha256:digest".into(),
        config_digest: "sha256:id".into(),
    };
    assert_eq!(made.image.unwrap(), image);
}

#[test]
fn everything_that_is_linux_s_own_is_shown() {
    let made = shown(None, None).linux.unwrap();
    let namespace = |kind: &str, path: &str| LinuxNamespace { r#type: kind.into(), path: path.into() };
    assert_eq!(
        made.namespaces,
        [namespace("mount", ""), namespace("network", "/net"), namespace("pid", "/pid")]
    );
    let id = |value| Some(OptionalUInt32 { value });
    let device = LinuxDevice {
        path: "/dev/x".into(),
        r#type: "c".into(),
        major: 1,
        minor: 2,
        file_mode: Some(OptionalFileMode { value: 0o666 }),
        uid: id(3),
        gid: id(4),
    };
    assert_eq!(made.devices, [device]);
    assert_eq!(
        (made.cgroups_path.as_str(), made.oom_score_adj),
        ("/pod/container", Some(OptionalInt { value: -998 }))
    );
    assert_eq!(
        made.io_priority.unwrap(),
        LinuxIoPriority { class: IoPrioClass::IoprioClassBe as i32, priority: 3 }
    );
    let scheduler = made.scheduler.unwrap();
    assert_eq!((scheduler.policy(), scheduler.nice), (LinuxSchedulerPolicy::SchedBatch, 5));
    assert_eq!(made.seccomp_profile.unwrap().profile_type(), ProfileType::RuntimeDefault);
    let policy = made.seccomp_policy.unwrap();
    assert_eq!((policy.default_action.as_str(), policy.default_errno), ("SCMP_ACT_ERRNO", id(1)));
    assert_eq!(
        (policy.architectures[0].as_str(), policy.flags[0].as_str()),
        ("SCMP_ARCH_X86_64", "SECCOMP_FILTER_FLAG_LOG")
    );
    let arg = LinuxSeccompArg { index: 1, value: 2, value_two: 3, op: "SCMP_CMP_MASKED_EQ".into() };
    assert_eq!(policy.syscalls[0].args, [arg]);
    assert_eq!(made.sysctl["net.x"], "1");
    assert_eq!(made.net_devices["eth1"].name, "data");
    let rdt = made.rdt.unwrap();
    assert_eq!(
        (rdt.clos_id.unwrap().value.as_str(), rdt.schemata.unwrap().value[0].as_str()),
        ("gold", "L3:0=f")
    );
}

#[test]
fn limits_are_those_of_the_spec_until_they_are_updated() {
    let limits = shown(None, None).linux.unwrap().resources.unwrap();
    let memory = limits.memory.unwrap();
    assert_eq!(
        (memory.limit.unwrap().value, memory.swap.unwrap().value, memory.reservation.unwrap().value),
        (100, 200, 50)
    );
    let cpu = limits.cpu.unwrap();
    assert_eq!(
        (cpu.shares.unwrap().value, cpu.quota.unwrap().value, cpu.period.unwrap().value),
        (512, 1000, 2000)
    );
    assert_eq!((cpu.cpus.as_str(), cpu.mems.as_str()), ("0-1", "0"));
    assert_eq!(limits.pids.unwrap().limit, 11);
    assert_eq!(limits.hugepage_limits, [HugepageLimit { page_size: "2MB".into(), limit: 4 }]);
    assert_eq!(limits.unified["memory.high"], "9");
    assert_eq!((limits.devices[0].major.unwrap().value, limits.devices[0].minor), (1, None));
    let updated = Resources { cpu_shares: model::CpuShares::new(2).ok(), ..Default::default() };
    let limits = shown(None, Some(&updated)).linux.unwrap().resources.unwrap();
    assert_eq!(limits.cpu.unwrap().shares.unwrap().value, 2);
    assert_eq!((limits.memory.unwrap().limit, limits.pids.unwrap().limit), (None, 11));
}

#[test]
fn a_container_has_the_times_and_the_end_of_its_state() {
    assert_eq!(shown(None, None).state(), State::ContainerUnknown);
    let running = shown(Some(&ContainerState::Running { started_at: 6 }), None);
    assert_eq!((running.state(), running.started_at, running.finished_at), (State::ContainerRunning, 6, 0));
    let exit = Exit {
        code: 137,
        signal: Some(9),
        oom_killed: true,
        finished_at: 8,
        reason: "OOMKilled".into(),
        message: "why".into(),
    };
    let exited = shown(Some(&ContainerState::Exited { started_at: 6, exit }), None);
    assert_eq!((exited.state(), exited.started_at, exited.finished_at), (State::ContainerStopped, 6, 8));
    assert_eq!(
        (exited.exit_code, exited.status_reason.as_str(), exited.status_message.as_str()),
        (137, "OOMKilled", "why")
    );
}

#[test]
fn everything_of_a_pod_is_shown() {
    let config = SandboxConfig {
        metadata: SandboxMetadata { name: "n".into(), uid: "u".into(), namespace: "s".into(), attempt: 0 },
        labels: [("l".to_owned(), "1".to_owned())].into(),
        annotations: [("a".to_owned(), "2".to_owned())].into(),
        ..Default::default()
    };
    let limits = Resources { memory_limit: model::Bytes::new(9).ok(), ..Default::default() };
    let made = pod(&Pod {
        id: "pod",
        config: &config,
        handler: "h",
        ips: vec!["10.0.0.1".into(), "fd00::1".into()],
        cgroup_parent: "/kubepods",
        cgroup: "/kubepods/pod".into(),
        namespaces: vec![("network", "/net".into())],
        pid: Some(5),
        overhead: None,
        resources: Some(&limits),
    });
    assert_eq!((made.name.as_str(), made.uid.as_str(), made.namespace.as_str()), ("n", "u", "s"));
    assert_eq!((made.labels["l"].as_str(), made.annotations["a"].as_str()), ("1", "2"));
    assert_eq!((made.runtime_handler.as_str(), made.pid, made.ips.len()), ("h", 5, 2));
    let linux = made.linux.unwrap();
    assert_eq!((linux.cgroup_parent.as_str(), linux.cgroups_path.as_str()), ("/kubepods", "/kubepods/pod"));
    assert_eq!(linux.namespaces, [LinuxNamespace { r#type: "network".into(), path: "/net".into() }]);
    assert_eq!(linux.pod_resources.unwrap().memory.unwrap().limit.unwrap().value, 9);
    assert_eq!(linux.pod_overhead, None);
}

#[test]
fn limits_go_to_plugins_and_come_back() {
    let limits = Resources {
        cpu_period: model::CpuPeriod::new(100_000).ok(),
        cpu_quota: model::CpuQuota::new(-1).ok(),
        cpu_shares: model::CpuShares::new(512).ok(),
        memory_limit: model::Bytes::new(100).ok(),
        memory_swap_limit: model::Bytes::new(-1).ok(),
        cpuset_cpus: model::CpuList::new("0-3").ok(),
        cpuset_mems: model::CpuList::new("0").ok(),
        hugepages: vec![model::HugePages { size: model::PageSize::new("2MB").unwrap(), limit: 7 }],
        unified: [(model::CgroupFile::new("memory.high").unwrap(), "9".to_owned())].into(),
        ..Default::default()
    };
    assert_eq!(change_of(&of_request(&limits)), Ok(limits));
    assert_eq!(change_of(&LinuxResources::default()), Ok(Resources::default()));
}

#[test]
fn what_cannot_be_changed_is_refused_by_name() {
    let memory = |memory: LinuxMemory| LinuxResources { memory: Some(memory), ..Default::default() };
    let cpu = |cpu: LinuxCpu| LinuxResources { cpu: Some(cpu), ..Default::default() };
    let one = Some(OptionalInt64 { value: 1 });
    let fixed =
        |field: &str| format!("linux.resources.{field} cannot be changed once the container is created");
    let table = [
        (memory(LinuxMemory { reservation: one, ..Default::default() }), fixed("memory.reservation")),
        (
            memory(LinuxMemory { swappiness: Some(OptionalUInt64 { value: 0 }), ..Default::default() }),
            fixed("memory.swappiness"),
        ),
        (cpu(LinuxCpu { realtime_runtime: one, ..Default::default() }), fixed("cpu.realtime_runtime")),
        (LinuxResources { pids: Some(LinuxPids { limit: 5 }), ..Default::default() }, fixed("pids")),
        (
            LinuxResources { blockio_class: Some(Default::default()), ..Default::default() },
            fixed("blockio_class"),
        ),
        (LinuxResources { rdt_class: Some(Default::default()), ..Default::default() }, fixed("rdt_class")),
        (
            cpu(LinuxCpu { shares: Some(OptionalUInt64 { value: 1 }), ..Default::default() }),
            "linux.resources.cpu.shares: 1 is not within 2 to 262144".to_owned(),
        ),
        (
            cpu(LinuxCpu { quota: one, ..Default::default() }),
            "linux.resources.cpu.quota: 1 is neither -1 nor 1000 or more".to_owned(),
        ),
    ];
    for (asked, words) in table {
        assert_eq!(change_of(&asked).unwrap_err().to_string(), words);
    }
    // At the beginning what stays fixed hides nothing of what is beside it.
    let shares = Some(OptionalUInt64 { value: 1024 });
    let beside = LinuxResources {
        rdt_class: Some(Default::default()),
        ..cpu(LinuxCpu { shares, ..Default::default() })
    };
    assert!(change_of(&beside).is_err());
    assert_eq!(changeable(&beside).unwrap().cpu_shares.map(model::CpuShares::get), Some(1024));
    for asked in [
        cpu(LinuxCpu { cpus: "a".into(), ..Default::default() }),
        LinuxResources { unified: [("../x".into(), "1".into())].into(), ..Default::default() },
    ] {
        assert!(matches!(change_of(&asked), Err(LimitError::Value { .. })), "{asked:?}");
    }
}
