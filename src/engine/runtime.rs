//! Verbs about the runtime itself: its status, its configuration, the files beside it.

use crate::Engine;
use crate::error::{EngineError, chain};
use crate::handlers::HandlerInfo;
use crate::mirror::Key;
use crate::pod::default_sysctls;
use crate::record::{self, PodRanges};
use crate::settings::{CgroupDriver, HostProblem, Settings};
use crate::userns::Outcome;
use crate::{handlers, preflight};
use ipnet::IpNet;
use oci::cgroup::Driver;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use sys::aside::Wanted;

/// Whether the runtime and its network are ready.
#[derive(Debug, Clone)]
pub struct RuntimeStatus {
    /// What keeps this host from running pods.
    pub unfit: Option<crate::Unfit>,
    /// The network's part.
    pub network: net::NetworkStatus,
    /// The default handler first.
    pub handlers: Vec<HandlerInfo>,
    /// Verbose details: name and JSON.
    pub info: BTreeMap<String, String>,
}

/// By what the details of the status tell that plugins are missing which are required.
pub const REQUIRED_PLUGINS: &str = "nriRequiredPlugins";

impl Engine {
    /// CRI Status: ready as a runtime unless the host cannot run pods; the network says so itself.
    pub fn status(&self) -> RuntimeStatus {
        let users = self.core.user_namespaces();
        let native = HandlerInfo {
            name: String::new(),
            recursive_read_only: sys::mount::has_mount_setattr(),
            user_namespaces: users == Outcome::Yes,
        };
        RuntimeStatus {
            unfit: self.preflight.outcome().err(),
            network: self.core.network.status(),
            handlers: self.core.live().handlers.info(&native),
            info: self.info(users),
        }
    }

    fn info(&self, users: Outcome) -> BTreeMap<String, String> {
        let mut info = BTreeMap::from([
            ("stateDir".to_owned(), self.core.paths.state.display().to_string()),
            ("dataDir".to_owned(), self.core.paths.data.display().to_string()),
            ("cgroupDriver".to_owned(), format!("{:?}", self.core.tree.driver()).to_lowercase()),
            (
                "userNamespaces".to_owned(),
                match users {
                    Outcome::Yes => "yes".to_owned(),
                    Outcome::No(reason) => format!("no: {reason}"),
                    Outcome::Unknown(reason) => format!("not known: {reason}"),
                },
            ),
            ("cgroups".to_owned(), format!("{:?}", self.core.cgroups.mode()).to_lowercase()),
        ]);
        // The runtime is ready all the same: what is missing may be a pod that this node has to start.
        let missing = self.missing_plugins().unwrap_or_default();
        if !missing.is_empty() {
            let said = format!("no container is created without {}, not connected", missing.join(", "));
            info.insert(REQUIRED_PLUGINS.to_owned(), said);
        }
        info
    }

    /// How many pods were taken over when the daemon started, and how long that took.
    pub fn recovered(&self) -> Option<(usize, std::time::Duration)> {
        self.core.recovered.get().copied()
    }

    /// CRI UpdateRuntimeConfig: the node's pod ranges, for the built-in network.
    pub fn update_runtime_config(&self, pod_cidrs: &[IpNet]) -> Result<(), EngineError> {
        self.core.network.set_pod_cidrs(pod_cidrs)?;
        let bytes = record::encode("the pod ranges", &PodRanges(pod_cidrs.to_vec()))?;
        self.core.mirror.put(Key::PodRanges, bytes);
        Ok(())
    }
}

impl Settings {
    /// What of the settings does not fit this host: programs that are not there, a driver of cgroups that cannot be, a
    /// data directory on a filesystem that cannot carry containers. Nothing is opened or made for it.
    pub fn check_host(&self, data: Option<&Path>) -> Vec<HostProblem> {
        let mut problems = Vec::new();
        let helpers = [("runtime.shim", &self.shim, SHIM), ("runtime.pause", &self.pause, PAUSE)];
        for (key, configured, name) in helpers {
            if let Err(error) = usable_helper(configured, name) {
                // Pods that run need their daemon, also where there can be no new ones.
                problems.push(HostProblem::tolerated(key, chain(&error)));
            }
        }
        let driver = oci::cgroup::Host::detect()
            .map_err(EngineError::from)
            .and_then(|host| cgroup_driver(self.cgroup_driver, &host));
        match driver {
            Ok(_) => {}
            Err(EngineError::Invalid { field, problem }) => problems.push(HostProblem::fatal(field, problem)),
            Err(error) => problems.push(HostProblem::fatal("runtime.cgroup_driver", chain(&error))),
        }
        let on_overlay = data.and_then(preflight::on_overlay);
        problems.extend(on_overlay.map(|problem| HostProblem::tolerated("data_dir", problem)));
        problems.extend(self.check_classes());
        problems.extend(self.nri.default_validator.problem());
        problems.extend(handlers::check_host(self));
        problems.extend(default_sysctls::check_host(self));
        problems
    }
}

/// The supervisor's program, beside the daemon's where no setting says otherwise.
pub(crate) const SHIM: &str = "corten-shim";
/// The pause's, likewise.
pub(crate) const PAUSE: &str = "corten-pause";

/// The path of a binary of ours: as configured, else beside the daemon. It need not be there.
pub(crate) fn helper(configured: &Path, name: &str) -> Result<PathBuf, EngineError> {
    if !configured.as_os_str().is_empty() {
        return Ok(configured.to_owned());
    }
    let daemon = std::env::current_exe().map_err(EngineError::io("find", "the daemon's executable"))?;
    Ok(daemon.with_file_name(name))
}

/// The same, where it is there and can be executed.
fn usable_helper(configured: &Path, name: &str) -> Result<PathBuf, EngineError> {
    let path = helper(configured, name)?;
    executable(&path).map_err(|(operation, problem)| EngineError::io(operation, &path)(problem))?;
    Ok(path)
}

/// Which of the programs that every pod takes cannot be executed, and why; the first of them.
pub(crate) fn missing_helper(settings: &Settings) -> Option<String> {
    let helpers = [(&settings.shim, SHIM), (&settings.pause, PAUSE)];
    let missing = helpers.into_iter().find_map(|(path, name)| usable_helper(path, name).err());
    missing.map(|error| chain(&error))
}

/// Whether a file is there and can be executed; else what failed, and why.
pub(crate) fn executable(path: &Path) -> Result<(), (&'static str, io::Error)> {
    let found = fs::metadata(path).map_err(|error| ("find the helper", error))?;
    if found.is_file() && found.permissions().mode() & 0o111 != 0 {
        return Ok(());
    }
    Err(("use the helper", io::Error::new(io::ErrorKind::PermissionDenied, "not an executable file")))
}

/// The driver that a setting asks for, or the host suggests.
pub(crate) fn cgroup_driver(setting: CgroupDriver, host: &oci::cgroup::Host) -> Result<Driver, EngineError> {
    let refuse = |problem: &str| {
        Err(EngineError::Invalid { field: "runtime.cgroup_driver", problem: problem.to_owned() })
    };
    match (setting, host.is_unified(), systemd::is_running()) {
        (CgroupDriver::Auto | CgroupDriver::Systemd, true, true) => Ok(Driver::Systemd),
        (CgroupDriver::Auto | CgroupDriver::Cgroupfs, ..) => Ok(Driver::Cgroupfs),
        (CgroupDriver::Systemd, false, _) => refuse("systemd's driver needs a host with cgroup v2 only"),
        (CgroupDriver::Systemd, true, false) => {
            refuse("systemd is not process 1 here, or not the owner of the whole tree of cgroups")
        }
    }
}

/// Makes a directory of the state, as [`make_dir`] does. Something else in its place is set aside.
pub(crate) fn make_own_dir(path: &Path, mode: u32) -> Result<(), EngineError> {
    if let Some(aside) =
        Wanted::Directory.clear(path).map_err(EngineError::sys(format!("set aside {path:?}")))?
    {
        tracing::error!(path = %path.display(), aside = %aside.display(), "what is no directory is set aside");
    }
    make_dir(path, mode)
}

/// Makes a directory, and repairs the mode of one that is there.
pub(crate) fn make_dir(path: &Path, mode: u32) -> Result<(), EngineError> {
    fs::create_dir_all(path).map_err(EngineError::io("make the directory", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(EngineError::io("set the mode of", path))
}
