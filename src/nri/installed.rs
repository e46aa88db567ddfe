//! Plugins that come with the node: started with the runtime, and again when they end.

mod end;
mod find;
mod output;

pub use find::{Directory, Unfit, Unfitness, look};

use crate::join::{Installed, JoinError, Name, Newcomer, serve};
use crate::runtime::{Core, Starting};
use crate::status::{Absence, Origin, PluginStatus};
use end::End;
use find::Found;
use output::{Last, follow};
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Before a plugin that has ended is started again, at first and at most.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// After so long a plugin has run well.
const STABLE: Duration = Duration::from_secs(60);
/// For so long may a plugin go on whose connection has ended.
const GRACE: Duration = Duration::from_secs(1);
/// For so long is the rest of what a plugin has said waited for once it has ended.
const REST: Duration = Duration::from_millis(200);

/// Plugins that are kept running, each with where it is and what ends it.
pub(crate) type Kept = BTreeMap<Name, One>;

pub(crate) struct One {
    path: PathBuf,
    configuration: Option<String>,
    stop: Arc<Stop>,
}

/// What ends a plugin, and why it does.
struct Stop {
    token: CancellationToken,
    why: OnceLock<&'static str>,
    /// The executable that was started last.
    started: Mutex<Option<Stamp>>,
}

impl Stop {
    fn started(&self) -> MutexGuard<'_, Option<Stamp>> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the executable is another than the one that was started.
    fn is_replaced(&self, path: &Path) -> bool {
        let started = *self.started();
        started.is_some() && started != Stamp::of(path)
    }
}

/// By what an executable that has been replaced is known.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    place: (u64, u64),
    modified: (i64, i64),
    size: u64,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        Some(Self {
            place: (found.dev(), found.ino()),
            modified: (found.mtime(), found.mtime_nsec()),
            size: found.len(),
        })
    }
}

/// Starts those that there are, and ends those that there are no more, with another configuration or another executable.
pub(crate) fn reconcile(core: &Arc<Core>) {
    let settings = Arc::clone(&core.roster.current().settings);
    let found = if settings.enable { find::find(&settings.plugins) } else { Ok(Found::default()) };
    let Found { plugins, unfit } = found.unwrap_or_else(|error| {
        if error.kind() != io::ErrorKind::NotFound {
            let directory = settings.plugins.display();
            tracing::error!(%directory, %error, "plugins that are installed cannot be looked for");
        }
        Found::default()
    });
    note(core, &settings.plugins, unfit);
    // One that cannot be read keeps its plugin from running, which says so.
    let with = |(name, path): (Name, PathBuf)| {
        let configuration = configuration(&settings.configurations, &name).ok();
        (name, path, configuration)
    };
    let found: Vec<_> = plugins.into_iter().map(with).collect();
    let mut kept = core.installed.lock().unwrap_or_else(PoisonError::into_inner);
    kept.retain(|name, one| {
        let now = found.iter().find(|(known, ..)| known == name);
        let why = match now {
            _ if !settings.enable => "plugins are turned off",
            None => "it is not in the directory of plugins any more",
            Some((_, path, _)) if *path != one.path => "the directory of plugins is another",
            Some((.., configuration)) if *configuration != one.configuration => {
                "its configuration is another, and it is started again"
            }
            Some((_, path, _)) if one.stop.is_replaced(path) => {
                "its executable has been replaced, and the new one is started"
            }
            Some(_) => return true,
        };
        // Whoever ends it does so once.
        let _ = one.stop.why.set(why);
        one.stop.token.cancel();
        false
    });
    for (name, path, configuration) in found {
        if kept.contains_key(&name) {
            continue;
        }
        let stop = Arc::new(Stop {
            token: core.stop.child_token(),
            why: OnceLock::new(),
            started: Mutex::default(),
        });
        let plugin = Installation { name: name.clone(), path: path.clone(), stop: Arc::clone(&stop) };
        let starting = core.starting(name.full());
        core.tasks.spawn(keep(Arc::clone(core), plugin, starting));
        kept.insert(name, One { path, configuration, stop });
    }
}

/// Keeps what cannot be started for whoever asks, and tells of it where that is news.
fn note(core: &Core, directory: &Path, unfit: Vec<Unfit>) {
    let mut known = core.unfit.lock().unwrap_or_else(PoisonError::into_inner);
    let status = |Unfit { file, why }: Unfit| {
        let why = why.to_string();
        if let Some(same) = known
            .iter()
            .find(|one| one.name == file && one.absence.as_ref().is_some_and(|absence| absence.why == why))
        {
            return same.clone();
        }
        tracing::warn!(path = %directory.join(&file).display(), why, "a plugin is not started");
        PluginStatus::absent(file, Origin::Unfit, SystemTime::now(), Absence { why, again_at: None })
    };
    let now = unfit.into_iter().map(status).collect();
    *known = now;
}

/// What is kept running.
struct Installation {
    name: Name,
    path: PathBuf,
    stop: Arc<Stop>,
}

/// The text of the first of a plugin's files that is there.
fn configuration(directory: &Path, name: &Name) -> io::Result<String> {
    for file in [format!("{}.conf", name.full()), format!("{}.conf", name.base)] {
        match fs::read_to_string(directory.join(file)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            read => return read,
        }
    }
    Ok(String::new())
}

/// Runs a plugin again and again, until the runtime ends.
async fn keep(core: Arc<Core>, one: Installation, starting: Starting) {
    let (plugin, mut starting, mut pause) = (one.name.full(), Some(starting), PAUSE);
    let counters = core.counters.of(&plugin);
    counters.gone(Origin::Installed, "it has been started, and has not registered yet", None);
    let let_go = |end: Option<String>| {
        // The runtime's own end has no reason.
        if let Some(reason) = one.stop.why.get() {
            tracing::info!(plugin, reason, end, "a plugin that is installed is gone");
        }
        counters.forget();
    };
    loop {
        let begun = Instant::now();
        let ran = run(&core, &one, starting.take()).await;
        if one.stop.token.is_cancelled() {
            return let_go(ran.ok().map(|end| end.to_string()));
        }
        if begun.elapsed() > STABLE {
            pause = PAUSE;
        }
        let why = match ran {
            Ok(end) => {
                let (code, signal) = (end.code(), end.signal());
                tracing::warn!(
                    plugin, code, signal, cause = end.cause(), last_line = end.last_line(), again_in = ?pause, "a plugin that is installed has ended"
                );
                format!("it {end}")
            }
            Err(error) => {
                tracing::warn!(plugin, %error, again_in = ?pause, "a plugin that is installed cannot be run");
                format!("it cannot be run: {error}")
            }
        };
        counters.ended(&why);
        counters.gone(Origin::Installed, &why, Some(SystemTime::now() + pause));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = one.stop.token.cancelled() => return let_go(None),
        }
        counters.gone(Origin::Installed, &why, None);
        counters.again();
        pause = (pause * 2).min(LONGEST);
    }
}

/// Runs a plugin until it ends or is let go, and says how it ended.
async fn run(core: &Arc<Core>, one: &Installation, starting: Option<Starting>) -> io::Result<End> {
    let Installation { name, path, stop } = one;
    let settings = Arc::clone(&core.roster.current().settings);
    let configuration = configuration(&settings.configurations, name)?;
    // Blocking for the plugin, as it would find it anywhere.
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    // Looked at first: one that is put there meanwhile is another then.
    *stop.started() = Stamp::of(path);
    let mut child = spawn(name, path, theirs).await?;
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let last = Last::default();
    let mut errors = None;
    if let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) {
        core.tasks.spawn(follow(out, name.full(), None));
        errors = Some(core.tasks.spawn(follow(err, name.full(), Some(last.clone()))));
    }
    let newcomer = Newcomer {
        socket: UnixStream::from_std(ours)?,
        origin: Origin::Installed,
        pid: child.id(),
        installed: Some(Installed { name: name.clone(), configuration, starting }),
    };
    let mut cause = None;
    let ended = tokio::select! {
        kept_out = serve(Arc::clone(core), newcomer, None) => {
            // Whoever ends its connection itself says why by how it ends.
            let kept_out = kept_out.filter(|error| !matches!(error, JoinError::Unregistered(_)));
            cause = kept_out.map(|error| error.to_string());
            None
        }
        ended = child.wait() => Some(ended?),
        () = stop.token.cancelled() => None,
    };
    let ended = match ended {
        Some(ended) => Ok(ended),
        None => timeout(GRACE, child.wait()).await.unwrap_or(Err(io::ErrorKind::TimedOut.into())),
    };
    // What it has started goes, too.
    let _ = group.map(|group| kill_process_group(group, Signal::KILL));
    let (status, was_killed) = match ended {
        Ok(status) => (status, false),
        Err(_) => (child.wait().await?, true),
    };
    if let Some(errors) = errors {
        // Somebody who has left the group may hold them open.
        let _ = timeout(REST, errors).await;
    }
    Ok(End::new(status, cause, was_killed, last.take()))
}

async fn spawn(name: &Name, path: &Path, socket: std::os::unix::net::UnixStream) -> io::Result<Child> {
    let mut command = Command::new(path);
    command
        .env_clear()
        .env("NRI_PLUGIN_NAME", &name.base)
        .env("NRI_PLUGIN_IDX", &name.index)
        .env("NRI_PLUGIN_SOCKET", "3")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    sys::handover::pass(command.as_std_mut(), &socket)?;
    for _ in 0..20 {
        match command.spawn() {
            // The file is being written, or was in a process that forked meanwhile.
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            spawned => return spawned,
        }
    }
    command.spawn()
}
