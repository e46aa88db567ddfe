//! The use cases of the CRI, one verb a file: the engine turns a validated request into plans and steps, keeps the
//! records, and knows every pod and container. It sees no gRPC; what takes root or another process is behind `host`,
//! `supervisor` and `oci::cgroup`.

mod awake;
mod classes;
mod container;
mod error;
mod events;
mod explain;
mod filter;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gauges;
mod handlers;
mod hang;
mod host;
mod identity;
mod images;
mod in_memory;
mod inhabitant;
mod limits;
mod live;
mod metrics;
mod mirror;
mod misplaced;
mod names;
mod nri;
mod operations;
mod pod;
mod preflight;
mod record;
mod recorded;
mod recover;
mod registry;
mod room;
mod runtime;
mod selinux;
mod settings;
mod shared;
mod snapshot;
mod state_version;
mod stats;
mod stdio;
mod strangers;
mod supervisor;
#[cfg(test)]
mod tests;
mod trial;
mod userns;

pub use ::nri::{
    Calls as NriCalls, LATENCY as NRI_LATENCY, ListenStatus as NriListenStatus, Origin as NriOrigin,
    PluginStatus as NriPluginStatus, Unfitness as NriUnfitness, is_called as is_nri_plugin_called,
    look_for_plugins as look_for_nri_plugins, may_be_annotation, may_be_called as may_be_nri_plugin,
};
pub use classes::remove_cache_group;
pub use container::{AttachSession, Containers, ExecEnd, ExecOutput, ExecSession, OpenExec, SharedStdin};
pub use error::{EngineError, chain, counted, printable};
pub use events::{Event, EventKind, Subscription};
pub use explain::Explanation;
pub use filter::{ContainerFilter, PodFilter, StateKind};
pub use gauges::{Gauges, RecordGauges};
pub use handlers::{HandlerInfo, HandlerKind, HandlerSettings};
pub use identity::{ContainerIdentity, Identity};
pub use images::Images;
pub use inhabitant::{FirstProcess, Inhabitant};
pub use nri::{AskedByPlugins, NriSettings, NriValidatorSettings};
pub use oci::cgroup::{Counted, Detail, DeviceIo, HugePages, Pressure, Stall, Stats as CgroupStats};
pub use operations::{OperationView, PastView, SessionVerb, StageView};
pub use pod::{Pods, netns_name};
pub use preflight::Unfit;
pub use recorded::RecordedPod;
pub use runtime::{REQUIRED_PLUGINS, RuntimeStatus};
pub use settings::{CgroupDriver, Gravity, HostProblem, Paths, SettingError, Settings};
pub use snapshot::{ContainerView, PodView, UserView};
pub use stats::{
    ContainerFigures, ContainerStats, Filesystem, Flow, Interface, LayerUsage, PodFigures, PodStats,
    Processes, Stats, Threads, Usage,
};
pub use stdio::{Input, Output, Terminal};
pub use supervisor::{LivingSupervisor, SupervisorError};
pub use trial::HostCgroups;
pub use wire::VERSION as WIRE_VERSION;
pub use wire::msg::Streams;

use recover::Recovery;
use registry::Registry;
use shared::Core;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The use cases, by what they are about.
pub struct Engine {
    core: Arc<Core>,
    pods: Arc<Pods>,
    containers: Arc<Containers>,
    images: Images,
    stats: Arc<Stats>,
    preflight: Arc<preflight::Preflight>,
}

/// What takes root, or another process.
struct Seams {
    launcher: Arc<dyn supervisor::Launcher>,
    host: Arc<dyn host::Host>,
    cgroups: oci::cgroup::Host,
    awake: awake::Awake,
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
            launcher: Arc::new(supervisor::ShimLauncher::new(
                runtime::helper(&settings.shim, runtime::SHIM)?,
                metrics,
            )?),
            host: Arc::new(host::RealHost),
            cgroups: oci::cgroup::Host::detect()?,
            awake: awake::Awake::of_host(),
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
        let (mirror, durable) = mirror::Mirror::open(&paths.store(), metrics.unwritten())?;
        let live = live::Live::new(settings, &paths.state, None).await?;
        live.handlers.tidy(&paths.state);
        let opened = Opened { preflight, metrics, mirror, live };
        let engine = Self::assemble(seams, stores, paths, opened)?;
        engine.core.warm_up();
        let (core, containers, pods) = (engine.core.clone(), engine.containers.clone(), engine.pods.clone());
        Arc::new(Recovery { core, containers, pods }).recover(durable).await?;
        engine.make_groups().await;
        engine.keep_warm();
        engine.core.user_namespaces.settle().await;
        Ok(Arc::new(engine))
    }

    fn assemble(seams: Seams, stores: Stores, paths: Paths, opened: Opened) -> Result<Self, EngineError> {
        let (cgroups, registry) = (Arc::new(seams.cgroups), Arc::<Registry>::default());
        let settings = &opened.live.settings;
        let driver = runtime::cgroup_driver(settings.cgroup_driver, &cgroups)?;
        let parent = settings.cgroup_parent.clone();
        let policy = oci::selinux::Policy::detect(Path::new("/"), settings.selinux)?;
        let shim = runtime::helper(&settings.shim, runtime::SHIM)?;
        let user_namespaces = userns::Trial::begin(shim, &paths.data);
        let means = pod::Means {
            launcher: seams.launcher,
            host: seams.host,
            pause_binary: runtime::helper(&settings.pause, runtime::PAUSE)?,
        };
        let live: live::Shared = Arc::new(arc_swap::ArcSwap::from_pointee(opened.live));
        let limits = Arc::new(limits::InForce { cgroups: cgroups.clone(), live: live.clone() });
        let stats = Arc::new(Stats::new(registry.clone(), limits.clone(), &paths));
        let core = Arc::new(Core {
            events: events::Events::new(registry.clone(), limits.clone()),
            tree: pod::Tree::new(cgroups.clone(), driver, parent, registry.clone()),
            labels: selinux::Labelling::new(policy),
            nri: ::nri::Nri::new(),
            reactor: tokio::runtime::Handle::current(),
            cgroups,
            registry,
            limits,
            live,
            paths,
            images: stores.images,
            network: stores.network,
            mirror: opened.mirror,
            metrics: opened.metrics,
            operations: Arc::default(),
            awake: seams.awake,
            trash: room::trash(),
            work: tokio_util::task::TaskTracker::new(),
            user_namespaces,
            recovered: std::sync::OnceLock::new(),
            told_restriction: std::sync::atomic::AtomicBool::new(false),
        });
        let containers = Arc::new(Containers::new(core.clone())?);
        Ok(Self {
            pods: Arc::new(Pods::new(core.clone(), containers.clone(), means)),
            containers,
            images: Images::new(core.clone(), stats.clone()),
            stats,
            preflight: opened.preflight,
            core,
        })
    }

    /// The use cases of pods.
    pub fn pods(&self) -> &Arc<Pods> {
        &self.pods
    }

    /// The use cases of containers.
    pub fn containers(&self) -> &Arc<Containers> {
        &self.containers
    }

    /// The use cases of images.
    pub fn images(&self) -> &Images {
        &self.images
    }

    /// The use cases of usage.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Waits until nothing is being made, changed or taken down any more, also for clients that have hung up.
    pub async fn settled(&self) {
        self.core.work.close();
        self.core.work.wait().await;
    }
}

fn make_dirs(settings: &Settings, paths: &Paths) -> Result<(), EngineError> {
    for (dir, mode) in
        [(paths.pods(), 0o711), (paths.rootfs(), 0o711), (paths.empty(), 0o555), (paths.layers(), 0o711)]
    {
        runtime::make_own_dir(&dir, mode)?;
    }
    runtime::make_dir(&settings.netns_dir, 0o755)
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
