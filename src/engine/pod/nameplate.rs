//! The cgroup by which cAdvisor knows a pod: it takes a cgroup for what the last component of its name says, and asks whose
//! it is. The supervisor need not live in one that is called by the pod's id; then the pod gets one in which nobody lives,
//! which is enough: the traffic is counted in the network namespace of the process that cAdvisor is told.

use crate::error::chain;
use crate::in_memory::Pod;
use crate::{Core, Engine, blocking};
use model::SandboxState;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How much later than a container is asked about: starts of pods come in bursts and make cgroups themselves, and
/// cAdvisor counts every ten seconds.
const LATER: Duration = Duration::from_secs(2);

impl Engine {
    /// Gives a pod that is ready a cgroup that is called by its id, soon and behind everything else. It goes when the pod
    /// is stopped.
    pub fn name_pod(&self, id: &str) {
        if let Some(pod) = self.core.registry.any_pod(id) {
            plate(&self.core, &pod);
        }
    }

    /// The same for all pods.
    pub fn name_pods(&self) {
        self.core.registry.pods().iter().for_each(|pod| plate(&self.core, pod));
    }
}

fn plate(core: &Arc<Core>, pod: &Arc<Pod>) {
    let wants = pod.cgroup.nameplate().is_some() && pod.state() == SandboxState::Ready;
    if !wants || pod.plated.swap(true, Ordering::AcqRel) {
        return;
    }
    // Neither is held meanwhile: a daemon that ends does not wait for it.
    let (core, pod) = (Arc::downgrade(core), Arc::downgrade(pod));
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(LATER).await;
            let (Some(core), Some(pod)) = (core.upgrade(), pod.upgrade()) else { return };
            if plate_now(&core, &pod).await {
                return;
            }
        }
    });
}

/// Whether it is done, or not to be done any more.
async fn plate_now(core: &Arc<Core>, pod: &Arc<Pod>) -> bool {
    let _one_by_one = core.tree.plating.lock().await;
    // Who takes the pod down has this for itself: what is made here is seen there.
    let Ok(_op) = pod.op.try_read() else { return pod.state() != SandboxState::Ready };
    if pod.state() != SandboxState::Ready {
        return true;
    }
    let (shared, held) = (core.clone(), pod.clone());
    let made = blocking("making a cgroup by a pod's id", move || shared.tree.make_nameplate(&held)).await;
    if let Err(error) = made {
        // The next container that is asked about gives it another chance.
        pod.plated.store(false, Ordering::Release);
        tracing::warn!(pod_id = %pod.id, error = chain(&error), "cAdvisor will not find all figures of the pod");
    }
    true
}
