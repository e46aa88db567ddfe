//! Plugins that come with the node: started with the runtime, and again when they end.

use crate::join::{Installed, Name, Newcomer, serve};
use crate::quiet::{Quiet, told};
use crate::runtime::{Core, Starting};
use crate::status::Origin;
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
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
/// A longer line is told in pieces.
const LINE: u64 = 1 << 10;
/// Lines of a plugin that are told at once.
const LINES: u32 = 200;

/// Plugins that are kept running, each with where it is and what ends it.
pub(crate) type Kept = BTreeMap<Name, One>;

pub(crate) struct One {
    path: PathBuf,
    configuration: Option<String>,
    stop: CancellationToken,
}

/// Starts those that there are, and ends those that there are no more, or with another configuration.
pub(crate) fn reconcile(core: &Arc<Core>) {
    let settings = Arc::clone(&core.roster.current().settings);
    let found = if settings.enable { find(&settings.plugins) } else { Ok(Vec::new()) };
    let found = found.unwrap_or_else(|error| {
        if error.kind() != io::ErrorKind::NotFound {
            let directory = settings.plugins.display();
            tracing::error!(%directory, %error, "plugins that are installed cannot be looked for");
        }
        Vec::new()
    });
    // One that cannot be read keeps its plugin from running, which says so.
    let with = |(name, path): (Name, PathBuf)| {
        let configuration = configuration(&settings.configurations, &name).ok();
        (name, path, configuration)
    };
    let found: Vec<_> = found.into_iter().map(with).collect();
    let mut kept = core.installed.lock().unwrap_or_else(PoisonError::into_inner);
    kept.retain(|name, one| {
        let stays = found.iter().any(|(known, path, configuration)| {
            known == name && *path == one.path && *configuration == one.configuration
        });
        if !stays {
            one.stop.cancel();
        }
        stays
    });
    for (name, path, configuration) in found {
        if kept.contains_key(&name) {
            continue;
        }
        let stop = core.stop.child_token();
        let plugin = Installation { name: name.clone(), path: path.clone(), stop: stop.clone() };
        core.tasks.spawn(keep(Arc::clone(core), plugin, core.starting()));
        kept.insert(name, One { path, configuration, stop });
    }
}

/// What is kept running.
struct Installation {
    name: Name,
    path: PathBuf,
    stop: CancellationToken,
}

fn find(directory: &Path) -> io::Result<Vec<(Name, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        // It may be a link.
        let Some(file) = fs::metadata(&path).ok().filter(fs::Metadata::is_file) else { continue };
        let name = path.file_name().and_then(|name| Name::parse(name.to_str()?));
        if file.permissions().mode() & 0o111 == 0 {
            if name.is_some() {
                tracing::warn!(path = %path.display(), "a plugin is not started, as nobody may execute it: chmod +x");
            }
            continue;
        }
        match name {
            Some(name) => found.push((name, path)),
            None => {
                tracing::warn!(path = %path.display(), "a plugin is called as 10-name, which this is not");
            }
        }
    }
    found.sort();
    Ok(found)
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
    loop {
        let begun = Instant::now();
        let ran = run(&core, &one, starting.take()).await;
        if one.stop.is_cancelled() {
            return counters.forget();
        }
        if begun.elapsed() > STABLE {
            pause = PAUSE;
        }
        let why = match ran {
            Ok(end) => {
                tracing::warn!(plugin, end, again_in = ?pause, "a plugin that is installed has ended");
                format!("it has ended: {end}")
            }
            Err(error) => {
                tracing::warn!(plugin, %error, again_in = ?pause, "a plugin that is installed cannot be run");
                format!("it cannot be run: {error}")
            }
        };
        counters.gone(Origin::Installed, &why, Some(SystemTime::now() + pause));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = one.stop.cancelled() => return counters.forget(),
        }
        counters.gone(Origin::Installed, &why, None);
        counters.again();
        pause = (pause * 2).min(LONGEST);
    }
}

/// Runs a plugin until it ends or is let go, and says how it ended.
async fn run(core: &Arc<Core>, one: &Installation, starting: Option<Starting>) -> io::Result<String> {
    let Installation { name, path, stop } = one;
    let settings = Arc::clone(&core.roster.current().settings);
    let configuration = configuration(&settings.configurations, name)?;
    // Blocking for the plugin, as it would find it anywhere.
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let mut child = spawn(name, path, theirs).await?;
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let plugin = name.full();
    if let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) {
        core.tasks.spawn(follow(out, plugin.clone()));
        core.tasks.spawn(follow(err, plugin));
    }
    let newcomer = Newcomer {
        socket: UnixStream::from_std(ours)?,
        origin: Origin::Installed,
        pid: child.id(),
        installed: Some(Installed { name: name.clone(), configuration, starting }),
    };
    let ended = tokio::select! {
        _ = serve(Arc::clone(core), newcomer, None) => None,
        ended = child.wait() => Some(ended?),
        () = stop.cancelled() => None,
    };
    let ended = match ended {
        Some(ended) => Ok(ended),
        None => timeout(GRACE, child.wait()).await.unwrap_or(Err(io::ErrorKind::TimedOut.into())),
    };
    // What it has started goes, too.
    let _ = group.map(|group| kill_process_group(group, Signal::KILL));
    match ended {
        Ok(status) => Ok(status.to_string()),
        Err(_) => Ok(format!("killed, as its connection has ended: {}", child.wait().await?)),
    }
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

/// Tells what a plugin says, line by line, and no more than anybody would read.
async fn follow(source: impl AsyncRead + Unpin, plugin: String) {
    let (mut reader, mut quiet) = (BufReader::with_capacity(4 << 10, source), Quiet::of(LINES));
    loop {
        let mut line = Vec::new();
        match (&mut reader).take(LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if let Some(unsaid) = quiet.may_say() {
            let (line, unsaid) = (String::from_utf8_lossy(&line), told(unsaid));
            // A terminal on which somebody reads the log is not the plugin's.
            tracing::info!(plugin, unsaid, "{}", model::printable(line.trim_end()));
        }
    }
}
