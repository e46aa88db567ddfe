//! The configuration of a running daemon: read again on SIGHUP and when its files change. What can change does, for what
//! begins from then on; what takes a restart is told by its key. Files that are refused change nothing, and the daemon says
//! so in its log, its metrics and to `corten config status` until they are right.

use crate::aside;
use crate::config::{self, Config, Fingerprint, HostProblems, Loaded, Look, Texts, Update};
use crate::error::chain;
use crate::logging::LevelHandle;
use crate::metrics::ConfigMetrics;
use arc_swap::ArcSwap;
use engine::{Engine, EngineError};
use image::ImageStore;
use net::Network;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use sys::sync::lock;
use tokio::sync::watch;

/// How often files are looked at that no watch tells of.
const POLL: Duration = Duration::from_secs(10);

/// How often is looked whether pods have gone that hold a change back.
const LOOK: Duration = Duration::from_secs(1);

/// How long files must stay as they are before they are read: who writes one may stop and think.
const SETTLED: Duration = Duration::from_millis(300);

/// So long this is waited for.
const WRITING: Duration = Duration::from_secs(30);

/// How long a file is left alone that has become the beginning of what it was.
const HELD: Duration = Duration::from_secs(5);

/// What is known of the configuration in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConfigStatus {
    /// The files that it is from.
    pub(crate) files: Vec<PathBuf>,
    /// When they were read, in seconds since 1970.
    pub(crate) read_at: u64,
    /// Keys whose new values wait for a restart.
    pub(crate) waiting_for_restart: Vec<String>,
    /// What of the settings does not fit this host.
    #[serde(default)]
    pub(crate) on_this_host: Vec<String>,
    /// Why the files as they are now are refused.
    pub(crate) refused: Option<String>,
}

impl ConfigStatus {
    /// Of files that have just been read.
    pub(crate) fn new(files: Vec<PathBuf>, on_this_host: Vec<String>) -> Self {
        Self { files, read_at: now(), on_this_host, ..Self::default() }
    }
}

/// Where the configuration comes from.
#[derive(Debug)]
pub(crate) struct Source {
    /// The file that the command line names.
    pub(crate) file: Option<PathBuf>,
    /// What the files override.
    pub(crate) defaults: String,
    /// What the files said when they were read last and were right.
    texts: Mutex<Texts>,
}

impl Source {
    pub(crate) fn new(file: Option<&Path>, defaults: &str, texts: Texts) -> Self {
        Self { file: file.map(Path::to_owned), defaults: defaults.to_owned(), texts: Mutex::new(texts) }
    }

    fn main(&self) -> &Path {
        self.file.as_deref().unwrap_or(Path::new(config::DEFAULT_FILE))
    }

    async fn read(&self) -> Result<Loaded, Refused> {
        let (file, defaults) = (self.file.clone(), self.defaults.clone());
        let read = aside::FILES.run(move || config::load_over(&defaults, file.as_deref())).await;
        Ok(read.ok_or_else(|| Refused::Unanswered(self.main().to_owned()))??)
    }

    /// How the files are; `None` while their filesystem does not answer.
    async fn look(&self) -> Option<Fingerprint> {
        let file = self.file.clone();
        aside::FILES.run(move || config::fingerprint(file.as_deref())).await
    }

    /// How the files are once nobody writes them any more.
    async fn settled(&self, mut found: Fingerprint) -> Fingerprint {
        let until = Instant::now() + WRITING;
        while Instant::now() < until {
            tokio::time::sleep(SETTLED).await;
            match self.look().await {
                Some(now) if now != found => found = now,
                _ => break,
            }
        }
        found
    }

    /// Leaves files alone for a while that seem to be on their way to what they are to say. Whether they have changed since.
    async fn are_in_writing(&self, known: &Fingerprint) -> bool {
        // What is no configuration is told by whoever reads it next.
        let Ok(loaded) = self.read().await else { return false };
        let file = loaded.texts.cut(&lock(&self.texts)).map(|path| path.display().to_string());
        let Some(file) = file else { return false };
        tracing::warn!(
            file,
            seconds = HELD.as_secs(),
            "a file has become the beginning of what it was, as happens while it is written: what it says counts \
                once it has stayed so, or on SIGHUP"
        );
        tokio::time::sleep(HELD).await;
        self.look().await.is_some_and(|now| now != *known)
    }
}

/// What takes settings.
pub(crate) struct Takers {
    pub(crate) level: LevelHandle,
    pub(crate) engine: Arc<Engine>,
    pub(crate) images: Arc<ImageStore>,
    pub(crate) network: Arc<Network>,
    pub(crate) streams: stream::Tuning,
}

/// The configuration of a running daemon.
pub(crate) struct Reloader {
    source: Source,
    takers: Takers,
    config: ArcSwap<Config>,
    status: Mutex<ConfigStatus>,
    metrics: ConfigMetrics,
    /// What is refused for the sake of pods, until they have gone.
    held: watch::Sender<Option<engine::Settings>>,
    /// The last look at the host.
    look: Mutex<Look>,
    /// One at a time.
    reading: tokio::sync::Mutex<()>,
}

/// What came of files that are right.
struct Read {
    files: Vec<PathBuf>,
    problems: HostProblems,
    /// Keys that have changed.
    changed: Vec<&'static str>,
    /// Keys that wait for a restart.
    waiting: Vec<&'static str>,
}

/// Why files are refused.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Config(#[from] config::Mistakes),
    #[error(transparent)]
    Engine(#[from] engine::EngineError),
    #[error("compare it with the one in force")]
    Compare(#[from] toml::de::Error),
    #[error("set the level of the log")]
    Logging(#[from] crate::logging::LoggingError),
    #[error("{} is gone: put it back, or restart to run on the defaults", .0.display())]
    Gone(PathBuf),
    #[error(
        "{} is empty and was not: put back what it is to say, or a comment where that is nothing; a restart takes \
            it as it is", .0.display()
    )]
    Emptied(PathBuf),
    #[error("read {} and what is beside it: the filesystem did not answer within {} s", .0.display(), aside::PATIENCE.as_secs())]
    Unanswered(PathBuf),
}

impl Reloader {
    /// Of a daemon that has just begun with this configuration.
    pub(crate) fn new(
        source: Source,
        config: Config,
        status: ConfigStatus,
        takers: Takers,
        metrics: ConfigMetrics,
    ) -> Arc<Self> {
        metrics.in_force(&config);
        let (config, status) = (ArcSwap::from_pointee(config), Mutex::new(status));
        let (held, reading) = (watch::Sender::default(), tokio::sync::Mutex::default());
        Arc::new(Self { source, takers, config, status, metrics, held, look: Mutex::default(), reading })
    }

    /// The settings in force.
    pub(crate) fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// What is known of them.
    pub(crate) fn status(&self) -> ConfigStatus {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, ConfigStatus> {
        lock(&self.status)
    }

    /// Reads the files again.
    pub(crate) async fn reload(&self, cause: &'static str) {
        let _one_at_a_time = self.reading.lock().await;
        self.held.send_replace(None);
        match self.try_reload().await {
            Ok(read) => self.accept(cause, read),
            Err(error) => {
                let reason = chain(&error);
                self.metrics.refused();
                self.lock().refused = Some(reason.clone());
                tracing::error!(cause, error = reason, "the configuration is refused, nothing changes");
            }
        }
    }

    async fn try_reload(&self) -> Result<Read, Refused> {
        let loaded = Arc::new(self.source.read().await?);
        // At the start it need not be there. That it goes is no wish to run on the defaults: it may be on its way back.
        let main = self.source.main();
        let had = |files: &[PathBuf]| files.iter().any(|path| path == main);
        if had(&self.lock().files) && !had(&loaded.files) {
            return Err(Refused::Gone(main.to_owned()));
        }
        if let Some(path) = loaded.texts.emptied(&lock(&self.source.texts)) {
            return Err(Refused::Emptied(path.to_owned()));
        }
        let Update { config, changed, waiting } = config::update(&self.config.load(), &loaded.config)?;
        if !changed.is_empty() {
            self.take_over(config).await?;
        } else {
            self.takers.engine.look_again().await;
        }
        lock(&self.source.texts).clone_from(&loaded.texts);
        let files = loaded.files.clone();
        let look = Look::default();
        let own = look.clone();
        // It reads certificates, and asks the host this and that. The settings are in force, whatever becomes of it.
        let _ = aside::HOST.run(move || own.take(&loaded)).await;
        let problems = self.known(look).found();
        Ok(Read { files, problems, changed, waiting })
    }

    /// The last look at the host that was one: where others wait for what does not answer, theirs holds.
    fn known(&self, look: Look) -> Look {
        let mut last = lock(&self.look);
        if look.has_begun() {
            *last = look;
        }
        last.clone()
    }

    /// First what may be refused, so that then nothing has changed.
    async fn take_over(&self, config: Config) -> Result<(), Refused> {
        let Takers { level, engine, images, network, streams } = &self.takers;
        if let Err(error) = engine.reconfigure(config.engine()).await {
            if matches!(error, EngineError::HandlerInUse(_)) {
                self.held.send_replace(Some(config.engine()));
            }
            return Err(error.into());
        }
        level.set(&config.log.level)?;
        images.reconfigure(config.images.clone());
        network.reconfigure(&config.network);
        streams.reconfigure(&config.stream);
        self.config.store(Arc::new(config));
        Ok(())
    }

    fn accept(&self, cause: &'static str, Read { files, problems, changed, waiting }: Read) {
        self.metrics.accepted(changed.len(), waiting.len());
        self.metrics.in_force(&self.config.load());
        let waiting: Vec<String> = waiting.iter().map(|key| (*key).to_owned()).collect();
        let status = ConfigStatus {
            waiting_for_restart: waiting.clone(),
            ..ConfigStatus::new(files, problems.lines())
        };
        let known = std::mem::replace(&mut *self.lock(), status);
        if changed.is_empty() {
            tracing::info!(
                cause,
                "the configuration is read again, no setting has changed; plugins and classes are looked at anew"
            );
        } else {
            tracing::info!(cause, changed = changed.join(", "), "the configuration is read again");
        }
        if !waiting.is_empty() && waiting != known.waiting_for_restart {
            tracing::warn!(keys = waiting.join(", "), "changed settings take a restart of the daemon");
        }
        for problem in problems.to_tell().iter().filter(|problem| !known.on_this_host.contains(problem)) {
            tracing::warn!("on this host: {problem}");
        }
    }

    /// The file of classes of cache may have changed, though nobody asks for a class.
    async fn follow_groups(&self) {
        if !self.config.load().runtime.rdt_config_file.as_os_str().is_empty() {
            let engine = self.takers.engine.clone();
            // What does not answer is tried again.
            let _ = aside::FILES.run(move || engine.follow_groups()).await;
        }
    }

    /// Ends once no pod holds back what was refused for its sake.
    async fn let_go(&self) {
        let mut held = self.held.subscribe();
        loop {
            let wanted = held.wait_for(Option::is_some).await.ok().and_then(|wanted| wanted.clone());
            if wanted.is_some_and(|wanted| self.takers.engine.lets_handlers_go(&wanted)) {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Follows the files until the task is ended. `known` is how they were before they were read.
    pub(crate) async fn watch(self: Arc<Self>, mut known: Fingerprint) {
        let main = self.source.main();
        let directory = main.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
        loop {
            // Watched first and looked at then, so that no change falls between the two.
            let watch = watch(directory.to_owned()).await;
            if let Some(found) = self.source.look().await
                && found != known
            {
                known = self.source.settled(found).await;
                if self.source.are_in_writing(&known).await {
                    continue;
                }
                self.reload("its files have changed").await;
            }
            self.follow_groups().await;
            let changed = async {
                match watch {
                    // Where a link leads to, nothing is watched.
                    Ok(mut watch) => tokio::time::timeout(POLL, watch.changed()).await.unwrap_or(Ok(())),
                    Err(error) => Err(error),
                }
            };
            let changed = tokio::select! {
                changed = changed => changed,
                () = self.let_go() => {
                    self.reload("the pods that it waited for have gone").await;
                    continue;
                }
            };
            if let Err(error) = changed {
                tracing::debug!(%error, "the configuration cannot be watched, and is looked at now and then");
                tokio::time::sleep(POLL).await;
            }
        }
    }
}

/// A watch on a directory whose filesystem may not answer.
async fn watch(directory: PathBuf) -> std::io::Result<net::Watch> {
    let runtime = tokio::runtime::Handle::current();
    let begin = move || {
        let _entered = runtime.enter();
        net::Watch::new(&directory)
    };
    aside::FILES.run(begin).await.unwrap_or_else(|| Err(std::io::ErrorKind::TimedOut.into()))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
