//! The configuration directory: which files there are, what they say, and the one in force.

use cni::types::{NetworkConfigList, PluginConfig, TypesError};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// More than any configuration needs, and little enough to read at any time.
const MAX_BYTES: u64 = 1 << 20;

/// A configuration that can be in force.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) list: Arc<NetworkConfigList>,
    /// The built-in network, whose plugins always run in process.
    pub(crate) builtin: bool,
    /// The file that it is from; empty for the built-in network.
    pub(crate) path: PathBuf,
}

/// A file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) path: PathBuf,
    pub(crate) problem: String,
}

/// What a look at the directory has found.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// The lexically first valid file's network.
    pub(crate) chosen: Option<Arc<Loaded>>,
    pub(crate) broken: Vec<Broken>,
}

/// The identity of a file's content, as far as stat(2) tells it; `None` when it is not there.
type Stamp = Option<(u64, u64, u64, i64, i64, i64, i64)>;

struct Parsed {
    /// Everything that was read, and the directory of further plugins.
    sources: Vec<(PathBuf, Stamp)>,
    outcome: Result<Arc<Loaded>, String>,
}

/// The directory, with the parsed form of each file that has not changed since.
pub(crate) struct ConfDir {
    dir: PathBuf,
    parsed: HashMap<PathBuf, Parsed>,
}

#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Types(#[from] TypesError),
    #[error("{}: {source}", path.display())]
    Plugin { path: PathBuf, source: Box<FileError> },
}

impl ConfDir {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir, parsed: HashMap::new() }
    }

    /// Looks at the directory; only files that have changed are read. A missing directory is an empty one.
    pub(crate) fn scan(&mut self) -> io::Result<Scan> {
        let files = files_in(&self.dir, &["conflist", "conf", "json"])?;
        self.parsed.retain(|path, parsed| files.contains(path) && parsed.is_current());
        let mut scan = Scan::default();
        for path in files {
            let parsed = self.parsed.entry(path.clone()).or_insert_with(|| Parsed::read(&path));
            match &parsed.outcome {
                Ok(loaded) if scan.chosen.is_none() => scan.chosen = Some(Arc::clone(loaded)),
                Ok(_) => {}
                Err(problem) => scan.broken.push(Broken { path, problem: problem.clone() }),
            }
        }
        Ok(scan)
    }
}

impl Parsed {
    fn is_current(&self) -> bool {
        self.sources.iter().all(|(path, stamp)| stamp_of(path) == *stamp)
    }

    fn read(path: &Path) -> Self {
        let mut sources = vec![(path.to_path_buf(), stamp_of(path))];
        let outcome = read_list(path, &mut sources);
        let loaded = outcome
            .map(|list| Arc::new(Loaded { list: Arc::new(list), builtin: false, path: path.to_path_buf() }));
        Self { sources, outcome: loaded.map_err(|error| error.to_string()) }
    }
}

fn read_list(path: &Path, sources: &mut Vec<(PathBuf, Stamp)>) -> Result<NetworkConfigList, FileError> {
    let mut list = NetworkConfigList::parse(&read_bounded(path)?)?;
    if !list.load_only_inlined_plugins {
        let dir = path.with_file_name(&list.name);
        sources.push((dir.clone(), stamp_of(&dir)));
        for file in files_in(&dir, &["conf"])? {
            sources.push((file.clone(), stamp_of(&file)));
            let plugin = read_bounded(&file).and_then(|text| Ok(PluginConfig::parse(&text)?));
            let plugin =
                plugin.map_err(|source| FileError::Plugin { path: file, source: Box::new(source) })?;
            list.plugins.push(plugin);
        }
    }
    list.validate()?;
    Ok(list)
}

/// The files with one of the extensions, in the order of their names.
fn files_in(dir: &Path, extensions: &[&str]) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let wanted = path.extension().is_some_and(|found| extensions.iter().any(|wanted| found == *wanted));
        if wanted && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, FileError> {
    Ok(sys::regular::read(path, MAX_BYTES)?)
}

fn stamp_of(path: &Path) -> Stamp {
    let data = fs::metadata(path).ok()?;
    Some((
        data.dev(),
        data.ino(),
        data.size(),
        data.mtime(),
        data.mtime_nsec(),
        data.ctime(),
        data.ctime_nsec(),
    ))
}
