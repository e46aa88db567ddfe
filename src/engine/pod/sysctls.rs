//! Kernel parameters of pods. Those of a request for the network are written once the pod is attached: an interface has
//! none before it is there, and what attaches the pod writes some itself.

use crate::Pods;
use crate::error::EngineError;
use model::SandboxConfig;
use oci::OciError;
use oci::plan::{PodSysctls, Sysctls, pod_sysctls};
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The setting of those that pods get by default.
pub(super) const KEY: &str = "runtime.default_sysctls";

impl Pods {
    /// The parameters of a pod.
    pub(super) fn sysctls(&self, config: &SandboxConfig) -> PodSysctls {
        pod_sysctls(config, &self.core.live().default_sysctls)
    }

    /// Refuses what cannot be set, before anything is made. Of the network's, that shows when it is there.
    pub(super) fn check_sysctls(&self, config: &SandboxConfig) -> Result<(), EngineError> {
        for (name, _) in self.sysctls(config).first {
            if !file(&name).exists() {
                return Err(refused(&name, none_here()));
            }
        }
        Ok(())
    }
}

/// Writes parameters of a network namespace. Blocks.
pub(super) fn write(netns: &net::Namespace, sysctls: &Sysctls) -> Result<(), EngineError> {
    let written = netns.run_in(|| {
        sysctls
            .iter()
            .try_for_each(|(name, value)| set(name, value).map_err(|error| explain(name, value, error)))
    });
    written.map_err(EngineError::sys("enter the pod's network namespace".to_owned()))?.unwrap_or(Ok(()))
}

/// Of the namespaces that the calling thread is in.
pub(super) fn set(name: &[u8], value: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).open(file(name))?.write_all(value)
}

fn explain(name: &[u8], value: &[u8], error: io::Error) -> EngineError {
    match unsettable(value, &error) {
        Some(reason) => refused(name, reason),
        None => EngineError::io("write", file(name))(error),
    }
}

/// Why a parameter cannot be set, where that is the fault of whoever asks for it.
pub(super) fn unsettable(value: &[u8], error: &io::Error) -> Option<String> {
    match error.kind() {
        ErrorKind::NotFound => Some(none_here()),
        ErrorKind::InvalidInput => {
            Some(format!("the kernel does not take {:?}", String::from_utf8_lossy(value)))
        }
        _ => None,
    }
}

pub(super) fn none_here() -> String {
    "this kernel has none".to_owned()
}

fn refused(name: &[u8], reason: String) -> EngineError {
    let field = format!("config.linux.sysctls[{:?}]", String::from_utf8_lossy(name));
    EngineError::Oci(OciError::Invalid { field, reason })
}

fn file(name: &[u8]) -> PathBuf {
    Path::new("/proc/sys").join(String::from_utf8_lossy(name).replace('.', "/"))
}
