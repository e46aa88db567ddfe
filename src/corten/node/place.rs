//! Files put onto a host and taken from it.

use super::host::{Access, Host, with_suffix};
use super::record::Record;
use super::source::{self, Wanted};
use super::{NodeError, OWN};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What was done in one run, so that it can be undone.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Files of an older version, which lie beside the new ones meanwhile.
    replaced: Vec<PathBuf>,
    /// Files that were not there in the version before.
    added: Vec<PathBuf>,
    /// Whether files went, or came back that somebody had removed.
    others: bool,
}

impl Changes {
    /// Whether the host is another than before.
    pub(super) fn any(&self) -> bool {
        self.others || !self.replaced.is_empty() || !self.added.is_empty()
    }

    /// The new version stays.
    ///
    /// # Errors
    /// The old one cannot be removed.
    pub(super) fn confirm(&self, host: &Host) -> Result<(), NodeError> {
        self.replaced.iter().try_for_each(|path| host.remove(&old(path)))
    }

    /// The old version comes back. It goes on past failures, as every file that is back counts.
    pub(super) fn undo(&self, host: &Host, record: &mut Record) {
        for path in &self.replaced {
            if let Ok(seen) = host.path(path) {
                let _ = fs::rename(with_suffix(&seen, OLD), &seen);
            }
        }
        for path in &self.added {
            let index = record.files.iter().position(|placed| placed.path == *path);
            let restored = index.map(|index| (index, record.files[index].restore(host)));
            if let Some((index, Ok(()))) = restored {
                record.files.remove(index);
            }
        }
    }
}

const OLD: &str = ".corten-old";

fn old(path: &Path) -> PathBuf {
    with_suffix(path, OLD)
}

/// Puts every wanted file in its place, and takes away what was in the version before alone.
///
/// # Errors
/// The system's. What was done until then is in `changes`.
pub(super) fn place(
    host: &Host,
    record: &mut Record,
    wanted: &BTreeMap<PathBuf, Wanted>,
    changes: &mut Changes,
) -> Result<(), NodeError> {
    for (path, file) in wanted {
        let ours = record.has(path);
        let there = host.look(path)?;
        if source::is_kept(path) && there.is_some() && !ours {
            continue;
        }
        let bytes = fs::read(&file.from).map_err(NodeError::io("read", &file.from))?;
        let access = Access::of_root(file.mode);
        if there == Some(access) && host.read(path)?.as_deref() == Some(&bytes) {
            continue;
        }
        // An administrator's change of a file that came once and is theirs since.
        if source::is_kept(path) && there.is_some() {
            continue;
        }
        if ours && there.is_some() {
            beside(host, path)?;
            changes.replaced.push(path.clone());
        } else if !ours {
            let mut placed = record.keep(host, path)?;
            placed.put = source::is_kept(path).then(|| String::from_utf8_lossy(&bytes).into_owned());
            record.files.push(placed);
            make_parents(host, record, path)?;
            changes.added.push(path.clone());
        } else {
            changes.others = true;
        }
        host.write(path, &bytes, access)?;
    }
    retire(host, record, wanted, changes)
}

/// Files of the version before that this one does not have.
fn retire(
    host: &Host,
    record: &mut Record,
    wanted: &BTreeMap<PathBuf, Wanted>,
    changes: &mut Changes,
) -> Result<(), NodeError> {
    let (stay, go): (Vec<_>, Vec<_>) =
        record.files.clone().into_iter().partition(|placed| wanted.contains_key(&placed.path));
    if go.is_empty() {
        return Ok(());
    }
    changes.others = true;
    go.iter().try_for_each(|placed| placed.restore(host))?;
    record.files = stay;
    record.save(host)
}

/// The old file gets a second name.
fn beside(host: &Host, path: &Path) -> Result<(), NodeError> {
    host.remove(&old(path))?;
    let seen = host.path(path)?;
    fs::hard_link(&seen, with_suffix(&seen, OLD)).map_err(NodeError::io("link", &seen))
}

fn make_parents(host: &Host, record: &mut Record, path: &Path) -> Result<(), NodeError> {
    let parents: Vec<&Path> = path.ancestors().skip(1).collect();
    let missing: Vec<&Path> = parents.into_iter().rev().filter(|parent| !host.exists(parent)).collect();
    record.directories.extend(missing.iter().map(|parent| parent.to_path_buf()));
    record.save(host)?;
    for parent in missing {
        let seen = host.path(parent)?;
        fs::create_dir(&seen).map_err(NodeError::io("make", &seen))?;
    }
    Ok(())
}

/// Puts back everything that was there before, and forgets it. What is told is what stays, because an administrator has
/// changed it since.
///
/// # Errors
/// The first failure; what it left is still on record.
pub(super) fn restore(host: &Host, record: &mut Record) -> Result<Vec<String>, NodeError> {
    let mut kept = Vec::new();
    while let Some(placed) = record.files.last() {
        if placed.is_theirs(host)? {
            kept.push(format!("{} was changed since it was installed, and stays", placed.path.display()));
        }
        placed.restore(host)?;
        record.files.pop();
    }
    for directory in record.directories.iter().rev() {
        let seen = host.path(directory)?;
        // What somebody else has put there since keeps it.
        let _ = fs::remove_dir(&seen);
    }
    let own = host.path(Path::new(OWN))?;
    fs::remove_dir_all(&own).map_err(NodeError::io("remove", &own))?;
    Ok(kept)
}
