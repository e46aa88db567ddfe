//! What has to be on the disk before a pod's network is made: plugins that are executed keep what they give to a pod where it
//! outlives a boot, as host-local does its addresses. Without a record of the pod nobody would ask them to free it.

use crate::Pods;
use crate::in_memory::Pod;
use crate::mirror::Key;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Pods do not wait for a disk that hangs longer than so.
const PATIENCE: Duration = Duration::from_secs(2);

/// A pod's record on its way to the disk, where that matters.
pub(super) struct Durable(Option<oneshot::Receiver<()>>);

impl Pods {
    /// Sends the record of a pod to the disk if its network needs that.
    pub(super) fn make_durable(&self, pod: &Pod, record: Vec<u8>) -> Durable {
        let is_needed = pod.netns().is_some() && self.core.network.executes_plugins();
        Durable(is_needed.then(|| self.core.mirror.put_now(Key::Pod(pod.id.clone()), record)))
    }
}

impl Durable {
    /// Waits until it is there. A disk that refuses it keeps no pod from running: that is told, and tried again behind.
    pub(super) async fn wait(self, pod: &Pod) {
        let Some(told) = self.0 else { return };
        if !matches!(timeout(PATIENCE, told).await, Ok(Ok(()))) {
            tracing::warn!(pod_id = %pod.id, "the pod's record is not on the disk yet: should the power go now, what its \
                network's plugins keep of it would stay");
        }
    }
}
