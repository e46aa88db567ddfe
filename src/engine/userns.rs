//! User namespaces of pods: whether the host can, and whose the pod's files are then.

use crate::Core;
use crate::error::EngineError;
use model::SandboxConfig;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

impl Core {
    /// Whether pods can have user namespaces, or why not: tried once, on the filesystem of the containers' layers.
    pub(crate) fn user_namespaces(&self) -> Result<(), &str> {
        let probed = self
            .user_namespaces
            .get_or_init(|| probe(&self.shim_binary, &self.paths.data.join("userns-probe")));
        match probed {
            Ok(()) => Ok(()),
            Err(reason) => Err(reason),
        }
    }

    /// Refuses a pod with a user namespace on a host that has none to give.
    pub(crate) fn check_user_namespace(&self, config: &SandboxConfig) -> Result<(), EngineError> {
        if config.linux.security.namespaces.users.is_none() {
            return Ok(());
        }
        self.user_namespaces().map_err(|reason| EngineError::Invalid {
            field: "config.linux.security_context.namespace_options.userns_options",
            problem: format!("user namespaces do not work on this host: {reason}"),
        })
    }
}

/// Tries it in a directory that is made for it and goes again.
pub(crate) fn probe(shim: &Path, dir: &Path) -> Result<(), String> {
    let told = Command::new(shim).arg("--probe-user-namespace").arg(dir).output();
    // What it leaves behind is in nobody's way.
    let _ = sys::tree::remove(dir);
    match told {
        Err(error) => Err(format!("{} cannot be run: {error}", shim.display())),
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
    }
}

/// Who root of the pod is on the host, as user and group; `None` when it is the host's.
pub(crate) fn root_of(config: &SandboxConfig) -> Option<(u32, u32)> {
    let users = config.linux.security.namespaces.users.as_ref()?;
    Some((users.uids.on_host(0)?, users.gids.on_host(0)?))
}

/// Gives a file to the pod's root.
pub(crate) fn give(path: &Path, config: &SandboxConfig) -> Result<(), EngineError> {
    match root_of(config) {
        None => Ok(()),
        Some((uid, gid)) => chown(path, Some(uid), Some(gid)).map_err(EngineError::io("chown", path)),
    }
}
