//! The images of an OCI image layout: what `index.json` names, down through the indexes that it names.

use super::{Archive, Blobs, Found, blob, described, refuse};
use crate::error::ImageError;
use crate::manifest::{self, Descriptor, Manifest, ManifestError, Parsed, Platform};
use crate::pull::Left;
use crate::reference::Reference;
use crate::unpack;
use serde::Deserialize;
use std::collections::HashMap;

/// What to call something of an archive, and what it is, or why it is not taken.
type Named<T> = (String, Result<T, ImageError>);

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

impl Archive {
    /// Each entry of `index.json`: what to call it, and its image, or why it has none for this machine.
    pub(super) fn layout(&self) -> Result<Vec<Named<Found>>, ImageError> {
        let index: LayoutIndex = self.json("index.json")?;
        let has_others = index.manifests.len() > 1;
        let found = |entry: &LayoutEntry| {
            let found = self.entry(entry);
            found.map_err(|error| if has_others && entry.is_odd(&error) { odd(entry) } else { error })
        };
        let entries = entries(index).into_iter();
        Ok(entries.map(|(what, entry)| (what, entry.and_then(|entry| found(&entry)))).collect())
    }

    fn entry(&self, entry: &LayoutEntry) -> Result<Found, ImageError> {
        let names = entry.name().and_then(|name| Reference::parse(name).ok()).into_iter().collect();
        image(self, entry.descriptor.clone(), names)
    }
}

/// The image for this machine to which the descriptor of an index or manifest leads.
pub(in crate::pull) fn image(
    blobs: &impl Blobs,
    mut descriptor: Descriptor,
    names: Vec<Reference>,
) -> Result<Found, ImageError> {
    let top = descriptor.digest.clone();
    let (mut kept, mut left) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let bytes = blobs.verified(&descriptor.digest)?;
        kept.push((descriptor.digest.clone(), bytes.clone()));
        let manifest = match manifest::parse(&bytes, &descriptor.media_type).map_err(refuse)? {
            Parsed::Index(entries) => {
                descriptor = select(blobs, &entries, &mut left)?;
                continue;
            }
            Parsed::Manifest(manifest) => manifest,
        };
        refuse_others(blobs, &manifest)?;
        let config = blobs.verified(&manifest.config.digest)?;
        let found = Found {
            names,
            top: Some(top),
            manifest: Some(descriptor.digest),
            config: manifest.config.digest,
            config_json: String::new(),
            layers: manifest.layers,
            diff_ids: Vec::new(),
            kept,
            left,
        };
        return described(found, config);
    }
    Err(refuse(ManifestError::Nested))
}

/// The entry of an index for this machine. Archives seldom hold all that an index names: what is not there can be
/// neither taken nor left.
fn select(
    blobs: &impl Blobs,
    entries: &[Descriptor],
    left: &mut Vec<Left>,
) -> Result<Descriptor, ImageError> {
    let host = Platform::host();
    let there: Vec<Descriptor> = entries.iter().filter(|entry| blobs.has(&entry.digest)).cloned().collect();
    // Where nothing there will do, it is told what the index names.
    let chosen = manifest::select(&host, &there).or_else(|_| manifest::select(&host, entries));
    let chosen = chosen.map_err(refuse)?.clone();
    for other in there.iter().filter(|other| other.digest != chosen.digest) {
        let why = manifest::passed_over(&host, other).to_string();
        left.push(Left { what: other.digest.to_string(), why });
    }
    Ok(chosen)
}

/// Something whose layers are of no known type is an image where they are archives all the same: signatures and
/// the like are made as images, too.
fn refuse_others(blobs: &impl Blobs, manifest: &Manifest) -> Result<(), ImageError> {
    let is_archive = |layer: &Descriptor| blobs.open(&layer.digest).is_ok_and(unpack::is_archive);
    match manifest.layers.iter().find(|layer| !layer.says_layer() && !is_archive(layer)) {
        Some(other) => Err(refuse(other.no_layer())),
        None => Ok(()),
    }
}

/// The entries of a layout with what to call them. Of images of one name for several platforms, the one for this
/// machine stays, as if they were in an index.
fn entries(index: LayoutIndex) -> Vec<Named<LayoutEntry>> {
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
            *entry = Err(refuse(manifest::passed_over(&host, &known.descriptor)));
        }
    }
    entries
}

/// Of an entry that says of no machine that it is for it, and is no image that could be read.
fn odd(entry: &LayoutEntry) -> ImageError {
    refuse(ManifestError::MediaType(entry.descriptor.media_type.chars().take(80).collect()))
}
