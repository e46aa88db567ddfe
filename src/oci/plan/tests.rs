#![allow(clippy::unwrap_used)]

use super::*;
use crate::caps::{CapSet, default_set};
use crate::spec::tests::Case;
use model::{Capabilities, NamespaceMode, SandboxConfig, SandboxId, Seccomp, User};
use wire::plan::MountSource;

pub(crate) fn planned(case: &Case) -> ContainerPlan {
    let rootfs = Rootfs::Layers(vec!["/l0".into(), "/l1".into()]);
    let inputs = PlanInputs {
        id: "con",
        stdio: Stdio { log_path: b"/log".to_vec(), ..Stdio::default() },
        cgroup: CgroupPlan { v2: Some(b"/cg".to_vec()), ..CgroupPlan::default() },
        pid_namespace: PidNamespace::New,
        root: RootSource::Image { rootfs: &rootfs, upper: Path::new("/u"), work: Path::new("/w") },
        images: &case.image_volumes,
    };
    container(&case.spec().unwrap(), &inputs).unwrap()
}

fn at<'a>(plan: &'a ContainerPlan, place: &str) -> &'a wire::plan::MountPlan {
    plan.mounts.iter().find(|mount| mount.target == place.as_bytes()).unwrap()
}

#[test]
fn a_spec_becomes_system_calls() {
    let mut case = Case::new();
    case.container.tty = true;
    case.container.security.seccomp = Some(Seccomp::RuntimeDefault);
    case.container.security.readonly_rootfs = true;
    case.container.security.masked_paths = vec![model::AbsPath::new("/proc/kcore").unwrap()];
    case.user.uid = 12;
    let plan = planned(&case);
    assert_eq!(plan.rootfs.layers, [b"/l0".to_vec(), b"/l1".to_vec()]);
    assert!(plan.rootfs.readonly && plan.stdio.tty && !plan.new_cgroup_namespace);
    assert_eq!(plan.rootfs.propagation, sys::fd::propagation::SLAVE | sys::fd::propagation::RECURSIVE);
    assert_eq!(plan.masked_paths, [b"/proc/kcore".to_vec()]);
    assert_eq!((plan.process.uid, plan.process.bounding), (12, default_set().bits()));
    assert_eq!((plan.process.inheritable, plan.process.ambient), (0, 0));
    assert_eq!(plan.process.seccomp, crate::seccomp::default_program(default_set()).unwrap().to_vec());
    let dev = at(&plan, "/dev");
    assert_eq!(dev.attributes, sys::mount::NO_SUID | sys::mount::STRICT_TIMES);
    let expected = MountSource::Filesystem {
        fstype: b"tmpfs".to_vec(),
        source: b"tmpfs".to_vec(),
        data: b"mode=755,size=65536k".to_vec(),
    };
    assert_eq!(dev.source, expected);
    assert_eq!(at(&plan, "/sys/fs/cgroup").source, MountSource::Cgroup);
    assert_ne!(at(&plan, "/sys").attributes & sys::mount::READ_ONLY, 0);
    let shm = at(&plan, "/dev/shm");
    assert_eq!(shm.source, MountSource::Bind { path: b"/run/pod/shm".to_vec(), recursive: true });
    assert_eq!(shm.propagation, sys::fd::propagation::PRIVATE | sys::fd::propagation::RECURSIVE);
    assert_eq!((plan.devices.len(), plan.symlinks.len()), (6, 6));
    assert!(plan.devices.iter().all(|device| device.mode == sys::fd::file_type::CHARACTER | 0o666));
}

#[test]
fn an_image_is_mounted_from_the_directories_that_it_is_made_of() {
    let mut case = Case::new();
    case.container.mounts = vec![model::Mount {
        container_path: model::AbsPath::new("/tools").unwrap(),
        readonly: true,
        image: Some(model::ImageSpec::default()),
        ..model::Mount::default()
    }];
    let rootfs = Rootfs::Layers(vec![r"/l/a:b,\c".into(), "/l/0".into()]);
    case.image_volumes = vec![crate::spec::ImageVolume { index: 0, rootfs }];
    let expected =
        MountSource::Overlay { layers: vec![br"/l/a:b,\c".to_vec(), b"/l/0".to_vec()], label: Vec::new() };
    assert_eq!(at(&planned(&case), "/tools").source, expected);
}

#[test]
fn a_dev_of_the_host_is_left_alone() {
    let mut case = Case::new();
    case.container.mounts = vec![model::Mount {
        container_path: model::AbsPath::new("/dev").unwrap(),
        host_path: model::AbsPath::new("/dev").ok(),
        readonly: true,
        recursive_read_only: true,
        ..model::Mount::default()
    }];
    let plan = planned(&case);
    assert!(plan.devices.is_empty() && plan.symlinks.is_empty());
    let dev = at(&plan, "/dev");
    assert_eq!((dev.attributes, dev.deep_attributes), (0, sys::mount::READ_ONLY));
}

#[test]
fn ambient_is_the_only_way_to_inherit() {
    let mut case = Case::new();
    case.container.security.capabilities = Capabilities {
        drop: vec!["ALL".into()],
        add_ambient: vec!["NET_BIND_SERVICE".into()],
        ..Capabilities::default()
    };
    let process = planned(&case).process;
    let one = CapSet::parse("t", ["NET_BIND_SERVICE"]).unwrap().bits();
    assert_eq!([process.bounding, process.effective, process.permitted], [one; 3]);
    assert_eq!([process.inheritable, process.ambient], [one; 2]);
}

/// As of `runc spec`, which writes no inheritable ones.
#[test]
fn what_is_not_inheritable_is_not_ambient() {
    let ambient = |inheritable: &[&str]| {
        let sets = serde_json::json!({ "permitted": ["CAP_KILL", "CAP_CHOWN"], "inheritable": inheritable, "ambient": ["CAP_KILL"] });
        let process = serde_json::json!({ "user": { "uid": 0, "gid": 0 }, "args": ["true"], "cwd": "/", "capabilities": sets });
        let spec = serde_json::from_value(serde_json::json!({ "ociVersion": "1.0.2", "process": process }));
        super::process(&spec.unwrap()).unwrap().ambient
    };
    assert_eq!(ambient(&[]), 0);
    assert_eq!(ambient(&["CAP_KILL", "CAP_CHOWN"]), CapSet::parse("t", ["KILL"]).unwrap().bits());
}

#[test]
fn an_exec_is_the_container_with_another_program() {
    let mut case = Case::new();
    case.container.security.no_new_privs = true;
    case.container.security.seccomp = Some(Seccomp::RuntimeDefault);
    let process = planned(&case).process;
    let inputs = |argv: &[&str]| ExecInputs {
        container: "con".into(),
        cgroup: CgroupPlan::default(),
        argv: Argv::new(argv.iter().map(|word| (*word).to_owned()).collect()).unwrap(),
        timeout_ms: 5,
        output_cap: 6,
        drain_ms: 7,
    };
    let plan = exec(&process, inputs(&["/bin/sh", "-c", "id"]));
    assert_eq!(plan.process.argv.len(), 3);
    assert_eq!(ProcessPlan { argv: process.argv.clone(), ..plan.process }, process);
}

fn pod(config: &SandboxConfig, netns: Option<&Path>, hostname: &str) -> OciResult<wire::plan::SandboxPlan> {
    sandbox(&SandboxInputs {
        id: &SandboxId::new("pod"),
        config,
        netns,
        sysctls: pod_sysctls(config, &model::Sysctls::new()).first,
        hostname,
        cgroup: CgroupPlan::default(),
        pause: Path::new("/usr/libexec/pause"),
        exits: Path::new("/run/exits"),
        oom_score_adj: -998,
        label: "",
    })
}

#[test]
fn labels_are_those_of_the_process_and_of_every_filesystem_of_the_containers_own() {
    let mut case = Case::new();
    let mount = "system_u:object_r:container_file_t:s0:c1,c2";
    case.labels = crate::selinux::Labels {
        process: "system_u:system_r:container_t:s0:c1,c2".to_owned(),
        mount: mount.to_owned(),
    };
    let plan = planned(&case);
    assert_eq!(plan.process.selinux, case.labels.process.as_bytes());
    assert_eq!(plan.rootfs.label, mount.as_bytes());
    let option = format!("context=\"{mount}\"");
    for mount in &plan.mounts {
        let MountSource::Filesystem { fstype, data, .. } = &mount.source else { continue };
        let labelled = String::from_utf8_lossy(data).split_once("context=").is_some();
        assert_eq!(labelled, !matches!(fstype.as_slice(), b"proc" | b"sysfs"), "{mount:?}");
        assert!(!labelled || data.ends_with(option.as_bytes()), "{mount:?}");
    }
    let plain = planned(&Case::new());
    assert!(plain.process.selinux.is_empty() && plain.rootfs.label.is_empty());
    assert_eq!(
        at(&plain, "/dev/mqueue").source,
        MountSource::Filesystem { fstype: b"mqueue".to_vec(), source: b"mqueue".to_vec(), data: Vec::new() }
    );
}

#[test]
fn a_pods_namespaces() {
    let netns = Path::new("/run/netns/a");
    let mut config = SandboxConfig::default();
    let plan = pod(&config, Some(netns), "web-0").unwrap();
    assert!(plan.new_ipc && plan.new_uts && plan.hostname == b"web-0" && plan.netns == b"/run/netns/a");
    assert_eq!(plan.pause, b"/usr/libexec/pause");
    assert_eq!((plan.pause_process.uid, plan.pause_process.bounding), (65_534, 0));
    assert!(plan.pause_process.no_new_privs && !plan.pause_process.seccomp.is_empty());
    assert!(pod(&config, None, "web-0").is_err());
    config.linux.security.namespaces.pid = NamespaceMode::Container;
    assert!(pod(&config, Some(netns), "").unwrap().pause.is_empty());
    config.linux.security.namespaces.network = NamespaceMode::Node;
    config.linux.security.namespaces.ipc = NamespaceMode::Node;
    let plan = pod(&config, None, "ignored").unwrap();
    assert!(!plan.new_ipc && !plan.new_uts && plan.hostname.is_empty());
    config.linux.security.namespaces = model::NamespaceOptions::default();
    for name in ["a\nb", "a b", &"x".repeat(65)] {
        assert!(pod(&config, Some(netns), name).is_err(), "{name:?}");
    }
    config.linux.security.user = Some(User::Name("bob".into()));
    assert!(pod(&config, Some(netns), "h").is_err());
}

#[test]
fn sysctls_of_a_spec_are_parameters_of_one_value() {
    let table = [
        ("net.ipv4.ip_local_port_range", "1024\t65000", true),
        ("net/ipv4/tcp_syncookies", "1", true),
        ("kernel.shm_rmid_forced", "1+kernel.core_pattern=|x", false),
        ("kernel.shm_rmid_forced+net.x", "1", false),
        ("net..x", "1", false),
        ("../net.x", "1", false),
        ("net/ipv4/conf/eth0.1/forwarding", "1", false),
        ("net", "1", false),
        ("net.ipv4.x", "1\n2", false),
    ];
    for (name, value, fits) in table {
        let mut spec = Case::new().spec().unwrap();
        let all = [(name.to_owned(), value.to_owned())].into();
        spec.linux_mut().as_mut().unwrap().set_sysctl(Some(all));
        let written = sysctl::of_spec(&spec);
        assert_eq!(written.is_ok(), fits, "{name} {value:?}");
        assert!(!written.unwrap_or_default().iter().any(|(name, _)| name.contains(&b'/')));
    }
}

fn sysctls(pairs: &[(&str, &str)]) -> model::Sysctls {
    let parsed = |(name, value): &(&str, &str)| {
        (model::SysctlName::new(*name).unwrap(), model::SysctlValue::new(*value).unwrap())
    };
    pairs.iter().map(parsed).collect()
}

fn users() -> model::UserNamespace {
    let ids = model::IdMapping { host_id: 65_536, container_id: 0, length: 65_536 };
    model::UserNamespace { uids: ids, gids: ids }
}

#[test]
fn sysctls_have_defaults_where_the_pod_has_the_namespace_and_says_nothing() {
    let setting = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let usual = setting(&[
        ("net.ipv4.ip_unprivileged_port_start", "0"),
        ("net.ipv4.ping_group_range", "0 2147483647"),
        ("net.ipv4.ip_forward", ""),
    ]);
    let defaults = default_sysctls("setting", &usual).unwrap();
    let names = |config: &SandboxConfig| {
        let found = pod_sysctls(config, &defaults);
        let names = |list: Sysctls| -> Vec<String> {
            list.into_iter().map(|(name, _)| String::from_utf8(name).unwrap()).collect()
        };
        (names(found.first).join(" "), names(found.attached).join(" "))
    };
    let (port, ping) = ("net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range");
    let mut config = SandboxConfig::default();
    assert_eq!(names(&config), (format!("{port} {ping}"), String::new()));
    config.linux.security.namespaces.users = Some(users());
    assert_eq!(names(&config), (port.to_owned(), String::new()), "its groups are not the host's");
    config.linux.sysctls = sysctls(&[("net/ipv4/ip_unprivileged_port_start", "80"), ("kernel.sem", "1")]);
    assert_eq!(names(&config), ("kernel.sem".to_owned(), port.to_owned()), "the request counts");
    config.linux.sysctls.clear();
    config.linux.security.namespaces.network = NamespaceMode::Node;
    assert_eq!(names(&config), (String::new(), String::new()), "the host's");
    for bad in [("vm.swappiness", "1"), ("net..x", "1"), ("net.x", "1+2")] {
        assert!(
            default_sysctls("setting", &setting(&[bad])).unwrap_err().to_string().starts_with("setting: ")
        );
    }
}

/// Prints what planning costs; `CORTEN_MEASURE=1 cargo test --release -p oci -- --nocapture cost`.
#[test]
fn cost_of_a_plan() {
    if std::env::var_os("CORTEN_MEASURE").is_none() {
        need::skip(need::Need::Measurement, "a measurement, made where CORTEN_MEASURE is set");
        return;
    }
    let mut case = Case::new();
    case.container.security.seccomp = Some(Seccomp::RuntimeDefault);
    let time = |what: &dyn Fn()| {
        let start = std::time::Instant::now();
        what();
        start.elapsed().as_micros()
    };
    let first = time(&|| drop(planned(&case)));
    let mut later: Vec<u128> = (0..500).map(|_| time(&|| drop(planned(&case)))).collect();
    later.sort_unstable();
    let compile = time(&|| drop(crate::seccomp::default_program(CapSet::EMPTY).unwrap()));
    let bytes = planned(&case).process.seccomp.len();
    println!(
        "first {first} µs, p50 {} p90 {} µs, compiling {compile} µs, filter {bytes} bytes",
        later[250], later[450]
    );
}

#[test]
fn turns_and_nodes_of_memory_are_the_kernels_numbers() {
    let planned = |process: &str, linux: &str| {
        let spec: Spec = crate::json::read(
            format!(
                r#"{{"ociVersion":"1.3.0","process":{{"cwd":"/","user":{{"uid":0,"gid":0}}{process}}},"linux":{{{linux}}}}}"#
            )
            .as_bytes(),
        )
        .unwrap();
        process::process(&spec)
    };
    let plain = planned("", "").unwrap();
    assert_eq!((plain.io_priority, plain.scheduler, plain.memory_policy), (0, None, None));
    let made = planned(
        r#","ioPriority":{"class":"IOPRIO_CLASS_BE","priority":6},
        "scheduler":{"policy":"SCHED_FIFO","priority":50,"flags":["SCHED_FLAG_RESET_ON_FORK","SCHED_FLAG_KEEP_PARAMS"]}"#,
        r#""memoryPolicy":{"mode":"MPOL_INTERLEAVE","nodes":"0-1,9","flags":["MPOL_F_STATIC_NODES"]}"#,
    )
    .unwrap();
    assert_eq!(made.io_priority, 2 << 13 | 6);
    let scheduler = SchedulerPlan { policy: 1, priority: 50, flags: 17, ..SchedulerPlan::default() };
    assert_eq!(made.scheduler, Some(scheduler));
    let policy = made.memory_policy.clone().unwrap();
    assert_eq!((policy.mode, policy.nodes), (3 | 1 << 15, vec![3, 2]));
    // What children do not inherit is the first process's alone.
    let inputs = |name: &str| ExecInputs {
        container: String::new(),
        cgroup: CgroupPlan::default(),
        argv: model::Argv::new(vec![name.to_owned()]).unwrap(),
        timeout_ms: 0,
        output_cap: 0,
        drain_ms: 0,
    };
    let command = exec(&made, inputs("id")).process;
    assert_eq!((command.scheduler, command.io_priority), (None, made.io_priority));
    let deadline = r#","scheduler":{"policy":"SCHED_DEADLINE","runtime":1,"deadline":2,"period":3}"#;
    let deadline = planned(deadline, "").unwrap();
    let numbers = SchedulerPlan { policy: 6, runtime: 1, deadline: 2, period: 3, ..SchedulerPlan::default() };
    assert_eq!((deadline.scheduler, exec(&deadline, inputs("id")).process.scheduler), (Some(numbers), None));
    for (process, linux, words) in [
        (r#","ioPriority":{"class":"IOPRIO_CLASS_RT","priority":8}"#, "", "ioPriority: priority 8"),
        (r#","scheduler":{"policy":"SCHED_ISO"}"#, "", "no SCHED_ISO"),
        (r#","scheduler":{"policy":"SCHED_RR","priority":-1}"#, "", "negative"),
        (r#","scheduler":{"policy":"SCHED_OTHER","flags":["SCHED_FLAG_UTIL_CLAMP_MIN"]}"#, "", "no values"),
        ("", r#""memoryPolicy":{"mode":"MPOL_BIND","nodes":"x"}"#, "memoryPolicy: "),
    ] {
        let error = planned(process, linux).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn more_groups_than_a_process_can_have_are_refused() {
    let mut config = SandboxConfig::default();
    config.linux.security.namespaces.pid = NamespaceMode::Pod;
    config.linux.security.supplemental_groups = (0..70_000).map(|index| 1 + index % 60_000).collect();
    let netns = Some(Path::new("/run/netns/a"));
    assert_eq!(pod(&config, netns, "h").unwrap().pause_process.groups.len(), 60_001);
    config.linux.security.supplemental_groups = (70_000..70_000 + 65_536).collect();
    let error = pod(&config, netns, "h").unwrap_err().to_string();
    assert!(error.starts_with("linux.security_context.supplemental_groups: "), "{error}");
    let mut case = Case::new();
    case.user.groups = (0..65_537).collect();
    let inputs = PlanInputs {
        id: "con",
        stdio: Stdio::default(),
        cgroup: CgroupPlan::default(),
        pid_namespace: PidNamespace::New,
        root: RootSource::Directory,
        images: &[],
    };
    let error = container(&case.spec().unwrap(), &inputs).unwrap_err().to_string();
    assert!(error.starts_with("spec.process.user.additionalGids: "), "{error}");
}
