//! The connection to a pod's supervisor that stands already: it is lost, or taken up again.

use super::Pods;
use crate::container::SUPERVISOR_KILLED;
use crate::error::{EngineError, chain};
use crate::events::EventKind;
use crate::in_memory::{Container, Pod};
use crate::mirror::Key;
use crate::now;
use crate::record::PodRecord;
use crate::supervisor::Hello;
use model::{ContainerEvent, ContainerId, ContainerState, SandboxState};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use wire::msg::{ContainerSnapshot, ExitRecord};

/// How long a process may take to be gone once its socket is closed.
const MOMENT: Duration = Duration::from_millis(200);

/// What a supervisor says of its containers.
pub(crate) type Snapshots = HashMap<ContainerId, ContainerSnapshot>;

impl Pods {
    /// The connection to a pod's supervisor is closed, and nobody told it to end. When it lives, it is connected
    /// to again; otherwise nothing supervises its processes any more, so they are killed and the pod is not ready.
    pub(crate) fn supervisor_lost(self: &Arc<Self>, pod: &Arc<Pod>) {
        let (this, pod) = (self.clone(), pod.clone());
        tokio::spawn(async move {
            let _op = pod.op.write().await;
            let Some(lost) = pod.supervisor().filter(|supervisor| supervisor.is_lost()) else { return };
            if !lost.gone(MOMENT).await {
                match Box::pin(this.reconnect(&pod)).await {
                    Ok(_) => return,
                    Err(error) => {
                        tracing::error!(pod_id = %pod.id, error = chain(&error), "the supervisor is out of reach");
                        lost.kill();
                        lost.gone(Duration::from_secs(this.core.live().settings.kill_timeout_seconds)).await;
                    }
                }
            }
            tracing::error!(pod_id = %pod.id, "the supervisor is gone: its containers are ended");
            this.core.metrics.supervisor_died();
            pod.stop_counting();
            pod.set_supervisor(None);
            pod.set_pause(None);
            this.containers.orphaned(&pod, SUPERVISOR_KILLED).await;
            failpoint::pass!("engine.lost.buried");
            let not_ready = |record: &mut PodRecord| record.state = SandboxState::NotReady;
            if let Some(bytes) = pod.update_regardless(not_ready) {
                this.core.mirror.put(Key::Pod(pod.id.clone()), bytes);
            }
            failpoint::pass!("engine.lost.recorded");
            this.core.events.tell_pod(&pod, EventKind::Stopped);
        });
    }

    /// Connects to the shim of a pod whose lock is held, and takes over what it says of the containers.
    pub(crate) async fn reconnect(self: &Arc<Self>, pod: &Arc<Pod>) -> Result<Snapshots, EngineError> {
        let (supervisor, Hello { pause_pid, containers }) = self.connect(pod, None).await?;
        pod.set_pause(pause_pid);
        pod.set_supervisor(Some(supervisor));
        failpoint::pass!("engine.recover.connected");
        let known: Snapshots = containers
            .into_iter()
            .map(|snapshot| (ContainerId::new(snapshot.id.as_str()), snapshot))
            .collect();
        for container in self.core.registry.containers_of(&pod.id) {
            match known.get(&container.id) {
                Some(snapshot) => self.reconcile(&container, snapshot),
                None => self.missing(&container),
            }
        }
        Ok(known)
    }

    /// Makes a container what its supervisor says of it.
    pub(crate) fn reconcile(&self, container: &Arc<Container>, snapshot: &ContainerSnapshot) {
        container.set_pid(snapshot.pid);
        match &snapshot.exit {
            Some(exit) => self.containers.exited(exit),
            None if snapshot.state == wire::msg::ContainerState::Running
                && container.state() == ContainerState::Created =>
            {
                self.containers.publish(container, ContainerEvent::Started(snapshot.started_at_ns));
            }
            None => {}
        }
    }

    /// A container that its own shim does not know: its removal was under way.
    fn missing(&self, container: &Arc<Container>) {
        if !matches!(container.state(), ContainerState::Exited { .. }) {
            self.containers.exited(&ExitRecord {
                id: container.id.to_string(),
                code: 137,
                signal: Some(9),
                finished_at_ns: now(),
                ..Default::default()
            });
        }
    }
}
