//! The use cases of the CRI, one verb a file: the engine turns a validated request into plans and steps, keeps the
//! records, and knows every pod and container. It sees no gRPC; what takes root or another process is behind `host`,
//! `supervisor` and `oci::cgroup`.

mod container;
mod error;
mod events;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gauges;
mod handlers;
mod host;
mod identity;
mod images;
mod limits;
mod live;
mod metrics;
mod mirror;
mod names;
mod objects;
mod operations;
mod pod;
mod preflight;
mod record;
mod recover;
mod registry;
mod runtime;
mod selinux;
mod settings;
mod state_version;
mod stats;
mod stdio;
mod strangers;
mod supervisor;
#[cfg(test)]
mod tests;
mod userns;
mod view;

pub use container::{AttachSession, ExecEnd, ExecSession, OpenExec, SharedStdin};
pub use error::{EngineError, chain};
pub use events::{Event, EventKind, Subscription};
pub use gauges::Gauges;
pub use handlers::{HandlerKind, HandlerSettings};
pub use identity::{ContainerIdentity, Identity};
pub use oci::cgroup::{Counted, Detail, DeviceIo, HugePages, Pressure, Stall, Stats as CgroupStats};
pub use operations::{OperationView, SessionVerb};
pub use preflight::Unfit;
pub use settings::{CgroupDriver, HostProblem, Paths, SettingError, Settings};
pub use stats::{
    ContainerFigures, ContainerStats, Filesystem, Flow, Interface, LayerUsage, PodFigures, PodStats,
    Processes, Threads, Usage,
};
pub use stdio::{Input, Output, Terminal};
pub use supervisor::SupervisorError;
pub use view::{
    ContainerFilter, ContainerView, ExecOutput, HandlerInfo, PodFilter, PodView, RuntimeStatus, StateKind,
    UserView,
};
pub use wire::msg::Streams;

use model::{ContainerConfig, SandboxConfig};
use registry::{ContainerName, PodName, Registry};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tracing::Instrument as _;

/// Everything that the use cases share.
pub struct Engine {
    live: live::Shared,
    paths: Paths,
    shim_binary: PathBuf,
    pause_binary: PathBuf,
    launcher: Arc<dyn supervisor::Launcher>,
    host: Arc<dyn host::Host>,
    images: Arc<image::ImageStore>,
    network: Arc<net::Network>,
    cgroups: Arc<oci::cgroup::Host>,
    limits: Arc<limits::InForce>,
    tree: pod::Tree,
    registry: Arc<Registry>,
    pod_names: names::Names<PodName, (Arc<SandboxConfig>, String)>,
    container_names: names::Names<ContainerName, Arc<ContainerConfig>>,
    mirror: mirror::Mirror,
    metrics: metrics::Metrics,
    operations: Arc<operations::Operations>,
    trash: sys::tree::Trash,
    strangers: strangers::Strangers,
    labels: selinux::Labelling,
    /// Read by what attaches pods to the network, written by what frees attachments of nobody.
    attaching: tokio::sync::RwLock<()>,
    stats: Arc<stats::Reader>,
    events: events::Events,
    /// Mutating verbs under way.
    work: tokio_util::task::TaskTracker,
    /// Pods that are being stopped.
    stops: names::Names<String, ()>,
    preflight: Arc<preflight::Preflight>,
    /// Whether pods can have user namespaces, once it was tried.
    user_namespaces: std::sync::OnceLock<Result<(), String>>,
}

/// What takes root, or another process.
struct Seams {
    launcher: Arc<dyn supervisor::Launcher>,
    host: Arc<dyn host::Host>,
    cgroups: oci::cgroup::Host,
}

/// What the engine uses and others keep.
struct Stores {
    images: Arc<image::ImageStore>,
    network: Arc<net::Network>,
}

/// What takes a moment to open.
struct Opened {
    preflight: Arc<preflight::Preflight>,
    metrics: metrics::Metrics,
    mirror: mirror::Mirror,
    live: live::Live,
}

impl Engine {
    /// Opens the state, adopts the pods of a former daemon and takes down what it left half-made.
    ///
    /// # Errors
    /// When directories cannot be made, the cgroup hierarchy is not understood, or the binaries are missing.
    pub async fn open(
        settings: Settings,
        paths: Paths,
        images: Arc<image::ImageStore>,
        network: Arc<net::Network>,
        metrics: &prometheus::Registry,
    ) -> Result<Arc<Self>, EngineError> {
        let seams = Seams {
            launcher: Arc::new(supervisor::ShimLauncher::new(runtime::helper(
                &settings.shim,
                runtime::SHIM,
            )?)),
            host: Arc::new(host::RealHost),
            cgroups: oci::cgroup::Host::detect()?,
        };
        Self::open_on(seams, settings, paths, Stores { images, network }, metrics).await
    }

    /// The same on another host than this one.
    async fn open_on(
        seams: Seams,
        settings: Settings,
        paths: Paths,
        stores: Stores,
        metrics: &prometheus::Registry,
    ) -> Result<Arc<Self>, EngineError> {
        make_dirs(&settings, &paths)?;
        let (looking, data) = (settings.clone(), paths.data.clone());
        let look = move || Ok(Arc::new(preflight::Preflight::new(&looking, &data)));
        let preflight = blocking("looking at the host", look).await?;
        let metrics = metrics::Metrics::register(metrics)?;
        let (mirror, durable) = mirror::Mirror::open(&paths.data.join("state.redb"), metrics.unwritten())?;
        let live = live::Live::new(settings, &paths.state, None).await?;
        let opened = Opened { preflight, metrics, mirror, live };
        let engine = Arc::new(Self::assemble(seams, stores, paths, opened)?);
        engine.warm_up();
        let probing = engine.clone();
        tokio::task::spawn_blocking(move || probing.user_namespaces().is_ok());
        engine.recover(durable).await?;
        Ok(engine)
    }

    fn assemble(seams: Seams, stores: Stores, paths: Paths, opened: Opened) -> Result<Self, EngineError> {
        let (cgroups, registry) = (Arc::new(seams.cgroups), Arc::<Registry>::default());
        let settings = &opened.live.settings;
        let driver = runtime::cgroup_driver(settings.cgroup_driver, &cgroups)?;
        let parent = settings.cgroup_parent.clone();
        let policy = oci::selinux::Policy::detect(Path::new("/"), settings.selinux)?;
        let shim_binary = runtime::helper(&settings.shim, runtime::SHIM)?;
        let pause_binary = runtime::helper(&settings.pause, runtime::PAUSE)?;
        let live: live::Shared = Arc::new(arc_swap::ArcSwap::from_pointee(opened.live));
        let limits = Arc::new(limits::InForce { cgroups: cgroups.clone(), live: live.clone() });
        Ok(Self {
            stats: Arc::new(stats::Reader::new(registry.clone(), limits.clone(), &paths)),
            events: events::Events::new(registry.clone(), limits.clone()),
            tree: pod::Tree::new(cgroups.clone(), driver, parent, registry.clone()),
            labels: selinux::Labelling::new(policy),
            strangers: strangers::Strangers::new()?,
            shim_binary,
            pause_binary,
            cgroups,
            registry,
            limits,
            live,
            paths,
            launcher: seams.launcher,
            host: seams.host,
            images: stores.images,
            network: stores.network,
            mirror: opened.mirror,
            metrics: opened.metrics,
            preflight: opened.preflight,
            pod_names: names::Names::default(),
            container_names: names::Names::default(),
            operations: Arc::default(),
            trash: pod::trash(),
            attaching: tokio::sync::RwLock::default(),
            work: tokio_util::task::TaskTracker::new(),
            stops: names::Names::default(),
            user_namespaces: std::sync::OnceLock::new(),
        })
    }

    /// Compiles the usual filters before the first pod needs them.
    fn warm_up(&self) {
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

    /// The image store.
    pub fn images(&self) -> &Arc<image::ImageStore> {
        &self.images
    }

    /// Runs a mutating verb to its end even when the client hangs up; the daemon waits for it when it ends.
    fn carry_out<T: Send + 'static, W>(
        &self,
        verb: &'static str,
        subject: &str,
        work: W,
    ) -> impl Future<Output = Result<T, EngineError>> + Send + use<T, W>
    where
        W: Future<Output = Result<T, EngineError>> + Send + 'static,
    {
        let work = self.operations.track(verb, subject.to_owned(), work);
        let task = self.work.spawn(work.in_current_span());
        async move { task.await.map_err(|_| EngineError::TaskDied(verb))? }
    }

    /// Runs a command's verb to its end even when the client hangs up.
    async fn detached<T: Send + 'static>(
        &self,
        verb: &'static str,
        subject: &str,
        work: impl Future<Output = Result<T, EngineError>> + Send + 'static,
    ) -> Result<T, EngineError> {
        let work = self.operations.track(verb, subject.to_owned(), work);
        tokio::spawn(work.in_current_span()).await.map_err(|_| EngineError::TaskDied(verb))?
    }

    /// Waits until nothing is being made, changed or taken down any more, also for clients that have hung up.
    pub async fn settled(&self) {
        self.work.close();
        self.work.wait().await;
    }

    /// Times one stage of a verb.
    async fn stage<T>(&self, name: &'static str, work: impl Future<Output = T>) -> T {
        let begin = Instant::now();
        let _stage = operations::stage(name);
        let result = work.await;
        self.metrics.stage(name, begin.elapsed());
        result
    }
}

fn make_dirs(settings: &Settings, paths: &Paths) -> Result<(), EngineError> {
    for (dir, mode) in [
        (paths.pods(), 0o711),
        (paths.rootfs(), 0o711),
        (paths.empty(), 0o555),
        (paths.layers(), 0o711),
        (settings.netns_dir.clone(), 0o755),
    ] {
        runtime::make_dir(&dir, mode)?;
    }
    Ok(())
}

/// Runs what blocks off the reactor's threads.
async fn blocking<T: Send + 'static>(
    work: &'static str,
    job: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    let span = tracing::Span::current();
    let job = move || span.in_scope(job);
    tokio::task::spawn_blocking(job).await.map_err(|_| EngineError::TaskDied(work))?
}

/// Wall clock in nanoseconds since the epoch.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
