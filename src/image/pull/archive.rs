//! Archives of images: an OCI image layout or what `docker save` writes, as one tar file, compressed or not.
//!
//! The archive is read once, from front to back, into a directory of the store's own under names of the store's own;
//! nothing in it is trusted until it has been read as what it must be. Layers are then unpacked as pulled ones are.

use super::load::Left;
use crate::digest::{Digest, Hasher};
use crate::error::ImageError;
use crate::manifest::{self, Descriptor, ManifestError, Parsed, Platform};
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
const MAX_DOCUMENT: u64 = 4 << 20;

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
}

#[derive(Deserialize)]
struct LayoutIndex {
    manifests: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct LayoutEntry {
    #[serde(flatten)]
    descriptor: Descriptor,
    #[serde(default)]
    annotations: Option<HashMap<String, String>>,
}

impl LayoutEntry {
    fn name(&self) -> Option<&str> {
        let names = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];
        let annotations = self.annotations.as_ref()?;
        // Many tools write the tag alone there: that is no name.
        let mut names = names.iter().filter_map(|name| annotations.get(*name));
        names.find(|name| name.contains('/') || name.contains(':')).map(String::as_str)
    }

    /// Whether the entry names no platform, and the error says that nothing readable stands behind it.
    fn is_odd(&self, error: &ImageError) -> bool {
        let absent = |missing: &String| *missing == blob(&self.descriptor.digest);
        self.descriptor.platform.is_none()
            && match error {
                ImageError::ArchiveContent { missing } => absent(missing),
                ImageError::Manifest { source, .. } => matches!(source, ManifestError::Json { .. }),
                _ => false,
            }
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

    /// Opens the layer with this digest.
    pub(super) fn open(&self, digest: &Digest) -> Result<File, ImageError> {
        let path = self.layers.get(digest).or_else(|| self.files.get(&blob(digest)));
        let missing = || ImageError::ArchiveContent { missing: blob(digest) };
        let path = path.ok_or_else(missing)?;
        File::open(path).map_err(ImageError::io("open", path))
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
                Ok(found) => contents.images.push(found),
                Err(error) if is_other(&error) => {
                    contents.left.push(Left { what, why: reason(&error) });
                    first.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
            Ok(())
        };
        if self.files.contains_key("index.json") {
            let index: LayoutIndex = self.json("index.json")?;
            let has_others = index.manifests.len() > 1;
            for (what, entry) in entries(index) {
                let found = entry.and_then(|entry| {
                    self.oci(&entry)
                        .map_err(|error| if has_others && entry.is_odd(&error) { odd(&entry) } else { error })
                });
                take(what, found)?;
            }
        } else if self.files.contains_key("manifest.json") {
            let entries: Vec<DockerEntry> = self.json("manifest.json")?;
            for entry in entries {
                let what = entry.tags.iter().flatten().next().unwrap_or(&entry.config).clone();
                take(what, self.docker(&entry))?;
            }
        } else {
            return Err(ImageError::ArchiveContent { missing: "index.json or manifest.json".to_owned() });
        }
        match first {
            Some(error) if contents.images.is_empty() => Err(error),
            _ => Ok(contents),
        }
    }

    fn oci(&self, entry: &LayoutEntry) -> Result<Found, ImageError> {
        let mut descriptor = entry.descriptor.clone();
        let top = descriptor.digest.clone();
        let mut kept = Vec::new();
        for _ in 0..3 {
            let bytes = self.verified(&descriptor.digest)?;
            kept.push((descriptor.digest.clone(), bytes.clone()));
            match manifest::parse(&bytes, &descriptor.media_type).map_err(refuse)? {
                Parsed::Index(entries) => {
                    descriptor = manifest::select(&Platform::host(), &entries).map_err(refuse)?.clone();
                }
                Parsed::Manifest(parsed) => {
                    let config = self.verified(&parsed.config.digest)?;
                    let found = Found {
                        names: entry
                            .name()
                            .and_then(|name| Reference::parse(name).ok())
                            .into_iter()
                            .collect(),
                        top: Some(top),
                        manifest: Some(descriptor.digest),
                        config: parsed.config.digest,
                        config_json: String::new(),
                        layers: parsed.layers,
                        diff_ids: Vec::new(),
                        kept,
                    };
                    return described(found, config);
                }
            }
        }
        Err(refuse(ManifestError::Nested))
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

    fn verified(&self, digest: &Digest) -> Result<Bytes, ImageError> {
        let bytes = self.document(&blob(digest))?;
        let actual = Digest::of(&bytes);
        if actual == *digest {
            Ok(bytes)
        } else {
            Err(ImageError::ArchiveDigest { expected: digest.clone(), actual })
        }
    }

    fn json<T: serde::de::DeserializeOwned>(&self, name: &'static str) -> Result<T, ImageError> {
        let bytes = self.document(name)?;
        serde_json::from_slice(&bytes).map_err(|source| refuse(ManifestError::Json { what: name, source }))
    }
}

/// The entries of a layout with what to call them. Of images of one name for several platforms, the one for this
/// machine stays, as if they were in an index.
fn entries(index: LayoutIndex) -> Vec<(String, Result<LayoutEntry, ImageError>)> {
    let mut entries = Vec::with_capacity(index.manifests.len());
    for value in index.manifests {
        let what = value["digest"].as_str().unwrap_or("an entry without a digest").chars().take(80).collect();
        let json = |source| refuse(ManifestError::Json { what: "an entry of index.json", source });
        entries.push((what, serde_json::from_value::<LayoutEntry>(value).map_err(json)));
    }
    let host = Platform::host();
    let mut best: HashMap<Option<String>, (u32, usize)> = HashMap::new();
    for (at, (_, entry)) in entries.iter().enumerate() {
        let Ok(entry) = entry else { continue };
        let fit = entry.descriptor.platform.as_ref().and_then(|platform| host.fits(platform));
        let name = entry.name().map(str::to_owned);
        if let Some(fit) = fit
            && best.get(&name).is_none_or(|(most, _)| fit > *most)
        {
            best.insert(name, (fit, at));
        }
    }
    for (at, (_, entry)) in entries.iter_mut().enumerate() {
        let Ok(known) = &*entry else { continue };
        let Some(platform) = &known.descriptor.platform else { continue };
        let beaten = best.get(&known.name().map(str::to_owned)).is_some_and(|(_, best)| *best != at);
        if beaten || host.fits(platform).is_none() {
            let (wanted, available) = (host.text(), vec![platform.text()]);
            *entry = Err(refuse(ManifestError::NoPlatform { wanted, available }));
        }
    }
    entries
}

/// Of an entry that says of no machine that it is for it, and is no image that could be read.
fn odd(entry: &LayoutEntry) -> ImageError {
    refuse(ManifestError::MediaType(entry.descriptor.media_type.chars().take(80).collect()))
}

/// Whether the error says that something is no image for this machine, rather than a bad one.
fn is_other(error: &ImageError) -> bool {
    let ImageError::Manifest { source, .. } = error else { return false };
    matches!(
        source,
        ManifestError::NoPlatform { .. }
            | ManifestError::NotAnImage(_)
            | ManifestError::LayerType { .. }
            | ManifestError::MediaType(_)
            | ManifestError::Json { what: "an entry of index.json", .. }
    )
}

fn reason(error: &ImageError) -> String {
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
