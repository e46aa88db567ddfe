//! What an operator can set for pods and containers; the `[runtime]` section of the configuration.

use crate::error::{EngineError, chain};
use crate::handlers::HandlerSettings;
use crate::nri::NriSettings;
use oci::classes::{Classes, Kind, Resctrl};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Who makes the cgroups of pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupDriver {
    /// systemd where it is process 1 and the host has cgroup v2 only, else cgroupfs.
    #[default]
    Auto,
    /// Directories.
    Cgroupfs,
    /// Scopes and slices, over D-Bus.
    Systemd,
}

/// Settings of pods and containers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Path of the per-pod supervisor; empty: `corten-shim` beside the daemon's own executable.
    pub shim: PathBuf,
    /// Path of the pause that holds a shared PID namespace; empty: `corten-pause` beside the daemon.
    pub pause: PathBuf,
    /// Where network namespaces are pinned.
    pub netns_dir: PathBuf,
    /// Who makes the cgroups of pods.
    pub cgroup_driver: CgroupDriver,
    /// The cgroup or slice under which a pod's cgroups are made when the request names no `cgroup_parent`; empty:
    /// `/corten`, or `corten.slice` with the systemd driver.
    pub cgroup_parent: String,
    /// The handler of pods that name none.
    pub default_handler: String,
    /// The `[handlers.NAME]` sections of the configuration.
    #[serde(skip)]
    pub handlers: BTreeMap<String, HandlerSettings>,
    /// The `[nri]` section.
    #[serde(skip)]
    pub nri: NriSettings,
    /// Capabilities of a container that asks for no change.
    pub default_capabilities: Vec<String>,
    /// Kernel parameters of pods, in namespaces of their own, that ask for no other value; empty: the kernel's.
    pub default_sysctls: BTreeMap<String, String>,
    /// Limits of the processes of containers by name, `SOFT:HARD`; empty: what the supervisor has.
    pub rlimits: BTreeMap<String, String>,
    /// Directories with descriptions of devices (Container Device Interface); a later one goes before an earlier one.
    pub cdi_spec_dirs: Vec<PathBuf>,
    /// The file that describes classes of block I/O; empty: there are none.
    pub blockio_config_file: PathBuf,
    /// The file that describes classes of cache and memory bandwidth, which are made; empty: groups that are there.
    pub rdt_config_file: PathBuf,
    /// A class of block I/O that is asked for while there is no such file is passed over instead of being refused.
    pub ignore_blockio_not_enabled_errors: bool,
    /// A class of cache that is asked for on a host without them is passed over instead of being refused.
    pub ignore_rdt_not_enabled_errors: bool,
    /// Where the kernel's groups for cache and memory bandwidth are; no setting of the configuration.
    #[serde(skip)]
    pub resctrl: Resctrl,
    /// Nodes of requested devices belong to the user and group of the container's security context, where it names
    /// some by number, instead of their owners on the host.
    pub device_ownership_from_security_context: bool,
    /// Most processes in a container; 0 or less is no limit.
    pub pids_limit: i64,
    /// A request that is silent about seccomp gets the built-in profile instead of none.
    pub seccomp_default: bool,
    /// Containers and their files are labelled where the host has SELinux.
    pub selinux: bool,
    /// Size in bytes of a pod's /dev/shm.
    pub shm_size: u64,
    /// Most bytes of each of an exec's stdout and stderr; the rest is thrown away.
    pub exec_output_limit: u64,
    /// Milliseconds for which output is still read after an exec's process ended and others hold its pipes.
    pub exec_drain_ms: u64,
    /// Seconds for which a process may take to die of SIGKILL before stop reports an error.
    pub kill_timeout_seconds: u64,
    /// Seconds for which the count of a container's writable layer is good; a large layer is counted more rarely.
    pub layer_usage_seconds: u64,
    /// Idle CPUs are kept ready for some milliseconds of each changing request and each command.
    pub keep_cpus_ready: bool,
    /// Most supervisors that are started ahead and wait for a pod; an idle node has two of them at most.
    pub warm_supervisors: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            shim: PathBuf::new(),
            pause: PathBuf::new(),
            netns_dir: "/run/netns".into(),
            cgroup_driver: CgroupDriver::Auto,
            cgroup_parent: String::new(),
            default_handler: "native".to_owned(),
            handlers: BTreeMap::new(),
            nri: NriSettings::default(),
            default_capabilities: [
                "CHOWN",
                "DAC_OVERRIDE",
                "FSETID",
                "FOWNER",
                "SETGID",
                "SETUID",
                "SETPCAP",
                "NET_BIND_SERVICE",
                "KILL",
            ]
            .map(str::to_owned)
            .to_vec(),
            default_sysctls: [
                ("net.ipv4.ip_unprivileged_port_start", "0"),
                ("net.ipv4.ping_group_range", "0 2147483647"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
            rlimits: [("nofile".to_owned(), "1024:524288".to_owned())].into(),
            cdi_spec_dirs: vec!["/etc/cdi".into(), "/var/run/cdi".into()],
            blockio_config_file: PathBuf::new(),
            rdt_config_file: PathBuf::new(),
            ignore_blockio_not_enabled_errors: false,
            ignore_rdt_not_enabled_errors: false,
            resctrl: Resctrl::default(),
            device_ownership_from_security_context: false,
            pids_limit: 0,
            seccomp_default: false,
            selinux: false,
            shm_size: 64 << 20,
            exec_output_limit: 7 << 20,
            exec_drain_ms: 500,
            kill_timeout_seconds: 10,
            layer_usage_seconds: 10,
            keep_cpus_ready: true,
            warm_supervisors: 8,
        }
    }
}

/// A setting of pods and containers that makes no sense on any host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct SettingError {
    /// The key with its section, such as `runtime.default_handler`.
    pub key: String,
    /// What is wrong with its value.
    pub problem: String,
}

/// A setting that this host cannot have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostProblem {
    /// Which, and why.
    pub setting: SettingError,
    /// What comes of it.
    pub gravity: Gravity,
}

/// What comes of a setting that the host cannot have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gravity {
    /// The daemon does not start.
    PreventsStart,
    /// It starts, and refuses the pods that it is about, or they do without.
    Tolerated,
    /// The same; what the setting says is right, and the host may have it one day.
    Noted,
}

impl HostProblem {
    pub(crate) fn fatal(key: &str, problem: impl Into<String>) -> Self {
        Self { setting: SettingError::new(key, problem), gravity: Gravity::PreventsStart }
    }

    pub(crate) fn tolerated(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { setting: SettingError::new(key, problem), gravity: Gravity::Tolerated }
    }

    pub(crate) fn noted(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { setting: SettingError::new(key, problem), gravity: Gravity::Noted }
    }
}

impl SettingError {
    pub(crate) fn new(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { key: key.into(), problem: problem.into() }
    }

    /// From what the planner says of a value.
    pub(crate) fn of(key: impl Into<String>, error: oci::OciError) -> Self {
        match error {
            oci::OciError::Node(error) => Self::of(key, *error),
            oci::OciError::Invalid { reason, .. } => Self::new(key, reason),
            other => Self::new(key, other.to_string()),
        }
    }
}

impl Settings {
    /// Whether the settings make sense, whatever the host: the part that `corten config check` and the daemon's start
    /// have in common.
    /// Returns every one that does not.
    pub fn check(&self) -> Vec<SettingError> {
        let key = "runtime.default_capabilities";
        let unknown = |name: &&String| oci::caps::CapSet::parse_one(key, name).is_err();
        let refuse = |name: &String| {
            SettingError::new(
                key,
                format!("`{name}` is no capability, expected one such as NET_BIND_SERVICE"),
            )
        };
        let mut problems: Vec<SettingError> =
            self.default_capabilities.iter().filter(unknown).map(refuse).collect();
        let key = "runtime.default_sysctls";
        let sysctls = oci::plan::default_sysctls(key, &self.default_sysctls);
        problems.extend(sysctls.err().map(|error| SettingError::of(key, error)));
        let key = "runtime.rlimits";
        let rlimits = oci::rlimits::Rlimits::parse(key, &self.rlimits);
        problems.extend(rlimits.err().map(|error| SettingError::of(key, error)));
        problems.extend(crate::handlers::check(self));
        problems
    }

    /// What the planner of containers takes of them.
    pub(crate) fn planning(&self) -> Result<oci::spec::Settings, EngineError> {
        use oci::caps::CapSet;
        use oci::spec::UnsetSeccomp;
        let names = self.default_capabilities.iter().map(String::as_str);
        Ok(oci::spec::Settings {
            default_capabilities: CapSet::parse("runtime.default_capabilities", names)?,
            unset_seccomp: if self.seccomp_default {
                UnsetSeccomp::RuntimeDefault
            } else {
                UnsetSeccomp::Unconfined
            },
            pids_limit: self.pids_limit.max(0),
            device_ownership: self.device_ownership_from_security_context,
            ..oci::spec::Settings::default()
        })
    }

    /// The classes of the node, with a record of its groups in the state directory. Their files are not read yet.
    pub(crate) fn classes(&self, state: &Path) -> Classes {
        let mut classes = Classes::new(named(&self.blockio_config_file), &self.resctrl);
        if let Some(file) = named(&self.rdt_config_file) {
            classes = classes.with_rdt(file, &state.join(RDT_GROUPS));
        }
        let passed_over = [
            (self.ignore_blockio_not_enabled_errors, Kind::BlockIo),
            (self.ignore_rdt_not_enabled_errors, Kind::Rdt),
        ];
        classes.passing_over(passed_over.iter().filter(|(is, _)| *is).map(|(_, kind)| *kind).collect())
    }

    /// What of the files of classes is wrong, or says nothing on this host.
    pub(crate) fn check_classes(&self) -> Vec<HostProblem> {
        let mut problems = Vec::new();
        let key = "runtime.blockio_config_file";
        match Classes::new(named(&self.blockio_config_file), &self.resctrl).absent_devices() {
            Ok(absent) => problems.extend(absent.into_iter().map(|line| HostProblem::noted(key, line))),
            Err(error) => {
                let said = format!("{}: classes of block I/O are refused until it is right", chain(&error));
                problems.push(HostProblem::tolerated(key, said));
            }
        }
        let (key, Some(file)) = ("runtime.rdt_config_file", named(&self.rdt_config_file)) else {
            return problems;
        };
        let groups = Classes::new(None, &self.resctrl).with_rdt(file, Path::new(RDT_GROUPS));
        match groups.check_file(Kind::Rdt) {
            Ok(()) => {
                let lack = groups.check_resctrl().err().map(|error| SettingError::of(key, error));
                problems.extend(lack.map(|SettingError { problem, .. }| {
                    HostProblem::noted(key, format!("{problem}: classes of RDT are refused until it has"))
                }));
            }
            Err(error) => {
                let said = format!("{}: classes of RDT are refused until it is right", chain(&error));
                problems.push(HostProblem::tolerated(key, said));
            }
        }
        problems
    }

    /// The devices of vendors.
    pub(crate) fn devices(&self) -> oci::cdi::Registry {
        oci::cdi::Registry::new(self.cdi_spec_dirs.clone())
    }
}

/// What says which groups of cache the daemon has made, in the state directory.
pub(crate) const RDT_GROUPS: &str = "rdt-groups.json";

/// A file of a setting, unless it names none.
fn named(file: &Path) -> Option<&Path> {
    Some(file).filter(|file| !file.as_os_str().is_empty())
}

/// Where things lie.
#[derive(Debug, Clone)]
pub struct Paths {
    /// Runtime state, gone after a reboot (default `/run/corten`).
    pub state: PathBuf,
    /// Durable data (default `/var/lib/corten`).
    pub data: PathBuf,
}

impl Paths {
    /// One directory a pod.
    pub fn pods(&self) -> PathBuf {
        self.state.join("pods")
    }

    /// Everything that belongs to one pod.
    pub fn pod(&self, id: &str) -> PathBuf {
        self.pods().join(id)
    }

    /// The durable copies of records.
    pub(crate) fn store(&self) -> PathBuf {
        self.data.join("state.redb")
    }

    /// Where the writable layers of containers are.
    pub fn layers(&self) -> PathBuf {
        self.data.join("containers")
    }

    /// The writable layers of one container.
    pub fn container(&self, id: &str) -> PathBuf {
        self.layers().join(id)
    }

    /// A directory that stays empty, the lowest layer of image volumes that have one layer only.
    pub fn empty(&self) -> PathBuf {
        self.data.join("empty")
    }

    /// The empty directory on which every container assembles its root, in a mount namespace of its own.
    pub fn rootfs(&self) -> PathBuf {
        self.state.join("rootfs")
    }
}
