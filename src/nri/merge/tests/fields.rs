//! Every field has one owner, and the owners' table says who.

use super::*;
use crate::api::*;

/// An adjustment of one field alone, by the name that conflicts are told with.
fn fields() -> Vec<(&'static str, ContainerAdjustment)> {
    let mut all = whole();
    all.extend(limits().into_iter().map(|(name, limits)| {
        (name, linux(LinuxContainerAdjustment { resources: Some(limits), ..Default::default() }))
    }));
    all
}

fn whole() -> Vec<(&'static str, ContainerAdjustment)> {
    let text = |value: &str| Some(OptionalString { value: value.to_owned() });
    let adjust = ContainerAdjustment::default;
    let of_linux = LinuxContainerAdjustment::default;
    let rdt = |rdt: LinuxRdt| linux(LinuxContainerAdjustment { rdt: Some(rdt), ..Default::default() });
    let device = LinuxDevice { path: "/dev/a".into(), r#type: "c".into(), ..Default::default() };
    let namespace = LinuxNamespace { r#type: "ipc".into(), path: String::new() };
    let net = LinuxNetDevice { name: "eth9".into() };
    vec![
        (
            "Annotations \"k\"",
            ContainerAdjustment { annotations: [("k".into(), "v".into())].into(), ..adjust() },
        ),
        ("Mounts \"/a\"", ContainerAdjustment { mounts: vec![mount("/a", "/b")], ..adjust() }),
        ("Env \"K\"", ContainerAdjustment { env: vec![pair("K", "v")], ..adjust() }),
        ("Args", ContainerAdjustment { args: vec!["a".into()], ..adjust() }),
        (
            "Rlimits \"RLIMIT_CORE\"",
            ContainerAdjustment {
                rlimits: vec![PosixRlimit { r#type: "RLIMIT_CORE".into(), hard: 1, soft: 1 }],
                ..adjust()
            },
        ),
        (
            "CdiDevices \"v/c=d\"",
            ContainerAdjustment { cdi_devices: vec![CdiDevice { name: "v/c=d".into() }], ..adjust() },
        ),
        ("Devices \"/dev/a\"", linux(LinuxContainerAdjustment { devices: vec![device], ..of_linux() })),
        ("CgroupsPath", linux(LinuxContainerAdjustment { cgroups_path: "/a".into(), ..of_linux() })),
        (
            "OomScoreAdj",
            linux(LinuxContainerAdjustment { oom_score_adj: Some(OptionalInt { value: 1 }), ..of_linux() }),
        ),
        (
            "IoPriority",
            linux(LinuxContainerAdjustment { io_priority: Some(Default::default()), ..of_linux() }),
        ),
        (
            "SeccompPolicy",
            linux(LinuxContainerAdjustment { seccomp_policy: Some(Default::default()), ..of_linux() }),
        ),
        ("Namespace \"ipc\"", linux(LinuxContainerAdjustment { namespaces: vec![namespace], ..of_linux() })),
        (
            "Sysctl \"a.b\"",
            linux(LinuxContainerAdjustment { sysctl: [("a.b".into(), "1".into())].into(), ..of_linux() }),
        ),
        (
            "LinuxNetDevices \"eth1\"",
            linux(LinuxContainerAdjustment { net_devices: [("eth1".into(), net)].into(), ..of_linux() }),
        ),
        ("LinuxSched", linux(LinuxContainerAdjustment { scheduler: Some(Default::default()), ..of_linux() })),
        (
            "MemoryPolicy",
            linux(LinuxContainerAdjustment { memory_policy: Some(Default::default()), ..of_linux() }),
        ),
        ("RdtClosID", rdt(LinuxRdt { clos_id: text("gold"), ..Default::default() })),
        ("RdtSchemata", rdt(LinuxRdt { schemata: Some(Default::default()), ..Default::default() })),
        (
            "RdtEnableMonitoring",
            rdt(LinuxRdt { enable_monitoring: Some(OptionalBool { value: true }), ..Default::default() }),
        ),
    ]
}

fn limits() -> Vec<(&'static str, LinuxResources)> {
    let text = |value: &str| Some(OptionalString { value: value.to_owned() });
    let signed = Some(OptionalInt64 { value: 1 });
    let unsigned = Some(OptionalUInt64 { value: 1 });
    let flag = Some(OptionalBool { value: true });
    let memory = |memory: LinuxMemory| LinuxResources { memory: Some(memory), ..Default::default() };
    let cpu = |cpu: LinuxCpu| LinuxResources { cpu: Some(cpu), ..Default::default() };
    let pages = HugepageLimit { page_size: "2MB".into(), limit: 1 };
    vec![
        ("MemLimit", memory(LinuxMemory { limit: signed, ..Default::default() })),
        ("MemReservation", memory(LinuxMemory { reservation: signed, ..Default::default() })),
        ("MemSwapLimit", memory(LinuxMemory { swap: signed, ..Default::default() })),
        ("MemKernelLimit", memory(LinuxMemory { kernel: signed, ..Default::default() })),
        ("MemTCPLimit", memory(LinuxMemory { kernel_tcp: signed, ..Default::default() })),
        ("MemSwappiness", memory(LinuxMemory { swappiness: unsigned, ..Default::default() })),
        ("MemDisableOomKiller", memory(LinuxMemory { disable_oom_killer: flag, ..Default::default() })),
        ("MemUseHierarchy", memory(LinuxMemory { use_hierarchy: flag, ..Default::default() })),
        ("CPUShares", cpu(LinuxCpu { shares: unsigned, ..Default::default() })),
        ("CPUQuota", cpu(LinuxCpu { quota: signed, ..Default::default() })),
        ("CPUPeriod", cpu(LinuxCpu { period: unsigned, ..Default::default() })),
        ("CPURealtimeRuntime", cpu(LinuxCpu { realtime_runtime: signed, ..Default::default() })),
        ("CPURealtimePeriod", cpu(LinuxCpu { realtime_period: unsigned, ..Default::default() })),
        ("CPUSetCPUs", cpu(LinuxCpu { cpus: "0".into(), ..Default::default() })),
        ("CPUSetMems", cpu(LinuxCpu { mems: "0".into(), ..Default::default() })),
        ("PidsLimit", LinuxResources { pids: Some(LinuxPids { limit: 1 }), ..Default::default() }),
        ("HugepageLimits \"2MB\"", LinuxResources { hugepage_limits: vec![pages], ..Default::default() }),
        ("BlockioClass", LinuxResources { blockio_class: text("slow"), ..Default::default() }),
        ("RdtClass", LinuxResources { rdt_class: text("gold"), ..Default::default() }),
        (
            "CgroupsUnified \"memory.high\"",
            LinuxResources { unified: [("memory.high".into(), "1".into())].into(), ..Default::default() },
        ),
    ]
}

#[test]
fn a_second_claimant_of_any_field_is_refused_with_both_names() {
    for (field, adjustment) in fields() {
        let mut creation = of(Container::default());
        creation.take("10-a", reply(adjustment.clone())).unwrap();
        let error = creation.take("20-b", reply(adjustment)).unwrap_err();
        assert_eq!(error.to_string(), format!("NRI plugins \"10-a\" and \"20-b\" both set {field}"));
    }
}

#[test]
fn every_field_reaches_the_adjustment_and_has_its_owner() {
    let (mut creation, mut expected) = (of(Container::default()), 0);
    for (index, (_, adjustment)) in fields().into_iter().enumerate() {
        creation.take(&format!("{index:02}-p"), reply(adjustment.clone())).unwrap();
        expected += 1;
        let mut alone = of(Container::default());
        alone.take("10-a", reply(adjustment.clone())).unwrap();
        let again = alone.finish().adjustment;
        assert_eq!(again, adjustment, "what is asked for is what comes of it");
    }
    let made = creation.finish();
    let owners = &made.owners.owners[ID];
    let entries: usize = owners.compound.values().map(|entries| entries.owners.len()).sum();
    assert_eq!(owners.simple.len() + entries, expected);
    // All of the enumeration but nothing at all, and hooks, which have many owners.
    assert_eq!(owners.simple.len() + owners.compound.len(), Field::MemoryPolicy as usize - 1);
}

#[test]
fn the_next_plugin_sees_every_limit() {
    for (field, limits) in limits() {
        let mut creation = of(Container::default());
        let adjustment = LinuxContainerAdjustment { resources: Some(limits.clone()), ..Default::default() };
        creation.take("10-a", reply(linux(adjustment))).unwrap();
        let seen = shown(&creation).linux.as_ref().unwrap().resources.clone().unwrap();
        assert_eq!(seen, limits, "{field}");
    }
}

#[test]
fn what_is_removed_of_a_map_or_a_list_can_be_set_again_by_who_removed_it() {
    let named = |name: &str| {
        let device = LinuxDevice { path: name.into(), ..Default::default() };
        let namespace = LinuxNamespace { r#type: name.into(), path: String::new() };
        ContainerAdjustment {
            annotations: [(name.into(), "v".into())].into(),
            mounts: vec![mount(name, "/b")],
            env: vec![pair(name, "v")],
            linux: Some(LinuxContainerAdjustment {
                devices: vec![device],
                namespaces: vec![namespace],
                sysctl: [(name.into(), "1".into())].into(),
                net_devices: [(name.into(), LinuxNetDevice::default())].into(),
                ..Default::default()
            }),
            ..Default::default()
        }
    };
    let mut creation = of(Container::default());
    creation.take("10-a", reply(named("x"))).unwrap();
    creation.take("20-b", reply(named("-x"))).unwrap();
    let seen = shown(&creation).clone();
    assert!(seen.annotations.is_empty() && seen.mounts.is_empty() && seen.env.is_empty());
    let of_linux = seen.linux.unwrap();
    assert!(of_linux.devices.is_empty() && of_linux.namespaces.is_empty());
    assert!(of_linux.sysctl.is_empty() && of_linux.net_devices.is_empty());
    creation.clone().take("20-b", reply(named("x"))).unwrap();
    let owners = creation.clone().finish().owners.owners[ID].clone();
    for (field, entries) in &owners.compound {
        // A place is told as it is spelt at best.
        let key = if *field == Field::Mounts as i32 { "/x" } else { "x" };
        assert_eq!(entries.owners[key], "-20-b", "field {field}");
    }
    creation.take("30-c", reply(named("x"))).unwrap_err();
}

#[test]
fn a_class_of_rdt_is_removed_before_it_is_set() {
    let text = |value: &str| Some(OptionalString { value: value.to_owned() });
    let rdt = |rdt: LinuxRdt| reply(linux(LinuxContainerAdjustment { rdt: Some(rdt), ..Default::default() }));
    let mut creation = of(Container::default());
    creation.take("10-a", rdt(LinuxRdt { clos_id: text("gold"), ..Default::default() })).unwrap();
    creation
        .take("20-b", rdt(LinuxRdt { clos_id: text("iron"), remove: true, ..Default::default() }))
        .unwrap();
    let asked = creation.finish().adjustment.linux.unwrap().rdt.unwrap();
    assert_eq!(asked, LinuxRdt { clos_id: text("iron"), remove: true, ..Default::default() });
}
