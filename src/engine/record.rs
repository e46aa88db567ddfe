//! The records that survive the daemon: one file an object below the state directory, replaced atomically.
//!
//! The state directory lies on a tmpfs on real hosts, so a record costs microseconds; `mirror` carries the
//! records to durable storage behind the scenes, for what must be known after a reboot.

use crate::error::EngineError;
use crate::settings::Paths;
use model::{ContainerConfig, ContainerState, Resources, Rootfs, SandboxConfig, SandboxState, Signal};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

/// The version of the records' form.
const VERSION: u32 = 1;

/// What is kept of a pod.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PodRecord {
    pub(crate) version: u32,
    pub(crate) id: String,
    pub(crate) config: Arc<SandboxConfig>,
    pub(crate) handler: String,
    pub(crate) state: SandboxState,
    pub(crate) created_at: i64,
    /// Pinned network namespace; `None` with the host's network.
    pub(crate) netns: Option<PathBuf>,
    pub(crate) attachment: Option<net::Attachment>,
    /// The cgroup or slice that limits the pod: as asked for, or one of its own.
    #[serde(default)]
    pub(crate) cgroup_parent: String,
    /// Cgroup directories, of slices too, that were made for the pod.
    pub(crate) cgroups: Vec<PathBuf>,
    /// The level that its processes and files are labelled with (SELinux); empty: none.
    #[serde(default)]
    pub(crate) selinux_level: String,
    /// Nothing of the pod is left on the host.
    pub(crate) released: bool,
    /// The limits since UpdatePodSandboxResources; `None`: those of the configuration.
    #[serde(default)]
    pub(crate) updated: Option<PodLimits>,
}

/// The limits of a pod as a whole, as they were asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct PodLimits {
    pub(crate) overhead: Option<Resources>,
    pub(crate) resources: Option<Resources>,
}

impl PodRecord {
    /// Of a pod of which nothing is there yet.
    pub(crate) fn new(id: &str, config: Arc<SandboxConfig>, handler: String, cgroup_parent: String) -> Self {
        Self {
            version: VERSION,
            id: id.to_owned(),
            config,
            handler,
            state: SandboxState::Creating,
            created_at: crate::now(),
            netns: None,
            attachment: None,
            cgroup_parent,
            cgroups: Vec::new(),
            selinux_level: String::new(),
            released: false,
            updated: None,
        }
    }

    /// The limits of the pod as they were asked for last.
    pub(crate) fn limits(&self) -> PodLimits {
        let linux = &self.config.linux;
        let first = || PodLimits { overhead: linux.overhead.clone(), resources: linux.resources.clone() };
        self.updated.clone().unwrap_or_else(first)
    }
}

/// What is kept of a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    pub(crate) version: u32,
    pub(crate) id: String,
    pub(crate) sandbox_id: String,
    pub(crate) config: Arc<ContainerConfig>,
    pub(crate) state: ContainerState,
    pub(crate) created_at: i64,
    pub(crate) image_id: String,
    pub(crate) image_ref: String,
    /// The files of its image: held while the container is there.
    #[serde(rename = "layers")]
    pub(crate) rootfs: Rootfs,
    /// The images that it has mounted: held as its own.
    #[serde(default)]
    pub(crate) image_volumes: Vec<MountedImage>,
    pub(crate) log_path: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) stop_signal: Signal,
    /// The limits since UpdateContainerResources; `None`: those of the configuration.
    #[serde(default)]
    pub(crate) updated: Option<Updated>,
}

/// What UpdateContainerResources left.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Updated {
    /// All limits, the unchanged ones too.
    pub(crate) resources: Resources,
    /// Those of the last update.
    pub(crate) annotations: BTreeMap<String, String>,
}

/// An image that a container has mounted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MountedImage {
    /// Which of the request's mounts.
    pub(crate) mount: usize,
    /// The image's repository digest, or its id where it has none.
    pub(crate) image_ref: String,
    /// Its files.
    #[serde(rename = "layers")]
    pub(crate) rootfs: Rootfs,
}

impl ContainerRecord {
    /// The limits as they were asked for last.
    pub(crate) fn resources(&self) -> &Resources {
        self.updated.as_ref().map_or(&self.config.resources, |updated| &updated.resources)
    }

    /// The current form's version.
    pub(crate) fn version() -> u32 {
        VERSION
    }
}

/// Where the records of one pod lie.
#[derive(Clone)]
pub(crate) struct PodFiles(PathBuf);

impl PodFiles {
    pub(crate) fn new(paths: &Paths, pod: &str) -> Self {
        Self(paths.pod(pod))
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.0
    }

    pub(crate) fn pod(&self) -> PathBuf {
        self.0.join("pod.json")
    }

    pub(crate) fn containers(&self) -> PathBuf {
        self.0.join("containers")
    }

    pub(crate) fn container(&self, id: &str) -> PathBuf {
        self.containers().join(format!("{id}.json"))
    }

    /// The OCI runtime spec of a container.
    pub(crate) fn spec(&self, id: &str) -> PathBuf {
        self.containers().join(format!("{id}.spec"))
    }

    /// What an OCI runtime finds of a container; there for containers of such handlers only.
    pub(crate) fn bundle(&self, id: &str) -> PathBuf {
        self.containers().join(format!("{id}.bundle"))
    }

    /// Where the shim writes how containers ended.
    pub(crate) fn exits(&self) -> PathBuf {
        self.0.join("exits")
    }

    pub(crate) fn exit(&self, id: &str) -> PathBuf {
        self.exits().join(format!("{id}.exit"))
    }

    /// What the shim reports.
    pub(crate) fn shim_log(&self) -> PathBuf {
        self.0.join("shim.log")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join("shim.sock")
    }

    /// Where a filesystem of the pod's own is mounted, for what its containers may write.
    pub(crate) fn own(&self) -> PathBuf {
        self.0.join("files")
    }

    /// Pods of earlier daemons have the files beside the records, and `shm` for a mount.
    fn shown(&self, name: &str) -> PathBuf {
        let own = self.own();
        if own.is_dir() { own.join(name) } else { self.0.join(name) }
    }

    pub(crate) fn shm(&self) -> PathBuf {
        self.shown("shm")
    }

    pub(crate) fn resolv_conf(&self) -> PathBuf {
        self.shown("resolv.conf")
    }

    pub(crate) fn hostname(&self) -> PathBuf {
        self.shown("hostname")
    }

    pub(crate) fn hosts(&self) -> PathBuf {
        self.shown("hosts")
    }
}

/// Writes a record so that a crash leaves the old one or the new one.
pub(crate) fn write<T: Serialize>(path: &Path, id: &str, record: &T) -> Result<Vec<u8>, EngineError> {
    let bytes = serde_json::to_vec(record).map_err(|source| EngineError::Record {
        operation: "encode",
        id: id.to_owned(),
        source,
    })?;
    sys::fs::write_atomic(path, &bytes, 0o600).map_err(EngineError::sys(format!("write {path:?}")))?;
    Ok(bytes)
}

/// Reads a record; a damaged one is set aside with the ending `.bad`, so that the node serves on.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(path = %path.display(), %error, "a record cannot be read");
            }
            return None;
        }
    };
    match serde_json::from_slice(&bytes) {
        Ok(record) => Some(record),
        Err(error) => {
            let mut aside = path.as_os_str().to_owned();
            aside.push(".bad");
            tracing::error!(path = %path.display(), %error, "a damaged record is set aside");
            if let Err(error) = fs::rename(path, &aside) {
                tracing::error!(path = %path.display(), %error, "the damaged record cannot be set aside");
            }
            None
        }
    }
}

/// Removes a file that may be gone already.
pub(crate) fn remove(path: &Path) -> Result<(), EngineError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(EngineError::io("remove", path)(error)),
        _ => Ok(()),
    }
}
