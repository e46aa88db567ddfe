//! Layers that are damaged, and directories that are in the way while containers may still use them.

use super::Store;
use crate::digest::Digest;
use crate::error::ImageError;
use std::collections::{BTreeSet, HashSet};
use std::ffi::OsString;
use std::path::Path;
use sys::sync::lock;

impl Store {
    /// Lets pulls fetch the layer again, as if it were not there. It stays for those that use it.
    pub(crate) fn condemn(&self, diff_id: &Digest) {
        lock(&self.condemned).insert(diff_id.clone());
    }

    /// Whether the layer is in place, with a look at the disk: a layer that is gone there is condemned.
    pub(crate) fn is_there(&self, diff_id: &Digest) -> bool {
        if self.layer(diff_id).is_none() {
            return false;
        }
        let there = self.layout.layer(diff_id).is_dir();
        if !there {
            tracing::error!(layer = %diff_id, "the directory of a layer is gone, it has to be fetched again");
            self.condemn(diff_id);
        }
        there
    }

    /// Whether all of the image's layers are there.
    pub(crate) fn is_whole(&self, id: &str) -> bool {
        let record = self.index().images.get(id).cloned();
        record.is_some_and(|record| record.layers.iter().all(|layer| self.is_there(layer)))
    }

    /// Removes a damaged file of `blobs/`; one that is gone is no error.
    pub(crate) fn discard_blob(&self, digest: &Digest) -> Result<(), ImageError> {
        let path = self.layout.blob(digest);
        self.changed_beside();
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(ImageError::io("remove", path)),
        }
    }

    /// Takes an image's damaged fix-up layer out of the way; one that is gone is no error.
    pub(crate) fn discard_fixup(&self, id: &str) -> Result<(), ImageError> {
        let _changing = lock(&self.changing);
        let cleared = self.clear(&self.layout.fixup(id));
        self.changed_beside();
        cleared
    }

    /// Takes a directory out of the way: puts it aside where a container may use it, else removes it.
    pub(super) fn clear(&self, directory: &Path) -> Result<(), ImageError> {
        if !directory.exists() {
            return Ok(());
        }
        if !self.directories_in_use().contains(directory.file_name().unwrap_or_default()) {
            let aside = self.layout.set_aside(directory)?;
            aside.into_iter().for_each(|aside| self.trash.discard(aside));
            return Ok(());
        }
        let aside = directory.with_extension(format!("held-{}", self.layout.next()));
        std::fs::rename(directory, &aside).map_err(ImageError::io("put aside", directory))
    }

    /// The names of the directories that someone holds by name.
    pub(super) fn held_directories(&self) -> HashSet<OsString> {
        lock(&self.held_layers).values().flatten().cloned().collect()
    }

    /// The names of the directories that containers may use: those that are held, and those of images that are.
    pub(super) fn directories_in_use(&self) -> HashSet<OsString> {
        let mut names = self.held_directories();
        let index = self.index();
        let holds = lock(&self.holds);
        for record in holds.keys().filter_map(|id| index.images.get(id)) {
            names.extend(record.layers.iter().map(|layer| OsString::from(layer.hex())));
            names.extend(record.id.rsplit(':').next().map(OsString::from));
        }
        names
    }

    /// How many containers may use the layer.
    pub(crate) fn users(&self, diff_id: &Digest) -> usize {
        let name = OsString::from(diff_id.hex());
        let index = self.index();
        let holds = lock(&self.holds);
        let images = holds
            .iter()
            .filter(|(id, _)| index.images.get(*id).is_some_and(|record| record.layers.contains(diff_id)));
        let mut users: BTreeSet<String> = images.flat_map(|(_, holders)| holders.iter().cloned()).collect();
        let held = lock(&self.held_layers);
        users
            .extend(held.iter().filter(|(_, names)| names.contains(&name)).map(|(holder, _)| holder.clone()));
        users.len()
    }
}
