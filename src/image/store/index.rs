//! The records in memory, with what every request needs ready.

use super::image::Image;
use super::layout::Layout;
use super::measure::Taken;
use super::rows::{ImageRecord, LayerRecord};
use crate::config::ImageConfig;
use crate::digest::{Digest, is_hex64};
use crate::error::ImageError;
use crate::manifest;
use crate::reference::Reference;
use model::Rootfs;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// What the store holds.
pub(crate) struct Usage {
    /// Bytes of blobs.
    pub blobs: u64,
    /// Bytes of unpacked layers.
    pub layers: u64,
    /// Inodes of unpacked layers.
    pub layer_inodes: u64,
}

/// Images and layers by their ids.
#[derive(Default)]
pub(crate) struct Index {
    pub images: BTreeMap<String, Arc<ImageRecord>>,
    pub layers: HashMap<Digest, LayerRecord>,
    /// What clients get; hidden images too, for those that hold them.
    shown: BTreeMap<String, Arc<Image>>,
}

impl Index {
    /// Puts the record in the place of an older one.
    pub(crate) fn publish(&mut self, record: ImageRecord, layout: &Layout, config: &ImageConfig) {
        let image = image(&record, layout, config);
        self.shown.insert(record.id.clone(), Arc::new(image));
        self.images.insert(record.id.clone(), Arc::new(record));
    }

    /// Marks the images that are pinned under these settings.
    pub(super) fn pin(&mut self, config: &ImageConfig) {
        for (id, image) in &mut self.shown {
            let pinned = self.images.get(id).is_some_and(|record| is_pinned(record, config));
            if image.pinned != pinned {
                Arc::make_mut(image).pinned = pinned;
            }
        }
    }

    /// The records that change when the image is recorded (itself the last, merged with what is known of it;
    /// before it those that lose a tag to it), and those of their layers.
    pub(crate) fn with(&self, mut record: ImageRecord) -> (Vec<ImageRecord>, Vec<(Digest, LayerRecord)>) {
        if let Some(known) = self.images.get(&record.id) {
            record.tags.extend(known.tags.iter().cloned());
            record.digests.extend(known.digests.iter().cloned());
            record.aliases.extend(known.aliases.iter().cloned());
            record.pinned |= known.pinned;
        }
        let mut changed = Vec::new();
        for other in self.images.values().filter(|other| other.id != record.id) {
            if !other.tags.is_disjoint(&record.tags) {
                let mut other = other.as_ref().clone();
                other.tags.retain(|tag| !record.tags.contains(tag));
                changed.push(other);
            }
        }
        let layers = record.layers.iter();
        let layers = layers.filter_map(|id| self.layers.get(id).map(|layer| (id.clone(), layer.clone())));
        let layers = layers.collect();
        changed.push(record);
        (changed, layers)
    }

    /// Notes what layers take on the disk.
    pub(super) fn measured(&mut self, counted: Vec<(Digest, Taken)>) {
        for (id, taken) in counted {
            if let Some(layer) = self.layers.get_mut(&id) {
                (layer.bytes, layer.inodes, layer.measured) = (taken.bytes, taken.inodes, true);
            }
        }
    }

    pub(crate) fn remove(&mut self, id: &str) {
        self.images.remove(id);
        self.shown.remove(id);
    }

    /// The images that clients see, by id.
    pub(crate) fn list(&self) -> Vec<Arc<Image>> {
        self.visible().map(|(_, image)| Arc::clone(image)).collect()
    }

    fn visible(&self) -> impl Iterator<Item = (&String, &Arc<Image>)> {
        self.shown.iter().filter(|(id, _)| self.images.get(*id).is_some_and(|record| !record.hidden))
    }

    /// The image with this id, hidden or not.
    pub(crate) fn any(&self, id: &str) -> Option<Arc<Image>> {
        self.shown.get(id).cloned()
    }

    /// The visible image with this id.
    pub(crate) fn by_id(&self, id: &str) -> Option<Arc<Image>> {
        self.images.get(id).filter(|record| !record.hidden).and_then(|_| self.any(id))
    }

    /// By id (with or without `sha256:`), unique prefix of an id's digits, tag or digest.
    pub(crate) fn find(&self, text: &str) -> Result<Option<Arc<Image>>, ImageError> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        if is_hex64(digits)
            && let Some(image) = self.by_id(&format!("sha256:{digits}"))
        {
            return Ok(Some(image));
        }
        let parsed = Reference::parse(text);
        if let Ok(reference) = &parsed
            && let Some(image) = self.by_reference(reference)
        {
            return Ok(Some(image));
        }
        if (1..64).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        {
            let prefix = format!("sha256:{digits}");
            let mut matches: Vec<_> = self.visible().filter(|(id, _)| id.starts_with(&prefix)).collect();
            matches.sort_unstable_by_key(|(id, _)| *id);
            return match matches.as_slice() {
                [] => Ok(None),
                [(_, image)] => Ok(Some(Arc::clone(image))),
                several => Err(ambiguous(text, several)),
            };
        }
        match parsed {
            Ok(_) => Ok(None),
            Err(_) if is_hex64(digits) => Ok(None),
            Err(source) => Err(ImageError::Reference { reference: text.chars().take(256).collect(), source }),
        }
    }

    fn by_reference(&self, reference: &Reference) -> Option<Arc<Image>> {
        let text = reference.to_string();
        let names = |record: &ImageRecord| {
            record.tags.contains(&text) || record.digests.contains(&text) || record.aliases.contains(&text)
        };
        let record = self.images.values().find(|record| !record.hidden && names(record))?;
        self.any(&record.id)
    }

    /// Bytes and inodes of everything that is in place.
    pub(crate) fn usage(&self) -> Usage {
        let mut blobs = BTreeMap::new();
        for record in self.images.values() {
            blobs.extend(record.blobs.iter().map(|(digest, size)| (digest, *size)));
        }
        let mut usage = Usage { blobs: blobs.values().sum(), layers: 0, layer_inodes: 0 };
        for layer in self.layers.values() {
            usage.layers += layer.bytes;
            usage.layer_inodes += layer.inodes;
        }
        usage
    }

    /// What the records that stay refer to.
    pub(crate) fn referenced(&self) -> (BTreeSet<Digest>, BTreeSet<Digest>) {
        let layers = self.images.values().flat_map(|record| record.layers.iter().cloned()).collect();
        let blobs =
            self.images.values().flat_map(|record| record.blobs.iter().map(|(digest, _)| digest.clone()));
        (layers, blobs.collect())
    }
}

/// What several images' ids begin with, told with what people know those by.
fn ambiguous(begin: &str, several: &[(&String, &Arc<Image>)]) -> ImageError {
    let told = several.iter().map(|(id, image)| match image.names().first() {
        Some(name) if name != *id => format!("{id} ({name})"),
        _ => (*id).clone(),
    });
    ImageError::AmbiguousId { begin: begin.to_owned(), candidates: model::first_of(told) }
}

fn is_pinned(record: &ImageRecord, config: &ImageConfig) -> bool {
    record.pinned || record.tags.iter().chain(&record.digests).any(|name| config.is_pinned(name))
}

fn image(record: &ImageRecord, layout: &Layout, config: &ImageConfig) -> Image {
    // It was parsed before it was recorded; a record from elsewhere shows an empty description.
    let description =
        manifest::parse_config(record.config_json.as_bytes()).map(|(description, _)| description);
    let description = description.unwrap_or_default();
    // A layer that occurs twice is hidden where it is lower: with all that it has, and the overlay takes none twice.
    let mut seen = BTreeSet::new();
    let layers = record.layers.iter().rev().filter(|id| seen.insert(*id)).map(|id| layout.layer(id));
    let fixup = (record.fixup > 0).then(|| layout.fixup(&record.id));
    Image {
        id: record.id.clone(),
        repo_tags: record.tags.iter().cloned().collect(),
        repo_digests: record.digests.iter().cloned().collect(),
        size: record.size,
        pinned: is_pinned(record, config),
        config: description.run,
        architecture: description.architecture,
        created: description.created,
        rootfs: Rootfs::Layers(fixup.into_iter().chain(layers).collect()),
        config_json: record.config_json.clone(),
    }
}
