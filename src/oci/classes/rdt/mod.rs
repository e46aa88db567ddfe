//! Classes of cache and memory bandwidth: groups of the kernel's resctrl filesystem, by their names. A file in the form of
//! goresctrl's, which both peers read, may describe some: these are made.

mod document;
mod file;
mod host;
mod ids;
mod make;
mod resolve;
mod share;

pub use host::Resctrl;
pub use make::{RdtReport, own_groups, remove_group};

use super::Origin;
use crate::error::{OciError, OciResult};
use make::Described;
use oci_spec::runtime::LinuxIntelRdt;
use std::path::{Path, PathBuf};

/// Directories in it that are no groups.
const RESERVED: [&str; 5] = [".", "..", "info", "mon_groups", "mon_data"];

/// What errors call the field.
const FIELD: &str = "RDT class";

#[derive(Debug, Default)]
pub(super) struct Groups {
    resctrl: Resctrl,
    described: Option<Described>,
}

impl Groups {
    pub(super) fn of(resctrl: &Resctrl) -> Self {
        Self { resctrl: resctrl.clone(), described: None }
    }

    /// The same with those of a file.
    pub(super) fn described_in(self, file: &Path, record: &Path) -> Self {
        Self { described: Some(Described::new(file, record)), ..self }
    }

    /// Whether the file is right, and this host can do as it says.
    pub(super) fn check_described(&self) -> OciResult<()> {
        self.described.as_ref().map_or(Ok(()), |described| described.check(&self.resctrl))
    }

    pub(super) fn make(&self) -> OciResult<Option<RdtReport>> {
        self.described.as_ref().map_or(Ok(None), |described| described.make(&self.resctrl))
    }

    pub(super) fn follow(&self) -> OciResult<Option<RdtReport>> {
        self.described.as_ref().map_or(Ok(None), |described| described.follow(&self.resctrl))
    }

    /// Refuses a host without groups.
    pub(super) fn check(&self) -> OciResult<()> {
        if is_there(&self.resctrl) {
            return Ok(());
        }
        Err(OciError::invalid(FIELD, self.lack()).of_node())
    }

    pub(super) fn lack_of_described(&self) -> Option<OciError> {
        self.described.as_ref().and_then(|_| self.check().err())
    }

    fn lack(&self) -> String {
        format!("the host has no resctrl filesystem at {}", self.resctrl.root.display())
    }

    /// A class that is asked for: a group that is there, or is made as the file says. Annotations may be denied it.
    pub(super) fn class(&self, name: &str, by: Option<Origin>) -> OciResult<LinuxIntelRdt> {
        let refuse = |reason: String| Err(OciError::invalid(FIELD, format!("{name:?}: {reason}")));
        if !is_there(&self.resctrl) {
            return refuse(self.lack()).map_err(OciError::of_node);
        }
        self.group(name)?;
        let denied = self
            .described
            .as_ref()
            .map_or(Ok(None), |one| one.ask(name, &self.resctrl))
            .map_err(|error| error.of_node().named("runtime.rdt_config_file"))?;
        let denied = denied.unwrap_or_default();
        match by {
            Some(Origin::Pod) if denied.pod => refuse("its file denies it to annotations of pods".to_owned()),
            Some(Origin::Container) if denied.container => {
                refuse("its file denies it to annotations of containers".to_owned())
            }
            _ => self.existing(name),
        }
    }

    /// A group that is there.
    fn existing(&self, name: &str) -> OciResult<LinuxIntelRdt> {
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
            self.existing(name)?;
            return self.group(name);
        };
        let group = self.group(name)?;
        if let Err(error) = std::fs::create_dir(&group)
            && error.kind() != std::io::ErrorKind::AlreadyExists
        {
            return Err(OciError::io("mkdir", &group)(error).of_node());
        }
        let file = group.join("schemata");
        let text: String = schemata.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(&file, text).map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidInput => {
                OciError::invalid(FIELD, format!("{name:?}: the kernel does not take {schemata:?}"))
            }
            _ => OciError::io("write", &file)(error).of_node(),
        })?;
        Ok(group)
    }

    fn group(&self, name: &str) -> OciResult<PathBuf> {
        if !is_name(name) {
            return Err(OciError::invalid(FIELD, format!("{name:?} is no name of a group")));
        }
        Ok(self.resctrl.root.join(name))
    }
}

/// The host has groups.
fn is_there(resctrl: &Resctrl) -> bool {
    resctrl.root.join("schemata").exists()
}

fn is_name(name: &str) -> bool {
    let is_long = name.len() > 255;
    !(name.is_empty() || is_long || name.contains(['/', '\n', '\0']) || RESERVED.contains(&name))
}
