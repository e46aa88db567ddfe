use super::*;
use crate::feature::Feature;
use crate::frame;
use crate::msg::Streams;
use crate::{samples, witness};

fn create(change: impl FnOnce(&mut ContainerPlan)) -> Request {
    let mut plan = ContainerPlan::default();
    change(&mut plan);
    Request::Create(plan)
}

fn mount(change: impl FnOnce(&mut MountPlan)) -> Request {
    let mut mount = MountPlan {
        target: b"/data".to_vec(),
        source: MountSource::Bind { path: b"/host".to_vec(), recursive: true },
        attributes: 1,
        propagation: 1,
        idmap: IdMaps::default(),
        idmap_recursive: false,
        cleared: 0,
        deep_attributes: 0,
        deep_cleared: 0,
    };
    change(&mut mount);
    create(|plan| plan.mounts = vec![mount])
}

fn overlay(label: &[u8]) -> Request {
    mount(|mount| {
        mount.source = MountSource::Overlay { layers: vec![b"/l".to_vec()], label: label.to_vec() };
    })
}

/// For each field that belongs to a feature a request that makes use of it alone.
pub(crate) fn cases() -> Vec<(Request, &'static [Feature])> {
    let id = || "c1".to_owned();
    let exec = |change: fn(&mut ExecPlan)| {
        let mut plan = ExecPlan::default();
        change(&mut plan);
        Request::Exec(plan)
    };
    vec![
        (Request::Sandbox(SandboxPlan { ids: samples::ids(), ..SandboxPlan::default() }), &[UserNamespaces]),
        (create(|plan| plan.ids = samples::ids()), &[UserNamespaces]),
        (create(|plan| plan.runtime = Some(RuntimePlan::default())), &[Runtimes]),
        (create(|plan| plan.hooks = Some(HooksPlan::default())), &[Hooks]),
        (create(|plan| plan.rootfs.directory = b"/r".to_vec()), &[DirectoryRoots]),
        (create(|plan| plan.rootfs.label = b"l".to_vec()), &[Selinux]),
        (create(|plan| plan.process.seccomp_agent = Some(SeccompAgent::default())), &[SeccompAgents]),
        (create(|plan| plan.process.apparmor = b"p".to_vec()), &[AppArmor]),
        (create(|plan| plan.process.selinux = b"l".to_vec()), &[Selinux]),
        (create(|plan| plan.cgroup.resctrl = Some(b"/gold".to_vec())), &[CacheClasses]),
        (create(|plan| plan.process.io_priority = 1 << 13), &[IoPriorities]),
        (create(|plan| plan.process.scheduler = Some(SchedulerPlan::default())), &[Schedulers]),
        (create(|plan| plan.process.memory_policy = Some(MemoryPolicyPlan::default())), &[MemoryPolicies]),
        (mount(|mount| mount.idmap = samples::ids()), &[IdmappedMounts]),
        (mount(|mount| mount.idmap_recursive = true), &[IdmappedMounts]),
        (mount(|mount| mount.cleared = 1), &[MountFlags]),
        (mount(|mount| mount.deep_attributes = 1), &[MountFlags]),
        (mount(|mount| mount.deep_cleared = 1), &[MountFlags]),
        (overlay(b""), &[ImageVolumes]),
        (overlay(b"l"), &[ImageVolumes, Selinux]),
        (exec(|plan| plan.runtime = vec![b"crun".to_vec()]), &[Runtimes]),
        (exec(|plan| plan.size = (0, 24)), &[TerminalSizes]),
        (exec(|plan| plan.process.apparmor = b"p".to_vec()), &[AppArmor]),
        (
            Request::OpenExec { plan: ExecPlan::default(), streams: Streams::default(), tty: false },
            &[Feature::Streams],
        ),
        (
            Request::OpenExec {
                plan: ExecPlan { size: (80, 0), ..ExecPlan::default() },
                streams: Streams::default(),
                tty: true,
            },
            &[Feature::Streams, TerminalSizes],
        ),
        (Request::WaitExec { number: 1 }, &[Feature::Streams]),
        (Request::KillExec { request: 1 }, &[Feature::ExecKills]),
        (Request::Attach { id: id(), streams: Streams::default() }, &[Feature::Streams]),
        (
            Request::Sandbox(SandboxPlan {
                pause_process: ProcessPlan { selinux: b"l".to_vec(), ..ProcessPlan::default() },
                ..SandboxPlan::default()
            }),
            &[Selinux],
        ),
    ]
}

#[test]
fn each_field_of_a_feature_needs_it_alone_and_none_is_forgotten() {
    let mut covered = Features::NONE;
    for (request, features) in cases() {
        assert_eq!(request.needs(), Features::of(features), "{request:?}");
        covered = covered | request.needs();
        frame::request(1, &request);
    }
    let forgotten: Vec<_> = witness::of_features().into_iter().filter(|(_, used)| !used).collect();
    assert_eq!(forgotten, [], "no case makes use of these fields");
    assert_eq!(Features::of(Feature::ALL).without(covered), Features::NONE, "no request needs these");
}

#[test]
fn what_needs_no_feature_is_asked_of_every_shim() {
    let plain = samples::container();
    let process = ProcessPlan {
        seccomp_agent: None,
        apparmor: Vec::new(),
        selinux: Vec::new(),
        io_priority: 0,
        scheduler: None,
        memory_policy: None,
        ..samples::process()
    };
    let cgroup = CgroupPlan { resctrl: None, ..samples::cgroup() };
    let plan = ContainerPlan {
        ids: IdMaps::default(),
        runtime: None,
        hooks: None,
        cgroup: cgroup.clone(),
        rootfs: RootfsPlan { directory: Vec::new(), label: Vec::new(), ..plain.rootfs.clone() },
        mounts: plain.mounts.get(..1).unwrap_or_default().to_vec(),
        process: process.clone(),
        ..plain
    };
    let exec = ExecPlan { process, cgroup, runtime: Vec::new(), size: (0, 0), ..samples::exec() };
    let id = || "c1".to_owned();
    for request in [
        Request::Hello,
        Request::Create(plan),
        Request::Exec(exec),
        Request::Start { id: id() },
        Request::Signal { id: id(), signal: 9, all: true },
        Request::ReopenLog { id: id() },
        Request::Remove { id: id() },
        Request::CloseStdin { id: id() },
        Request::Shutdown,
    ] {
        let needs = request.needs();
        assert!(
            needs.is_empty(),
            "asked for above: \"{needs}\"; give the field of that feature its default there"
        );
        frame::request(1, &request);
    }
    let used: Vec<_> = witness::of_features().into_iter().filter(|(_, used)| *used).collect();
    assert_eq!(used, [], "these fields belong to no feature");
}

#[test]
fn what_any_one_of_several_mounts_needs_is_needed() {
    let Request::Create(mut plan) = mount(|mount| mount.cleared = 1) else { panic!("it is a Create") };
    let plain = MountPlan { cleared: 0, ..plan.mounts[0].clone() };
    plan.mounts.insert(0, plain);
    assert_eq!(Request::Create(plan).needs(), Features::of(&[MountFlags]));
}

#[test]
fn flags_that_a_mount_gives_up_and_has_below_are_no_fewer_for_being_the_same() {
    let same: [fn(&mut MountPlan); 3] = [
        |mount| (mount.cleared, mount.deep_attributes) = (1, 1),
        |mount| (mount.cleared, mount.deep_cleared) = (1, 1),
        |mount| (mount.deep_attributes, mount.deep_cleared) = (1, 1),
    ];
    for change in same {
        assert_eq!(mount(change).needs(), Features::of(&[MountFlags]));
    }
}
