//! What plugins have been told of a pod or a container.

use oci_spec::runtime::Spec;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use sys::sync::lock;
use tokio::sync::{Mutex as AsyncMutex, OnceCell, OwnedMutexGuard};

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

/// The plugins that changed something of a container.
#[derive(Debug, Clone, Default)]
pub(crate) struct Changers {
    pub(super) limits: Vec<String>,
    pub(super) anything: Vec<String>,
}

/// The turn of a change of a container: the next one that plugins hear of waits for it.
#[derive(Debug)]
pub(crate) struct Turn {
    _order: OwnedMutexGuard<()>,
}

/// Of a container.
#[derive(Debug, Default)]
pub(crate) struct ContainerMarks {
    asked: AtomicBool,
    /// A plugin wants its end, which is under way.
    pub(super) is_evicted: AtomicBool,
    /// They have been told that it has stopped, if there was anybody to be told.
    pub(super) stopped: OnceCell<()>,
    /// Held while a change is under way that plugins hear of before and after, and until they have heard.
    order: Arc<AsyncMutex<()>>,
    /// The plugins that changed it, while it was created.
    changed_by: OnceLock<Changers>,
    /// Its spec, from its creation until it runs: plugins see it several times on the way.
    spec: Mutex<Option<Arc<Spec>>>,
}

impl ContainerMarks {
    /// Plugins have been asked about a container that nobody knows yet, and will see this spec.
    pub(crate) fn ask(&self, spec: Arc<Spec>, changed_by: Option<Changers>) {
        // Once, before anybody knows the container.
        let _ = self.changed_by.set(changed_by.unwrap_or_default());
        self.asked.store(true, Ordering::Release);
        *lock(&self.spec) = Some(spec);
    }

    /// Whether plugins were asked before anybody knew of it.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// The plugins that want its limits as they are.
    pub(crate) fn limited_by(&self) -> &[String] {
        self.changed_by.get().map(|by| by.limits.as_slice()).unwrap_or_default()
    }

    /// The plugins that want anything of it as it is.
    pub(crate) fn changed_by(&self) -> &[String] {
        self.changed_by.get().map(|by| by.anything.as_slice()).unwrap_or_default()
    }

    /// What plugins hear of a change has an order: an end in the middle of one is told when they have heard of the whole.
    pub(super) async fn in_order(&self) -> Turn {
        Turn { _order: Arc::clone(&self.order).lock_owned().await }
    }

    /// The same, unless that takes waiting for plugins.
    pub(super) fn at_once(&self) -> Option<Turn> {
        Arc::clone(&self.order).try_lock_owned().ok().map(|order| Turn { _order: order })
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
