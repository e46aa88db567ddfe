//! Taking a pod down: every step is carried out whatever the others did, and each may have been done before.

use super::files;
use crate::error::EngineError;
use crate::events::EventKind;
use crate::in_memory::Pod;
use crate::mirror::Key;
use crate::supervisor::Supervisor;
use crate::{Pods, blocking};
use model::{ContainerState, SandboxState};
use std::sync::Arc;
use std::time::Duration;

impl Pods {
    /// Frees everything that the pod holds on the host: processes, network, namespaces, mounts, cgroups. Its
    /// records stay.
    pub(crate) async fn release(self: &Arc<Self>, pod: &Arc<Pod>) -> Result<(), EngineError> {
        if pod.is_released() {
            return Ok(());
        }
        let mut failures = Vec::new();
        let was_ready = pod.state() == SandboxState::Ready;
        if was_ready {
            pod.update_regardless(|record| record.state = SandboxState::NotReady);
        }
        failpoint::pass!("engine.release.marked");
        pod.stop_counting();
        failures.extend(self.core.stage("kill_containers", self.kill_containers(pod)).await);
        failpoint::pass!("engine.release.killed");
        self.tell_plugins(pod).await;
        let (network, shim) = tokio::join!(
            self.core.stage("cni_del", self.detach(pod)),
            self.core.stage("supervisor_end", self.end_supervisor(pod)),
        );
        failures.extend(network.err());
        failures.extend(shim.err());
        let (this, held) = (self.clone(), pod.clone());
        let rest =
            self.core.stage("unmount", blocking("taking down a pod", move || Ok(this.release_host(&held))));
        match rest.await {
            Ok(more) => failures.extend(more),
            Err(error) => failures.push(error),
        }
        failures.extend(self.core.stage("scope_end", self.core.tree.release_scope(pod)).await.err());
        // What the shim did not get to bury before it ended.
        self.containers.orphaned(pod, "").await;
        if was_ready {
            self.core.events.tell_pod(pod, EventKind::Stopped);
        }
        if !failures.is_empty() {
            pod.update_regardless(|record| record.state = SandboxState::NotReady);
            return Err(EngineError::Teardown { pod: pod.id.to_string(), failures });
        }
        // One that was never ready is to be forgotten, by the next daemon if not by this one: nobody knows it.
        let was_made = pod.state() != SandboxState::Creating;
        if let Some(bytes) = pod.update_regardless(|record| record.released = true)
            && was_made
        {
            self.core.mirror.put(Key::Pod(pod.id.clone()), bytes);
        }
        failpoint::pass!("engine.release.recorded");
        Ok(())
    }

    /// Kills every container that lives and waits for its end to be known.
    async fn kill_containers(self: &Arc<Self>, pod: &Arc<Pod>) -> Vec<EngineError> {
        let containers = self.core.registry.containers_of(&pod.id);
        let kills = containers
            .into_iter()
            .filter(|container| !matches!(container.state(), ContainerState::Exited { .. }))
            .map(|container| async move { self.containers.kill(&container).await });
        futures::future::join_all(kills).await.into_iter().filter_map(Result::err).collect()
    }

    /// Tells plugins of the ends of its containers, and then that the pod stops: all of it is still there.
    async fn tell_plugins(self: &Arc<Self>, pod: &Arc<Pod>) {
        let containers = self.core.registry.containers_of(&pod.id);
        let ended = containers.iter().filter(|one| matches!(one.state(), ContainerState::Exited { .. }));
        futures::future::join_all(ended.map(|container| self.containers.tell_end(container))).await;
        self.core.tell_stopping_pod(pod).await;
    }

    async fn detach(&self, pod: &Arc<Pod>) -> Result<(), EngineError> {
        let record = pod.record();
        let Some(network) = files::network_of(&record) else { return Ok(()) };
        // Boxed: executing plugins makes for a large future.
        let detached = Box::pin(self.core.network.detach(&network, record.attachment.as_deref())).await;
        detached.map_err(EngineError::of_network(&network))?;
        failpoint::reach!("engine.release.detached")?;
        let pin = network.netns;
        let node = Arc::clone(&self.core.network);
        let held = pod.clone();
        blocking("removing a network namespace", move || {
            // With the namespace the kernel would destroy them, or give them other names.
            crate::container::give_back(&held, None)?;
            node.remove_namespace(&pin)
                .map_err(EngineError::sys(format!("remove the network namespace {pin:?}")))?;
            Ok(failpoint::reach!("engine.release.netns")?)
        })
        .await
    }

    async fn end_supervisor(&self, pod: &Arc<Pod>) -> Result<(), EngineError> {
        let limit = Duration::from_secs(self.core.live().settings.kill_timeout_seconds);
        let Some(supervisor) = pod.supervisor() else {
            if pod.is_stranded() {
                self.launcher.kill_lost(&pod.id).await;
            }
            return Ok(());
        };
        let asked = tokio::time::timeout(limit, supervisor.shutdown()).await;
        if !matches!(asked, Ok(Ok(()))) {
            supervisor.kill();
        }
        let ended = wait(&*supervisor, limit, &pod.id).await;
        failpoint::pass!("engine.release.shutdown");
        if ended.is_ok() {
            pod.set_supervisor(None);
            pod.set_pause(None);
        }
        ended
    }

    /// Mounts and cgroups, once no process is left; returns what failed.
    fn release_host(&self, pod: &Pod) -> Vec<EngineError> {
        let mut failures: Vec<EngineError> = Vec::new();
        // The one of a pod of an earlier daemon, and the one of any other.
        failures.extend(self.host.unmount(&pod.files.dir().join("shm")).err());
        failures.extend(self.host.unmount(&pod.files.own()).err());
        failpoint::pass!("engine.release.unmounted");
        failures.extend(crate::record::remove(&pod.files.socket()).err());
        for container in self.core.registry.containers_of(&pod.id) {
            failures.extend(self.core.tree.remove(&container).err());
        }
        self.core.tree.remove_nameplate(pod);
        self.core.tree.release(pod);
        failpoint::pass!("engine.release.cgroups");
        failures
    }
}

async fn wait(supervisor: &dyn Supervisor, limit: Duration, pod: &str) -> Result<(), EngineError> {
    if supervisor.gone(limit).await {
        return Ok(());
    }
    supervisor.kill();
    if supervisor.gone(limit).await {
        return Ok(());
    }
    Err(EngineError::Unkillable {
        id: format!("(the supervisor of pod {pod})"),
        seconds: limit.as_secs() * 2,
        hint: crate::container::hint(supervisor.pid()),
    })
}
