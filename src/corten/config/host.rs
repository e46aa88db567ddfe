//! Settings that this host cannot have, although another might: programs and files that are not there, drivers that it
//! lacks, addresses of others, a filesystem that carries no containers. `corten config check` and the start of the daemon
//! ask the same questions; the start goes on where only some pods or pulls cannot be had.

use super::error::Place;
use super::sections::MetricsAddress;
use super::{Loaded, directories};
use crate::error::chain;
use crate::{socket, state};
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

/// A setting that does not fit this host.
#[derive(Debug)]
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
        let own = self.0.iter().filter(|problem| problem.weight != Weight::Told);
        own.map(ToString::to_string).collect()
    }

    /// A line for each.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    /// `Err` where there are any.
    pub(crate) fn none(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for HostProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        write!(f, "`{}`: {}", self.key, self.reason)
    }
}

/// Everything that does not fit.
pub(crate) fn check(loaded: &Loaded) -> HostProblems {
    let mut looking = Looking { loaded, found: Vec::new() };
    looking.directories();
    looking.addresses();
    looking.files();
    looking.engine();
    HostProblems(looking.found)
}

struct Looking<'a> {
    loaded: &'a Loaded,
    found: Vec<HostProblem>,
}

impl Looking<'_> {
    fn directories(&mut self) {
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
            if let problem @ Some(_) = directories::unusable(path) {
                told.push(path);
                self.fatal(key, problem);
            }
        }
        self.own(&told);
        let lists = [
            ("network.bin_dirs", config.network.bin_dirs.as_slice()),
            ("runtime.cdi_spec_dirs", &config.runtime.cdi_spec_dirs),
            ("network.conf_dir", std::slice::from_ref(&config.network.conf_dir)),
            ("images.certs_dir", std::slice::from_ref(&config.images.certs_dir)),
        ];
        for (key, paths) in lists {
            paths.iter().for_each(|path| self.add(key, directories::unreadable(path), Weight::Warned));
        }
    }

    /// Directories and sockets of the daemon's own, where something is there already.
    fn own(&mut self, told: &[&Path]) {
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

    fn addresses(&mut self) {
        let config = &self.loaded.config;
        if let MetricsAddress::Tcp(address) = config.metrics.address {
            self.fatal("metrics.address", foreign(address));
        }
        self.fatal("stream.address", foreign(config.stream.address));
    }

    /// Files of others that settings lead to.
    fn files(&mut self) {
        let config = &self.loaded.config;
        self.fatal("stream.tls_cert_file", config.stream.check_host().err().map(|error| chain(&error)));
        let is_readable = |path: &Path| directories::unreadable(path).is_none();
        if is_readable(&config.images.certs_dir) {
            for error in config.images.check_host() {
                self.add("images.certs_dir", Some(chain(&error)), Weight::Warned);
            }
        }
        if is_readable(&config.network.conf_dir) {
            for problem in config.network.check_host() {
                self.add("network.conf_dir", Some(problem), Weight::Told);
            }
        }
    }

    fn engine(&mut self) {
        let config = &self.loaded.config;
        // One that cannot be is told already.
        let data = directories::unusable(&config.data_dir).is_none().then_some(config.data_dir.as_path());
        for found in config.engine().check_host(data) {
            let engine::HostProblem { setting: engine::SettingError { key, problem }, prevents_start } =
                found;
            let weight = if prevents_start { Weight::PreventsStart } else { Weight::Told };
            self.add(&key, Some(problem), weight);
        }
    }

    fn fatal(&mut self, key: &str, reason: Option<String>) {
        self.add(key, reason, Weight::PreventsStart);
    }

    fn add(&mut self, key: &str, reason: Option<String>, weight: Weight) {
        let Some(reason) = reason else { return };
        let place = self.loaded.place(key);
        self.found.push(HostProblem { place, key: key.to_owned(), reason, weight });
    }
}

/// What is wrong with an address to listen on that is not this host's; a port that somebody has is not looked at, because
/// that may be the daemon itself.
fn foreign(address: SocketAddr) -> Option<String> {
    let error = TcpListener::bind(SocketAddr::new(address.ip(), 0)).err()?;
    let is_foreign = error.kind() == ErrorKind::AddrNotAvailable;
    is_foreign.then(|| format!("{} is no address of this host", address.ip()))
}
