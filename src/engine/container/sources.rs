//! Directories that are made for mounts whose paths of the host do not exist. They stay, as users expect; those of a
//! container that does not come to be go again.

use crate::Containers;
use crate::in_memory::Container;
use std::collections::BTreeSet;
use std::ops::Bound::{Included, Unbounded};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use sys::sync::lock;

impl Containers {
    /// Removes those that are empty and that no other container mounts.
    pub(super) async fn unmake_sources(self: &Arc<Self>, container: &Container) {
        let made = std::mem::take(&mut *lock(&container.sources));
        if made.is_empty() {
            return;
        }
        let (this, id) = (self.clone(), container.id.clone());
        if self.strangers.run(&container.pod, move |_| this.unmake(&id, &made)).await.is_err() {
            tracing::debug!(container_id = %container.id, "sources are removed behind, or stay");
        }
    }

    /// As [`Self::unmake_sources`]. Blocks, perhaps for ever.
    pub(super) fn unmake(&self, id: &str, made: &[PathBuf]) {
        if made.is_empty() {
            return;
        }
        let mounted = self.mounted_by_others(id);
        for dir in made.iter().rev() {
            // In their order a directory comes right before what lies in it.
            if mounted
                .range::<Path, _>((Included(dir.as_path()), Unbounded))
                .next()
                .is_some_and(|path| path.starts_with(dir))
            {
                continue;
            }
            if let Err(error) = std::fs::remove_dir(dir) {
                tracing::debug!(container_id = id, dir = %dir.display(), %error, "a source stays");
            }
        }
    }

    fn mounted_by_others(&self, own: &str) -> BTreeSet<PathBuf> {
        let mut mounted = BTreeSet::new();
        for other in self.core.registry.all_containers().iter().filter(|other| other.id != own) {
            let record = other.record();
            let paths = record.config.mounts.iter().filter_map(|mount| mount.host_path.as_ref());
            mounted.extend(paths.map(|path| path.as_path().to_path_buf()));
        }
        mounted
    }
}
