//! What all use cases share.

use crate::awake::{self, Awake};
use crate::error::{EngineError, chain};
use crate::events::Events;
use crate::limits::InForce;
use crate::live;
use crate::metrics::Metrics;
use crate::mirror::Mirror;
use crate::operations::{self, Operations};
use crate::pod::Tree;
use crate::registry::Registry;
use crate::selinux::Labelling;
use crate::settings::Paths;
use std::future::Future;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tracing::Instrument as _;

/// State and means of every use case.
pub(crate) struct Core {
    pub(crate) live: live::Shared,
    pub(crate) paths: Paths,
    pub(crate) images: Arc<image::ImageStore>,
    pub(crate) network: Arc<net::Network>,
    pub(crate) cgroups: Arc<oci::cgroup::Host>,
    pub(crate) limits: Arc<InForce>,
    pub(crate) tree: Tree,
    pub(crate) registry: Arc<Registry>,
    pub(crate) mirror: Mirror,
    pub(crate) metrics: Metrics,
    pub(crate) operations: Arc<Operations>,
    /// When something begins to be carried out.
    pub(crate) awake: Awake,
    pub(crate) trash: sys::tree::Trash,
    pub(crate) labels: Labelling,
    /// Plugins that see and adjust pods and containers.
    pub(crate) nri: nri::Nri,
    /// For threads that are none of the reactor's.
    pub(crate) reactor: tokio::runtime::Handle,
    pub(crate) events: Events,
    /// Mutating verbs under way.
    pub(crate) work: tokio_util::task::TaskTracker,
    /// Whether pods can have user namespaces, once it was tried.
    pub(crate) user_namespaces: Arc<crate::userns::Trial>,
    /// The pods that were taken over at the start, and how long that took.
    pub(crate) recovered: OnceLock<(usize, Duration)>,
    /// That the host restricts a setting of every pod was told.
    pub(crate) told_restriction: AtomicBool,
}

impl Core {
    /// Compiles the usual filters before the first pod needs them.
    pub(crate) fn warm_up(&self) {
        let usual = [self.live().planning.default_capabilities, oci::caps::CapSet::EMPTY];
        tokio::task::spawn_blocking(move || {
            if let Err(error) = oci::apparmor::warm_up() {
                tracing::warn!(
                    error = chain(&error),
                    "containers without a profile of their own cannot start"
                );
            }
            for caps in usual {
                if let Err(error) = oci::seccomp::default_program(caps) {
                    tracing::error!(
                        error = chain(&error),
                        "the built-in system call filter does not compile"
                    );
                }
            }
        });
    }

    /// Runs a mutating verb to its end even when the client hangs up; the daemon waits for it when it ends.
    pub(crate) fn carry_out<T: Send + 'static, W>(
        &self,
        verb: &'static str,
        subject: &str,
        work: W,
    ) -> impl Future<Output = Result<T, EngineError>> + Send + use<T, W>
    where
        W: Future<Output = Result<T, EngineError>> + Send + 'static,
    {
        self.keep_cpus_ready(awake::WHILE);
        let work = self.operations.track(verb, subject.to_owned(), operations::told(work));
        let task = self.work.spawn(work.in_current_span());
        async move { task.await.map_err(|_| EngineError::TaskDied(verb))? }
    }

    /// Runs a command's verb to its end even when the client hangs up.
    pub(crate) async fn detached<T: Send + 'static>(
        &self,
        verb: &'static str,
        subject: &str,
        work: impl Future<Output = Result<T, EngineError>> + Send + 'static,
    ) -> Result<T, EngineError> {
        self.keep_cpus_ready(awake::COMMAND);
        let work = self.operations.track(verb, subject.to_owned(), operations::told(work));
        tokio::spawn(work.in_current_span()).await.map_err(|_| EngineError::TaskDied(verb))?
    }

    fn keep_cpus_ready(&self, time: Duration) {
        if self.live().settings.keep_cpus_ready {
            self.awake.stay(time);
        }
    }

    /// Times one stage of a verb, and makes it a span of its trace.
    pub(crate) async fn stage<T>(&self, name: &'static str, work: impl Future<Output = T>) -> T {
        let begin = Instant::now();
        let _stage = operations::stage(name);
        // For a trace, where one is kept; else this is nothing.
        let span = tracing::trace_span!(target: "spans", "stage", stage = name);
        let result = work.instrument(span).await;
        self.metrics.stage(name, begin.elapsed());
        result
    }
}
