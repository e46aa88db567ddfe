//! The configuration: embedded defaults, one TOML file, and the drop-ins in `conf.d/*.toml` beside it, merged in
//! the lexical order of their names.
//!
//! `tree` parses and merges the files and remembers where each value stands; `de` turns the tree into the settings
//! and refuses unknown keys; `check` holds what types cannot say.

mod check;
mod de;
mod directories;
mod dump;
mod error;
mod host;
mod live;
mod overridden;
mod sections;
#[cfg(test)]
mod tests;
mod texts;
mod tree;

pub(crate) use dump::text as dump_text;
use error::ConfigError;
pub(crate) use error::{Mistakes, nearest};
pub(crate) use host::{HostProblem, HostProblems, Look, check as check_host};
pub(crate) use live::{Update, differing, update};
pub(crate) use sections::{Config, Log, LogFormat, Metrics, MetricsAddress};
pub(crate) use texts::Texts;

use cli::serve::ServeArgs;
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tree::Node;

/// Every setting with its default and an explanation; the same text that `corten config default` prints.
pub(crate) const DEFAULT_TEXT: &str = include_str!("../../../config/corten.toml");

/// The file that is read, if it exists, when none is named.
pub(crate) const DEFAULT_FILE: &str = "/etc/corten/corten.toml";

/// What `corten serve --no-builtin-network` says before any file.
pub(crate) const NO_BUILTIN_NETWORK: &str = "[network]\nbuiltin_network = false\n";

/// What `corten serve --cadvisor` says before any file: where the kubelet's cAdvisor looks for containerd.
pub(crate) const CADVISOR: &str = "[kubelet]\ncadvisor_socket = \"/run/containerd/containerd.sock\"\n";

/// The settings before any file, as switches of the command line have them.
pub(crate) fn defaults(arguments: &ServeArgs) -> String {
    let network = if arguments.no_builtin_network { NO_BUILTIN_NETWORK } else { "" };
    let kubelet = if arguments.cadvisor { CADVISOR } else { "" };
    [network, kubelet].concat()
}

/// The configuration and where it came from.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The settings.
    pub(crate) config: Config,
    /// The files read, in the order in which they were merged.
    pub(crate) files: Vec<PathBuf>,
    /// What they say.
    pub(crate) texts: Texts,
    root: Node,
}

impl Loaded {
    /// Where a setting stands; `None` when no file has it.
    fn place(&self, key: &str) -> Option<error::Place> {
        self.root.nearest_place(key)
    }
}

/// Reads and checks the configuration. A file that is named must exist; the default one need not.
///
/// # Errors
/// Files that cannot be read or are no TOML; else keys that are unknown, values that have the wrong type or are out of
/// range.
pub(crate) fn load(named: Option<&Path>) -> Result<Loaded, Mistakes> {
    load_over("", named)
}

/// As [`load`], over defaults that differ from the built-in ones.
///
/// # Errors
/// As [`load`].
pub(crate) fn load_over(defaults: &str, named: Option<&Path>) -> Result<Loaded, Mistakes> {
    let Reading { mut root, files, texts, parts, mistakes } = Reading::of(defaults, named);
    // What the settings of such a file would be is anybody's guess.
    if !mistakes.is_empty() {
        return Err(Mistakes(mistakes));
    }
    let config = settings(&mut root, &files, &parts)?;
    Ok(Loaded { config, files, texts, root })
}

/// The state directory that the files name, as far as they make sense: by it a daemon is found that refuses them.
///
/// # Errors
/// The file that might name it cannot be read.
pub(crate) fn state_dir(named: Option<&Path>) -> Result<PathBuf, Mistakes> {
    Ok(said(named, "state_dir")?.unwrap_or_else(|| Config::default().state_dir))
}

/// The socket of the CRI that the files name, as far as they make sense.
///
/// # Errors
/// As [`state_dir`].
pub(crate) fn socket(named: Option<&Path>) -> Result<PathBuf, Mistakes> {
    Ok(said(named, "socket")?.unwrap_or_else(|| Config::default().socket))
}

/// What the files say of a path.
fn said(named: Option<&Path>, key: &str) -> Result<Option<PathBuf>, Mistakes> {
    let main = named.unwrap_or(Path::new(DEFAULT_FILE));
    let Reading { root, mistakes, .. } = Reading::of("", named);
    let is_unread = |mistake: &ConfigError| matches!(mistake, ConfigError::Read { path, .. } if path == main);
    if let Some(unread) = mistakes.into_iter().find(is_unread) {
        return Err(Mistakes(vec![unread]));
    }
    Ok(root.at(&[key.to_owned()]).and_then(Node::text).map(PathBuf::from))
}

/// The longest file that is read, in bytes.
const LONGEST: u64 = 1 << 20;

/// Files on the way to settings.
struct Reading {
    root: Node,
    files: Vec<PathBuf>,
    texts: Texts,
    /// What each of them says by itself, after the defaults.
    parts: Vec<Node>,
    mistakes: Vec<ConfigError>,
}

impl Reading {
    fn of(defaults: &str, named: Option<&Path>) -> Self {
        let main = named.unwrap_or(Path::new(DEFAULT_FILE));
        let (files, texts, parts, mistakes) = (Vec::new(), Texts::default(), Vec::new(), Vec::new());
        let mut reading = Self { root: Node::empty(), files, texts, parts, mistakes };
        reading.take(Path::new("(command line)"), Ok(defaults.to_owned()));
        match sys::regular::read_text(main, LONGEST) {
            Err(error) if error.kind() == ErrorKind::NotFound && named.is_none() => {}
            text => reading.file(main, text),
        }
        match drop_ins(main) {
            Ok(paths) => {
                paths.iter().for_each(|path| reading.file(path, sys::regular::read_text(path, LONGEST)));
            }
            Err(error) => reading.mistakes.push(error),
        }
        reading
    }

    fn file(&mut self, path: &Path, text: std::io::Result<String>) {
        if let Ok(text) = &text {
            self.texts.add(path, text);
        }
        self.take(path, text);
        self.files.push(path.to_owned());
    }

    fn take(&mut self, path: &Path, text: std::io::Result<String>) {
        match text {
            Ok(text) => {
                let (node, mistakes) = Node::parse(path, &text);
                self.parts.push(node.clone());
                self.root.merge(node);
                self.mistakes.extend(mistakes);
            }
            Err(source) => self.mistakes.push(ConfigError::Read { path: path.to_owned(), source }),
        }
    }
}

/// What would be wrong with a file of this text: settings with the reasons.
pub(crate) fn mistakes_of(text: &str) -> Vec<(String, String)> {
    let (mut root, mut mistakes) = Node::parse(Path::new(""), text);
    mistakes.extend(evaluate(&mut root).1);
    let told = |mistake: &ConfigError| match mistake {
        ConfigError::Value { key, reason, .. } | ConfigError::Invalid { key, reason, .. } => {
            (key.clone(), reason.clone())
        }
        other => (other.key().unwrap_or_default().to_owned(), crate::error::chain(other)),
    };
    mistakes.iter().map(told).collect()
}

/// What the tree of these parts says; `files` is the order in which mistakes are told.
fn settings(root: &mut Node, files: &[PathBuf], parts: &[Node]) -> Result<Config, Mistakes> {
    let (config, mut mistakes) = evaluate(root);
    mistakes.extend(overridden::mistakes(parts, &mistakes));
    if mistakes.is_empty() {
        return Ok(config);
    }
    mistakes.sort_by_key(|mistake| {
        mistake.place().map(|place| (files.iter().position(|file| **file == *place.file), place.line))
    });
    Err(Mistakes(mistakes))
}

/// The settings, and everything that is wrong with them.
fn evaluate(root: &mut Node) -> (Config, Vec<ConfigError>) {
    let (mut config, mut mistakes): (Config, _) = de::from_node(root);
    if root.place_of("images.root").is_none() {
        config.images.root = config.data_dir.join("images");
    }
    own_directories(&mut config);
    let refused: Vec<String> =
        mistakes.iter().filter_map(|mistake| mistake.key().map(str::to_owned)).collect();
    mistakes.extend(check::check(&config, &refused).into_iter().map(|invalid| ConfigError::Invalid {
        place: root.nearest_place(&invalid.key),
        key: invalid.key,
        reason: invalid.reason,
    }));
    (config, mistakes)
}

/// What follows from the daemon's directories.
fn own_directories(config: &mut Config) {
    config.network.state_dir = config.state_dir.join("network");
    config.network.data_dir = config.data_dir.join("network");
}

/// What tells that a file, or which files there are, has changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint(Vec<(PathBuf, Option<Stamp>)>);

/// Inode, and times of its content and of itself in seconds and nanoseconds.
type Stamp = (u64, [i64; 4]);

/// Looks at the files that [`load`] would read.
pub(crate) fn fingerprint(named: Option<&Path>) -> Fingerprint {
    let main = named.unwrap_or(Path::new(DEFAULT_FILE));
    let paths = std::iter::once(main.to_owned()).chain(drop_ins(main).unwrap_or_default());
    let stamp = |path: &Path| {
        let found = fs::metadata(path).ok()?;
        Some((found.ino(), [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()]))
    };
    Fingerprint(paths.map(|path| (path.clone(), stamp(&path))).collect())
}

/// `conf.d/*.toml` beside the main file, sorted by name; hidden files are left out, as editors leave such behind.
fn drop_ins(main: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let directory = main.with_file_name("conf.d");
    let refuse = |source| ConfigError::Read { path: directory.clone(), source };
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(refuse(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(refuse)?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.extension() == Some(OsStr::new("toml")) && !hidden {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}
