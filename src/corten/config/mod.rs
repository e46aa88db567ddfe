//! The configuration: embedded defaults, one TOML file, and the drop-ins in `conf.d/*.toml` beside it, merged in
//! the lexical order of their names.
//!
//! `tree` parses and merges the files and remembers where each value stands; `de` turns the tree into the settings
//! and refuses unknown keys; `check` holds what types cannot say.

mod check;
mod de;
mod error;
mod host;
mod live;
mod sections;
#[cfg(test)]
mod tests;
mod tree;

pub(crate) use error::ConfigError;
pub(crate) use host::{HostProblems, check as check_host};
pub(crate) use live::{Update, update};
pub(crate) use sections::{Config, Log, LogFormat, MetricsAddress};

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

/// The configuration and where it came from.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The settings.
    pub(crate) config: Config,
    /// The files read, in the order in which they were merged.
    pub(crate) files: Vec<PathBuf>,
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
/// A file cannot be read or is no TOML, a key is unknown, a value has the wrong type or is out of range.
pub(crate) fn load(named: Option<&Path>) -> Result<Loaded, ConfigError> {
    load_over("", named)
}

/// As [`load`], over defaults that differ from the built-in ones.
///
/// # Errors
/// As [`load`].
pub(crate) fn load_over(defaults: &str, named: Option<&Path>) -> Result<Loaded, ConfigError> {
    let main = named.unwrap_or(Path::new(DEFAULT_FILE));
    let mut root = Node::empty();
    root.merge(Node::parse(Path::new("(command line)"), defaults)?);
    let mut files = Vec::new();
    match fs::read_to_string(main) {
        Ok(text) => {
            root.merge(Node::parse(main, &text)?);
            files.push(main.to_owned());
        }
        Err(error) if error.kind() == ErrorKind::NotFound && named.is_none() => {}
        Err(source) => return Err(ConfigError::Read { path: main.to_owned(), source }),
    }
    for path in drop_ins(main)? {
        let text =
            fs::read_to_string(&path).map_err(|source| ConfigError::Read { path: path.clone(), source })?;
        root.merge(Node::parse(&path, &text)?);
        files.push(path);
    }
    let config = settings(&root)?;
    Ok(Loaded { config, files, root })
}

fn settings(root: &Node) -> Result<Config, ConfigError> {
    let mut config: Config = de::from_node(root)?;
    if root.place_of("images.root").is_none() {
        config.images.root = config.data_dir.join("images");
    }
    own_directories(&mut config);
    check::check(&config).map_err(|invalid| ConfigError::Invalid {
        place: root.nearest_place(&invalid.key),
        key: invalid.key,
        reason: invalid.reason,
    })?;
    Ok(config)
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
