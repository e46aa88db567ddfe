//! How long this machine lets a runnable thread wait: what a bound in milliseconds must be forgiven.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const NAP: Duration = Duration::from_millis(5);

/// Watches the scheduler until it is dropped.
pub struct Stall {
    end: Arc<AtomicBool>,
    worst: Arc<AtomicU64>,
    watcher: Option<JoinHandle<()>>,
}

impl Stall {
    /// Begins to watch.
    #[must_use]
    pub fn watch() -> Self {
        let (end, worst) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let watcher = std::thread::spawn({
            let (end, worst) = (end.clone(), worst.clone());
            move || {
                while !end.load(Ordering::Relaxed) {
                    let begin = Instant::now();
                    std::thread::sleep(NAP);
                    let late = begin.elapsed().saturating_sub(NAP).as_nanos();
                    worst.fetch_max(u64::try_from(late).unwrap_or(u64::MAX), Ordering::Relaxed);
                }
            }
        });
        Self { end, worst, watcher: Some(watcher) }
    }

    /// The longest that the watcher was kept from running so far.
    #[must_use]
    pub fn worst(&self) -> Duration {
        Duration::from_nanos(self.worst.load(Ordering::Relaxed))
    }
}

impl Drop for Stall {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(watcher) = self.watcher.take() {
            // It has nothing to say.
            let _ = watcher.join();
        }
    }
}
