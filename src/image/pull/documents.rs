//! The documents of an image, from the reference down to the diff ids.

use crate::digest::Digest;
use crate::error::ImageError;
use crate::manifest::{self, Descriptor, Manifest, ManifestError, Parsed, Platform};
use crate::reference::Reference;
use crate::registry::{Document, Session};
use bytes::Bytes;

/// Everything about an image but its layers.
pub(super) struct Documents {
    /// The config's digest.
    pub id: Digest,
    /// Lowest first, one for each of `diff_ids`.
    pub layers: Vec<Descriptor>,
    pub diff_ids: Vec<Digest>,
    pub config_json: String,
    /// The documents to keep.
    pub kept: Vec<(Digest, Bytes)>,
}

/// What a reference means, but for the config.
pub(super) struct Found {
    /// An index or a manifest.
    pub top: Digest,
    /// The manifest of this platform.
    pub digest: Digest,
    pub manifest: Manifest,
    kept: Vec<(Digest, Bytes)>,
}

impl Found {
    pub(super) async fn fetch(session: &Session, reference: &Reference) -> Result<Self, ImageError> {
        let document = session.manifest(reference.target(), reference.digest()).await?;
        let top = document.digest.clone();
        let mut kept = Vec::new();
        let (digest, manifest) =
            manifest_of(session, document, &mut kept, &|source| refuse(reference, source)).await?;
        Ok(Self { top, digest, manifest, kept })
    }

    /// With the config.
    pub(super) async fn documents(
        self,
        session: &Session,
        reference: &Reference,
    ) -> Result<Documents, ImageError> {
        let Self { manifest, mut kept, .. } = self;
        let refuse = |source| refuse(reference, source);
        let config = session.small_blob(&manifest.config).await?;
        let (_, diff_ids) = manifest::parse_config(&config).map_err(refuse)?;
        if diff_ids.len() != manifest.layers.len() {
            let (layers, diff_ids) = (manifest.layers.len(), diff_ids.len());
            return Err(refuse(ManifestError::LayerCount { layers, diff_ids }));
        }
        let config_json = String::from_utf8(config.to_vec())
            .map_err(|_| refuse(ManifestError::Missing { what: "the config", field: "valid UTF-8" }))?;
        kept.push((manifest.config.digest.clone(), config));
        Ok(Documents { id: manifest.config.digest, layers: manifest.layers, diff_ids, config_json, kept })
    }
}

fn refuse(reference: &Reference, source: ManifestError) -> ImageError {
    ImageError::Manifest { reference: reference.to_string(), source }
}

/// Follows an index, and once an index in it, to the manifest for this machine.
async fn manifest_of(
    session: &Session,
    mut document: Document,
    kept: &mut Vec<(Digest, Bytes)>,
    refuse: &impl Fn(ManifestError) -> ImageError,
) -> Result<(Digest, Manifest), ImageError> {
    let host = Platform::host();
    for _ in 0..3 {
        kept.push((document.digest.clone(), document.bytes.clone()));
        let entries = match manifest::parse(&document.bytes, &document.media_type).map_err(refuse)? {
            Parsed::Manifest(manifest) => return Ok((document.digest, manifest)),
            Parsed::Index(entries) => entries,
        };
        let chosen: Descriptor = manifest::select(&host, &entries).map_err(refuse)?.clone();
        document = session.manifest(chosen.digest.as_str(), Some(&chosen.digest)).await?;
        if !chosen.media_type.is_empty() && document.media_type != chosen.media_type {
            // The index was verified: its word counts, and the document must agree with it.
            document.media_type = chosen.media_type;
        }
    }
    Err(refuse(ManifestError::Nested))
}
