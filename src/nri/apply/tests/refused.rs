//! What is refused by name.

use super::*;

fn text(value: &str) -> String {
    value.to_owned()
}

#[allow(clippy::needless_pass_by_value, reason = "it is used once")]
fn refused(adjustment: ContainerAdjustment, native: bool, words: &str) {
    let error = run(adjustment, native).unwrap_err();
    assert!(
        error.starts_with("NRI adjustment of ") && error.contains(words),
        "{error:?} is not about {words:?}"
    );
}

#[test]
fn what_is_malformed_for_any_handler() {
    let adjust = ContainerAdjustment::default;
    let of_linux = LinuxContainerAdjustment::default;
    let device = |path: &str, kind: &str| {
        let device = LinuxDevice { path: text(path), r#type: text(kind), ..Default::default() };
        linux(LinuxContainerAdjustment { devices: vec![device], ..of_linux() })
    };
    let hook = |hook: Hook| ContainerAdjustment {
        hooks: Some(Hooks { poststart: vec![hook], ..Default::default() }),
        ..adjust()
    };
    let env = |key: &str| ContainerAdjustment {
        env: vec![KeyValue { key: text(key), value: text("v\0") }],
        ..adjust()
    };
    let rlimit = |kind: &str, soft, hard| ContainerAdjustment {
        rlimits: vec![PosixRlimit { r#type: text(kind), hard, soft }],
        ..adjust()
    };
    let sysctl =
        |key: &str| linux(LinuxContainerAdjustment { sysctl: [(text(key), text("1"))].into(), ..of_linux() });
    let scheduler = |scheduler: LinuxScheduler| {
        linux(LinuxContainerAdjustment { scheduler: Some(scheduler), ..of_linux() })
    };
    let policy = |mode: MpolMode, nodes: &str| {
        let policy = LinuxMemoryPolicy { mode: mode as i32, nodes: text(nodes), ..Default::default() };
        linux(LinuxContainerAdjustment { memory_policy: Some(policy), ..of_linux() })
    };
    let mount = |mount: Mount| ContainerAdjustment { mounts: vec![mount], ..adjust() };
    let bind = |place: &str, source: &str| {
        mount(Mount {
            destination: text(place),
            r#type: text("bind"),
            source: text(source),
            ..Default::default()
        })
    };
    let seccomp = LinuxSeccomp { default_action: text("SCMP_ACT_MAYBE"), ..Default::default() };
    let priority = |priority| LinuxIoPriority { class: 2, priority };
    let table = [
        (env("A=B"), "env \"A=B\": is no name"),
        (env("A"), "env \"A\": contains a NUL"),
        (hook(Hook { path: text("x"), ..Default::default() }), "hooks.poststart: \"x\" is no absolute path"),
        (
            hook(Hook { path: text("/x"), timeout: Some(OptionalInt { value: 0 }), ..Default::default() }),
            "hooks.poststart: /x has no time",
        ),
        (device("/dev/x", "z"), "linux.devices \"/dev/x\": \"z\" is no type"),
        (device("dev", "c"), "linux.devices \"dev\": is no absolute path"),
        (
            ContainerAdjustment { cdi_devices: vec![CdiDevice { name: text("v/c=d") }], ..adjust() },
            "CDI_devices: no specification of v/c=d: no directory is set",
        ),
        (
            linux(LinuxContainerAdjustment { cgroups_path: text("/other"), ..of_linux() }),
            "linux.cgroups_path: \"/other\" is not supported",
        ),
        (
            linux(LinuxContainerAdjustment { io_priority: Some(priority(8)), ..of_linux() }),
            "linux.io_priority: priority 8",
        ),
        (
            scheduler(LinuxScheduler { policy: 5, ..Default::default() }),
            "linux.scheduler: the kernel has no SCHED_ISO",
        ),
        (scheduler(LinuxScheduler { policy: 2, ..Default::default() }), "priority 0 is not within 1 to 99"),
        (scheduler(LinuxScheduler { policy: 1, nice: 20, ..Default::default() }), "nice 20"),
        (scheduler(LinuxScheduler { policy: 7, ..Default::default() }), "needs a runtime and a deadline"),
        (
            scheduler(LinuxScheduler { policy: 1, flags: vec![5], ..Default::default() }),
            "linux.scheduler.flags",
        ),
        (
            linux(LinuxContainerAdjustment { seccomp_policy: Some(seccomp), ..of_linux() }),
            "linux.seccomp_policy.default_action: \"SCMP_ACT_MAYBE\"",
        ),
        (
            linux(LinuxContainerAdjustment {
                namespaces: vec![LinuxNamespace { r#type: text("nix"), ..Default::default() }],
                ..of_linux()
            }),
            "is no type of namespaces",
        ),
        (sysctl("vm.swappiness"), "linux.sysctl \"vm.swappiness\": is no parameter of a namespace"),
        (sysctl("kernel.domainname"), "is no parameter of a namespace that the container has"),
        (
            linux(LinuxContainerAdjustment {
                net_devices: [(text("a/b"), LinuxNetDevice::default())].into(),
                ..of_linux()
            }),
            "\"a/b\" is no name of a device",
        ),
        (policy(MpolMode::MpolBind, ""), "linux.memory_policy: MPOL_BIND needs nodes"),
        (policy(MpolMode::MpolLocal, "0"), "MPOL_LOCAL takes no nodes"),
        (policy(MpolMode::MpolBind, "x"), "linux.memory_policy: "),
        (bind("/", "/"), "would hide the whole root"),
        (bind("/x", "/no/such/path"), "mounts \"/x\": source: /no/such/path"),
        (rlimit("RLIMIT_X", 1, 1), "rlimits \"RLIMIT_X\": is no limit of processes"),
        (rlimit("RLIMIT_CORE", 2, 1), "the soft limit 2 is above the hard one 1"),
        (rlimit("RLIMIT_NOFILE", 1, u64::MAX), "the most that the host allows"),
    ];
    for (adjustment, words) in table {
        refused(adjustment, false, words);
    }
}

#[test]
fn limits_that_cannot_be_kept() {
    let text = |value: &str| Some(OptionalString { value: text(value) });
    let memory = LinuxMemory { kernel: Some(OptionalInt64 { value: 5 }), ..Default::default() };
    let cpu = LinuxCpu { cpus: "x".into(), ..Default::default() };
    let rule = LinuxDeviceCgroup { allow: false, r#type: "c".into(), ..Default::default() };
    for (limits, words) in [
        (LinuxResources { memory: Some(memory), ..Default::default() }, "linux.resources.memory.kernel: 5"),
        (
            LinuxResources { cpu: Some(cpu), ..Default::default() },
            "linux.resources: linux.resources.cpuset_cpus: ",
        ),
        (
            LinuxResources { unified: [("../x".into(), "1".into())].into(), ..Default::default() },
            "linux.resources.unified",
        ),
        (
            LinuxResources { devices: vec![rule], ..Default::default() },
            "linux.resources.devices: a rule that forbids",
        ),
        (
            LinuxResources { blockio_class: text("slow"), ..Default::default() },
            "linux.resources.blockio_class: block I/O class: \"slow\": runtime.blockio_config_file",
        ),
        (
            LinuxResources { rdt_class: text("gold"), ..Default::default() },
            "linux.resources.rdt_class: RDT class: ",
        ),
    ] {
        refused(super::limits(limits), false, words);
    }
    let rdt = LinuxRdt { clos_id: text("gold"), ..Default::default() };
    refused(
        linux(LinuxContainerAdjustment { rdt: Some(rdt), ..Default::default() }),
        false,
        "linux.rdt: RDT class: ",
    );
}

#[test]
fn what_the_native_handler_takes_from_the_request_alone() {
    for namespace in ["pid", "-ipc", "network", "-mount"] {
        let namespaces = vec![LinuxNamespace { r#type: text(namespace), ..Default::default() }];
        let asked = linux(LinuxContainerAdjustment { namespaces, ..Default::default() });
        refused(asked, true, "the native handler takes it from the request alone");
    }
}

#[test]
fn the_native_handler_makes_up_no_names_of_devices() {
    let device = LinuxNetDevice { name: text("data%d") };
    let net_devices = [(text("eth7"), device)].into();
    let asked = linux(LinuxContainerAdjustment { net_devices, ..Default::default() });
    refused(asked.clone(), true, "linux.net_devices: a template of a name: is not supported");
    run(asked, false).unwrap();
}
