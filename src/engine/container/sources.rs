//! Directories that are made for mounts whose paths of the host do not exist. They stay, as users expect; those of a
//! container that does not come to be go again.

use crate::Engine;
use crate::error::EngineError;
use crate::objects::{Container, lock};
use std::path::Path;

impl Engine {
    /// Makes them, and remembers which.
    pub(super) fn make_sources(&self, container: &Container) -> Result<(), EngineError> {
        let mut made = Vec::new();
        let result = oci::spec::make_sources(&container.record().config.mounts, &mut made);
        *lock(&container.sources) = made;
        Ok(result?)
    }

    /// Removes those that are empty and that no other container mounts.
    pub(super) fn unmake_sources(&self, container: &Container) {
        let made = std::mem::take(&mut *lock(&container.sources));
        for dir in made.iter().rev() {
            if self.is_mounted_elsewhere(container, dir) {
                continue;
            }
            if let Err(error) = std::fs::remove_dir(dir) {
                tracing::debug!(container = %container.id, dir = %dir.display(), %error, "a source stays");
            }
        }
    }

    fn is_mounted_elsewhere(&self, own: &Container, dir: &Path) -> bool {
        self.registry.all_containers().iter().filter(|other| other.id != own.id).any(|other| {
            other.record().config.mounts.iter().any(|mount| Path::new(&mount.host_path).starts_with(dir))
        })
    }
}
