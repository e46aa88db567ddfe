//! Removal of what nothing refers to.

use super::Store;
use super::layout::remove_tree;
use crate::digest::Digest;
use crate::error::ImageError;
use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use sys::sync::lock;

impl Store {
    /// Removes hidden images that nobody holds, and layers, blobs and fix-ups without an image. What is
    /// removed first leaves the index and the database, then the disk: a crash in between leaves an orphan
    /// that the next sweep finds. Goes on past failures; the first one is returned.
    ///
    /// What interrupted pulls left stays for the time of the setting, unless `all` is to go.
    pub(crate) fn sweep(&self, all: bool) -> Result<(), ImageError> {
        // One after the other: what an earlier one has found is gone, too, when this one says that it is done.
        let _sweeping = lock(&self.sweeping);
        let mut trash = Vec::new();
        let unwritten = self.forget_unused(all, &mut trash);
        let mut result = Ok(());
        for path in &trash {
            result = result.and(remove_tree(path));
            failpoint::pass!("image.sweep.removed");
        }
        if let Some(unwritten) = unwritten {
            result = result.and(self.forget_again(unwritten));
        }
        trash.clear();
        result = result.and(self.remove_parts(all)).and(self.find_orphans(&mut trash));
        for path in &trash {
            result = result.and(remove_tree(path));
        }
        self.database.hold_reserve();
        self.changed_beside();
        self.count_new();
        result
    }

    /// Takes what is unused out of the index and the database and moves it aside, so that a pull that
    /// needs the same layer again can make it at once. Where the database cannot be written, its room is given back
    /// all the same: the records are of images that are removed.
    fn forget_unused(&self, all: bool, trash: &mut Vec<PathBuf>) -> Option<Unwritten> {
        let _changing = lock(&self.changing);
        let (gone, unused) = self.take_unused(all);
        if gone.is_empty() && unused.is_empty() {
            return None;
        }
        let written = self.database.remove(&gone, &unused);
        failpoint::pass!("image.sweep.forgotten");
        for id in &unused {
            self.put_aside(&self.layout.layer(id), trash);
        }
        failpoint::pass!("image.sweep.aside");
        written.err().map(|error| Unwritten { error, images: gone, layers: unused })
    }

    /// Writes what could not be written while the disk was full, as far as no pull has brought it back.
    fn forget_again(&self, unwritten: Unwritten) -> Result<(), ImageError> {
        let Unwritten { error, mut images, mut layers } = unwritten;
        tracing::warn!(%error, "what was removed is still recorded: trying again with its room free");
        let _changing = lock(&self.changing);
        {
            let index = self.index();
            images.retain(|id| !index.images.contains_key(id));
            layers.retain(|id| !index.layers.contains_key(id));
        }
        self.database.remove(&images, &layers)
    }

    /// What cannot be moved is removed where it is.
    fn put_aside(&self, path: &Path, trash: &mut Vec<PathBuf>) {
        match self.layout.set_aside(path) {
            Ok(aside) => trash.extend(aside),
            Err(error) => {
                tracing::warn!(%error, "what nothing uses is removed in its place");
                // The caller's lock keeps pulls from putting something there meanwhile.
                if let Err(error) = remove_tree(path) {
                    tracing::warn!(%error, "what nothing uses is left until the next sweep");
                }
            }
        }
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

    /// Takes files and directories out of the way that no record knows. No record changes meanwhile:
    /// what a pull puts in place would look like an orphan.
    fn find_orphans(&self, trash: &mut Vec<PathBuf>) -> Result<(), ImageError> {
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
        let mut orphans = Vec::new();
        let mut find = |directory: &Path, known| others(directory, known, &used, &mut orphans);
        let mut result = find(&self.layout.layers(), &layers).and(find(&self.layout.outlines(), &layers));
        // A pull under way writes its documents before its record names them.
        let leases = lock(&self.leases);
        if leases.is_empty() {
            let blobs: HashSet<OsString> = blobs.iter().map(hex).collect();
            result = result.and(find(&self.layout.blobs(), &blobs));
            result = result.and(find(&self.layout.fixups(), &known));
        }
        for path in orphans {
            tracing::info!(path = %path.display(), "removing what no image uses");
            self.put_aside(&path, trash);
        }
        result
    }
}

/// A failure of the database, and what was to be removed from it.
struct Unwritten {
    error: ImageError,
    images: Vec<String>,
    layers: Vec<Digest>,
}

/// Finds what is not known. What was put aside has the name that was in use, and a suffix.
fn others(
    directory: &Path,
    known: &HashSet<OsString>,
    used: &HashSet<OsString>,
    found: &mut Vec<PathBuf>,
) -> Result<(), ImageError> {
    let entries = std::fs::read_dir(directory).map_err(ImageError::io("list", directory))?;
    for entry in entries {
        let entry = entry.map_err(ImageError::io("list", directory))?;
        let name = entry.file_name();
        if known.contains(&name) || Path::new(&name).file_stem().is_some_and(|stem| used.contains(stem)) {
            continue;
        }
        found.push(entry.path());
    }
    Ok(())
}
