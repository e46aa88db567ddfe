//! SELinux labels of pods and containers: who has which, and what of the host's files gets them.

use crate::error::EngineError;
use crate::in_memory::Pod;
use model::{ContainerConfig, Mount, SandboxConfig, Selinux};
use oci::selinux::{Labels, Levels, Policy, Reserved};
use oci::spec::AnonymousVolume;
use std::sync::Arc;

/// Who is labelled how.
pub(crate) struct Labelling {
    policy: Policy,
    levels: Arc<Levels>,
}

impl Labelling {
    pub(crate) fn new(policy: Policy) -> Self {
        Self { policy, levels: Arc::default() }
    }

    /// Refuses a request that the host's policy cannot follow.
    pub(crate) fn check(&self, asked: Option<&Selinux>) -> Result<(), EngineError> {
        Ok(self.policy.check(asked)?)
    }

    /// Keeps a level for a pod that has it already.
    pub(crate) fn reserve(&self, level: &str) -> Reserved {
        self.levels.reserve(level)
    }

    /// The level of a new pod: what it asks for, or categories of its own; `None` where nothing is labelled.
    pub(crate) fn choose_level(&self, config: &SandboxConfig) -> Result<Option<Reserved>, EngineError> {
        if !self.policy.is_in_force() {
            return Ok(None);
        }
        let asked = config.linux.security.selinux.as_ref().map_or("", |asked| asked.level.as_str());
        Ok(Some(if asked.is_empty() { self.levels.choose()? } else { self.levels.reserve(asked) }))
    }

    /// The labels of the pod's own process and files.
    pub(crate) fn of_pod(&self, pod: &Pod) -> Labels {
        let config = pod.config();
        let security = &config.linux.security;
        self.policy.labels(level(pod), &[security.selinux.as_ref()], security.privileged)
    }

    /// Those of a container in it, once what it asks for has been found possible.
    pub(crate) fn of_container(&self, pod: &Pod, config: &ContainerConfig) -> Result<Labels, EngineError> {
        let asked = config.security.selinux.as_ref();
        self.check(asked)?;
        if self.policy.is_in_force() {
            oci::selinux::check_mounts(&config.mounts)?;
        }
        let pods = pod.config();
        let requests = [pods.linux.security.selinux.as_ref(), asked];
        Ok(self.policy.labels(level(pod), &requests, config.security.privileged))
    }
}

fn level(pod: &Pod) -> &str {
    pod.level.get().map_or("", Reserved::level)
}

/// Labels what is the container's among the host's files: mounts that ask for it.
pub(crate) fn label_mounts(mounts: &[Mount], label: &str) -> Result<(), EngineError> {
    if label.is_empty() {
        return Ok(());
    }
    for (index, mount) in mounts.iter().enumerate().filter(|(_, mount)| mount.selinux_relabel) {
        if let Some(path) = &mount.host_path {
            oci::selinux::relabel(&oci::selinux::field(index), path.as_path(), label)?;
        }
    }
    Ok(())
}

/// Labels other paths of the host.
pub(crate) fn label_paths(paths: &[std::path::PathBuf], label: &str) -> Result<(), EngineError> {
    if !label.is_empty() {
        for path in paths {
            oci::selinux::relabel("mounts of a plugin", path, label)?;
        }
    }
    Ok(())
}

/// Labels the volumes that the container's image declares.
pub(crate) fn label_volumes(volumes: &[AnonymousVolume], label: &str) -> Result<(), EngineError> {
    if !label.is_empty() {
        for volume in volumes {
            oci::selinux::set_label(&volume.dir, label)?;
        }
    }
    Ok(())
}
