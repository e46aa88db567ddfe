//! What is on the disk, and what the database says about it.
//!
//! ```text
//! <root>/meta.redb                    records of images and layers
//!        blobs/sha256/<hex>           manifests and configs (and layers, where the setting keeps them)
//!        layers/sha256/<diff id>/     one directory a layer, whiteouts in overlay form
//!        outlines/<diff id>           the archive of a layer without its files' contents (see `unpack::outline`)
//!        fixups/<image id>/           directories whose attributes a lower layer gives (see `fixup`)
//!        unfinished/                  what interrupted pulls left (see `partial`)
//!        ingest/<n>                   what is being made or removed; what is left of it goes behind a start
//!        reserve                      room that is given up when something is removed on a full disk
//! ```
//! A record is written when everything that it names is in place, and is the last step of a pull.

mod condemned;
mod cursor;
mod database;
mod fixup;
mod gc;
mod image;
mod index;
mod layout;
mod measure;
mod merged;
mod open;
mod partial;
mod rows;

#[cfg(test)]
mod tests;

pub(crate) use database::Database;
pub use image::Image;
pub(crate) use index::Index;
pub(crate) use layout::{IngestDir, IngestFile, Layout};
pub(crate) use measure::Growing;
pub(crate) use open::open;
pub(crate) use partial::{Kept, Partial};
pub(crate) use rows::{Check, ImageRecord, LayerRecord};

use crate::config::ImageConfig;
use crate::digest::Digest;
use crate::error::ImageError;
use arc_swap::{ArcSwap, Guard};
use model::Rootfs;
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::SystemTime;
use sys::sync::lock;
use sys::tree::Trash;

/// The store: directories, database, and the index of it in memory.
pub(crate) struct Store {
    pub layout: Layout,
    config: ArcSwap<ImageConfig>,
    pub boot_id: String,
    trash: Trash,
    database: Database,
    index: Mutex<Index>,
    /// Layers that a pull under way counts on, with how many do.
    leases: Mutex<HashMap<Digest, usize>>,
    /// Downloads that are being written, by digest.
    partials: Mutex<HashSet<Digest>>,
    /// Layers that were found damaged: not there for pulls, until one has brought them again.
    condemned: Mutex<HashSet<Digest>>,
    /// Layers that are whole while their image is not, and since when.
    unfinished: Mutex<HashMap<Digest, SystemTime>>,
    /// What everything beside the layers takes on the disk, since it last changed.
    beside: Mutex<Option<measure::Taken>>,
    /// What layers take that are being unpacked.
    growing: Mutex<Vec<Weak<Growing>>>,
    /// Holders of images by image id: containers.
    holds: Mutex<HashMap<String, HashSet<String>>>,
    /// Names of layer and fix-up directories by the holder that uses them.
    held_layers: Mutex<HashMap<String, HashSet<OsString>>>,
    /// Held by whoever removes what nothing uses.
    sweeping: Mutex<()>,
    /// Held by whoever changes records or moves directories; taken before `index`, which is never locked
    /// while the disk is waited for.
    changing: Mutex<()>,
}

/// Keeps layers from being removed while a pull counts on them.
pub(crate) struct Lease {
    store: Arc<Store>,
    layers: Vec<Digest>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut leases = lock(&self.store.leases);
        for layer in &self.layers {
            if let Some(count) = leases.get_mut(layer) {
                *count -= 1;
                if *count == 0 {
                    leases.remove(layer);
                }
            }
        }
    }
}

impl Store {
    /// The settings in force.
    pub(crate) fn config(&self) -> Guard<Arc<ImageConfig>> {
        self.config.load()
    }

    /// Takes over other settings; images show at once whether they are pinned.
    pub(crate) fn reconfigure(&self, config: Arc<ImageConfig>) {
        let _changing = lock(&self.changing);
        self.index().pin(&config);
        self.config.store(config);
    }

    pub(crate) fn index(&self) -> MutexGuard<'_, Index> {
        lock(&self.index)
    }

    /// Leases the layers; they may or may not be there yet.
    pub(crate) fn lease(self: &Arc<Self>, layers: Vec<Digest>) -> Lease {
        let mut leases = lock(&self.leases);
        for layer in &layers {
            *leases.entry(layer.clone()).or_default() += 1;
        }
        drop(leases);
        Lease { store: Arc::clone(self), layers }
    }

    /// The layer, if it is in place and not known to be damaged.
    pub(crate) fn layer(&self, diff_id: &Digest) -> Option<LayerRecord> {
        if lock(&self.condemned).contains(diff_id) {
            return None;
        }
        self.index().layers.get(diff_id).cloned()
    }

    /// Moves an unpacked layer to its place. Where another pull was faster, its work is kept.
    pub(crate) fn place_layer(
        &self,
        diff_id: &Digest,
        directory: IngestDir,
        outline: IngestFile,
        record: LayerRecord,
    ) -> Result<(), ImageError> {
        let _changing = lock(&self.changing);
        if self.layer(diff_id).is_some() {
            return Ok(());
        }
        let target = self.layout.layer(diff_id);
        if target.exists() {
            // Half a removal, half a pull of an earlier daemon, or damaged; perhaps a container still uses it.
            self.clear(&target)?;
        }
        self.note_unfinished(diff_id, &record)?;
        failpoint::reach!("image.layer.noted")?;
        if record.outlined || matches!(record.check, Check::Outline { .. }) {
            outline.rename_to(&self.layout.outline(diff_id))?;
        }
        failpoint::reach!("image.layer.outlined")?;
        directory.rename_to(&target)?;
        failpoint::reach!("image.layer.placed")?;
        self.index().layers.insert(diff_id.clone(), record);
        lock(&self.condemned).remove(diff_id);
        self.changed_beside();
        Ok(())
    }

    /// Makes the image visible: durable first, then in memory. Tags move here from other images.
    pub(crate) fn commit(&self, record: ImageRecord) -> Result<(), ImageError> {
        let _changing = lock(&self.changing);
        let (changed, layers) = self.index().with(record);
        self.database.write(&changed, &layers)?;
        failpoint::reach!("image.pull.committed")?;
        {
            let mut index = self.index();
            for record in changed {
                index.publish(record, &self.layout, &self.config());
            }
        }
        let named: Vec<Digest> = layers.into_iter().map(|(id, _)| id).collect();
        self.forget_unfinished(&named);
        self.changed_beside();
        failpoint::pass!("image.pull.published");
        Ok(())
    }

    /// Hides the image; what it uses is removed by the next sweep.
    pub(crate) fn hide(&self, id: &str) -> Result<(), ImageError> {
        let _changing = lock(&self.changing);
        let Some(known) = self.index().images.get(id).filter(|record| !record.hidden).cloned() else {
            return Ok(());
        };
        let mut record = known.as_ref().clone();
        record.hidden = true;
        record.tags.clear();
        record.digests.clear();
        record.aliases.clear();
        self.database.hide(&record)?;
        failpoint::reach!("image.remove.hidden")?;
        self.index().publish(record, &self.layout, &self.config());
        Ok(())
    }

    /// Keeps the image's layers, also when the image is removed, until the holder lets go.
    pub(crate) fn hold(&self, id: &str, holder: &str) -> Result<Arc<Image>, ImageError> {
        // Taken together: a sweep between the two would not see the holder.
        let index = self.index();
        let image = index.any(id).ok_or_else(|| ImageError::NoSuchImage(id.to_owned()))?;
        lock(&self.holds).entry(id.to_owned()).or_default().insert(holder.to_owned());
        Ok(image)
    }

    /// Forgets the holder; whether something that it held may be nobody's now.
    pub(crate) fn release(&self, holder: &str) -> bool {
        let adopted = lock(&self.held_layers).remove(holder);
        let mut freed = adopted.is_some();
        let mut holds = lock(&self.holds);
        holds.retain(|_, holders| {
            freed |= holders.remove(holder);
            !holders.is_empty()
        });
        drop(holds);
        let index = self.index();
        // Images that were removed under an earlier daemon are not even hidden any more: what is left are their layers.
        let is_of_an_image = |name: &OsString| {
            let mut names = index.images.values().flat_map(|record| {
                let id = record.id.rsplit(':').next();
                record.layers.iter().map(Digest::hex).chain(id)
            });
            names.any(|known| *name == *known)
        };
        freed
            && (index.images.values().any(|record| record.hidden)
                || !adopted.iter().flatten().all(is_of_an_image))
    }

    /// Keeps the directories of a root filesystem, whatever the records say.
    pub(crate) fn hold_rootfs(&self, holder: &str, rootfs: &Rootfs) {
        let names = rootfs.directories().iter().filter_map(|path| path.file_name().map(ToOwned::to_owned));
        lock(&self.held_layers).entry(holder.to_owned()).or_default().extend(names);
    }

    /// How many containers hold the image.
    pub(crate) fn holders(&self, id: &str) -> usize {
        lock(&self.holds).get(id).map_or(0, HashSet::len)
    }

    fn held(&self, id: &str) -> bool {
        lock(&self.holds).contains_key(id)
    }

    /// Marks everything that was written so far as on the disk, and counts what it takes there.
    pub(crate) fn make_durable(&self) -> Result<(), ImageError> {
        let pending: Vec<Digest> = {
            let index = self.index();
            let layers = index.layers.iter().filter(|(_, layer)| layer.boot_id.is_some() || !layer.measured);
            layers.map(|(id, _)| id.clone()).collect()
        };
        if pending.is_empty() {
            return Ok(());
        }
        self.layout.sync()?;
        failpoint::reach!("image.pull.durable")?;
        // Counted when it is on the disk: before, a filesystem may not have settled what it takes.
        let counted = self.count(&pending);
        let _changing = lock(&self.changing);
        let layers = {
            let mut index = self.index();
            for id in &pending {
                if let Some(layer) = index.layers.get_mut(id) {
                    layer.boot_id = None;
                }
            }
            index.measured(counted);
            // Only what an image names has a record; the rest gets one with its image.
            let (named, _) = index.referenced();
            let known = pending.into_iter().filter(|id| named.contains(id));
            known.filter_map(|id| index.layers.get(&id).cloned().map(|layer| (id, layer))).collect::<Vec<_>>()
        };
        self.database.write(&[], &layers)
    }
}
