//! What images take, image by image, and giving it back.

use crate::error::ImageError;
use crate::store::Store;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

/// What the store takes on its filesystem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskUsage {
    /// The directory of the store.
    pub root: PathBuf,
    /// Bytes of unpacked layers.
    pub layers: u64,
    /// Bytes of manifests, configs and kept compressed layers.
    pub blobs: u64,
    /// Bytes that are held in reserve, so that images can be removed when the disk is full.
    pub reserve: u64,
    /// Bytes of everything: with directories, records, and what interrupted pulls left.
    pub total: u64,
    /// Inodes of everything.
    pub inodes: u64,
    /// Image by image.
    pub images: Vec<ImageUsage>,
}

/// What an image takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageUsage {
    /// The image's id.
    pub id: String,
    /// Its tags, or its digests where it has none.
    pub names: Vec<String>,
    /// Bytes of layers that no other image uses: what its removal gives back.
    pub unique: u64,
    /// Bytes of layers that others use too.
    pub shared: u64,
    /// Containers that use it.
    pub containers: usize,
    /// Whether a setting keeps it from garbage collection.
    pub pinned: bool,
}

/// What a clean-up removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// The images.
    pub images: Vec<String>,
    /// Bytes given back, of layers and blobs.
    pub bytes: u64,
}

pub(crate) fn disk_usage(store: &Store) -> DiskUsage {
    let total = store.fs_usage();
    let index = store.index();
    let mut users: HashMap<_, usize> = HashMap::new();
    for record in index.images.values() {
        for layer in record.layers.iter().collect::<BTreeSet<_>>() {
            *users.entry(layer).or_default() += 1;
        }
    }
    let images = index.list().into_iter().filter_map(|image| {
        let record = index.images.get(&image.id)?;
        let (mut unique, mut shared) = (0, 0);
        // A layer may occur twice in an image, and is there once.
        for layer in record.layers.iter().collect::<BTreeSet<_>>() {
            let bytes = index.layers.get(layer).map_or(0, |layer| layer.bytes);
            if users.get(layer) == Some(&1) { unique += bytes } else { shared += bytes }
        }
        let names = if image.repo_tags.is_empty() { &image.repo_digests } else { &image.repo_tags };
        Some(ImageUsage {
            id: image.id.clone(),
            names: names.clone(),
            unique,
            shared,
            containers: store.holders(&image.id),
            pinned: image.pinned,
        })
    });
    let images = images.collect();
    let usage = index.usage();
    DiskUsage {
        root: store.layout.root().to_owned(),
        layers: usage.layers,
        blobs: usage.blobs,
        reserve: store.reserved(),
        total: total.bytes,
        inodes: total.inodes,
        images,
    }
}

/// Removes images that no container uses and that are not pinned: those without a tag, or all of them; and what
/// interrupted pulls left. Blocks on the disk.
pub(crate) fn prune(store: &Store, all: bool) -> Result<Pruned, ImageError> {
    let before = store.index().usage();
    let mut pruned = Pruned::default();
    for image in disk_usage(store).images {
        let tagged = store.index().by_id(&image.id).is_some_and(|image| !image.repo_tags.is_empty());
        if image.containers == 0 && !image.pinned && (all || !tagged) {
            store.hide(&image.id)?;
            pruned.images.push(image.id);
        }
    }
    store.sweep(true)?;
    let after = store.index().usage();
    pruned.bytes = (before.layers + before.blobs).saturating_sub(after.layers + after.blobs);
    Ok(pruned)
}
