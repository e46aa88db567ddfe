//! What plugins make of a container that is to be created.

use super::{Changers, view};
use crate::Containers;
use crate::container::{Draft, mount_label};
use crate::error::EngineError;
use crate::record::{ContainerRecord, Updated};
use nri::Section;
use nri::api::ContainerAdjustment;
use nri::apply::{ApplyError, Context};
use oci_spec::runtime::Spec;
use std::sync::Arc;
use sys::sync::lock;

impl Containers {
    /// Asks plugins about a container that is to be created, and changes its spec as they want. Blocks until they have
    /// answered: this thread is one that nothing else waits for.
    pub(crate) fn adjust(
        self: &Arc<Self>,
        draft: &Draft,
        record: &mut ContainerRecord,
        spec: &mut Spec,
        section: &mut Section,
    ) -> Result<(), EngineError> {
        let shown = view::with_spec(record, spec, None, None);
        // From now on plugins may know of it, however this ends.
        let _ = draft.asked.set(shown.clone());
        let asking = section.create_container(view::pod(&draft.pod), shown);
        let (created, verdict) = self.core().reactor.block_on(self.core().stage("nri", asking))?;
        *lock(&draft.verdict) = verdict;
        failpoint::reach!("engine.plugins.create_asked")?;
        let (live, pod) = (&draft.live, &draft.pod);
        let context = Context {
            devices: &live.devices,
            classes: &live.classes,
            ceilings: live.handlers.ceilings(crate::userns::root_of(&pod.config()).is_some()),
            native: !live.handlers.of(pod).is_foreign(),
        };
        let owners = created.owners.owners.get(draft.id.as_str());
        let asked_by = |field| owners.map(|all| nri::apply::for_field(field, all)).unwrap_or_default();
        let changed_by = Changers { limits: asked_by("linux.resources"), anything: asked_by("") };
        // They are asked once.
        let _ = draft.changed_by.set(changed_by);
        let named = |error: ApplyError| {
            let error = error.asked_by(owners);
            section.rejected(error.plugins());
            error
        };
        let applied = nri::apply::apply(spec, &created.adjustment, &context).map_err(named)?;
        crate::selinux::label_paths(&applied.relabel, mount_label(spec))?;
        record.updated = limits(record, &created.adjustment, named)?;
        failpoint::reach!("engine.plugins.create_applied")?;
        self.core().reactor.block_on(self.apply_updates(created.updates, "CreateContainer"))?;
        Ok(failpoint::reach!("engine.plugins.create_followed")?)
    }

    /// Waits for what validators say, beside whom the container was prepared. Blocks.
    pub(crate) fn judged(&self, draft: &Draft) -> Result<(), EngineError> {
        let verdict = std::mem::take(&mut *lock(&draft.verdict));
        if verdict.is_agreed() {
            return Ok(());
        }
        Ok(self.core().reactor.block_on(self.core().stage("nri", verdict.wait()))?)
    }

    /// Tells plugins that a container which they were asked about does not come to be, where nothing of it is there. Blocks.
    pub(crate) fn untell(self: &Arc<Self>, draft: &Draft) {
        let Some(shown) = draft.asked.get() else { return };
        if self.core().registry.any_container(draft.id.as_str()).is_none() {
            self.core().reactor.block_on(self.tell_unmade(&draft.pod, shown.clone()));
        }
    }
}

/// The limits of a container that plugins have changed, for its status and for later changes of a part of them.
fn limits(
    record: &ContainerRecord,
    adjustment: &ContainerAdjustment,
    named: impl FnOnce(ApplyError) -> ApplyError,
) -> Result<Option<Updated>, EngineError> {
    let asked = adjustment.linux.as_ref().and_then(|linux| linux.resources.as_ref());
    let Some(asked) = asked else { return Ok(None) };
    // What can be set at the beginning alone is in the spec.
    let change = nri::view::changeable(asked).map_err(|error| named(error.into()))?;
    let resources = crate::limits::merge(&record.config.resources, &change)?;
    Ok(Some(Updated { resources, annotations: std::collections::BTreeMap::new() }))
}
