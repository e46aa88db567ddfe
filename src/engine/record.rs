//! The records that survive the daemon: one file an object below the state directory, replaced atomically.
//!
//! The state directory lies on a tmpfs on real hosts, so a record costs microseconds; `mirror` carries the
//! records to durable storage behind the scenes, for what must be known after a reboot.

#[cfg(test)]
mod golden;
mod header;

use crate::error::EngineError;
use crate::settings::Paths;
pub(crate) use header::{Record, VERSION, decode, first_line, version};
use model::{
    ContainerConfig, ContainerId, ContainerState, Resources, Rootfs, SandboxConfig, SandboxId, SandboxState,
    Signal,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fs, io};

/// Longer than any record or spec: requests have 64 MiB at most.
const LONGEST: u64 = 256 << 20;

/// What is kept of a pod.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PodRecord {
    pub(crate) id: SandboxId,
    pub(crate) config: Arc<SandboxConfig>,
    pub(crate) handler: String,
    pub(crate) state: SandboxState,
    pub(crate) created_at: i64,
    /// Pinned network namespace; `None` with the host's network.
    pub(crate) netns: Option<PathBuf>,
    pub(crate) attachment: Option<Arc<net::Attachment>>,
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

impl Record for PodRecord {
    const KIND: &'static str = "pod";
}

/// The limits of a pod as a whole, as they were asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct PodLimits {
    pub(crate) overhead: Option<Resources>,
    pub(crate) resources: Option<Resources>,
}

impl PodRecord {
    /// Of a pod of which nothing is there yet.
    pub(crate) fn new(
        id: &SandboxId,
        config: Arc<SandboxConfig>,
        handler: String,
        cgroup_parent: String,
    ) -> Self {
        Self {
            id: id.clone(),
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
    pub(crate) id: ContainerId,
    pub(crate) sandbox_id: SandboxId,
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

impl Record for ContainerRecord {
    const KIND: &'static str = "container";
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
}

/// The node's pod ranges, as UpdateRuntimeConfig told them last.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PodRanges(pub(crate) Vec<ipnet::IpNet>);

impl Record for PodRanges {
    const KIND: &'static str = "pod-ranges";
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

    /// Which devices of the host's network the pod has.
    pub(crate) fn devices(&self) -> PathBuf {
        self.0.join("net-devices.json")
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

/// A record as it is kept.
pub(crate) fn encode<T: Record>(id: &str, record: &T) -> Result<Vec<u8>, EngineError> {
    header::encode(record).map_err(refused(id))
}

/// Keeps a record: a crash leaves the old one or the new one. Returns what was written.
pub(crate) fn save<T: Record>(path: &Path, id: &str, record: &T) -> Result<Vec<u8>, EngineError> {
    let bytes = encode(id, record)?;
    replace(path, &bytes)?;
    Ok(bytes)
}

/// Writes a document for others, as [`save`] does.
pub(crate) fn write<T: oci::json::Document>(path: &Path, id: &str, document: &T) -> Result<(), EngineError> {
    replace(path, &oci::json::write(document).map_err(refused(id))?)
}

fn refused(id: &str) -> impl FnOnce(serde_json::Error) -> EngineError {
    move |source| EngineError::Record { operation: "encode", id: id.to_owned(), source }
}

/// Records that could not be written since the daemon began, also durable copies.
pub(crate) static FAILURES: AtomicU64 = AtomicU64::new(0);

/// Puts bytes in the place of a file, as a whole or not at all.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), EngineError> {
    sys::fs::write_atomic(path, bytes, 0o600).map_err(|error| {
        FAILURES.fetch_add(1, Ordering::Relaxed);
        EngineError::sys(format!("write {path:?}"))(error)
    })
}

/// Reads a record; a damaged one is set aside with the ending `.bad`, so that the node serves on.
pub(crate) fn load<T: Record>(path: &Path) -> Option<T> {
    read_as(path, |bytes| decode(bytes))
}

/// Reads a document of [`write`], as [`load`] does.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    read_as(path, |bytes| oci::json::read(bytes))
}

/// The bytes of a file of the state; of nothing else, and not without end.
pub(crate) fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    sys::regular::read(path, LONGEST)
}

fn read_as<T, E: std::fmt::Display>(path: &Path, decode: impl Fn(&[u8]) -> Result<T, E>) -> Option<T> {
    let decoded = match bytes(path) {
        Ok(bytes) => decode(&bytes).map_err(|error| error.to_string()),
        Err(_) if !sys::aside::is_there(path) => return None,
        Err(error) => Err(error.to_string()),
    };
    match decoded {
        Ok(record) => Some(record),
        Err(error) => {
            tracing::error!(path = %path.display(), error, "a damaged record is set aside");
            if let Err(error) = sys::aside::set_aside(path) {
                tracing::error!(path = %path.display(), %error, "the damaged record cannot be set aside");
            }
            None
        }
    }
}

/// Removes a file that may be gone already, or what somebody has put in its place.
pub(crate) fn remove(path: &Path) -> Result<(), EngineError> {
    sys::aside::remove(path).map_err(EngineError::io("remove", path))
}

/// Whether something lies there that is no directory of the daemon's own: a link leads to one of somebody else.
pub(crate) fn cannot_list(dir: &Path) -> bool {
    sys::aside::is_there(dir) && (dir.is_symlink() || fs::read_dir(dir).is_err())
}
