//! UpdatePodSandboxResources.

use crate::error::EngineError;
use crate::in_memory::Pod;
use crate::limits;
use crate::mirror::Key;
use crate::record::PodLimits;
use crate::stats::limits_changed;
use crate::{Pods, blocking};
use model::{Resources, SandboxState};
use oci::cgroup;
use std::sync::Arc;

impl Pods {
    /// Takes the limits of a ready pod as a whole. A pod whose cgroup is this runtime's own gets them; where the
    /// request named a `cgroup_parent`, its owner (the kubelet) sizes it, and they are kept to be shown.
    pub async fn update_pod(
        self: &Arc<Self>,
        id: &str,
        overhead: Option<Resources>,
        resources: Option<Resources>,
    ) -> Result<(), EngineError> {
        let (this, pod) = (self.clone(), self.core.registry.pod(id)?);
        self.core
            .carry_out("UpdatePodSandboxResources", id, async move {
                let _op = pod.op.write().await;
                match pod.state() {
                    SandboxState::Ready => {}
                    SandboxState::Creating => return Err(EngineError::NoSuchPod(pod.id.to_string())),
                    SandboxState::NotReady => {
                        return Err(EngineError::WrongState {
                            operation: "update the resources of",
                            id: format!("pod sandbox {}", pod.id),
                            state: "not ready".to_owned(),
                        });
                    }
                }
                let held = pod.clone();
                let change = PodLimits { overhead, resources };
                let section = this.core.ask_update_pod(&pod, &change).await?;
                let core = this.core.clone();
                let update = move || {
                    let updated = this.update_pod_limits(&held, change);
                    // Also where its owner has set them.
                    limits_changed(&this.core.registry, &held);
                    updated
                };
                blocking("updating limits", update).await?;
                core.tell_updated_pod(&pod, section).await;
                Ok(())
            })
            .await
    }

    fn update_pod_limits(&self, pod: &Pod, change: PodLimits) -> Result<(), EngineError> {
        let before = pod.record().limits();
        let after = PodLimits {
            overhead: change.overhead.or_else(|| before.overhead.clone()),
            resources: change.resources.or_else(|| before.resources.clone()),
        };
        let wanted = self.cgroup_limits(pod, &after)?;
        // What the kernel has: the record before may name less than is written now.
        let old = match &wanted {
            Some(wanted) => {
                let force = pod.accounts(&self.core.cgroups).limits(pod.cgroup.parent(), wanted)?;
                Some(limits::only(force, wanted))
            }
            None => None,
        };
        let applied = self
            .write_limits(pod, wanted.as_ref())
            .and_then(|()| Ok(failpoint::reach!("engine.resize.limited")?));
        match applied.and_then(|()| pod.update(|record| record.updated = Some(after))) {
            Ok(bytes) => {
                failpoint::pass!("engine.resize.recorded");
                self.core.mirror.put(Key::Pod(pod.id.clone()), bytes);
                Ok(())
            }
            Err(failure) => Err(failure.and_left(self.write_limits(pod, old.as_ref()))),
        }
    }

    /// Sets the limits of a pod whose cgroup is this runtime's own.
    pub(crate) fn limit_pod(&self, pod: &Pod, asked: &PodLimits) -> Result<(), EngineError> {
        self.write_limits(pod, self.cgroup_limits(pod, asked)?.as_ref())
    }

    /// What the pod's cgroup is to have; `None` where there is nothing to write, or its owner is somebody else.
    fn cgroup_limits(&self, pod: &Pod, asked: &PodLimits) -> Result<Option<cgroup::Resources>, EngineError> {
        let total = limits::pod(asked.resources.as_ref(), asked.overhead.as_ref());
        if !pod.config().linux.cgroup_parent.is_empty() || total == Resources::default() {
            return Ok(None);
        }
        self.core.limits.cgroup_limits(&total).map(Some)
    }

    fn write_limits(&self, pod: &Pod, limits: Option<&cgroup::Resources>) -> Result<(), EngineError> {
        let Some(limits) = limits else { return Ok(()) };
        Ok(pod.accounts(&self.core.cgroups).limit(pod.cgroup.parent(), limits)?)
    }
}
