//! Classes of cache and memory bandwidth: groups of the kernel's resctrl filesystem, by their names.

use crate::error::{OciError, OciResult};
use oci_spec::runtime::LinuxIntelRdt;
use std::path::{Path, PathBuf};

/// Directories in it that are no groups.
const RESERVED: [&str; 5] = [".", "..", "info", "mon_groups", "mon_data"];

/// What errors call the field.
const FIELD: &str = "RDT class";

#[derive(Debug, Default)]
pub(super) struct Groups {
    root: PathBuf,
}

impl Groups {
    pub(super) fn of(root: &Path) -> Self {
        Self { root: root.to_path_buf() }
    }

    /// Refuses a host without groups.
    pub(super) fn check(&self) -> OciResult<()> {
        if self.root.join("schemata").exists() {
            return Ok(());
        }
        let reason = format!("the host has no resctrl filesystem at {}", self.root.display());
        Err(OciError::invalid(FIELD, reason))
    }

    /// A group that is there.
    pub(super) fn class(&self, name: &str) -> OciResult<LinuxIntelRdt> {
        self.check()?;
        let group = self.group(name)?;
        if !group.join("tasks").exists() {
            return Err(OciError::invalid(FIELD, format!("{name:?}: there is no group {}", group.display())));
        }
        let mut class = LinuxIntelRdt::default();
        class.set_clos_id(Some(name.to_owned()));
        Ok(class)
    }

    /// The directory whose `tasks` processes join; it is made where the class says what it is to have.
    pub(super) fn join(&self, class: &LinuxIntelRdt) -> OciResult<PathBuf> {
        self.check()?;
        if class.enable_monitoring().unwrap_or(false) {
            return Err(OciError::invalid(FIELD, "monitoring a container is not supported"));
        }
        let name = class.clos_id().as_deref().unwrap_or_default();
        let Some(schemata) = class.schemata() else {
            self.class(name)?;
            return self.group(name);
        };
        let group = self.group(name)?;
        if let Err(error) = std::fs::create_dir(&group)
            && error.kind() != std::io::ErrorKind::AlreadyExists
        {
            return Err(OciError::io("mkdir", &group)(error));
        }
        let file = group.join("schemata");
        let text: String = schemata.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(&file, text).map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidInput => {
                OciError::invalid(FIELD, format!("{name:?}: the kernel does not take {schemata:?}"))
            }
            _ => OciError::io("write", &file)(error),
        })?;
        Ok(group)
    }

    fn group(&self, name: &str) -> OciResult<PathBuf> {
        if name.is_empty() || name.contains('/') || RESERVED.contains(&name) {
            return Err(OciError::invalid(FIELD, format!("{name:?} is no name of a group")));
        }
        Ok(self.root.join(name))
    }
}
