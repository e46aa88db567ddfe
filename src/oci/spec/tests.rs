#![allow(clippy::unwrap_used)]

pub(crate) mod many;
mod mounts;

use super::*;
use crate::caps::CapSet;
use crate::users::ResolvedUser;
use model::{
    AbsPath, Capabilities, ContainerConfig, ContainerId, ErrorKind, KeyValue, Mount, NamespaceMode,
    Propagation, SandboxConfig, SandboxId, Seccomp,
};
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use std::path::{Path, PathBuf};

/// Everything that inputs borrow.
pub(crate) struct Case {
    pub(crate) sandbox_id: SandboxId,
    pub(crate) container_id: ContainerId,
    pub(crate) sandbox: SandboxConfig,
    pub(crate) container: ContainerConfig,
    pub(crate) image: ImageConfig,
    pub(crate) user: ResolvedUser,
    pub(crate) settings: Settings,
    pub(crate) unified: bool,
    pub(crate) image_volumes: Vec<ImageVolume>,
    pub(crate) anonymous: Vec<AnonymousVolume>,
    pub(crate) labels: crate::selinux::Labels,
    pub(crate) host_devices: HostDevices,
}

impl Case {
    pub(crate) fn new() -> Self {
        let settings =
            Settings { available_capabilities: CapSet::from_bits(u64::MAX), ..Settings::default() };
        Self {
            sandbox_id: SandboxId::new("pod"),
            container_id: ContainerId::new("con"),
            sandbox: SandboxConfig::default(),
            container: ContainerConfig { command: vec!["/bin/true".into()], ..ContainerConfig::default() },
            image: ImageConfig::default(),
            user: ResolvedUser { groups: vec![0], ..ResolvedUser::default() },
            settings,
            unified: false,
            image_volumes: Vec::new(),
            anonymous: Vec::new(),
            labels: crate::selinux::Labels::default(),
            host_devices: HostDevices::default(),
        }
    }

    pub(crate) fn spec(&self) -> OciResult<Spec> {
        container(&ContainerInputs {
            sandbox_id: &self.sandbox_id,
            container_id: &self.container_id,
            sandbox: &self.sandbox,
            container: &self.container,
            image: &self.image,
            image_name: "docker.io/library/busybox:latest",
            user: &self.user,
            hostname: "web-0",
            files: PodFiles {
                resolv_conf: Some(Path::new("/run/pod/resolv.conf")),
                hostname: Some(Path::new("/run/pod/hostname")),
                hosts: None,
                shm: Some(Path::new("/run/pod/shm")),
            },
            volumes: Volumes { images: &self.image_volumes, anonymous: &self.anonymous },
            namespaces: PodNamespaces {
                network: Some(Path::new("/run/netns/x")),
                shim_pid: Some(7),
                pid_of: None,
            },
            cgroup: "/pods/con",
            rootfs: Path::new("/run/rootfs"),
            unified_cgroups: self.unified,
            labels: &self.labels,
            host_devices: self.host_devices,
            rlimits: &[],
            settings: &self.settings,
        })
    }

    fn env(&self) -> Vec<String> {
        self.spec().unwrap().process().clone().unwrap().env().clone().unwrap()
    }

    fn refused(&self) -> String {
        let error = self.spec().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        error.to_string()
    }
}

fn list(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn command_and_args_follow_the_kubelet() {
    type Words = &'static [&'static str];
    let table: [(Words, Words, Words, Words, Words); 7] = [
        (&["e"], &["c"], &[], &[], &["e", "c"]),
        (&["e"], &["c"], &["x"], &[], &["x"]),
        (&["e"], &["c"], &[], &["a"], &["e", "a"]),
        (&["e"], &["c"], &["x"], &["a"], &["x", "a"]),
        (&[], &["c", "d"], &[], &[], &["c", "d"]),
        (&[], &["c"], &[], &["a"], &["a"]),
        (&["e"], &[], &[], &[], &["e"]),
    ];
    for (entrypoint, cmd, command, args, expected) in table {
        let mut case = Case::new();
        case.image = ImageConfig { entrypoint: list(entrypoint), cmd: list(cmd), ..ImageConfig::default() };
        (case.container.command, case.container.args) = (list(command), list(args));
        let spec = case.spec().unwrap();
        assert_eq!(spec.process().as_ref().unwrap().args().as_ref().unwrap(), &list(expected));
    }
    let mut case = Case::new();
    case.container.command.clear();
    assert!(case.refused().contains("no command"));
    case.container.command = list(&[""]);
    case.refused();
    case.container.command = list(&["a\0b"]);
    case.refused();
}

#[test]
fn the_environment_is_merged_by_name() {
    let mut case = Case::new();
    assert_eq!(
        case.env(),
        ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=web-0", "HOME=/"]
    );
    case.image.env = list(&["PATH=/img", "A=1", "broken", "=x", "A=2", "HOME=/img"]);
    case.container.tty = true;
    case.container.envs = vec![
        KeyValue { key: "A".into(), value: "3=4".into() },
        KeyValue { key: "HOSTNAME".into(), value: "mine".into() },
        KeyValue { key: "EMPTY".into(), value: String::new() },
    ];
    assert_eq!(case.env(), ["PATH=/img", "A=3=4", "HOME=/img", "TERM=xterm", "HOSTNAME=mine", "EMPTY="]);
    case.image.env.clear();
    case.user.home = Some("/home/bob".into());
    assert!(case.env().contains(&"HOME=/home/bob".to_owned()));
    case.image.env = list(&["HOME=/img"]);
    case.container.envs = vec![KeyValue { key: "HOME".into(), value: String::new() }];
    assert!(case.env().contains(&"HOME=/home/bob".to_owned()), "an empty one is none: {:?}", case.env());
    for key in ["", "A=B", "A\0"] {
        case.container.envs = vec![KeyValue { key: key.into(), value: "x".into() }];
        assert!(case.refused().contains("envs"), "{key:?}");
    }
}

#[test]
fn user_directory_privileges_and_score() {
    let mut case = Case::new();
    case.user = ResolvedUser { uid: 5, gid: 6, groups: vec![6, 7], home: None, name: None };
    case.image.working_dir = "relative/../app/".into();
    case.container.resources.oom_score_adj = model::OomScore::new(500).unwrap();
    case.container.security.no_new_privs = true;
    case.container.security.readonly_rootfs = true;
    let spec = case.spec().unwrap();
    let process = spec.process().clone().unwrap();
    assert_eq!((process.user().uid(), process.user().gid()), (5, 6));
    assert_eq!(process.user().additional_gids().as_ref().unwrap(), &[6, 7]);
    assert_eq!(process.cwd(), Path::new("/app"));
    assert_eq!((process.no_new_privileges(), process.oom_score_adj()), (Some(true), Some(500)));
    assert_eq!(spec.root().as_ref().unwrap().readonly(), Some(true));
    let caps = process.capabilities().clone().unwrap();
    assert_eq!(caps.bounding().as_ref().unwrap().len(), 9);
    assert!(caps.inheritable().as_ref().unwrap().is_empty() && caps.ambient().as_ref().unwrap().is_empty());
    case.container.working_dir = AbsPath::new("/own/").ok();
    assert_eq!(case.spec().unwrap().process().as_ref().unwrap().cwd(), Path::new("/own"));
}

#[test]
fn paths_are_masked_exactly_as_requested() {
    let mut case = Case::new();
    let linux = |case: &Case| case.spec().unwrap().linux().clone().unwrap();
    assert_eq!(linux(&case).masked_paths().as_deref(), Some(&[][..]));
    case.container.security.masked_paths = vec![AbsPath::new("/proc/kcore").unwrap()];
    case.container.security.readonly_paths = vec![AbsPath::new("/proc/sys").unwrap()];
    assert_eq!(linux(&case).masked_paths().as_ref().unwrap(), &["/proc/kcore"]);
    assert_eq!(linux(&case).readonly_paths().as_ref().unwrap(), &["/proc/sys"]);
    case.container.security.privileged = true;
    assert!(linux(&case).masked_paths().as_ref().unwrap().is_empty());
}

#[test]
fn seccomp_is_what_request_and_setting_say() {
    let mut case = Case::new();
    let has = |case: &Case| case.spec().unwrap().linux().as_ref().unwrap().seccomp().is_some();
    assert!(!has(&case));
    case.settings.unset_seccomp = UnsetSeccomp::RuntimeDefault;
    assert!(has(&case));
    case.container.security.seccomp = Some(Seccomp::Unconfined);
    assert!(!has(&case));
    case.container.security.seccomp = Some(Seccomp::RuntimeDefault);
    assert!(has(&case));
    case.container.security.privileged = true;
    assert!(!has(&case));
    case.container.security.privileged = false;
    case.container.security.seccomp =
        Some(Seccomp::Localhost(AbsPath::new("/nowhere/profile.json").unwrap()));
    assert!(case.refused().contains("localhost_ref"));
}

#[test]
fn a_privileged_container_sees_the_host() {
    let mut case = Case::new();
    case.container.security.privileged = true;
    case.container.security.capabilities = Capabilities { drop: list(&["ALL"]), ..Capabilities::default() };
    case.unified = true;
    let spec = case.spec().unwrap();
    let linux = spec.linux().clone().unwrap();
    assert!(linux.devices().as_ref().unwrap().iter().any(|device| device.path() == Path::new("/dev/null")));
    assert!(linux.resources().as_ref().unwrap().devices().as_ref().unwrap()[0].allow());
    let sys = find(&spec, "/sys");
    assert!(sys.options().as_ref().unwrap().contains(&"rw".to_owned()));
    let caps = spec.process().as_ref().unwrap().capabilities().clone().unwrap();
    assert_eq!(caps.effective().as_ref().unwrap().len(), 41);
    assert!(!namespaces(&spec).contains(&LinuxNamespaceType::Cgroup));
}

#[test]
fn a_handler_keeps_the_hosts_devices_from_privileged_containers() {
    let mut case = Case::new();
    case.container.security.privileged = true;
    case.container.devices = vec![model::Device {
        host_path: AbsPath::new("/dev/null").unwrap(),
        container_path: AbsPath::new("/dev/own").unwrap(),
        permissions: "r".into(),
    }];
    for (choice, allows_all) in [(HostDevices::Allowed, true), (HostDevices::None, false)] {
        case.host_devices = choice;
        let spec = case.spec().unwrap();
        let linux = spec.linux().clone().unwrap();
        let nodes: Vec<_> = linux.devices().iter().flatten().map(|device| device.path().clone()).collect();
        assert_eq!(nodes, [Path::new("/dev/own")], "{choice:?}");
        let rules = linux.resources().as_ref().unwrap().devices().clone().unwrap();
        assert_eq!(rules[0].allow(), allows_all, "{choice:?}");
        assert_eq!(rules.len(), if allows_all { 1 } else { 2 }, "{choice:?}");
        assert_eq!(
            spec.process()
                .as_ref()
                .unwrap()
                .capabilities()
                .clone()
                .unwrap()
                .effective()
                .as_ref()
                .unwrap()
                .len(),
            41
        );
    }
}

fn find(spec: &Spec, place: &str) -> oci_spec::runtime::Mount {
    let mounts = spec.mounts().as_ref().unwrap();
    mounts.iter().find(|mount| mount.destination() == Path::new(place)).unwrap().clone()
}

fn namespaces(spec: &Spec) -> Vec<LinuxNamespaceType> {
    let all = spec.linux().as_ref().unwrap().namespaces().clone().unwrap();
    all.iter().map(oci_spec::runtime::LinuxNamespace::typ).collect()
}

#[test]
fn limits_in_the_specs_terms() {
    let mut case = Case::new();
    case.settings.pids_limit = 100;
    let pages = || vec![model::HugePages { size: model::PageSize::new("2MB").unwrap(), limit: 4 }];
    case.container.resources = model::Resources {
        cpu_shares: model::CpuShares::new(2).ok(),
        cpu_quota: Some(model::CpuQuota::UNLIMITED),
        memory_limit: model::Bytes::new(1000).ok(),
        cpuset_cpus: model::CpuList::new("0-1").ok(),
        hugepages: pages(),
        ..model::Resources::default()
    };
    let limits = case.spec().unwrap().linux().clone().unwrap().resources().clone().unwrap();
    let parsed = crate::cgroup::Resources::from_spec(&limits).unwrap();
    assert_eq!(
        parsed,
        crate::cgroup::Resources {
            cpu_shares: Some(2),
            cpu_quota: Some(-1),
            cpuset_cpus: model::CpuList::new("0-1").ok(),
            memory_limit: Some(1000),
            memory_swap: Some(1000),
            pids_limit: Some(100),
            hugepages: pages(),
            devices: crate::cgroup::DeviceAccess::Only(Vec::new()),
            ..crate::cgroup::Resources::default()
        }
    );
}

#[test]
fn namespaces_follow_the_options() {
    let mut case = Case::new();
    let types = |case: &Case| namespaces(&case.spec().unwrap());
    case.container.security.namespaces.pid = NamespaceMode::Container;
    assert_eq!(
        types(&case),
        [
            LinuxNamespaceType::Mount,
            LinuxNamespaceType::Pid,
            LinuxNamespaceType::Ipc,
            LinuxNamespaceType::Uts,
            LinuxNamespaceType::Network
        ]
    );
    case.container.security.namespaces.pid = NamespaceMode::Node;
    case.sandbox.linux.security.namespaces.network = NamespaceMode::Node;
    case.sandbox.linux.security.namespaces.ipc = NamespaceMode::Node;
    case.unified = true;
    assert_eq!(types(&case), [LinuxNamespaceType::Mount, LinuxNamespaceType::Cgroup]);
}

#[test]
fn annotations_and_labels_decide_nothing() {
    let mut case = Case::new();
    let before = case.spec().unwrap();
    case.container.annotations = [("io.kubernetes.cri.container-type".into(), "sandbox".into())].into();
    case.sandbox.annotations = case.container.annotations.clone();
    case.container.labels = case.container.annotations.clone();
    assert_eq!(case.spec().unwrap(), before);
    let annotations = before.annotations().clone().unwrap();
    assert_eq!(annotations["io.kubernetes.cri.container-type"], "container");
    assert_eq!(annotations["io.kubernetes.cri.sandbox-id"], "pod");
    let json = serde_json::to_string(&before).unwrap();
    assert_eq!(serde_json::from_str::<Spec>(&json).unwrap(), before);
    assert_eq!(before.root().as_ref().unwrap().path(), &PathBuf::from("/run/rootfs"));
}
