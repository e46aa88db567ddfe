//! Images into an archive: an OCI image layout that is at the same time what `docker save` writes.
//!
//! Compressed layers that were kept go in as they came, under their manifest. Where they were not, each layer is made
//! again, to the byte, from its outline and its files, and goes in uncompressed under a manifest of its own: the image's
//! id and its layers' diff ids stay what they were. Everything is hashed while it is written; what is damaged ends the
//! archive with an error.

mod contents;

use crate::digest::Digest;
use crate::error::ImageError;
use crate::manifest::{self, Descriptor, Parsed};
use crate::store::{Check, ImageRecord, Lease, Store};
use crate::unpack::Outline;
use bytes::Bytes;
use contents::Contents;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

/// A file below `blobs/` of the archive.
enum Blob {
    Bytes(Bytes),
    /// A compressed layer as it came.
    Kept {
        path: PathBuf,
        size: u64,
    },
    /// A layer that is made again.
    Remade {
        outline: PathBuf,
        directory: PathBuf,
        size: u64,
    },
}

/// An image as it goes into the archive.
struct Wanted {
    names: Vec<String>,
    config: Digest,
    platform: Value,
    manifest: (Digest, u64),
    media_type: String,
    layers: Vec<Digest>,
}

/// Images that can be saved. They stay in the store for as long as this is there.
pub struct Saving {
    blobs: BTreeMap<Digest, Blob>,
    images: Vec<Wanted>,
    remade: usize,
    _leases: Vec<Lease>,
}

impl Saving {
    /// Looks everything up that the archive needs: nothing is refused later but what is damaged. Blocks.
    pub(crate) fn new(store: &Arc<Store>, images: &[String]) -> Result<Self, ImageError> {
        let mut saving = Self { blobs: BTreeMap::new(), images: Vec::new(), remade: 0, _leases: Vec::new() };
        for name in images {
            let image = store.index().find(name)?.ok_or_else(|| ImageError::NoSuchImage(name.clone()))?;
            let record = store.index().images.get(&image.id).cloned();
            let record = record.ok_or_else(|| ImageError::NoSuchImage(name.clone()))?;
            saving._leases.push(store.lease(record.layers.clone()));
            // An image that is named by one of its tags goes under that one, otherwise under all.
            let tag = crate::Reference::parse(name).map(|name| name.to_string()).ok();
            let tag = tag.filter(|tag| record.tags.contains(tag));
            let names = tag.map_or_else(|| record.tags.iter().cloned().collect(), |tag| vec![tag]);
            saving.add(store, &record, names)?;
        }
        Ok(saving)
    }

    /// How many layers are made again, and so go in uncompressed.
    pub fn remade(&self) -> usize {
        self.remade
    }

    fn add(&mut self, store: &Store, record: &ImageRecord, names: Vec<String>) -> Result<(), ImageError> {
        let config = Bytes::from(record.config_json.clone());
        let config_digest = Digest::of(&config);
        if config_digest.as_str() != record.id {
            let what = format!("the config of image {}", record.id);
            return Err(ImageError::Damaged { what, problem: "its record holds another".to_owned() });
        }
        let document: Value = serde_json::from_slice(&config).unwrap_or_default();
        let platform = json!({"os": document["os"], "architecture": document["architecture"]});
        let kept = manifest_of(store, record, &config_digest).filter(|(_, layers, _)| {
            let there = |layer: &Descriptor| {
                let found = store.layout.blob(&layer.digest).metadata();
                found.is_ok_and(|found| found.len() == layer.size)
            };
            layers.iter().all(there)
        });
        let (manifest, media_type, layers) = match kept {
            Some((bytes, layers, media_type)) => {
                for layer in &layers {
                    let (digest, size) = (layer.digest.clone(), layer.size);
                    self.blobs.insert(digest.clone(), Blob::Kept { path: store.layout.blob(&digest), size });
                }
                (bytes, media_type, layers.into_iter().map(|layer| layer.digest).collect())
            }
            None => {
                let manifest = self.remake(store, record, &config_digest, config.len())?;
                (manifest, manifest::OCI_MANIFEST.to_owned(), record.layers.clone())
            }
        };
        let digest = Digest::of(&manifest);
        let size = manifest.len() as u64;
        self.blobs.insert(config_digest.clone(), Blob::Bytes(config));
        self.blobs.insert(digest.clone(), Blob::Bytes(manifest));
        let (config, manifest) = (config_digest, (digest, size));
        self.images.push(Wanted { names, config, platform, manifest, media_type, layers });
        Ok(())
    }

    /// The manifest of the layers as they are made again.
    fn remake(
        &mut self,
        store: &Store,
        record: &ImageRecord,
        config: &Digest,
        config_size: usize,
    ) -> Result<Bytes, ImageError> {
        let mut layers = Vec::with_capacity(record.layers.len());
        for diff_id in &record.layers {
            let check = store.index().layers.get(diff_id).map(|layer| layer.check.clone());
            if !matches!(check, Some(Check::Outline { .. })) {
                return Err(ImageError::Unsavable { diff_id: diff_id.clone() });
            }
            let (outline, directory) = (store.layout.outline(diff_id), store.layout.layer(diff_id));
            let size = File::open(&outline).and_then(Outline::open).and_then(Outline::length);
            let size = size.map_err(ImageError::io("read", &outline))?;
            layers.push(json!({"mediaType": manifest::OCI_LAYER, "digest": diff_id, "size": size}));
            self.blobs.insert(diff_id.clone(), Blob::Remade { outline, directory, size });
        }
        self.remade += layers.len();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": manifest::OCI_MANIFEST,
            "config": {"mediaType": manifest::OCI_CONFIG, "digest": config, "size": config_size},
            "layers": layers,
        });
        Ok(Bytes::from(manifest.to_string()))
    }

    /// Writes the archive. Blocks.
    ///
    /// # Errors
    /// When something turns out to be damaged, or nobody takes the archive any more: what was written is then no whole
    /// archive.
    pub fn write(&self, output: &mut dyn Write) -> Result<(), ImageError> {
        let mut contents = Contents::new(output);
        contents.document("oci-layout", &json!({"imageLayoutVersion": "1.0.0"}))?;
        contents.directory("blobs")?;
        contents.directory("blobs/sha256")?;
        for (digest, blob) in &self.blobs {
            match blob {
                Blob::Bytes(bytes) => contents.bytes(&path(digest), bytes)?,
                Blob::Kept { path: from, size } => contents.kept(digest, &path(digest), from, *size)?,
                Blob::Remade { outline, directory, size } => {
                    contents.remade(digest, &path(digest), (outline, directory), *size)?;
                }
            }
        }
        contents.document("index.json", &self.index())?;
        contents.document("manifest.json", &self.docker())?;
        contents.finish()
    }

    fn index(&self) -> Value {
        let mut manifests = Vec::new();
        for image in &self.images {
            let (digest, size) = &image.manifest;
            let entry = json!({
                "mediaType": image.media_type, "digest": digest, "size": size, "platform": image.platform
            });
            for name in &image.names {
                let mut named = entry.clone();
                let tag = name.rsplit_once(':').map_or("", |(_, tag)| tag);
                named["annotations"] =
                    json!({"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag});
                manifests.push(named);
            }
            if image.names.is_empty() {
                manifests.push(entry);
            }
        }
        json!({"schemaVersion": 2, "mediaType": manifest::OCI_INDEX, "manifests": manifests})
    }

    fn docker(&self) -> Value {
        let entry = |image: &Wanted| {
            let layers: Vec<String> = image.layers.iter().map(path).collect();
            json!({"Config": path(&image.config), "RepoTags": image.names, "Layers": layers})
        };
        self.images.iter().map(entry).collect()
    }
}

fn path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// The image's own manifest, its layers and its media type, if it is there.
fn manifest_of(
    store: &Store,
    record: &ImageRecord,
    config: &Digest,
) -> Option<(Bytes, Vec<Descriptor>, String)> {
    let small = record.blobs.iter().filter(|(_, size)| *size <= crate::registry::MAX_MANIFEST as u64);
    small.into_iter().find_map(|(digest, _)| {
        let bytes = std::fs::read(store.layout.blob(digest)).ok()?;
        match manifest::parse(&bytes, "").ok()? {
            Parsed::Manifest(parsed) if parsed.config.digest == *config && Digest::of(&bytes) == *digest => {
                let own = serde_json::from_slice::<Value>(&bytes).ok()?;
                let media_type = own["mediaType"].as_str().unwrap_or(manifest::OCI_MANIFEST).to_owned();
                Some((Bytes::from(bytes), parsed.layers, media_type))
            }
            _ => None,
        }
    })
}
