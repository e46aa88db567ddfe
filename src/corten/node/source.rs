//! What is to be put onto a host: trees of files.

use super::NodeError;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Written only where there is none: they are the administrator's.
const KEPT: [&str; 2] = ["/etc/corten/corten.toml", "/etc/crictl.yaml"];

/// A file to be put onto a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) from: PathBuf,
    pub(super) mode: u32,
}

/// Files by where the host is to have them; of two trees that have one, the later's.
///
/// # Errors
/// A tree cannot be read.
pub(super) fn files(sources: &[PathBuf]) -> Result<BTreeMap<PathBuf, Wanted>, NodeError> {
    let mut found = BTreeMap::new();
    for source in sources {
        descend(source, Path::new("/"), &mut found)?;
    }
    Ok(found)
}

/// Whether what is there already stays.
pub(super) fn is_kept(path: &Path) -> bool {
    KEPT.iter().any(|kept| Path::new(kept) == path)
}

fn descend(directory: &Path, target: &Path, found: &mut BTreeMap<PathBuf, Wanted>) -> Result<(), NodeError> {
    for entry in fs::read_dir(directory).map_err(NodeError::io("read", directory))? {
        let entry = entry.map_err(NodeError::io("read", directory))?;
        let (name, from) = (entry.file_name(), entry.path());
        // Of a ConfigMap's volume: its files are links into a directory with such a name.
        if name.to_string_lossy().starts_with("..") {
            continue;
        }
        let meta = fs::metadata(&from).map_err(NodeError::io("look at", &from))?;
        if meta.is_dir() {
            descend(&from, &target.join(&name), found)?;
        } else {
            found.insert(target.join(&name), Wanted { mode: meta.mode() & 0o777, from });
        }
    }
    Ok(())
}
