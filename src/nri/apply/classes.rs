//! Classes of block I/O and of cache.

use super::ApplyError;
use crate::api::{LinuxRdt, OptionalString};
use oci::classes::Classes;
use oci_spec::runtime::Linux;

/// An empty class is none at all.
pub(super) fn block_io(
    linux: &mut Linux,
    asked: Option<&OptionalString>,
    classes: &Classes,
) -> Result<(), ApplyError> {
    let Some(asked) = asked else { return Ok(()) };
    let parameters = match asked.value.as_str() {
        "" => None,
        class => Some(classes.block_io(class).map_err(ApplyError::oci("linux.resources.blockio_class"))?),
    };
    linux.resources_mut().get_or_insert_default().set_block_io(parameters);
    Ok(())
}

pub(super) fn rdt_class(
    linux: &mut Linux,
    asked: Option<&OptionalString>,
    classes: &Classes,
) -> Result<(), ApplyError> {
    let Some(asked) = asked else { return Ok(()) };
    let class = match asked.value.as_str() {
        "" => None,
        class => Some(classes.rdt(class).map_err(ApplyError::oci("linux.resources.rdt_class"))?),
    };
    linux.set_intel_rdt(class);
    Ok(())
}

/// A group of the kernel's by its own name.
pub(super) fn rdt(linux: &mut Linux, asked: Option<&LinuxRdt>, classes: &Classes) -> Result<(), ApplyError> {
    let Some(asked) = asked else { return Ok(()) };
    if asked.remove {
        linux.set_intel_rdt(None);
    }
    if asked.clos_id.is_none() && asked.schemata.is_none() && asked.enable_monitoring.is_none() {
        return Ok(());
    }
    classes.check_resctrl().map_err(ApplyError::oci("linux.rdt"))?;
    let mut held = linux.intel_rdt().clone().unwrap_or_default();
    if let Some(group) = &asked.clos_id {
        held.set_clos_id(Some(group.value.clone()));
    }
    if let Some(schemata) = &asked.schemata {
        held.set_schemata(Some(schemata.value.clone()));
    }
    if let Some(monitoring) = &asked.enable_monitoring {
        held.set_enable_monitoring(Some(monitoring.value));
    }
    linux.set_intel_rdt(Some(held));
    Ok(())
}
