//! The network namespace of a pod that is being made: which side makes it, and what was made ahead.

use model::{NamespaceMode, SandboxConfig, SandboxId};
use tokio::sync::oneshot;

/// A network namespace that was made ahead, for a pod of which it is not sure yet that it will be.
pub(super) struct Held<'a> {
    network: &'a net::Network,
    slot: Option<net::Slot>,
}

impl<'a> Held<'a> {
    pub(super) fn take(network: &'a net::Network, config: &SandboxConfig) -> Self {
        let is_wanted = config.linux.security.namespaces.network == NamespaceMode::Pod
            && crate::userns::root_of(config).is_none();
        Self { network, slot: if is_wanted { network.take_slot() } else { None } }
    }

    pub(super) fn id(&self) -> Option<&SandboxId> {
        self.slot.as_ref().map(net::Slot::id)
    }

    pub(super) fn used(mut self) -> Option<net::Slot> {
        self.slot.take()
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.network.give_back(slot);
        }
    }
}

/// Which side of RunPodSandbox makes the network namespace, and which waits for it.
pub(super) enum Netns {
    Make(oneshot::Sender<()>),
    Await(oneshot::Receiver<()>),
}

impl Netns {
    /// Waits for the other side, if it is the one that makes it; an error when that has failed. Otherwise it is to be
    /// made, and the other side then told by what is returned.
    pub(super) async fn stands(self) -> Result<Option<Self>, oneshot::error::RecvError> {
        match self {
            Self::Make(_) => Ok(Some(self)),
            Self::Await(stands) => stands.await.map(|()| None),
        }
    }

    /// Lets the other side go on; it may have failed and gone.
    pub(super) fn ready(self) {
        if let Self::Make(ready) = self {
            let _ = ready.send(());
        }
    }
}
