//! The cgroups of a container, made beside its plan: with a directory in each hierarchy of v1 they take as long as all the
//! rest of planning.

use super::draft::Draft;
use crate::error::EngineError;
use crate::in_memory::Pod;
use crate::record;
use crate::{Containers, blocking};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use sys::sync::lock;
use tokio::task::JoinHandle;

/// Cgroups that are being made, for the thread that is to set their limits.
pub(super) struct Ahead(Mutex<Option<Receiver<()>>>);

impl Ahead {
    /// None are being made, or none any more.
    pub(super) fn nothing() -> Self {
        Self(Mutex::new(None))
    }

    fn new() -> (Self, SyncSender<()>) {
        let (made, done) = sync_channel(1);
        (Self(Mutex::new(Some(done))), made)
    }

    /// Blocks until they stand; `false` when they do not.
    pub(super) fn stand(&self) -> bool {
        lock(&self.0).take().is_some_and(|made| made.recv().is_ok())
    }
}

impl Containers {
    /// Begins with them where that pays. What cannot be made is met again, and told, when the limits are set.
    pub(super) fn begin_cgroups(self: &Arc<Self>, draft: &Draft) -> Option<(Ahead, JoinHandle<()>)> {
        let made_here = self.core.tree.driver() == oci::cgroup::Driver::Cgroupfs
            && !draft.live.handlers.of(&draft.pod).is_foreign()
            && !self.core.cgroups.is_unified();
        if !made_here {
            return None;
        }
        let (ahead, made) = Ahead::new();
        let (this, pod, id) = (self.clone(), draft.pod.clone(), draft.id.clone());
        let task = tokio::task::spawn_blocking(move || {
            // The journal of what follows, where the spec itself is not there yet: recovery goes by the name alone.
            let spec = pod.files.spec(&id);
            let journal = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&spec);
            if journal.is_err() && !spec.exists() {
                return;
            }
            if failpoint::reach!("engine.create.noted").is_err() {
                return;
            }
            match this.core.cgroups.make(&pod.cgroup.container(&id)) {
                // There is room for it, and the other end may have gone.
                Ok(()) if failpoint::reach!("engine.create.cgroups").is_ok() => drop(made.send(())),
                Ok(()) => {}
                Err(error) => tracing::debug!(container_id = %id, %error, "cgroups are not made ahead"),
            }
        });
        Some((ahead, task))
    }

    /// Takes back the cgroups of a container that does not come to be.
    pub(super) async fn unmake_cgroups(
        self: &Arc<Self>,
        pod: &Arc<Pod>,
        id: &str,
    ) -> Result<(), EngineError> {
        let (this, pod, id) = (self.clone(), pod.clone(), id.to_owned());
        blocking("taking back cgroups", move || {
            this.core.cgroups.remove(&pod.cgroup.container(&id))?;
            record::remove(&pod.files.spec(&id))
        })
        .await
    }
}
