//! What of the network's state is of the wrong kind, for whoever looks before a daemon starts.

use crate::NetworkSettings;
use std::fs;
use std::path::{Path, PathBuf};
use sys::aside::Wanted;

impl NetworkSettings {
    /// The places in which something else lies than the daemon has made there, with what it is not.
    #[must_use]
    pub fn misplaced(&self) -> Vec<(PathBuf, Wanted)> {
        let attachments = self.state_dir.join("attachments");
        let directories = [self.data_dir.clone(), self.state_dir.clone(), attachments.clone()];
        let mut wanted: Vec<_> = directories.map(|path| (path, Wanted::Directory)).into();
        let files = ["subnets.json", "configured"].map(|name| self.data_dir.join(name));
        wanted.extend(files.into_iter().chain(below(&attachments)).map(|path| (path, Wanted::File)));
        let leases = self.leases();
        for network in below(&leases) {
            wanted.extend(below(&network).into_iter().map(|path| (path, Wanted::File)));
        }
        // What was set aside already is in nobody's way.
        let is_aside = |path: &Path| path.extension().is_some_and(|extension| extension == "bad");
        wanted.retain(|(path, wanted)| !is_aside(path) && wanted.is_missed_at(path));
        wanted
    }

    /// The directories of addresses of the built-in network that are none: no address can be had there.
    #[must_use]
    pub fn lost_leases(&self) -> Vec<PathBuf> {
        let leases = self.leases();
        let all = std::iter::once(leases.clone()).chain(below(&leases));
        all.filter(|path| Wanted::Directory.is_missed_at(path)).collect()
    }

    /// Where the built-in network keeps which addresses pods have, a directory a network.
    pub(crate) fn leases(&self) -> PathBuf {
        self.state_dir.join("ipam")
    }
}

/// What lies in a directory; nothing where it cannot be read.
fn below(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> =
        fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}
