//! A network namespace made ahead: the kernel takes about a millisecond for one, which the next pod does not wait for.
//!
//! Pods come in sequences, so one is made a moment after one was used, and given up when nobody wants it for some
//! seconds: what a namespace takes over from the host's parameters (`net.ipv4.conf.*`, `net.ipv4.tcp_rmem`) is no older
//! than that. It is held open and pinned nowhere: it ends with the daemon, however that ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use sys::netns::{self, Unpinned};
use tokio::runtime::Handle;

/// When the next one is made: the pod that has taken the last one is to stand first.
const PAUSE: Duration = Duration::from_millis(15);
/// How old one may be.
const FRESH: Duration = Duration::from_secs(10);

/// Room for one namespace.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    held: Mutex<Option<Held>>,
    filling: AtomicBool,
}

#[derive(Debug)]
struct Held {
    namespace: Unpinned,
    since: Instant,
}

impl Spare {
    /// The one that is there, if it is fresh.
    pub(crate) fn take(&self) -> Option<Unpinned> {
        self.lock().take().filter(|held| held.since.elapsed() < FRESH).map(|held| held.namespace)
    }

    /// Makes another one soon, where a runtime is there to do so.
    pub(crate) fn fill(self: &Arc<Self>) {
        let Ok(runtime) = Handle::try_current() else { return };
        if self.filling.swap(true, Ordering::AcqRel) {
            return;
        }
        let spare = self.clone();
        runtime.spawn(async move {
            tokio::time::sleep(PAUSE).await;
            // One that cannot be made is made, or its failure told, when it is needed.
            if let Ok(Ok(namespace)) = tokio::task::spawn_blocking(netns::make).await {
                *spare.lock() = Some(Held { namespace, since: Instant::now() });
            }
            spare.filling.store(false, Ordering::Release);
            tokio::time::sleep(FRESH).await;
            spare.drop_old();
        });
    }

    fn drop_old(&self) {
        let mut held = self.lock();
        if held.as_ref().is_some_and(|held| held.since.elapsed() >= FRESH) {
            *held = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Held>> {
        sys::sync::lock(&self.held)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_is_made_after_one_was_asked_for_and_given_out_once() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let spare = Arc::new(Spare::default());
        assert!(spare.take().is_none());
        spare.fill();
        spare.fill();
        let mut taken = None;
        for _ in 0..2000 {
            taken = spare.take();
            if taken.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(taken.is_some(), "none is made");
        tokio::time::sleep(PAUSE * 3).await;
        assert!(spare.take().is_none(), "two are made");
    }

    #[test]
    fn one_that_is_old_is_given_to_nobody() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let spare = Spare::default();
        let hold = |age: Duration| {
            let since = Instant::now().checked_sub(age).unwrap();
            *spare.lock() = Some(Held { namespace: netns::make().unwrap(), since });
        };
        hold(FRESH);
        assert!(spare.take().is_none());
        hold(FRESH);
        spare.drop_old();
        assert!(spare.lock().is_none());
        hold(Duration::ZERO);
        spare.drop_old();
        assert!(spare.take().is_some());
    }
}
