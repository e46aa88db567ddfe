//! Groups of cache and memory bandwidth that a file describes: made, followed, and told of.

use crate::error::{EngineError, chain};
use crate::settings::RDT_GROUPS;
use crate::{Engine, Paths, blocking};
use oci::classes::{Kind, RdtReport, Resctrl};
use std::path::{Path, PathBuf};

impl Engine {
    /// Makes the groups of `runtime.rdt_config_file` as it says now. What cannot be made is told in the log, and refused when
    /// somebody asks for it. That the file of classes of block I/O is wrong, or what it says of devices that are not there,
    /// is told, too.
    pub async fn make_groups(&self) {
        let classes = self.core.live().classes.clone();
        let make = move || {
            if let Some(lack) = classes.new_problem(Kind::Rdt) {
                tracing::warn!(
                    error = chain(&EngineError::from(lack)),
                    "no class of runtime.rdt_config_file can be had"
                );
            }
            tell(classes.make_groups());
            if let Some(problem) = classes.new_problem(Kind::BlockIo) {
                tracing::error!(
                    error = chain(&EngineError::from(problem)),
                    "runtime.blockio_config_file is refused: classes of block I/O are refused until it is right"
                );
            }
            // A file that is wrong has just been told.
            for line in classes.absent_devices().unwrap_or_default() {
                tracing::warn!("runtime.blockio_config_file: {line}");
            }
            Ok(())
        };
        if let Err(error) = blocking("making groups of cache", make).await {
            tracing::error!(error = chain(&error), "groups of cache are not made");
        }
    }

    /// Makes them where the file has changed. Blocks for as long as its filesystem does.
    pub fn follow_groups(&self) {
        let classes = self.core.live().classes.clone();
        tell(classes.follow_groups());
    }
}

impl Paths {
    /// Groups of cache that a daemon has made, and that are still there.
    pub fn cache_groups(&self) -> Vec<PathBuf> {
        oci::classes::own_groups(&self.state.join(RDT_GROUPS), &Resctrl::default())
    }
}

/// Removes a group of cache; says why it stays.
///
/// # Errors
/// The kernel's, or that it has processes.
pub fn remove_cache_group(group: &Path) -> Result<(), String> {
    match oci::classes::remove_group(group).map_err(EngineError::from) {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("{} has processes of others", group.display())),
        Err(error) => Err(chain(&error)),
    }
}

fn tell(made: oci::OciResult<Option<RdtReport>>) {
    match made.map_err(EngineError::from) {
        Ok(None) => {}
        Ok(Some(RdtReport { made, notes, refused })) => {
            tracing::info!(classes = made.join(", "), "groups of cache are as runtime.rdt_config_file says");
            for note in notes {
                tracing::warn!("runtime.rdt_config_file: {note}");
            }
            for class in refused {
                tracing::error!("runtime.rdt_config_file: class {class}");
            }
        }
        Err(error) => tracing::error!(
            error = chain(&error),
            "runtime.rdt_config_file is refused: groups stay as they are, and classes of RDT are refused until it is right"
        ),
    }
}
