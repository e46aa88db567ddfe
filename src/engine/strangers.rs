//! A pool of threads for what strangers can block: paths of the host that requests name may lie on a filesystem that
//! never answers, and what containers leave may take long to delete. What must go on never waits for a thread of it.

use crate::error::EngineError;
use crate::in_memory::Pod;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

/// Most threads; a blocked one takes some pages of memory and nothing else.
const THREADS: usize = 1024;
/// Most of them that one pod can block.
pub(crate) const OF_A_POD: usize = 4;
const STACK: usize = 512 << 10;
/// How long a filesystem may take to answer: less than the kubelet waits, which so hears what it is waiting for.
const PATIENCE: Duration = Duration::from_secs(90);

/// The pool.
pub(crate) struct Strangers {
    runtime: Option<Runtime>,
    places: Arc<Semaphore>,
}

/// Why work has no result. The thread may be at it still.
pub(crate) enum Blocked {
    /// It took too long.
    Unanswered {
        /// How long.
        seconds: u64,
    },
    /// The pod is being stopped.
    Stopping,
    /// It panicked.
    Died,
}

impl Strangers {
    pub(crate) fn new() -> Result<Self, EngineError> {
        // Only its threads for blocking work are used.
        let runtime = Builder::new_current_thread()
            .max_blocking_threads(THREADS)
            .thread_stack_size(STACK)
            .thread_name("strangers")
            .on_thread_start(|| drop(sys::schedule::take_short_turns()))
            .build()
            .map_err(EngineError::io("start", "the threads for paths of the host"))?;
        Ok(Self { runtime: Some(runtime), places: Arc::new(Semaphore::new(THREADS)) })
    }

    /// Works for a pod for as long as the pod is not being stopped. What is given up goes on behind, without an effect
    /// on anything that the daemon keeps: it asks [`Lasting`] before it has one, and is waited for from then on.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        pod: &Pod,
        job: impl FnOnce(&Lasting) -> T + Send + 'static,
    ) -> Result<T, Blocked> {
        let lasting = Lasting::default();
        let mut work = pin!(self.work(pod, job, lasting.clone()));
        let why = tokio::select! {
            biased;
            done = &mut work => return done.ok_or(Blocked::Died),
            () = pod.ending.cancelled() => Blocked::Stopping,
            () = tokio::time::sleep(PATIENCE) => Blocked::Unanswered { seconds: PATIENCE.as_secs() },
        };
        if lasting.give_up() { Err(why) } else { work.await.ok_or(Blocked::Died) }
    }

    async fn work<T: Send + 'static>(
        &self,
        pod: &Pod,
        job: impl FnOnce(&Lasting) -> T + Send + 'static,
        lasting: Lasting,
    ) -> Option<T> {
        let of_pod = pod.strangers.clone().acquire_owned().await.ok()?;
        let place = self.places.clone().acquire_owned().await.ok()?;
        let held = (of_pod, place);
        let span = tracing::Span::current();
        let work = move || {
            let done = span.in_scope(|| job(&lasting));
            drop(held);
            done
        };
        self.runtime.as_ref()?.spawn_blocking(work).await.ok()
    }
}

/// Whether work is given up or may do what lasts: decided once, by whoever comes first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lasting(Arc<AtomicU8>);

impl Lasting {
    const OPEN: u8 = 0;
    const BEGUN: u8 = 1;
    const GIVEN_UP: u8 = 2;

    /// Nothing that strangers can block follows; `false` when nobody waits for it any more.
    pub(crate) fn begin(&self) -> bool {
        self.decide(Self::BEGUN)
    }

    fn give_up(&self) -> bool {
        self.decide(Self::GIVEN_UP)
    }

    fn decide(&self, how: u8) -> bool {
        self.0.compare_exchange(Self::OPEN, how, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl Drop for Strangers {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Whoever is blocked would keep the daemon from ending.
            runtime.shutdown_background();
        }
    }
}
