//! Whether images are still what was pulled, and fetching again what is not.

mod assembled;
mod layer;
mod repair;
mod tree;

pub(crate) use assembled::Assembled;
pub(crate) use layer::tree_digest;

use crate::digest::{Digest, Hasher};
use crate::error::ImageError;
use crate::store::{ImageRecord, Store};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

/// An image and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedImage {
    /// The image's id.
    pub id: String,
    /// Its tags, or its digests where it has none.
    pub names: Vec<String>,
    /// What is damaged; nothing in an image that is whole.
    pub damage: Vec<Damage>,
    /// Why what is damaged could not be fetched again, where that was asked for and failed.
    pub unrepaired: Option<String>,
}

/// Something of an image that is not what was pulled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// What it is.
    pub part: Part,
    /// Its digest: of a layer the diff id, of the attributes the image's id.
    pub digest: String,
    /// What is wrong with it.
    pub problem: String,
    /// Whether it was fetched or made again, and is now right.
    pub repaired: bool,
    /// Containers that go on with what was damaged until they are made anew.
    pub containers: usize,
}

/// A part of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// An unpacked layer.
    Layer,
    /// An index, a manifest, a config, or a compressed layer that was kept.
    Blob,
    /// The attributes that layers give to directories of others.
    Attributes,
}

impl VerifiedImage {
    /// Whether all is well, perhaps after a repair.
    pub fn is_whole(&self) -> bool {
        self.damage.iter().all(|damage| damage.repaired)
    }
}

/// Looks at one image after the other, and at each layer once.
pub(crate) struct Verifier {
    store: Arc<Store>,
    layers: HashMap<Digest, Option<String>>,
}

impl Verifier {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store, layers: HashMap::new() }
    }

    /// Everything that is wrong with the image. Blocks, and reads every byte of it.
    ///
    /// # Errors
    /// When it cannot be checked, and for an image that is not there.
    pub(crate) fn image(&mut self, id: &str) -> Result<VerifiedImage, ImageError> {
        let record = self.record(id)?;
        let store = Arc::clone(&self.store);
        // Nothing of it goes away meanwhile.
        let _lease = store.lease(record.layers.clone());
        let mut damage = Vec::new();
        for (digest, size) in &record.blobs {
            let problem = blob(&store.layout.blob(digest), digest, *size)?;
            damage.extend(problem.map(|problem| self.damage(Part::Blob, digest.to_string(), problem, 0)));
        }
        for diff_id in &record.layers {
            if let Some(problem) = self.layer(diff_id)? {
                let containers = store.users(diff_id);
                damage.push(self.damage(Part::Layer, diff_id.to_string(), problem, containers));
            }
        }
        if damage.iter().all(|damage| damage.part != Part::Layer)
            && let Some(problem) = self.attributes(&record)?
        {
            let containers = store.holders(id);
            damage.push(self.damage(Part::Attributes, id.to_owned(), problem, containers));
        }
        let names = if record.tags.is_empty() { &record.digests } else { &record.tags };
        Ok(VerifiedImage {
            id: id.to_owned(),
            names: names.iter().cloned().collect(),
            damage,
            unrepaired: None,
        })
    }

    fn record(&self, id: &str) -> Result<Arc<ImageRecord>, ImageError> {
        let record = self.store.index().images.get(id).filter(|record| !record.hidden).cloned();
        record.ok_or_else(|| ImageError::NoSuchImage(id.to_owned()))
    }

    fn damage(&self, part: Part, digest: String, problem: String, containers: usize) -> Damage {
        tracing::error!(?part, digest, problem, "an image is damaged");
        Damage { part, digest, problem, repaired: false, containers }
    }

    fn layer(&mut self, diff_id: &Digest) -> Result<Option<String>, ImageError> {
        if let Some(known) = self.layers.get(diff_id) {
            return Ok(known.clone());
        }
        let record = self.store.index().layers.get(diff_id).cloned();
        let found = match record {
            Some(record) => layer::damage(&self.store, diff_id, &record)?,
            None => Some("it is missing".to_owned()),
        };
        self.layers.insert(diff_id.clone(), found.clone());
        Ok(found)
    }

    /// The fix-up layer is made again and compared.
    fn attributes(&self, record: &ImageRecord) -> Result<Option<String>, ImageError> {
        let there = self.store.layout.fixup(&record.id);
        let should = self.store.fixup(record)?;
        match should {
            None => Ok((record.fixup > 0).then(|| "nothing needs it".to_owned())),
            Some(_) if !there.is_dir() => Ok(Some("its directory is missing".to_owned())),
            Some((directory, _)) => {
                let should = tree::Tree::open(directory.path())?;
                let found = tree::Tree::open(&there)?.differences(&should, &tree::Timeless::default(), 8)?;
                Ok((!found.is_empty()).then(|| found.join("; ")))
            }
        }
    }
}

/// What is wrong with a file of `blobs/`.
fn blob(path: &Path, digest: &Digest, size: u64) -> Result<Option<String>, ImageError> {
    let mut file = match std::fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Some("it is missing".to_owned()));
        }
        other => other.map_err(ImageError::io("open", path))?,
    };
    let (mut hasher, mut length, mut piece) = (Hasher::default(), 0, vec![0; 256 << 10]);
    loop {
        let count = match file.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) => return Ok(Some(format!("it cannot be read: {error}"))),
        };
        hasher.update(piece.get(..count).unwrap_or_default());
        length += count as u64;
    }
    let problem = match hasher.finish() {
        actual if actual == *digest => None,
        _ if length != size => Some(format!("it has {length} bytes instead of {size}")),
        actual => Some(format!("its content has digest {actual}")),
    };
    Ok(problem)
}
