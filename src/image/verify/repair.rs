//! Fetching again what is damaged of an image, and nothing else.

use super::{Damage, Part, VerifiedImage, Verifier};
use crate::digest::Digest;
use crate::error::ImageError;
use crate::manifest::{self, Parsed};
use crate::pull::Puller;
use crate::reference::Reference;
use crate::registry::Login;
use crate::store::{ImageRecord, Store};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Verifier {
    /// Fetches from the image's registry what [`Self::image`] found to be damaged, and looks at the image again. What
    /// cannot be fetched now is by the next pull of the image.
    /// `named` is how the image was asked for: the login is its registry's.
    pub(crate) async fn repair(
        mut self,
        found: &mut VerifiedImage,
        puller: &Arc<Puller>,
        (named, login): (&str, Option<Login>),
    ) -> Result<Self, ImageError> {
        if found.damage.is_empty() {
            return Ok(self);
        }
        let record = self.record(&found.id)?;
        self.set_aside(found)?;
        found.unrepaired = fetch(&record, puller, named, login.as_ref()).await.err();
        if found.unrepaired.is_some() {
            return Ok(self);
        }
        for damage in &found.damage {
            if let Ok(digest) = Digest::parse(&damage.digest) {
                self.layers.remove(&digest);
            }
        }
        let id = found.id.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let again = self.image(&id);
            (self, again)
        });
        let interrupted = |_| ImageError::Interrupted { operation: "verifying the image" };
        let (verifier, again) = looked.await.map_err(interrupted)?;
        let again = again?;
        for damage in &mut found.damage {
            let still =
                again.damage.iter().any(|other| (other.part, &other.digest) == (damage.part, &damage.digest));
            damage.repaired = !still;
        }
        Ok(verifier)
    }

    /// Lets no pull count on what is damaged.
    fn set_aside(&self, found: &VerifiedImage) -> Result<(), ImageError> {
        for Damage { part, digest, .. } in &found.damage {
            match (part, Digest::parse(digest)) {
                (Part::Layer, Ok(diff_id)) => self.store.condemn(&diff_id),
                (Part::Blob, Ok(digest)) => {
                    // A compressed layer comes again with its layer alone.
                    if let Some(diff_id) = diff_id_of(&self.store, &found.id, &digest) {
                        self.store.condemn(&diff_id);
                    }
                    self.store.discard_blob(&digest)?;
                }
                _ => self.store.discard_fixup(&found.id)?,
            }
        }
        Ok(())
    }
}

/// Pulls the image by one of its digests, those of the registry that was named first; why none of them serves it.
async fn fetch(
    record: &ImageRecord,
    puller: &Arc<Puller>,
    named: &str,
    login: Option<&Login>,
) -> Result<(), String> {
    let mut references: Vec<Reference> =
        record.digests.iter().filter_map(|name| Reference::parse(name).ok()).collect();
    let named = Reference::parse(named).ok().filter(|named| record.tags.contains(&named.to_string()));
    let is_named = |reference: &Reference| match &named {
        Some(named) => named.registry() == reference.registry(),
        // Asked for by id or digest: then there must be no doubt whose the login is.
        None => references_of_one_registry(record),
    };
    references.sort_by_key(|reference| !is_named(reference));
    let mut problems = Vec::new();
    for reference in references {
        let login = login.filter(|_| is_named(&reference)).cloned();
        match puller.pull(reference, login).await {
            Ok(_) => return Ok(()),
            Err(error) => problems.push(error.to_string()),
        }
    }
    if problems.is_empty() {
        return Err("it came from no registry: load or pull it again".to_owned());
    }
    Err(problems.join("; "))
}

fn references_of_one_registry(record: &ImageRecord) -> bool {
    let registries = record.digests.iter().filter_map(|name| Reference::parse(name).ok());
    let registries: BTreeSet<String> = registries.map(|reference| reference.registry().to_owned()).collect();
    registries.len() == 1
}

/// The layer that the compressed layer with this digest unpacks to.
fn diff_id_of(store: &Store, id: &str, digest: &Digest) -> Option<Digest> {
    let record = store.index().images.get(id).cloned()?;
    let small = |size: u64| size <= crate::registry::MAX_MANIFEST as u64;
    let documents = record.blobs.iter().filter(|(_, size)| small(*size));
    let layers = documents.filter_map(|(blob, _)| {
        let bytes = std::fs::read(store.layout.blob(blob)).ok()?;
        match manifest::parse(&bytes, "").ok()? {
            Parsed::Manifest(manifest) => Some(manifest.layers),
            Parsed::Index(_) => None,
        }
    });
    let at = layers.flatten().position(|layer| layer.digest == *digest)?;
    record.layers.get(at).cloned()
}
