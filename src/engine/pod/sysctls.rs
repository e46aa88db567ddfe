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

impl Pods {
    /// The parameters of a pod.
    pub(super) fn sysctls(&self, config: &SandboxConfig) -> PodSysctls {
        pod_sysctls(config, &self.core.live().default_sysctls)
    }

    /// Refuses what cannot be set, before anything is made. Of the network's, that shows when it is there.
    pub(super) fn check_sysctls(&self, config: &SandboxConfig) -> Result<(), EngineError> {
        for (name, _) in self.sysctls(config).first {
            if !file(&name).exists() {
                return Err(refused(&name, "this kernel has none".to_owned()));
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
fn set(name: &[u8], value: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).open(file(name))?.write_all(value)
}

fn explain(name: &[u8], value: &[u8], error: io::Error) -> EngineError {
    match error.kind() {
        ErrorKind::NotFound => refused(name, "this kernel has none".to_owned()),
        ErrorKind::InvalidInput => {
            refused(name, format!("the kernel does not take {:?}", String::from_utf8_lossy(value)))
        }
        _ => EngineError::io("write", file(name))(error),
    }
}

fn refused(name: &[u8], reason: String) -> EngineError {
    let field = format!("config.linux.sysctls[{:?}]", String::from_utf8_lossy(name));
    EngineError::Oci(OciError::Invalid { field, reason })
}

fn file(name: &[u8]) -> PathBuf {
    Path::new("/proc/sys").join(String::from_utf8_lossy(name).replace('.', "/"))
}

/// What pods get by default; what this kernel has not got is left out, and told once.
pub(crate) fn defaults(settings: &crate::Settings) -> Result<model::Sysctls, EngineError> {
    let mut defaults = oci::plan::default_sysctls("runtime.default_sysctls", &settings.default_sysctls)?;
    defaults.retain(|name, _| {
        let is_there = file(name.as_str().as_bytes()).exists();
        if !is_there {
            tracing::warn!(%name, "this kernel has no such parameter: pods do without runtime.default_sysctls of it");
        }
        is_there
    });
    Ok(defaults)
}
