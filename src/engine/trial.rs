//! What a host can do for pods, tried without a daemon and without leaving anything behind.

use crate::error::chain;
use crate::preflight::{self, Unfit};
use crate::runtime::{self, SHIM};
use crate::settings::Settings;
use crate::userns::{self, Outcome};
use std::path::{Path, PathBuf};

/// The cgroups of a host, and who makes those of pods there.
#[derive(Debug)]
pub struct HostCgroups {
    /// `legacy`, `hybrid` or `unified`.
    pub mode: String,
    /// `cgroupfs` or `systemd`.
    pub driver: String,
    /// The controllers that can be used.
    pub controllers: Vec<String>,
}

impl Settings {
    /// Whether containers can have their root filesystems below a data directory, which need not be there yet: mounts one.
    ///
    /// # Errors
    /// What the host lacks.
    pub fn try_overlay(&self, data: &Path) -> Result<(), Unfit> {
        preflight::examine(self, data, &trial_directory(data))
    }

    /// Whether pods can have user namespaces there.
    ///
    /// # Errors
    /// Why not.
    pub fn try_user_namespaces(&self, data: &Path) -> Result<(), String> {
        let shim = runtime::helper(&self.shim, SHIM).map_err(|error| chain(&error))?;
        match userns::probe(&shim, &trial_directory(data)) {
            Outcome::Yes => Ok(()),
            Outcome::No(reason) | Outcome::Unknown(reason) => Err(reason),
        }
    }

    /// The host's cgroups, and the driver that these settings choose there.
    ///
    /// # Errors
    /// Why there are none that can be used.
    pub fn host_cgroups(&self) -> Result<HostCgroups, String> {
        let host = oci::cgroup::Host::detect().map_err(|error| chain(&error))?;
        let driver = runtime::cgroup_driver(self.cgroup_driver, &host).map_err(|error| chain(&error))?;
        Ok(HostCgroups {
            mode: format!("{:?}", host.mode()).to_lowercase(),
            driver: format!("{driver:?}").to_lowercase(),
            controllers: host.controllers().into_iter().map(str::to_owned).collect(),
        })
    }
}

/// A place on the same filesystem that no daemon uses.
fn trial_directory(data: &Path) -> PathBuf {
    let there = data.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
    there.join(format!(".corten-check-{}", std::process::id()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_leaves_nothing_and_makes_no_data_directory() {
        if !need::root("mounting needs root") {
            return;
        }
        let root = tempfile::tempdir().unwrap();
        // What it says is the host's.
        let _ = Settings::default().try_overlay(&root.path().join("not/yet"));
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
