//! Images from an archive instead of a registry.

use super::archive::{Archive, Found};
use super::documents::Documents;
use super::source::Source;
use super::{Names, Puller};
use crate::error::ImageError;
use crate::reference::Reference;
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::sync::Arc;

/// What was done with an archive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loaded {
    /// Its images that run here.
    pub images: Vec<LoadedImage>,
    /// What else there was: images for other platforms, signatures, lists of software.
    pub left: Vec<Left>,
}

/// An image that came from an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadedImage {
    /// The image's id.
    pub id: String,
    /// Its names; none where the archive has none.
    pub names: Vec<String>,
}

/// Something of an archive that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Its digest, or its name.
    pub what: String,
    /// Why not.
    pub why: String,
}

impl Puller {
    /// Brings the archive's images into the store. `name` is given to the image of an archive that holds one.
    pub(crate) async fn load(
        self: &Arc<Self>,
        mut input: Box<dyn Read + Send>,
        name: Option<Reference>,
    ) -> Result<Loaded, ImageError> {
        let store = Arc::clone(&self.store);
        let read = tokio::task::spawn_blocking(move || {
            let directory = store.layout.ingest_dir()?;
            let mut archive = Archive::read(input.as_mut(), directory, store.config().max_layer_bytes)?;
            let found = archive.images()?;
            Ok((archive, found))
        });
        let read = read.await.unwrap_or(Err(ImageError::Interrupted { operation: "reading the archive" }));
        let (archive, mut found) = read?;
        match (name, found.images.as_mut_slice()) {
            (None, _) => {}
            (Some(name), [only]) => only.names = vec![name],
            (Some(_), several) => return Err(ImageError::ArchiveName { images: several.len() }),
        }
        let source = Arc::new(Source::Archive(archive));
        let mut loaded = Loaded { images: Vec::with_capacity(found.images.len()), left: found.left };
        for left in &loaded.left {
            tracing::info!(
                what = left.what,
                why = left.why,
                "something of an archive is no image for this machine"
            );
        }
        for image in found.images {
            let result = self.load_one(&source, image).await;
            self.clean_up(result.as_ref().err());
            loaded.images.push(result?);
        }
        Ok(loaded)
    }

    async fn load_one(
        self: &Arc<Self>,
        source: &Arc<Source>,
        image: Found,
    ) -> Result<LoadedImage, ImageError> {
        let digests = |digest: &Option<crate::Digest>| {
            let names = image.names.iter();
            names.filter_map(|name| Some(name.with_digest(digest.as_ref()?))).collect()
        };
        let names = Names {
            tags: image.names.iter().filter(|name| name.tag().is_some()).map(ToString::to_string).collect(),
            digests: digests(&image.top),
            aliases: digests(&image.manifest),
            pinned: false,
        };
        let shown = names.tags.first().or(names.digests.first()).cloned();
        let documents = Documents {
            id: image.config,
            layers: image.layers,
            diff_ids: image.diff_ids,
            config_json: image.config_json,
            kept: image.kept,
        };
        let shown = shown.unwrap_or_else(|| documents.id.to_string());
        let state = self.progress.begin(&shown);
        let told = names.tags.iter().chain(&names.digests).cloned().collect();
        let id = self.bring(source, &shown, names, &documents, &state).await?;
        tracing::info!(id, name = shown, "image loaded");
        Ok(LoadedImage { id, names: told })
    }
}
