//! What filesystems may keep waiting for ever, on threads of their own: whoever asked gives up after a while, and says so.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a filesystem may take to answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// So many threads at most, most of which wait for what does not answer.
const THREADS: usize = 8;

static WORKING: AtomicUsize = AtomicUsize::new(0);

/// Works beside the caller; `None` where that has not ended in time.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (tell, told) = oneshot::channel();
    start(move || drop(tell.send(work())))?;
    tokio::time::timeout(PATIENCE, told).await.ok()?.ok()
}

/// The same, for a caller that has nothing else to do.
pub(crate) fn wait<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (tell, told) = mpsc::channel();
    start(move || drop(tell.send(work())))?;
    told.recv_timeout(PATIENCE).ok()
}

fn start(work: impl FnOnce() + Send + 'static) -> Option<()> {
    let held = Held::take()?;
    let work = move || {
        work();
        drop(held);
    };
    std::thread::Builder::new().name("settings".to_owned()).spawn(work).ok().map(drop)
}

/// One of the threads.
struct Held;

impl Held {
    fn take() -> Option<Self> {
        let one_more = |working| (working < THREADS).then_some(working + 1);
        WORKING.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok().map(|_| Self)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        WORKING.fetch_sub(1, Ordering::Relaxed);
    }
}
