//! `corten serve`: build, run, drain.

use crate::config::{self, Config, Fingerprint, Loaded};
use crate::error::Error;
use crate::lock::DirectoryLock;
use crate::logging::{self, LevelHandle};
use crate::metrics::{
    self, ConfigMetrics, Node, NodeCollector, OperationCollector, PluginCollector, PodCollector, server,
};
use crate::reload::{ConfigStatus, Reloader, Source, Takers};
use crate::signals::Signals;
use crate::socket::Socket;
use crate::systemd_notify::Systemd;
use crate::{admin, cadvisor, images_root, state};
use engine::Engine;
use image::ImageStore;
use net::Network;
use prometheus::{IntGauge, Registry};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

/// Heaps that the allocator spreads threads over: with two, the threads that make a pod side by side waited for each
/// other; many only keep free memory apart.
const HEAPS: u16 = 4;
/// Free bytes that a heap keeps.
const HEAP_SPARE: u32 = 256 << 10;
/// How often memory that a burst of work left free goes back to the kernel.
const TRIM_INTERVAL: Duration = Duration::from_secs(30);
/// Threads for work that blocks; they end after a few idle seconds.
const BLOCKING_THREADS: usize = 128;
/// Threads of a daemon that begins, besides the runtime's own workers.
const OTHER_THREADS: usize = 8;
/// Bytes of a thread's stack, of which only those touched cost memory.
const THREAD_STACK: usize = 1 << 20;
/// How long work that blocks may take to notice that the daemon ends.
const LAST_WORK: Duration = Duration::from_secs(1);

/// Serves the CRI until a signal asks for the end. Pods outlive the daemon. `defaults` are settings that files override.
///
/// # Errors
/// Whatever keeps it from serving; once it serves, it ends well.
pub(crate) fn serve(file: Option<&Path>, defaults: &str) -> Result<(), Error> {
    failpoint::arm()?;
    // What changes from here on is read again once the daemon serves.
    let known = config::fingerprint(file);
    let loaded = Arc::new(config::load_over(defaults, file)?);
    let problems = config::check_host(&loaded).allow_start()?;
    let Loaded { config, files, texts, .. } = &*loaded;
    let config = config.clone();
    // Modes are given where files are made; what the parent process had must not change them.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    sys::malloc::limit(HEAPS, HEAP_SPARE);
    raise_open_files();
    let (spans, export) = otlp::open(&config.tracing)?.unzip();
    let level = logging::start(&config.log, spans)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), pid = std::process::id(), ?files, "corten starts");
    for problem in problems.to_tell() {
        tracing::warn!("on this host: {problem}");
    }
    state::prepare(&config.state_dir, state::STATE_MODE)?;
    state::prepare(&config.data_dir, state::DATA_MODE)?;
    let _state = DirectoryLock::take(&config.state_dir)?;
    let _data = DirectoryLock::take(&config.data_dir)?;
    paths(&config).claim()?;
    let runtime = runtime(config.daemon.workers)?;
    let source = Source::new(file, defaults, texts.clone());
    let begun =
        Begun { config, files: files.clone(), problems: problems.lines(), source, known, level, export };
    let outcome = runtime.block_on(Box::pin(run(begun)));
    runtime.shutdown_timeout(LAST_WORK);
    outcome
}

/// Where nobody asks for more, a process is given a soft limit that suits select(2), and it may raise that itself.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // The limit of before will do for a while, and `corten check` tells of one that is low.
    let _ = setrlimit(Resource::Nofile, limit);
}

fn runtime(workers: usize) -> Result<Runtime, Error> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers = if workers == 0 { cores.min(4) } else { workers };
    crate::threads::there_is_room_for(workers + OTHER_THREADS).map_err(|source| Error::Runtime {
        what: "the threads that it begins with (limited by TasksMax= of its unit, or pids.max of its cgroup)",
        source,
    })?;
    Builder::new_multi_thread()
        .worker_threads(workers)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_stack_size(THREAD_STACK)
        .thread_name("corten")
        // Without them everything takes longer, and nothing else changes.
        .on_thread_start(|| drop(sys::schedule::take_short_turns()))
        .enable_all()
        .build()
        .map_err(|source| Error::Runtime { what: "the asynchronous runtime", source })
}

/// What the daemon begins with.
struct Begun {
    config: Config,
    files: Vec<PathBuf>,
    /// What of the settings does not fit the host.
    problems: Vec<String>,
    source: Source,
    /// How the files were before they were read.
    known: Fingerprint,
    level: LevelHandle,
    export: Option<otlp::Export>,
}

async fn run(begun: Begun) -> Result<(), Error> {
    // None known.
    let _ = sys::poll::survive_limits_of_files();
    let Begun { config, files, problems, source, known, level, export } = begun;
    let signals = Signals::catch()?;
    let registry = metrics::registry()?;
    let health = Arc::new(server::Health::default());
    let endpoint = server::Endpoint::open(&config.metrics).await?;
    let Opened { engine, images, network } = open(&config, &registry).await?;
    let node = Node::new(engine.clone(), &config);
    register(&registry, &engine, &node)?;
    health.watch(node);
    let cadvisor = open_cadvisor(&config);
    let answered = cadvisor::gauge(&registry)?;
    let streams = stream::Server::open(&config.stream, engine.clone()).await?;
    let socket = Socket::open(&config.socket)?;
    let administration = Socket::open(&admin::socket(&config.state_dir))?;
    tracing::info!(base = streams.base(), "serving streams");
    let systemd = keep_up(&images)?;

    let stop = CancellationToken::new();
    let traces = Traces::start(export, &registry)?;
    let takers = Takers {
        level,
        engine: engine.clone(),
        images: images.clone(),
        network: network.clone(),
        streams: streams.tuning(),
    };
    let status = ConfigStatus::new(files, problems);
    let reloader = Reloader::new(source, config.clone(), status, takers, ConfigMetrics::register(&registry)?);
    tokio::spawn(reloader.clone().watch(known));
    let admin = admin::Server::new(images, engine.clone(), reloader.clone(), network, registry.clone());
    tokio::spawn(admin.serve(administration, stop.clone()));
    if let Some(socket) = cadvisor {
        tokio::spawn(answer_cadvisor(socket, engine.clone(), stop.clone(), answered));
    }
    let settings = cri::Settings { max_request_bytes: config.daemon.max_request_bytes };
    let incoming = socket.incoming(stop.clone());
    let mut served =
        pin!(cri::serve(incoming, (engine.clone(), streams.urls()), settings, &registry, stop.cancelled())?);
    // Every series is there from the first answer on.
    serve_metrics(endpoint, &registry, &health);
    tokio::spawn(streams.serve());
    health.set_serving(true);
    systemd.ready("serving the CRI");
    tracing::info!(socket = %config.socket.display(), "serving the CRI");

    let signal = tokio::select! {
        signal = signals.until_stopped(&reloader, &engine) => signal,
        ended = &mut served => return Ok(ended?),
    };
    tracing::info!(signal, "stops once requests in flight have ended; pods stay");
    health.set_serving(false);
    systemd.stopping().await;
    stop.cancel();
    engine.end_subscriptions();
    let drained = drain(served, &engine, Duration::from_secs(reloader.config().daemon.drain_seconds)).await;
    engine.leave_plugins().await;
    traces.end().await;
    drained
}

/// Has told what is asked of the engine and of the node when somebody scrapes.
fn register(registry: &Registry, engine: &Arc<Engine>, node: &Node) -> Result<(), Error> {
    registry.register(Box::new(PodCollector::new(engine.clone())?))?;
    registry.register(Box::new(OperationCollector::new(engine.clone())?))?;
    registry.register(Box::new(PluginCollector::new(engine.clone())?))?;
    registry.register(Box::new(NodeCollector::new(node.clone())?))?;
    Ok(())
}

fn serve_metrics(endpoint: Option<server::Endpoint>, registry: &Registry, health: &Arc<server::Health>) {
    if let Some(endpoint) = endpoint {
        tracing::info!(address = endpoint.place(), "serving metrics");
        tokio::spawn(endpoint.serve(registry.clone(), health.clone(), web::Limits::default()));
    }
}

/// Begins what goes on beside the requests.
fn keep_up(images: &Arc<ImageStore>) -> Result<Arc<Systemd>, Error> {
    tokio::spawn(ImageStore::keep_clean(Arc::downgrade(images)));
    let systemd = Arc::new(Systemd::new()?);
    tokio::spawn(systemd.clone().feed_watchdog());
    tokio::spawn(trim_memory());
    Ok(systemd)
}

/// Traces on their way to a collector, where there is one.
struct Traces {
    sending: Option<tokio::task::JoinHandle<()>>,
    stop: CancellationToken,
}

impl Traces {
    fn start(export: Option<otlp::Export>, registry: &Registry) -> Result<Self, Error> {
        let stop = CancellationToken::new();
        if let Some(export) = &export {
            export.register(registry)?;
        }
        Ok(Self { sending: export.map(|export| tokio::spawn(export.run(stop.clone()))), stop })
    }

    /// Sends what is left, after the last request.
    async fn end(self) {
        self.stop.cancel();
        if let Some(sending) = self.sending {
            // It bounds itself; a task that died has told so.
            let _ = sending.await;
        }
    }
}

/// What the use cases need.
struct Opened {
    engine: Arc<Engine>,
    images: Arc<ImageStore>,
    network: Arc<Network>,
}

/// Opens what the use cases need, bottom up, and adopts the pods of the daemon before.
async fn open(config: &Config, registry: &Registry) -> Result<Opened, Error> {
    let (data_dir, root) = (&config.data_dir, &config.images.root);
    if images_root::are_gone(data_dir, root) {
        let root = root.display();
        tracing::warn!(%root, "the images that were here are gone: is the filesystem mounted on which they lie?");
    }
    let images = ImageStore::open(config.images.clone(), registry)?;
    images_root::note(data_dir, root)?;
    let network = Network::open(config.network.clone(), registry)?;
    let engine =
        Engine::open(config.engine(), paths(config), Arc::clone(&images), Arc::clone(&network), registry)
            .await?;
    // Only now is there a truth that they can be told.
    engine.serve_plugins();
    Ok(Opened { engine, images, network })
}

/// Before the kubelet, which looks for it once. Without it pods run as well, and figures have no names.
fn open_cadvisor(config: &Config) -> Option<Socket> {
    let path = &config.kubelet.cadvisor_socket;
    cadvisor::open(path, &config.state_dir, Path::new("/proc")).unwrap_or_else(|error| {
        let error = crate::error::chain(&error);
        tracing::warn!(error, socket = %path.display(), "the kubelet's cAdvisor is not answered");
        None
    })
}

async fn answer_cadvisor(socket: Socket, engine: Arc<Engine>, stop: CancellationToken, gauge: IntGauge) {
    tracing::info!(socket = %socket.path().display(), "answering cAdvisor");
    let watch = cadvisor::watch(socket.path().to_owned(), socket.look(), gauge, cadvisor::LOOK);
    let incoming = socket.incoming(stop.clone());
    let served = tokio::select! {
        served = cri::serve_cadvisor(incoming, engine, stop.cancelled()) => served,
        () = watch => Ok(()),
    };
    if let Err(error) = served {
        tracing::warn!(error = crate::error::chain(&error), "cAdvisor is not answered any more");
    }
}

fn paths(config: &Config) -> engine::Paths {
    engine::Paths { state: config.state_dir.clone(), data: config.data_dir.clone() }
}

/// Waits for the requests in flight, and for what was begun for clients that have hung up, within the limit.
async fn drain(
    served: impl Future<Output = Result<(), cri::ServeError>>,
    engine: &Engine,
    limit: Duration,
) -> Result<(), Error> {
    let done = async {
        let ended = served.await;
        engine.settled().await;
        ended
    };
    match tokio::time::timeout(limit, done).await {
        Ok(ended) => ended?,
        Err(_) => tracing::warn!(seconds = limit.as_secs(), "requests are still in flight and are given up"),
    }
    Ok(())
}

async fn trim_memory() {
    let mut ticks = tokio::time::interval(TRIM_INTERVAL);
    loop {
        ticks.tick().await;
        // It takes the allocator's locks, for some milliseconds at most.
        let _ = tokio::task::spawn_blocking(sys::malloc::trim).await;
    }
}
