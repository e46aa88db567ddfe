//! What filesystems may keep waiting for ever, on threads of their own: whoever asked gives up after a while, and says so.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a filesystem may take to answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// For the files of the configuration.
pub(crate) static FILES: Lane = Lane::new(4);
/// For what the settings lead to.
pub(crate) static HOST: Lane = Lane::new(2);
/// For the checks of a host, one after the other.
pub(crate) static CHECKS: Lane = Lane::new(8);

/// Threads for one purpose, so many at most: where all wait for what does not answer, nothing more is begun.
pub(crate) struct Lane {
    working: AtomicUsize,
    most: usize,
}

impl Lane {
    const fn new(most: usize) -> Self {
        Self { working: AtomicUsize::new(0), most }
    }

    /// Works beside the caller; `None` where that has not ended in time, or is not begun.
    pub(crate) async fn run<T: Send + 'static>(
        &'static self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (tell, told) = oneshot::channel();
        self.start(move || drop(tell.send(work())))?;
        tokio::time::timeout(PATIENCE, told).await.ok()?.ok()
    }

    /// The same, for a caller that has nothing else to do.
    pub(crate) fn wait<T: Send + 'static>(
        &'static self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (tell, told) = mpsc::channel();
        self.start(move || drop(tell.send(work())))?;
        told.recv_timeout(PATIENCE).ok()
    }

    fn start(&'static self, work: impl FnOnce() + Send + 'static) -> Option<()> {
        let held = self.hold()?;
        let work = move || {
            work();
            drop(held);
        };
        std::thread::Builder::new().name("settings".to_owned()).spawn(work).ok().map(drop)
    }

    fn hold(&'static self) -> Option<Held> {
        let one_more = |working| (working < self.most).then_some(working + 1);
        let held = self.working.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        held.ok().map(|_| Held(self))
    }
}

/// One of the threads.
struct Held(&'static Lane);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.working.fetch_sub(1, Ordering::Relaxed);
    }
}
