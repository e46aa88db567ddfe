//! Removal of what nothing refers to.

use super::layout::remove_tree;
use super::{Store, lock};
use crate::digest::Digest;
use crate::error::ImageError;
use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

impl Store {
    /// Removes hidden images that nobody holds, and layers, blobs and fix-ups without an image. What is
    /// removed first leaves the index and the database, then the disk: a crash in between leaves an orphan
    /// that the next sweep finds. Goes on past failures; the first one is returned.
    ///
    /// What interrupted pulls left stays for the time of the setting, unless `all` is to go.
    pub(crate) fn sweep(&self, all: bool) -> Result<(), ImageError> {
        let trash = self.forget_unused(all)?;
        let mut result = Ok(());
        for path in &trash {
            result = result.and(remove_tree(path));
        }
        let result = result.and(self.remove_parts(all)).and(self.remove_orphans());
        self.changed_beside();
        self.count_new();
        result
    }

    /// Takes what is unused out of the index and the database and moves it aside, so that a pull that
    /// needs the same layer again can make it at once.
    fn forget_unused(&self, all: bool) -> Result<Vec<PathBuf>, ImageError> {
        let _changing = lock(&self.changing);
        let (gone, unused) = self.take_unused(all);
        if gone.is_empty() && unused.is_empty() {
            return Ok(Vec::new());
        }
        self.database.remove(&gone, &unused)?;
        let mut trash: Vec<PathBuf> = Vec::with_capacity(unused.len());
        for id in unused {
            let aside = self.layout.ingest_dir()?;
            match std::fs::rename(self.layout.layer(&id), aside.path().join("gone")) {
                Ok(()) => trash.push(aside.keep()),
                // Its directory is gone already.
                Err(_) => drop(aside),
            }
        }
        Ok(trash)
    }

    /// Out of the index first: nobody can hold or lease it from here on.
    fn take_unused(&self, all: bool) -> (Vec<String>, Vec<Digest>) {
        let mut index = self.index();
        let gone: Vec<String> = index
            .images
            .values()
            .filter(|record| record.hidden && !self.held(&record.id))
            .map(|record| record.id.clone())
            .collect();
        for id in &gone {
            index.remove(id);
        }
        let (kept, _) = index.referenced();
        let held = self.held_directories();
        let leases = lock(&self.leases);
        let unused: Vec<Digest> = index
            .layers
            .keys()
            .filter(|id| !kept.contains(*id) && !leases.contains_key(*id))
            .filter(|id| all || !self.is_unfinished(id))
            .filter(|id| !held.contains(&OsString::from(id.hex())))
            .cloned()
            .collect();
        for id in &unused {
            index.layers.remove(id);
        }
        self.forget_unfinished(&unused);
        (gone, unused)
    }

    /// Removes files and directories that no record knows. No record changes meanwhile:
    /// what a pull puts in place would look like an orphan.
    fn remove_orphans(&self) -> Result<(), ImageError> {
        let _changing = lock(&self.changing);
        let blobs = self.index().referenced().1;
        let hex = |digest: &Digest| OsString::from(digest.hex());
        let used = self.directories_in_use();
        let index = self.index();
        let mut layers = self.held_directories();
        layers.extend(index.layers.keys().map(hex));
        let fixups = index.images.values().filter(|record| record.fixup > 0);
        let mut known = self.held_directories();
        known.extend(fixups.filter_map(|record| record.id.rsplit(':').next().map(OsString::from)));
        drop(index);
        let mut result = remove_others(&self.layout.layers(), &layers, &used);
        result = result.and(remove_others(&self.layout.outlines(), &layers, &used));
        // A pull under way writes its documents before its record names them.
        let leases = lock(&self.leases);
        if leases.is_empty() {
            let blobs: HashSet<OsString> = blobs.iter().map(hex).collect();
            result = result.and(remove_others(&self.layout.blobs(), &blobs, &used));
            result = result.and(remove_others(&self.layout.fixups(), &known, &used));
        }
        result
    }
}

/// Removes what is not known. What was put aside has the name that was in use, and a suffix.
fn remove_others(
    directory: &Path,
    known: &HashSet<OsString>,
    used: &HashSet<OsString>,
) -> Result<(), ImageError> {
    let mut result = Ok(());
    let entries = std::fs::read_dir(directory).map_err(ImageError::io("list", directory))?;
    for entry in entries {
        let entry = entry.map_err(ImageError::io("list", directory))?;
        let name = entry.file_name();
        if known.contains(&name) || Path::new(&name).file_stem().is_some_and(|stem| used.contains(stem)) {
            continue;
        }
        let path = entry.path();
        tracing::info!(path = %path.display(), "removing what no image uses");
        let removed = if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&path)
        } else {
            std::fs::remove_file(&path).map_err(ImageError::io("remove", &path))
        };
        result = result.and(removed);
    }
    result
}
