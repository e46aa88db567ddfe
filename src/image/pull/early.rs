//! Small layers, which come in while the config does: that tells whether a layer is in the store, by a name of which the
//! manifest knows nothing.
//!
//! What is there under a digest that was seen before is not asked for, and each digest once, over all pulls: whoever turns
//! out to need the layer first takes it.

use super::documents::Documents;
use super::{LayerKey, Puller};
use crate::digest::Digest;
use crate::manifest::{self, Manifest, Parsed};
use crate::registry::{Coming, Session};
use crate::store::{ImageRecord, Store};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use sys::sync::lock;

/// Most bytes of a small layer: about as many as come in within a round trip or two.
const SMALL: u64 = 1 << 20;
/// Most documents that are remembered of layers which are not there any more.
const MOST_KNOWN: usize = 4096;

/// What came early, and what is known of what is there.
#[derive(Default)]
pub(super) struct Early {
    next: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Digests and the diff ids that are behind them.
    known: HashMap<Digest, Digest>,
    /// Layers of the store whose digests nobody knows: what an earlier daemon left unfinished.
    nameless: HashSet<Digest>,
    /// With the number of the pull that asked for it.
    coming: HashMap<Digest, (u64, Coming)>,
}

/// What one pull asked for, which ends with it where nobody took it.
pub(super) struct Asked {
    early: Arc<Early>,
    number: u64,
}

impl Drop for Asked {
    fn drop(&mut self) {
        lock(&self.early.state).coming.retain(|_, (number, _)| *number != self.number);
    }
}

impl Puller {
    /// Asks for the layers of the manifest that are small and new.
    pub(super) async fn ask_early(&self, session: &Session, manifest: &Manifest) -> Asked {
        let (early, store) = (&self.early, &self.store);
        let number = early.next.fetch_add(1, Ordering::Relaxed);
        let asked = Asked { early: Arc::clone(early), number };
        let is_known = store.index().images.contains_key(manifest.config.digest.as_str());
        if is_known || !early.knows_all(store).await {
            return asked;
        }
        let mut small: Vec<_> =
            manifest.layers.iter().filter(|layer| (1..=SMALL).contains(&layer.size)).collect();
        small.sort_by_key(|layer| std::cmp::Reverse(layer.size));
        let most = 4 * store.config().layer_slots();
        let mut state = lock(&early.state);
        for layer in small {
            let is_here = |diff_id: &Digest| {
                let key: LayerKey = (diff_id.clone(), layer.digest.clone());
                store.is_there(diff_id) || self.layers.is_awaited(&key)
            };
            let is_here = state.known.get(&layer.digest).is_some_and(is_here);
            if is_here || state.coming.contains_key(&layer.digest) || state.coming.len() >= most {
                continue;
            }
            let Some(coming) = session.early(layer) else { break };
            state.coming.insert(layer.digest.clone(), (number, coming));
        }
        asked
    }
}

impl Early {
    /// The layer that is on its way.
    pub(super) fn take(&self, digest: &Digest) -> Option<Coming> {
        lock(&self.state).coming.remove(digest).map(|(_, coming)| coming)
    }

    /// Remembers what is behind the digests of the layers.
    pub(super) fn know(&self, documents: &Documents) {
        let pairs =
            documents.layers.iter().map(|layer| layer.digest.clone()).zip(documents.diff_ids.iter().cloned());
        lock(&self.state).known.extend(pairs);
    }

    /// Whether a layer that is there would be known by its digest.
    async fn knows_all(&self, store: &Arc<Store>) -> bool {
        let nameless = self.nameless(store);
        if nameless.is_subset(&lock(&self.state).nameless) {
            return nameless.is_empty();
        }
        // Of an earlier daemon, or taken over from another runtime: the documents tell.
        let here = Arc::clone(store);
        let found = tokio::task::spawn_blocking(move || {
            let records: Vec<_> = here.index().images.values().cloned().collect();
            records.iter().flat_map(|record| layers_of(record, &here)).collect::<Vec<_>>()
        });
        let found = found.await.unwrap_or_default();
        lock(&self.state).known.extend(found);
        let nameless = self.nameless(store);
        let is_complete = nameless.is_empty();
        lock(&self.state).nameless = nameless;
        is_complete
    }

    fn nameless(&self, store: &Store) -> HashSet<Digest> {
        let mut state = lock(&self.state);
        let index = store.index();
        if state.known.len() > MOST_KNOWN + index.layers.len() {
            state.known.retain(|_, diff_id| index.layers.contains_key(diff_id));
        }
        let known: HashSet<_> = state.known.values().collect();
        index.layers.keys().filter(|diff_id| !known.contains(diff_id)).cloned().collect()
    }
}

/// Digests and diff ids of an image's layers.
fn layers_of(record: &ImageRecord, store: &Store) -> Vec<(Digest, Digest)> {
    let documents =
        record.blobs.iter().filter(|(digest, size)| *size <= SMALL && digest.as_str() != record.id);
    let manifests = documents.filter_map(|(digest, _)| {
        let bytes = std::fs::read(store.layout.blob(digest)).ok()?;
        match manifest::parse(&bytes, "").ok()? {
            Parsed::Manifest(manifest) if manifest.layers.len() == record.layers.len() => {
                Some(manifest.layers)
            }
            _ => None,
        }
    });
    let layers = manifests.flatten().map(|layer| layer.digest);
    layers.zip(record.layers.iter().cycle().cloned()).collect()
}
