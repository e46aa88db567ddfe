//! UpdateContainerResources: what the request names is changed, the rest stays.

use crate::error::EngineError;
use crate::in_memory::Container;
use crate::limits;
use crate::mirror::Key;
use crate::record;
use crate::stats::limits_changed;
use crate::{Containers, blocking};
use model::{ContainerState, OomScore, Resources};
use oci_spec::runtime::Spec;
use std::collections::BTreeMap;
use std::sync::Arc;
use sys::sync::lock;

/// A container's spec around a change.
struct Specs {
    /// As it lies on the disk.
    former: Vec<u8>,
    next: Spec,
}

impl Containers {
    /// Changes the limits of a container that has not ended: those that are not 0 or empty. Either all of them are
    /// changed or none. `annotations` are kept with the container and mean nothing here.
    pub async fn update_container(
        self: &Arc<Self>,
        id: &str,
        change: Resources,
        annotations: BTreeMap<String, String>,
    ) -> Result<(), EngineError> {
        let (this, container) = (self.clone(), self.core.registry.container(id)?);
        self.core
            .carry_out("UpdateContainerResources", id, async move {
                let _pod = container.pod.op.read().await;
                let op = container.op.lock().await;
                if matches!(container.state(), ContainerState::Exited { .. }) {
                    return Err(EngineError::wrong_state("update the resources of", &container));
                }
                let turn = this.core.turn(&container).await;
                let mut section = this.core.section(nri::api::Event::UpdateContainer);
                let (change, updates) = this.core.ask_update(&container, change, &mut section).await?;
                let changed = this.change_limits(&container, change, annotations).await;
                changed.map_err(|error| error.asked_by(updates.asked_by(&container.id)))?;
                this.core.tell_updated(&container, section, turn).await;
                // Others have locks of their own, and may be after this one.
                drop(op);
                this.apply_updates(updates, "UpdateContainerResources").await?;
                Ok(failpoint::reach!("engine.plugins.update_followed")?)
            })
            .await
    }

    /// Changes the limits of a container whose lock is held.
    pub(crate) async fn change_limits(
        self: &Arc<Self>,
        container: &Arc<Container>,
        change: Resources,
        annotations: BTreeMap<String, String>,
    ) -> Result<(), EngineError> {
        let (this, held) = (self.clone(), container.clone());
        let update = move || {
            let updated = this.update_limits(&held, &change, annotations);
            limits_changed(&this.core.registry, &held.pod);
            updated
        };
        blocking("updating limits", update).await
    }

    fn update_limits(
        &self,
        container: &Container,
        change: &Resources,
        annotations: BTreeMap<String, String>,
    ) -> Result<(), EngineError> {
        let before = container.record().resources().clone();
        let after = limits::merge(&before, change)?;
        let wanted = self.core.limits.cgroup_limits(&limits::changed(&before, &after, change))?;
        let specs = self.updated_spec(container, &after)?;
        let path = container.cgroup();
        let accounts = container.pod.accounts(&self.core.cgroups);
        let old = limits::only(accounts.limits(&path, &wanted)?, &wanted);
        let applied = accounts
            .limit(&path, &wanted)
            .map_err(EngineError::from)
            .and_then(|()| Ok(failpoint::reach!("engine.update.limited")?))
            .and_then(|()| self.record_limits(container, &specs, &after, annotations));
        if let Err(failure) = applied {
            return Err(failure.and_left(accounts.limit(&path, &old).map_err(EngineError::from)));
        }
        if let Some(template) = container.exec.get() {
            *lock(&template.cgroup) = self.core.cgroups.joined(&path);
        }
        if before.oom_score_adj != after.oom_score_adj {
            self.adjust_oom_scores(container, after.oom_score_adj.get());
        }
        Ok(())
    }

    /// The container's spec with the new limits.
    fn updated_spec(&self, container: &Container, resources: &Resources) -> Result<Specs, EngineError> {
        let path = container.pod.files.spec(&container.id);
        let bytes = crate::record::bytes(&path).map_err(EngineError::io("read", &path))?;
        let mut spec: Spec = oci::json::read(&bytes).map_err(|source| EngineError::Record {
            operation: "decode",
            id: container.id.to_string(),
            source,
        })?;
        let limits = oci::spec::resources(resources, &self.core.live().planning, false);
        if let Some(held) = spec.linux_mut().as_mut().and_then(|linux| linux.resources_mut().as_mut()) {
            held.set_cpu(limits.cpu().clone())
                .set_memory(*limits.memory())
                .set_hugepage_limits(limits.hugepage_limits().clone())
                .set_unified(limits.unified().clone());
        }
        if let (Some(process), true) =
            (spec.process_mut().as_mut(), resources.oom_score_adj != OomScore::default())
        {
            process.set_oom_score_adj(Some(resources.oom_score_adj.get_i32()));
        }
        Ok(Specs { former: bytes, next: spec })
    }

    fn record_limits(
        &self,
        container: &Container,
        specs: &Specs,
        resources: &Resources,
        annotations: BTreeMap<String, String>,
    ) -> Result<(), EngineError> {
        let path = container.pod.files.spec(&container.id);
        record::write(&path, &container.id, &specs.next)?;
        let bytes = failpoint::reach!("engine.update.specified")
            .map_err(EngineError::from)
            .and_then(|()| container.set_resources(resources.clone(), annotations))
            .map_err(|failure| failure.and_left(record::replace(&path, &specs.former)))?;
        failpoint::pass!("engine.update.recorded");
        self.core.mirror.put(Key::Container(container.id.clone()), bytes);
        Ok(())
    }

    /// Gives the new score to the processes that have the first one's; others have chosen their own. A host that
    /// forbids to lower it is as good as one that never could.
    fn adjust_oom_scores(&self, container: &Container, score: i64) {
        let file = |pid: i32| format!("/proc/{pid}/oom_score_adj");
        let read = |pid: i32| std::fs::read_to_string(file(pid)).ok();
        let Some(first) = container.pid().and_then(read) else { return };
        for pid in container.pod.accounts(&self.core.cgroups).processes(&container.cgroup()) {
            if read(pid).is_some_and(|text| text == first)
                && let Err(error) = std::fs::write(file(pid), score.to_string())
            {
                tracing::info!(container_id = %container.id, pid, score, %error, "the host restricts oom_score_adj");
            }
        }
    }
}
