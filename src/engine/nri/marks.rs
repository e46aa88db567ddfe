//! What plugins have been told of a pod or a container.

use oci_spec::runtime::Spec;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use sys::sync::lock;
use tokio::sync::{Mutex as AsyncMutex, MutexGuard, OnceCell};

/// Of a pod.
#[derive(Debug, Default)]
pub(crate) struct PodMarks {
    asked: AtomicBool,
    /// They have been told that it stops, if there was anybody to be told.
    pub(super) stopped: OnceCell<()>,
}

impl PodMarks {
    /// Plugins are asked about a pod that nobody knows yet.
    pub(super) fn ask(&self) {
        self.asked.store(true, Ordering::Release);
    }

    /// Whether plugins were asked before anybody knew of it.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }
}

/// Of a container.
#[derive(Debug, Default)]
pub(crate) struct ContainerMarks {
    asked: AtomicBool,
    /// A plugin wants its end, which is under way.
    pub(super) is_evicted: AtomicBool,
    /// They have been told that it has stopped, if there was anybody to be told.
    pub(super) stopped: OnceCell<()>,
    /// Held while a change is under way that plugins hear of before and after.
    order: AsyncMutex<()>,
    /// Its spec, from its creation until it runs: plugins see it several times on the way.
    spec: Mutex<Option<Arc<Spec>>>,
}

impl ContainerMarks {
    /// Plugins have been asked about a container that nobody knows yet, and will see this spec.
    pub(crate) fn ask(&self, spec: Arc<Spec>) {
        self.asked.store(true, Ordering::Release);
        *lock(&self.spec) = Some(spec);
    }

    /// Whether plugins were asked before anybody knew of it.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// What plugins hear of a change has an order: an end in the middle of one is told when they have heard of the whole.
    pub(crate) async fn in_order(&self) -> MutexGuard<'_, ()> {
        self.order.lock().await
    }

    /// Its end is in what plugins are told when they join.
    pub(super) fn has_ended_before(&self) {
        let _ = self.stopped.set(());
    }

    /// The spec, while it is kept.
    pub(super) fn spec(&self) -> Option<Arc<Spec>> {
        lock(&self.spec).clone()
    }

    /// Lets go of the spec: from now on it is read where it is needed.
    pub(crate) fn forget_spec(&self) {
        *lock(&self.spec) = None;
    }
}
