//! Archives of images: an OCI image layout or what `docker save` writes, as one tar file, compressed or not.
//!
//! The archive is read once, from front to back, into a directory of the store's own under names of the store's own;
//! nothing in it is trusted until it has been read as what it must be. Layers are then unpacked as pulled ones are.

mod layout;

pub(super) use layout::image;

use super::load::Left;
use crate::digest::{Digest, Hasher};
use crate::error::ImageError;
use crate::manifest::{self, Descriptor, ManifestError};
use crate::reference::Reference;
use crate::store::IngestDir;
use crate::unpack::spool;
use bytes::Bytes;
use serde::Deserialize;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The most bytes of a document in an archive.
pub(super) const MAX_DOCUMENT: u64 = 4 << 20;

/// The archive's files on the disk.
pub(super) struct Archive {
    directory: IngestDir,
    /// Their names here, by their paths in the archive.
    files: HashMap<String, PathBuf>,
    /// Layers of a Docker archive, which has no paths by digest.
    layers: HashMap<Digest, PathBuf>,
}

/// An image in an archive.
pub(super) struct Found {
    pub names: Vec<Reference>,
    /// What the archive's index names, and the manifest for this machine; Docker's archives have neither.
    pub top: Option<Digest>,
    pub manifest: Option<Digest>,
    pub config: Digest,
    pub config_json: String,
    pub layers: Vec<Descriptor>,
    pub diff_ids: Vec<Digest>,
    pub kept: Vec<(Digest, Bytes)>,
    /// What else an index holds of which this is one.
    pub left: Vec<Left>,
}

/// Blobs by their digests.
pub(super) trait Blobs {
    /// A document, which has this digest.
    fn verified(&self, digest: &Digest) -> Result<Bytes, ImageError>;
    /// Opens a layer, of which nothing is known yet.
    fn open(&self, digest: &Digest) -> Result<File, ImageError>;
    /// Whether there is something under this digest.
    fn has(&self, digest: &Digest) -> bool;
}

impl Blobs for Archive {
    fn verified(&self, digest: &Digest) -> Result<Bytes, ImageError> {
        let bytes = self.document(&blob(digest))?;
        let actual = Digest::of(&bytes);
        if actual == *digest {
            Ok(bytes)
        } else {
            Err(ImageError::ArchiveDigest { expected: digest.clone(), actual })
        }
    }

    fn open(&self, digest: &Digest) -> Result<File, ImageError> {
        let path = self.layers.get(digest).or_else(|| self.files.get(&blob(digest)));
        let missing = || ImageError::ArchiveContent { missing: blob(digest) };
        let path = path.ok_or_else(missing)?;
        File::open(path).map_err(ImageError::io("open", path))
    }

    fn has(&self, digest: &Digest) -> bool {
        self.files.contains_key(&blob(digest))
    }
}

/// What an archive holds.
#[derive(Default)]
pub(super) struct Contents {
    pub images: Vec<Found>,
    /// What runs elsewhere, or is no image.
    pub left: Vec<Left>,
}

#[derive(Deserialize)]
struct DockerEntry {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "RepoTags", default)]
    tags: Option<Vec<String>>,
    #[serde(rename = "Layers")]
    layers: Vec<String>,
}

impl Archive {
    /// Reads the whole archive into the directory. Blocks.
    pub(super) fn read(input: &mut dyn Read, directory: IngestDir, limit: u64) -> Result<Self, ImageError> {
        let files = spool(input, directory.path(), limit).map_err(ImageError::Archive)?;
        Ok(Self { directory, files, layers: HashMap::new() })
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The images in it that run here, and what else there is.
    ///
    /// # Errors
    /// When none does, why not; and when one of those that would is damaged.
    pub(super) fn images(&mut self) -> Result<Contents, ImageError> {
        let mut contents = Contents::default();
        let mut first = None;
        let mut take = |what: String, found: Result<Found, ImageError>| {
            match found {
                Ok(mut found) => {
                    contents.left.append(&mut found.left);
                    contents.images.push(found);
                }
                Err(error) if is_other(&error) => {
                    contents.left.push(Left { what, why: reason(&error) });
                    first.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
            Ok(())
        };
        if self.files.contains_key("index.json") {
            for (what, found) in self.layout()? {
                take(what, found)?;
            }
        } else if self.files.contains_key("manifest.json") {
            let entries: Vec<DockerEntry> = self.json("manifest.json")?;
            for entry in entries {
                let what = entry.tags.iter().flatten().next().unwrap_or(&entry.config).clone();
                take(what, self.docker(&entry))?;
            }
        } else if self.files.is_empty() {
            return Err(ImageError::ArchiveEmpty);
        } else {
            return Err(ImageError::ArchiveKind);
        }
        match first {
            Some(error) if contents.images.is_empty() => Err(error),
            _ => Ok(contents),
        }
    }

    fn docker(&mut self, entry: &DockerEntry) -> Result<Found, ImageError> {
        let config = self.document(&entry.config)?;
        let mut layers = Vec::with_capacity(entry.layers.len());
        for name in &entry.layers {
            let path = self.file(name)?.clone();
            let (digest, size) = look(&path).map_err(ImageError::io("read", &path))?;
            self.layers.insert(digest.clone(), path);
            let media_type = String::new();
            layers.push(Descriptor { media_type, digest, size, urls: None, platform: None });
        }
        let tags = entry.tags.iter().flatten();
        let found = Found {
            names: tags.filter_map(|tag| Reference::parse(tag).ok()).collect(),
            top: None,
            manifest: None,
            config: Digest::of(&config),
            config_json: String::new(),
            layers,
            diff_ids: Vec::new(),
            kept: Vec::new(),
            left: Vec::new(),
        };
        described(found, config)
    }

    fn file(&self, name: &str) -> Result<&PathBuf, ImageError> {
        self.files
            .get(name)
            .ok_or_else(|| ImageError::ArchiveContent { missing: name.chars().take(256).collect() })
    }

    fn document(&self, name: &str) -> Result<Bytes, ImageError> {
        let path = self.file(name)?;
        let failed = |source| ImageError::io("read", path)(source);
        let file = File::open(path).map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(MAX_DOCUMENT + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > MAX_DOCUMENT {
            let name = name.chars().take(256).collect();
            return Err(ImageError::ArchiveDocument { name, limit: MAX_DOCUMENT });
        }
        Ok(Bytes::from(bytes))
    }

    fn json<T: serde::de::DeserializeOwned>(&self, name: &'static str) -> Result<T, ImageError> {
        let bytes = self.document(name)?;
        serde_json::from_slice(&bytes).map_err(|source| refuse(ManifestError::Json { what: name, source }))
    }
}

/// Whether the error says that something is no image for this machine, rather than a bad one.
pub(super) fn is_other(error: &ImageError) -> bool {
    let ImageError::Manifest { source, .. } = error else { return false };
    matches!(
        source,
        ManifestError::NoPlatform { .. }
            | ManifestError::Beaten
            | ManifestError::NotAnImage(_)
            | ManifestError::LayerType { .. }
            | ManifestError::MediaType(_)
            | ManifestError::Json { what: "an entry of index.json", .. }
    )
}

pub(super) fn reason(error: &ImageError) -> String {
    match error {
        ImageError::Manifest { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}

fn blob(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn refuse(source: ManifestError) -> ImageError {
    ImageError::Manifest { reference: "from the archive".to_owned(), source }
}

/// Fills in what the config says, and keeps it.
fn described(mut found: Found, config: Bytes) -> Result<Found, ImageError> {
    let (_, diff_ids) = manifest::parse_config(&config).map_err(refuse)?;
    if diff_ids.len() != found.layers.len() || diff_ids.is_empty() {
        let (layers, diff_ids) = (found.layers.len(), diff_ids.len());
        return Err(refuse(ManifestError::LayerCount { layers, diff_ids }));
    }
    found.config_json = String::from_utf8(config.to_vec())
        .map_err(|_| refuse(ManifestError::Missing { what: "the config", field: "valid UTF-8" }))?;
    found.diff_ids = diff_ids;
    found.kept.push((found.config.clone(), config));
    Ok(found)
}

/// Digest and size of a file.
fn look(path: &Path) -> std::io::Result<(Digest, u64)> {
    let mut file = File::open(path)?;
    let (mut hasher, mut size, mut piece) = (Hasher::default(), 0, vec![0; 256 << 10]);
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 {
            return Ok((hasher.finish(), size));
        }
        hasher.update(piece.get(..count).unwrap_or_default());
        size += count as u64;
    }
}
