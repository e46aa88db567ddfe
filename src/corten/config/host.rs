//! Settings that this host cannot have, although another might: programs and files that are not there, drivers that it
//! lacks, addresses of others, a filesystem that carries no containers. `corten config check` and the start of the daemon
//! ask the same questions; the start goes on where only some pods or pulls cannot be had.

use super::error::Place;
use super::sections::MetricsAddress;
use super::{Loaded, directories};
use crate::aside::{self, PATIENCE};
use crate::error::chain;
use crate::metrics::read_token;
use crate::{images_root, socket, state};
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};
use sys::sync::lock;

/// A setting that does not fit this host.
#[derive(Debug, Clone)]
pub(crate) struct HostProblem {
    /// Where it is set; `None` for a default.
    place: Option<Place>,
    key: String,
    reason: String,
    weight: Weight,
}

/// What the daemon makes of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// It does not start.
    PreventsStart,
    /// It says so when it starts.
    Warned,
    /// It starts, and whatever of it meets the problem says so.
    Told,
    /// The same, and the files are right.
    Noted,
}

/// All settings that do not fit this host.
#[derive(Debug, Default)]
pub(crate) struct HostProblems(Vec<HostProblem>);

impl fmt::Display for HostProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("; "))
    }
}

impl std::error::Error for HostProblems {}

impl HostProblems {
    /// Those with which the daemon starts.
    ///
    /// # Errors
    /// Those with which it does not.
    pub(crate) fn allow_start(self) -> Result<Self, Self> {
        let (fatal, others): (Vec<_>, Vec<_>) =
            self.0.into_iter().partition(|problem| problem.weight == Weight::PreventsStart);
        Self(fatal).none()?;
        Ok(Self(others))
    }

    /// A line for each of which nobody but the reader of the files tells.
    pub(crate) fn to_tell(&self) -> Vec<String> {
        let is_own = |problem: &&HostProblem| !matches!(problem.weight, Weight::Told | Weight::Noted);
        let own = self.0.iter().filter(is_own);
        own.map(ToString::to_string).collect()
    }

    /// Each of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &HostProblem> {
        self.0.iter()
    }

    /// A line for each.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    /// Those with which the files are right.
    ///
    /// # Errors
    /// All of them, where there are others.
    pub(crate) fn only_noted(self) -> Result<Self, Self> {
        if self.0.iter().all(|problem| problem.weight == Weight::Noted) { Ok(self) } else { Err(self) }
    }

    /// `Err` where there are any.
    fn none(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl HostProblem {
    /// The setting that it is about.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Whether the daemon does not start.
    pub(crate) fn prevents_start(&self) -> bool {
        self.weight == Weight::PreventsStart
    }
}

impl fmt::Display for HostProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        write!(f, "`{}`: {}", self.key, image::without_users(&self.reason))
    }
}

/// Everything that does not fit, and what has not answered.
pub(crate) fn check(loaded: &Arc<Loaded>) -> HostProblems {
    let look = Look::default();
    let (own, loaded) = (look.clone(), loaded.clone());
    // What there is of it is in the look.
    let _ = aside::HOST.wait(move || own.take(&loaded));
    look.found()
}

/// One look at the host. A filesystem may keep it waiting for ever, and what it has found is there all the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Look(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    found: Vec<HostProblem>,
    has_begun: bool,
    /// What is asked just now, as the problem that it is when there is no answer.
    open: Option<HostProblem>,
}

impl Look {
    /// Looks. Blocks for as long as it takes.
    pub(crate) fn take(&self, loaded: &Loaded) {
        lock(&self.0).has_begun = true;
        let looking = Looking { loaded, look: self };
        looking.directories();
        looking.plugins();
        looking.addresses();
        looking.secrets();
        looking.files();
        looking.engine();
        lock(&self.0).open = None;
    }

    /// Whether there was a thread for it.
    pub(crate) fn has_begun(&self) -> bool {
        lock(&self.0).has_begun
    }

    /// What was found so far, and what does not answer.
    pub(crate) fn found(&self) -> HostProblems {
        let seen = lock(&self.0);
        HostProblems(seen.found.iter().chain(&seen.open).cloned().collect())
    }
}

struct Looking<'a> {
    loaded: &'a Loaded,
    look: &'a Look,
}

impl Looking<'_> {
    fn directories(&self) {
        let config = &self.loaded.config;
        let mut made = vec![
            ("state_dir", config.state_dir.as_path()),
            ("data_dir", &config.data_dir),
            ("images.root", &config.images.root),
            ("runtime.netns_dir", &config.runtime.netns_dir),
        ];
        made.extend(config.socket.parent().map(|parent| ("socket", parent)));
        if let MetricsAddress::Unix(path) = &config.metrics.address {
            made.extend(path.parent().map(|parent| ("metrics.address", parent)));
        }
        let mut told: Vec<&Path> = Vec::new();
        for (key, path) in made {
            // What lies in one that cannot be needs no line of its own.
            if told.iter().any(|outer| path.starts_with(outer)) {
                continue;
            }
            self.ask(key, path, Weight::PreventsStart);
            if let problem @ Some(_) = directories::unusable(path) {
                told.push(path);
                self.fatal(key, problem);
            }
        }
        self.own(&told);
        self.fatal("images.root", images_root::conflict(&config.data_dir, &config.images.root));
        let lists = [
            ("network.bin_dirs", config.network.bin_dirs.as_slice()),
            ("runtime.cdi_spec_dirs", &config.runtime.cdi_spec_dirs),
            ("network.conf_dir", std::slice::from_ref(&config.network.conf_dir)),
            ("images.certs_dir", config.images.certs_dir.paths()),
        ];
        for (key, paths) in lists {
            for path in paths {
                self.ask(key, path, Weight::Warned);
                self.add(key, directories::unreadable(path), Weight::Warned);
            }
        }
    }

    /// Directories and sockets of the daemon's own, where something is there already.
    fn own(&self, told: &[&Path]) {
        let config = &self.loaded.config;
        let is_told = |path: &Path| told.iter().any(|outer| path.starts_with(outer));
        for (key, path) in [("state_dir", &config.state_dir), ("data_dir", &config.data_dir)] {
            // Another user than the daemon's cannot say whose they are to be.
            let found = fs::metadata(path).ok().filter(|_| rustix::process::geteuid().is_root());
            let wrong = found.filter(|_| !is_told(path)).and_then(|found| state::check(path, &found).err());
            self.fatal(key, wrong.map(|error| chain(&error)));
        }
        let mut sockets = vec![("socket", config.socket.as_path())];
        if let MetricsAddress::Unix(path) = &config.metrics.address {
            sockets.push(("metrics.address", path));
        }
        for (key, path) in sockets.into_iter().filter(|(_, path)| !is_told(path)) {
            self.fatal(key, socket::check(path).err().map(|error| chain(&error)));
        }
    }

    /// What plugins need. Without them pods run as well.
    fn plugins(&self) {
        let nri = &self.loaded.config.nri;
        if !nri.enable {
            return;
        }
        for (key, path) in
            [("nri.plugin_path", &nri.plugin_path), ("nri.plugin_config_path", &nri.plugin_config_path)]
        {
            self.ask(key, path, Weight::Warned);
            self.add(key, directories::unreadable(path), Weight::Warned);
        }
        let (key, path) = ("nri.socket_path", &nri.socket_path);
        if let (false, Some(parent)) = (nri.disable_connections, path.parent()) {
            self.ask(key, parent, Weight::Warned);
            let problem = directories::unusable(parent)
                .or_else(|| socket::check(path).err().map(|error| chain(&error)));
            self.add(key, problem, Weight::Warned);
        }
    }

    fn addresses(&self) {
        let config = &self.loaded.config;
        if let MetricsAddress::Tcp(address) = config.metrics.address {
            self.fatal("metrics.address", foreign(address));
        }
        self.fatal("stream.address", foreign(config.stream.address));
    }

    /// Certificates, keys and tokens.
    fn secrets(&self) {
        let config = &self.loaded.config;
        let metrics = &config.metrics;
        self.ask("stream.tls_cert_file", &config.stream.tls_cert_file, Weight::PreventsStart);
        self.fatal("stream.tls_cert_file", config.stream.check_host().err().map(|error| chain(&error)));
        self.ask("metrics.tls_cert_file", &metrics.tls_cert_file, Weight::PreventsStart);
        let tls = stream::acceptor(&metrics.tls_cert_file, &metrics.tls_key_file);
        self.fatal("metrics.tls_cert_file", tls.err().map(|error| chain(&error)));
        self.ask("tracing.ca_file", &config.tracing.ca_file, Weight::PreventsStart);
        self.fatal("tracing.ca_file", config.tracing.check_host().err().map(|error| chain(&error)));
        let file = &metrics.token_file;
        if !file.as_os_str().is_empty() {
            self.ask("metrics.token_file", file, Weight::Warned);
            let problem = read_token(file).err().map(|error| {
                format!("{}: {error}: until that is mended every scrape is refused", file.display())
            });
            self.add("metrics.token_file", problem, Weight::Warned);
        }
    }

    /// Directories of others that settings lead to.
    fn files(&self) {
        let config = &self.loaded.config;
        let is_readable = |path: &Path| directories::unreadable(path).is_none();
        for directory in config.images.certs_dir.paths() {
            self.ask("images.certs_dir", directory, Weight::Warned);
            if is_readable(directory) {
                for error in image::ImageConfig::check_registries(directory) {
                    self.add("images.certs_dir", Some(chain(&error)), Weight::Warned);
                }
            }
        }
        self.ask("network.conf_dir", &config.network.conf_dir, Weight::Warned);
        if is_readable(&config.network.conf_dir) {
            for problem in config.network.check_host() {
                self.add("network.conf_dir", Some(problem), Weight::Told);
            }
        }
    }

    fn engine(&self) {
        let config = &self.loaded.config;
        // One that cannot be is told already.
        self.ask("data_dir", &config.data_dir, Weight::PreventsStart);
        let data = directories::unusable(&config.data_dir).is_none().then_some(config.data_dir.as_path());
        let engine = config.engine();
        let own = [("runtime.shim".to_owned(), &engine.shim), ("runtime.pause".to_owned(), &engine.pause)];
        let others =
            engine.handlers.iter().map(|(name, one)| (format!("handlers.{name}.binary"), &one.binary));
        for (key, path) in own.into_iter().chain(others) {
            self.ask(&key, path, Weight::Warned);
            // Whether it answers is all that counts here.
            let _ = fs::metadata(path);
        }
        for found in engine.check_host(data) {
            let engine::HostProblem { setting: engine::SettingError { key, problem }, gravity } = found;
            let weight = match gravity {
                engine::Gravity::PreventsStart => Weight::PreventsStart,
                engine::Gravity::Tolerated => Weight::Told,
                engine::Gravity::Noted => Weight::Noted,
            };
            self.add(&key, Some(problem), weight);
        }
    }

    fn fatal(&self, key: &str, reason: Option<String>) {
        self.add(key, reason, Weight::PreventsStart);
    }

    fn add(&self, key: &str, reason: Option<String>, weight: Weight) {
        let Some(reason) = reason else { return };
        let problem = self.problem(key, reason, weight);
        lock(&self.look.0).found.push(problem);
    }

    /// Notes whose answer is waited for.
    fn ask(&self, key: &str, path: &Path, weight: Weight) {
        let seconds = PATIENCE.as_secs();
        let problem = format!("{}: the filesystem did not answer within {seconds} s", path.display());
        let problem = self.problem(key, problem, weight);
        lock(&self.look.0).open = Some(problem);
    }

    fn problem(&self, key: &str, reason: String, weight: Weight) -> HostProblem {
        HostProblem { place: self.loaded.place(key), key: key.to_owned(), reason, weight }
    }
}

/// What is wrong with an address to listen on that is not this host's; a port that somebody has is not looked at, because
/// that may be the daemon itself.
fn foreign(address: SocketAddr) -> Option<String> {
    let error = TcpListener::bind(SocketAddr::new(address.ip(), 0)).err()?;
    let is_foreign = error.kind() == ErrorKind::AddrNotAvailable;
    is_foreign.then(|| format!("{} is no address of this host", address.ip()))
}
