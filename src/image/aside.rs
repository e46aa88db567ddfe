//! Threads for what may wait without end on others: servers of names, filesystems of a network. Nothing else that the
//! daemon does waits for one of them.

use crate::error::ImageError;
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

/// Bytes of a thread's stack, of which only those touched cost memory: modules of the C library look up names on it.
const STACK: usize = 512 << 10;

/// So many threads, which end after a few idle seconds.
pub(crate) struct Aside {
    runtime: Option<Runtime>,
    places: Arc<Semaphore>,
}

impl Aside {
    /// # Errors
    /// The system's.
    pub(crate) fn new(name: &'static str, threads: usize) -> Result<Self, ImageError> {
        // Only its threads for blocking work are used.
        let runtime = Builder::new_current_thread()
            .max_blocking_threads(threads)
            .thread_stack_size(STACK)
            .thread_name(name)
            .build()
            .map_err(ImageError::io("start", format!("the threads for {name}")))?;
        Ok(Self { runtime: Some(runtime), places: Arc::new(Semaphore::new(threads)) })
    }

    /// Works as soon as a thread is free, whoever waits for it. That there is not more and more of it is up to the caller.
    pub(crate) fn start(&self, work: impl FnOnce() + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            drop(runtime.spawn_blocking(work));
        }
    }

    /// Works on a thread; `None` when the work panicked. Who gives up before there is a thread for it leaves nothing
    /// behind; later the thread is held until the work is done.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let place = self.places.clone().acquire_owned().await.ok()?;
        let span = tracing::Span::current();
        let work = move || {
            let done = span.in_scope(work);
            drop(place);
            done
        };
        self.runtime.as_ref()?.spawn_blocking(work).await.ok()
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Whoever waits would keep the daemon from ending.
            runtime.shutdown_background();
        }
    }
}
