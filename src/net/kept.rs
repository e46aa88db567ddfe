//! Keeping the packet rules of attachments: what somebody flushes of them is made again.

use crate::Attachment;
use crate::call::Caller;
use crate::host::Host;
use crate::network::Network;
use cni::types::CniError;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, OnceLock};
use sys::sync::lock;

/// Says which attachments there are.
type Attached = Box<dyn Fn() -> Vec<Arc<Attachment>> + Send + Sync>;

/// What has to be kept.
#[derive(Default)]
pub(crate) struct Kept {
    attached: OnceLock<Attached>,
    /// Pods whose DEL has begun. Held while rules are made, so that none are made after their DEL.
    leaving: Mutex<HashSet<String>>,
    /// The number of the rules' state when they were looked at last.
    seen: Mutex<Option<u32>>,
}

impl Kept {
    /// A pod's rules are removed from now on.
    pub(crate) fn leaves(&self, id: &str) {
        lock(&self.leaving).insert(id.to_owned());
    }

    /// Makes what is missing; whether anything was.
    fn heal(&self, host: &dyn Host) -> Result<bool, CniError> {
        let Some(attached) = self.attached.get() else { return Ok(false) };
        let now = host.rules_generation();
        let mut seen = lock(&self.seen);
        if now.is_some() && *seen == now {
            return Ok(false);
        }
        let mut leaving = lock(&self.leaving);
        let mut attachments = attached();
        leaving.retain(|id| attachments.iter().any(|attachment| attachment.container_id == *id));
        attachments.retain(|attachment| !leaving.contains(&attachment.container_id));
        // One after the other: the calls of all pods together take megabytes.
        let healed = host.heal(&mut attachments.iter().flat_map(|attachment| Caller::rules_of(attachment)));
        // What has changed since, also by this, is looked at the next time.
        *seen = now;
        healed
    }
}

impl Network {
    /// Has the packet rules of attachments kept, as far as plugins in process have made them: they are looked at now and
    /// then, and made again where somebody has flushed them. `attached` says which there are, in the order in which
    /// they were made; from the start of its [`Self::detach`] on a pod is passed over.
    /// Must be called within a tokio runtime.
    pub fn keep(self: &Arc<Self>, attached: impl Fn() -> Vec<Arc<Attachment>> + Send + Sync + 'static) {
        // Only the first one is needed.
        let _ = self.kept.attached.set(Box::new(attached));
        // By itself: the plugins are being asked how they are at this time.
        let network = Arc::clone(self);
        tokio::spawn(async move { network.heal().await });
    }

    /// Looks after the rules.
    pub(crate) async fn heal(self: &Arc<Self>) {
        let network = Arc::clone(self);
        match tokio::task::spawn_blocking(move || network.kept.heal(&*network.host)).await {
            Ok(Ok(true)) => tracing::warn!("packet rules of pods were missing, and are made again"),
            Ok(Ok(false)) | Err(_) => {}
            Ok(Err(error)) => tracing::warn!(%error, "packet rules of pods are not all there"),
        }
    }
}
